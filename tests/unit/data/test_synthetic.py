"""Synthetic logs: deterministic, shaped as asked, and with a best answer that is in fact the best."""

from __future__ import annotations

import numpy as np
import pytest

from recsmith.data.sources.synthetic import PERIODS, SPAN, START, Synthetic, generate, parse
from recsmith.errors import ParameterError, UnknownIdError


def test_same_seed_same_log_other_seed_other_log() -> None:
    first, again, other = (generate(50, 30, 2_000, seed=s).interactions for s in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_log_has_the_size_asked_for_and_is_in_time_order() -> None:
    log = generate(300, 40, 5_000)
    frame = log.interactions
    assert frame.columns == ["user_id", "item_id", "timestamp"]
    assert len(frame) == 5_000
    assert frame["user_id"].n_unique() == 300
    assert frame["item_id"].is_between(1, 40).all()
    assert frame["timestamp"].is_sorted()
    assert frame["timestamp"].is_between(START, START + SPAN - 1).all()
    assert log.implicit
    assert log.items is not None
    assert log.items["item_id"].to_list() == list(range(1, 41))


def test_popularity_follows_zipf() -> None:
    frame = generate(1_000, 1_000, 400_000, drift=0.0, clusters=1, zipf=1.0).interactions
    counts = frame["item_id"].value_counts(sort=True)["count"].to_numpy()
    expected = 400_000 / np.arange(1, 11) / (1 / np.arange(1, 1_001)).sum()
    np.testing.assert_allclose(counts[:10], expected, rtol=0.05)


def test_probabilities_are_a_distribution_and_match_the_log() -> None:
    world = Synthetic(n_users=3, n_items=25, n_events=200_000, clusters=3, drift=0.0, seed=4)
    probabilities = world.probabilities(np.array([1, 2, 3]))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    frame = world.log().interactions
    for user, expected in zip((1, 2, 3), probabilities, strict=True):
        items = frame.filter(user_id=user)["item_id"].to_numpy()
        observed = np.bincount(items - 1, minlength=25) / len(items)
        assert np.abs(observed - expected).max() < 0.02


def test_best_is_the_top_of_the_probabilities() -> None:
    world = Synthetic(n_users=40, n_items=60, n_events=100, clusters=5, seed=2)
    users = np.arange(1, 41)
    best = world.best(users, 7)
    np.testing.assert_array_equal(
        best, np.argsort(-world.probabilities(users), axis=1, kind="stable")[:, :7] + 1
    )


def test_best_hits_more_often_than_popularity() -> None:
    world = Synthetic(n_users=500, n_items=400, n_events=60_000, clusters=10, drift=0.2, seed=3)
    frame = world.log().interactions
    late = frame.filter(frame["timestamp"] >= START + SPAN * (PERIODS - 1) // PERIODS)
    users, items = late["user_id"].to_numpy(), late["item_id"].to_numpy()
    popular = frame["item_id"].value_counts(sort=True)["item_id"][:10].to_numpy()
    hits_best = (world.best(users, 10) == items[:, None]).any(axis=1).mean()
    hits_popular = np.isin(items, popular).mean()
    assert hits_best > 1.5 * hits_popular
    promised = (
        np.take_along_axis(world.probabilities(users), world.best(users, 10) - 1, axis=1).sum(axis=1).mean()
    )
    assert hits_best == pytest.approx(promised, abs=0.02)


def test_drift_changes_what_is_popular() -> None:
    def overlap(drift: float) -> float:
        frame = generate(500, 500, 100_000, drift=drift, clusters=1).interactions
        early, late = (
            set(part["item_id"].value_counts(sort=True)["item_id"][:20].to_list())
            for part in (frame[:20_000], frame[-20_000:])
        )
        return len(early & late) / 20

    assert overlap(0.0) > 0.8
    assert overlap(0.8) < 0.3


def test_ratings_are_on_the_scale_unique_and_near_their_mean() -> None:
    world = Synthetic(n_users=200, n_items=100, n_events=20_000, rating=True)
    log = world.log()
    frame = log.interactions
    assert log.rating_scale == (1.0, 5.0)
    assert set(frame["rating"].unique()) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert not frame.select("user_id", "item_id").is_duplicated().any()
    mean = world.expected_ratings(*(frame[c].to_numpy() for c in ("user_id", "item_id", "timestamp")))
    residual = frame["rating"].to_numpy() - mean
    assert abs(residual.mean()) < 0.05
    assert residual.std() < 0.85


def test_name_of_a_log_makes_it_again() -> None:
    log = parse("synthetic:users=30,items=20,events=400,seed=7,zipf=0.5,rating=1").log()
    assert log.name == "synthetic:users=30,items=20,events=400,seed=7,zipf=0.5,rating=1"
    assert parse(log.name).log().interactions.equals(log.interactions)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("synthetic:user=3", "Did you mean 'users'"),
        ("synthetic:users=many", "'users' parameter of synthetic must be a number"),
        ("synthetic:users=0", "n_users"),
        ("synthetic:drift=2", "drift"),
    ],
)
def test_wrong_options_are_named(source: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        parse(source)


def test_unknown_users_and_k_are_refused() -> None:
    world = Synthetic(n_users=3, n_items=5, n_events=10)
    with pytest.raises(UnknownIdError, match="no user 4"):
        world.best(np.array([1, 4]), 2)
    with pytest.raises(ParameterError, match="'k'"):
        world.best(np.array([1]), 6)


def test_millions_of_events_take_seconds() -> None:
    frame = generate(100_000, 20_000, 2_000_000).interactions
    assert len(frame) == 2_000_000
    assert frame["user_id"].n_unique() == 100_000

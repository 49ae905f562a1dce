"""BayesianMF: known posteriors, planted factors, intervals that cover, relation blocks, days, cold rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.conftest import build

from recsmith import parallel
from recsmith.errors import DataError, ParameterError
from recsmith.models.factorization.bayesian import BayesianMF
from recsmith.types import Queries, Shape

QUICK = {"epochs": 60, "burn_in": 20, "chains": 2, "samples": 80}
IDS = {"implicit": False, "flipped": False}


def planted(n_users=120, n_items=80, density=0.4, noise=0.5, seed=0, levels=False):
    """A log of a planted rank 2, (train, users, items, ratings) with a fifth of the pairs held out."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(n_users, 2)), rng.normal(size=(n_items, 2))
    score = 3 + 0.5 * rng.normal(size=(n_users, 1)) + 0.5 * rng.normal(size=n_items) + 0.6 * p @ q.T
    score = score + noise * rng.normal(size=score.shape)
    if levels:
        score = np.clip(np.round(score), 1, 5)
    users, items = np.nonzero(rng.random(score.shape) < density)
    held = rng.random(len(users)) < 0.2
    train = build(users[~held], items[~held], score[users[~held], items[~held]], np.arange((~held).sum()))
    low, high = float(score.min()), float(score.max())
    train = replace(train, rating_scale=(1.0, 5.0) if levels else (low, high))
    return train, users[held], items[held], score[users[held], items[held]]


def asked(train, users, items):
    return train.queries(train.users.index(users)), np.arange(len(users)), train.items.index(items)


def rmse(a, b):
    return float(np.sqrt(np.mean((np.asarray(a) - b) ** 2)))


@pytest.mark.parametrize("parts", [IDS, {}])
def test_planted_factors_come_back_and_intervals_cover(parts):
    train, users, items, ratings = planted()
    model = BayesianMF(embedding_size=4, likelihood="gaussian", **parts, **QUICK).fit(train, rng=0)
    queries = asked(train, users, items)
    given = model.predict(*queries)
    assert rmse(given.mean, ratings) < 0.58  # the noise is 0.5
    for share, width in ((0.9, 1.645), (0.5, 0.674)):
        assert np.mean(np.abs(ratings - given.mean) <= width * given.std) == pytest.approx(share, abs=0.05)
    low, high = model.quantiles(*queries, at=(0.05, 0.95)).T
    assert np.mean((ratings >= low) & (ratings <= high)) == pytest.approx(0.9, abs=0.05)
    assert 1 / np.sqrt(model.noise_.mean()) * model.spread_ == pytest.approx(0.5, abs=0.05)


def test_probit_gives_the_chances_of_each_rating():
    train, users, items, ratings = planted(levels=True, noise=0.6)
    model = BayesianMF(embedding_size=4, **IDS, **QUICK).fit(train, rng=0)
    queries = asked(train, users, items)
    chances = model.probabilities(*queries)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-6)
    given = model.predict(*queries)
    np.testing.assert_allclose(given.mean, chances @ model.levels_, atol=1e-4)
    for k, level in enumerate(model.levels_):  # calibrated: said as often as it happens
        assert chances[:, k].mean() == pytest.approx(np.mean(ratings == level), abs=0.05)
    low, high = model.quantiles(*queries).T
    assert np.mean((ratings >= low) & (ratings <= high)) > 0.87
    gaussian = BayesianMF(embedding_size=4, likelihood="gaussian", **IDS, **QUICK).fit(train, rng=0)
    assert rmse(given.mean, ratings) < rmse(gaussian.predict(*queries).mean, ratings) + 0.03
    scores = model.score(queries[0].take(np.arange(5)))
    np.testing.assert_allclose(scores[np.arange(5), queries[2][:5]], given.mean[:5], atol=2e-3)


@pytest.mark.parametrize("likelihood", ["gaussian", "probit"])
@pytest.mark.parametrize("parts", [IDS, {}])
def test_a_history_folded_in_is_near_the_trained_user(likelihood, parts):
    train, users, items, ratings = planted(levels=True)
    model = BayesianMF(embedding_size=3, likelihood=likelihood, **parts, **QUICK).fit(train, rng=0)
    queries, rows, columns = asked(train, users, items)
    trained = model.predict(queries, rows, columns)
    stranger = model.predict(queries.replace(users=np.full(len(queries), -1), as_trained=None), rows, columns)
    assert rmse(stranger.mean, trained.mean) < 0.12
    assert rmse(stranger.mean, ratings) < rmse(trained.mean, ratings) + 0.05
    np.testing.assert_allclose(stranger.std.mean(), trained.std.mean(), rtol=0.05)


def test_a_changed_history_changes_the_answer():
    train, *_ = planted(levels=True)
    model = BayesianMF(**QUICK).fit(train, rng=0)
    one = train.queries(np.array([0]))
    worst = one.replace(values=np.ones_like(one.values), as_trained=None)
    everything = np.arange(train.n_items, dtype=np.int32)
    rows = np.zeros(len(everything), dtype=np.int64)
    assert (
        model.predict(worst, rows, everything).mean.mean()
        < model.predict(one, rows, everything).mean.mean() - 0.5
    )


def test_equal_ratings_and_a_single_rating():
    flat = build([0, 0, 1, 1], [0, 1, 0, 1], [4, 4, 4, 4])
    for likelihood in ("auto", "gaussian", "probit"):
        model = BayesianMF(likelihood=likelihood, **QUICK).fit(flat, rng=0)
        given = model.predict(flat.queries(), np.array([0, 1]), np.array([0, 1]))
        np.testing.assert_allclose(given.mean, 4, atol=0.1)
        assert np.isfinite(given.std).all()
    one = build([0], [0], [2])
    assert np.isfinite(BayesianMF(**QUICK).fit(one).predict(one.queries(), np.array([0]), np.array([0])).mean)


def test_rows_and_columns_without_ratings():
    """Users and items of the id maps that have no rating, and a rating that is missing."""
    full, *_ = planted(levels=True)
    some = full.take((full.user > 4) & (full.item > 3))
    values = some.value.copy()
    values[::17] = np.nan
    some = replace(some, value=values)
    model = BayesianMF(**QUICK).fit(some, rng=0)
    silent = some.queries(np.arange(3, dtype=np.int32))
    assert np.isnan(model.score(silent)).all()
    cold = model.predict(some.queries(), np.array([0, 9, 9]), np.array([9, 0, -1]))
    warm = model.predict(some.queries(), np.array([9]), np.array([9]))
    assert np.isfinite(cold.mean).all()
    assert (cold.std > warm.std[0] * 0.9).all()  # what is not known is no more certain
    scores = model.score(some.queries())
    assert np.isfinite(scores[5:]).all()


def test_side_information_helps_cold_items():
    """The genre explains the items: those without a rating are predicted from it."""
    rng = np.random.default_rng(2)
    genre = np.arange(90) % 3
    kind = np.array([1.8, 3.0, 4.2])[genre]
    users, items = np.nonzero(rng.random((100, 90)) < 0.3)
    ratings = kind[items] + 0.4 * rng.normal(size=len(users))
    cold = items >= 75
    train = build(users[~cold], items[~cold], ratings[~cold])
    catalogue = pl.Series("item_id", np.arange(90))
    from recsmith.data.ids import IdMap

    table = pl.DataFrame(
        {"item_id": catalogue, "genres": [[f"g{g}"] for g in genre], "note": [f"n {k}" for k in range(90)]}
    )
    train = replace(
        train, items=IdMap.of(catalogue, kind="item"), item_features=table, rating_scale=(0.0, 6.0)
    )
    queries = train.queries(users[cold])
    errors = {}
    for use in (False, True):
        model = BayesianMF(item_features=use, likelihood="gaussian", **IDS, **QUICK).fit(train, rng=0)
        given = model.predict(queries, np.arange(cold.sum()), items[cold])
        errors[use] = rmse(given.mean, ratings[cold])
        assert np.mean(np.abs(given.mean - ratings[cold]) <= 1.645 * given.std) > 0.84
    assert errors[True] < 0.5 < errors[False]


def test_the_day_of_a_rating():
    """On even days everybody is kind."""
    rng = np.random.default_rng(3)
    users, items = np.nonzero(rng.random((60, 60)) < 0.4)
    day = rng.integers(0, 8, len(users))
    ratings = 3 + (day % 2 == 0) + 0.2 * rng.normal(size=len(users))
    train = replace(build(users, items, ratings, day * 86_400 + 7), rating_scale=(0.0, 6.0))
    model = BayesianMF(rating_day=True, likelihood="gaussian", **IDS, **QUICK).fit(train, rng=0)
    queries = train.queries(np.arange(4, dtype=np.int32))
    pairs = np.arange(4), np.zeros(4, dtype=np.int64)

    def at(moment):
        return model.predict(queries.replace(at=np.full(4, moment)), *pairs).mean

    np.testing.assert_allclose(at(2 * 86_400), 4, atol=0.2)
    np.testing.assert_allclose(at(3 * 86_400 + 86_399), 3, atol=0.2)
    for moment in (
        at(99 * 86_400),
        model.predict(queries, *pairs).mean,
    ):  # a day that was not there; no moment
        np.testing.assert_allclose(moment, 3.5, atol=0.35)
    stranger = queries.replace(users=np.full(4, -1), as_trained=None, at=np.full(4, 0))
    np.testing.assert_allclose(model.predict(stranger, *pairs).mean, 4, atol=0.25)
    with pytest.raises(DataError, match="no times"):
        model.fit(replace(train, time=None))


@pytest.mark.parametrize("likelihood", ["gaussian", "probit"])
def test_threads_change_no_digit(likelihood):
    train, *_ = planted(n_users=700, density=0.1, levels=True)  # more rows than one block
    states = []
    for threads in (1, 2, 5):
        parallel.set_threads(threads)
        try:
            config = {"epochs": 6, "burn_in": 2, "chains": 3, "likelihood": likelihood}
            states.append(BayesianMF(**config).fit(train, rng=4).state())
        finally:
            parallel.set_threads(None)
    for other in states[1:]:
        assert other.values == states[0].values
        for name, array in states[0].arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name])


def test_what_is_kept():
    train, *_ = planted(n_users=30, n_items=20, levels=True)
    model = BayesianMF(epochs=12, burn_in=4, chains=3, samples=7, embedding_size=5).fit(train)
    assert model.item_draws_.shape == (train.n_items, 7, 6)
    assert model.user_draws_.shape == (train.n_users, 7, 6)
    assert model.edges_.shape == (7, len(model.levels_) + 1) and (np.diff(model.edges_, axis=1) > 0).all()
    assert len(BayesianMF(epochs=5, burn_in=4, chains=3, samples=99).fit(train).noise_) == 3

    class Stop:
        def progress(self, done, total, **figures):
            return done == 2

    assert len(BayesianMF(chains=2).fit(train, monitor=Stop()).noise_) == 2


def test_bad_input():
    train, *_ = planted(n_users=30, n_items=20)
    with pytest.raises(ParameterError, match="burn_in"):
        BayesianMF(epochs=10, burn_in=10)
    with pytest.raises(DataError, match="likelihood='gaussian'"):
        BayesianMF(likelihood="probit", epochs=2, burn_in=1).fit(train)
    with pytest.raises(DataError, match="no ratings"):
        BayesianMF().fit(replace(train, value=None))
    model = BayesianMF(epochs=3, burn_in=1).fit(train)
    with pytest.raises(ParameterError, match="classes"):
        model.probabilities(train.queries(), np.array([0]), np.array([0]))
    with pytest.raises(ParameterError, match="between 0 and 1"):
        model.quantiles(train.queries(), np.array([0]), np.array([0]), at=(0.0, 1.0))
    with pytest.raises(ParameterError, match="items"):
        model.predict(train.queries(), np.array([0]), np.array([train.n_items]))
    silent = Queries(users=np.array([-1]), offsets=np.array([0, 1]), items=np.array([0], dtype=np.int32))
    with pytest.raises(DataError, match="no ratings"):
        model.score(silent)
    assert model.cost(Shape(1000, 500, 20_000)).gather > 0

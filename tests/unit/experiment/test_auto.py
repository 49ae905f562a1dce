"""``auto``: a result, a page and a bundle for every log, within the minutes given."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("optuna")

from tests.conftest import build

from recsmith.data.load import load
from recsmith.data.split import fixed
from recsmith.data.split_by_name import parse
from recsmith.errors import DataError, ParameterError
from recsmith.experiment.auto import race as race_module
from recsmith.experiment.auto.page import page, payload, summary
from recsmith.experiment.auto.profile import Profile, plan, sample_of_users
from recsmith.experiment.auto.run import auto
from recsmith.experiment.recipe import Recipe
from recsmith.models.linear.ease import EASE
from recsmith.models.registry import MODELS

FEW = ("random", "popular", "rating-baseline", "item-knn", "ease", "ials")
MINUTES = 0.08


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Some models: the contract suite has all of them."""
    monkeypatch.setattr(race_module, "MODELS", {name: MODELS[name] for name in FEW})


@pytest.fixture(scope="module")
def data():
    log = load("synthetic:users=300,items=80,events=9000,rating=1,seed=2")
    auto(log, minutes=0.2)  # what is compiled is compiled: the times below are those of the work
    auto(log, minutes=0.05, metric="rmse")
    return log


def check(found, data):
    """What every run must give."""
    assert found.ending.bundle is not None
    if hasattr(found.ending.bundle.pipeline.model, "score"):
        lists = found.ending.bundle.recommend(k=3)
        assert len(lists) > 0 or data.matrix("ones").nnz == data.n_users * data.n_items
    text = page(found, "bundles/x")
    assert found.ending.winner in text
    assert payload(found, "bundles/x")["winner"] == found.ending.winner
    assert summary(found)
    return found


def test_a_log_like_others(data):
    found = check(auto(data, minutes=MINUTES), data)
    assert found.plan.test.name == "user-time:0.2"
    assert found.ending.lines[0].name == found.ending.winner
    assert len(found.ending.bundle.data) == len(data)
    reasons = {one.model: one.reason for one in found.race.runners}
    assert reasons["rating-baseline"] == "It predicts ratings only."
    assert {one.model for one in found.race.runners} == set(FEW)


def test_test_events_have_no_part_in_any_choice(data, monkeypatch):
    seen = []
    of = race_module.Search.__post_init__
    monkeypatch.setattr(
        race_module.Search, "__post_init__", lambda self: seen.append(self.validation) or of(self)
    )
    found = auto(data, minutes=MINUTES)
    assert seen
    for validation in seen:
        for fold in validation.folds:
            assert len(fold.train) + len(fold.truth.items) <= len(found.plan.test.train)


def test_a_split_that_is_given(data):
    split = parse("random:0.3").split(data)[0]
    found = check(auto(None, test=split, minutes=MINUTES), data)
    assert found.plan.test is split
    assert len(found.ending.bundle.data) == len(split.train)


def test_ratings_are_raced_by_rating_predictors(data):
    found = check(auto(data, metric="rmse", minutes=MINUTES), data)
    reasons = {one.model: one.reason for one in found.race.runners}
    assert reasons["ease"] == "It predicts no ratings."
    best = min(one.best.value for one in found.race.runners if one.best)
    assert found.ending.value == best
    assert found.ending.blend is None


def test_a_model_that_fails_is_a_line_of_the_page(data, monkeypatch):
    def fails(self, *args, **kwargs):
        raise RuntimeError("a slip of the pen")

    monkeypatch.setattr(EASE, "fit", fails)
    found = check(auto(data, minutes=MINUTES), data)
    assert "RuntimeError: a slip of the pen" in page(found, "b")
    assert found.ending.winner != "ease"


def test_what_needs_too_much_is_left_out_with_a_reason(data, monkeypatch):
    from recsmith.types import Cost

    monkeypatch.setattr(EASE, "cost", lambda self, shape: Cost(bytes=1e15))
    monkeypatch.setattr(race_module.model_class("ials"), "cost", lambda self, shape: Cost(gather=1e15))
    found = check(auto(data, minutes=MINUTES), data)
    reasons = {one.model: one.reason for one in found.race.runners}
    assert "of memory" in reasons["ease"]
    assert "more than a fifth of the time" in reasons["ials"]


def test_a_fit_that_does_not_end_is_stopped(data, monkeypatch):
    def crawls(self, data, *, rng=None, monitor=None):
        for step in range(10_000):
            time.sleep(0.01)
            if monitor.progress(step, 10_000):
                break
        return self

    monkeypatch.setattr(race_module.model_class("ials"), "fit", crawls)
    begin = time.monotonic()
    found = check(auto(data, minutes=MINUTES), data)
    assert time.monotonic() - begin < 90  # alone it would crawl for 100 seconds, and four times
    assert {one.model: one.reason for one in found.race.runners}["ials"]


def small(users, items, times=None, **rest):
    return build(users, items, None, times, **rest)


def some(n_users, n_each, item, time=None):
    """``n_each`` events of each user, by functions of (user, number)."""
    pairs = [(u, n) for u in range(n_users) for n in range(n_each)]
    times = None if time is None else [time(u, n) for u, n in pairs]
    return small([f"u{u}" for u, _ in pairs], [f"i{item(u, n)}" for u, n in pairs], times)


LOGS = {
    "20 users": lambda: some(20, 5, lambda u, n: (u * 3 + n * n) % 12),
    "one item": lambda: some(30, 1, lambda u, n: 0),
    "one user": lambda: some(1, 8, lambda u, n: n, lambda u, n: n),
    "one event": lambda: small(["me"], ["it"]),
    "one event a user": lambda: some(50, 1, lambda u, n: u % 7, lambda u, n: u),
    "repeats": lambda: some(60, 20, lambda u, n: (u + n % 4) % 15, lambda u, n: n),
    "equal times": lambda: some(60, 8, lambda u, n: (u * 5 + n * n) % 25, lambda u, n: 7),
    "two islands": lambda: some(40, 4, lambda u, n: (u % 2) * 100 + (u // 2 + n * n) % 9),
}


@pytest.mark.parametrize("name", LOGS)
def test_logs_that_nobody_has_seen(name):
    data = LOGS[name]()
    found = check(auto(data, minutes=0.04), data)
    if found.plan.validation is None:
        assert found.ending.winner == "popular"


def test_equal_ratings():
    data = replace(LOGS["20 users"](), value=np.full(100, 3, dtype=np.float32))
    found = check(auto(data, metric="rmse", minutes=0.04), data)
    assert found.ending.value == pytest.approx(0, abs=1e-3)


def test_bad_input(data):
    with pytest.raises(ParameterError, match="minutes"):
        auto(data, minutes=0)
    with pytest.raises(ParameterError, match="metric"):
        auto(data, minutes=1, metric="ndgc@10")
    with pytest.raises(DataError, match="rmse judges ratings"):
        auto(replace(data, value=None), minutes=1, metric="rmse")
    with pytest.raises(DataError, match="no event"):
        auto(None, minutes=1)


def test_the_profile_counts(data):
    profile = Profile.of(data)
    assert (profile.users, profile.items, profile.events) == (data.n_users, data.n_items, len(data))
    assert profile.timed
    assert profile.rated
    assert any("repeat" in text for text in Profile.of(LOGS["repeats"]()).words())


def test_a_sample_keeps_whole_users(data):
    sample = sample_of_users(data, 2000, 0)
    assert 0 < sample.n_users < data.n_users
    lengths = dict(zip(data.users.ids, np.diff(data.offsets), strict=True))
    assert [lengths[u] for u in sample.users.ids] == np.diff(sample.offsets).tolist()


def test_the_plan_says_what_was_not_possible():
    data = LOGS["one event a user"]()
    made = plan(data, None, None, Profile.of(data), "ndcg@10", 0)
    assert any("not possible" in note for note in made.notes)


def test_a_blend_is_a_recipe_too():
    parts = [{"model": "ease", "weight": 0.7}, {"model": "popular", "weight": 0.3}]
    recipe = Recipe(model="blend", parameters={"parts": parts})
    assert recipe.pipeline().model.config.parts[0].weight == 0.7


def test_fixed_files(data):
    split = parse("user-time").split(data)[0]
    test = build(
        split.user_ids.gather(split.truth.rows).to_list(), data.items.raw(split.truth.items.clip(0)).to_list()
    )
    found = check(auto(None, test=fixed(split.train, test), minutes=0.05), data)
    assert found.plan.test.name.startswith("fixed")


def test_what_is_ahead_by_chance_alone_is_not_chosen():
    """Everybody draws from the same items: no taste to be learned."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 150, 3000), (rng.zipf(1.4, 3000) - 1) % 120
    data = build(users.tolist(), items.tolist())
    found = check(auto(data, minutes=0.1), data)
    assert found.ending.winner == "popular"
    assert any("not by two standard errors" in note for note in found.ending.notes)

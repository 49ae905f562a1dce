"""timeSVD: finds planted drift and planted days, answers for the moment asked, and never races."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith import parallel
from recsmith.errors import DataError
from recsmith.models.factorization.timesvd import TimeSVD

DAY = 86_400
START = 1_000_000_000 // DAY * DAY
SETTINGS = {"embedding_size": 2, "epochs": 60, "learning_rate": 0.03, "reg": 0.1, "reg_bias": 0.01, "bins": 2}


def strangers(queries):
    return queries.replace(users=np.full(len(queries), -1, dtype=np.int32), as_trained=None)


def drifting():
    """100 users rate 40 of 80 items over 200 days; half grow kinder by two stars, half harder."""
    rng = np.random.default_rng(4)
    users = np.repeat(np.arange(100), 40)
    items = np.concatenate([rng.permutation(80)[:40] for _ in range(100)])
    days = rng.integers(0, 200, len(users))
    ratings = np.clip(
        3 + np.where(users % 2, 1, -1) * (days / 100 - 1) + rng.normal(0, 0.2, len(users)), 1, 5
    )
    return build(users, items, ratings, START + days * DAY + rng.integers(0, DAY, len(users)))


def asked_at(data, day):
    return data.queries().replace(at=np.full(data.n_users, START + day * DAY))


def test_planted_drift_is_recovered():
    data = drifting()
    model = TimeSVD(**SETTINGS, power=1, reg_time=0.1, reg_day=1000).fit(data)
    rows = np.arange(data.n_users)
    sign = np.where(rows % 2, 1, -1)
    for as_asked in (lambda queries: queries, strangers):
        early, late = (
            model.predict(as_asked(asked_at(data, day)), rows, np.full(data.n_users, 3)).mean
            for day in (0, 199)
        )
        assert np.mean((late - early) * sign) == pytest.approx(2, abs=0.4)
        assert ((late - early) * sign > 0.5).all()


def test_an_item_that_changes_is_followed_by_its_bins():
    rng = np.random.default_rng(5)
    users, days = np.repeat(np.arange(200), 6), rng.integers(0, 100, 1200)
    items = np.concatenate([rng.permutation(8)[:6] for _ in range(200)])
    ratings = 3 + np.where(items == 0, np.where(days < 50, -1.5, 1.5), 0) + rng.normal(0, 0.1, 1200)
    data = build(users, items, ratings, START + days * DAY)
    model = TimeSVD(**SETTINGS, reg_time=0.5, reg_day=1000).fit(data)
    rows = np.arange(data.n_users)
    early, late = (
        model.predict(asked_at(data, day), rows, np.zeros(data.n_users, dtype=np.int32)).mean
        for day in (10, 90)
    )
    assert np.mean(late - early) == pytest.approx(3, abs=0.6)


def test_the_mood_of_a_day_counts_on_that_day_alone():
    rng = np.random.default_rng(6)
    users, days = np.repeat(np.arange(60), 40), np.tile(np.repeat(np.arange(4), 10), 60)
    items = np.concatenate([rng.permutation(60)[:40] for _ in range(60)])
    mood = rng.choice([-0.8, 0.8], (60, 4))
    ratings = 3 + mood[users, days] + rng.normal(0, 0.1, len(users))
    data = build(users, items, ratings, START + days * DAY + rng.integers(0, DAY, len(users)))
    model = TimeSVD(**SETTINGS, reg_time=1000, reg_day=1).fit(data)
    rows, item = np.arange(60), np.zeros(60, dtype=np.int32)
    for as_asked in (lambda queries: queries, strangers):
        felt = [model.predict(as_asked(asked_at(data, day)), rows, item).mean for day in (0, 1, 7)]
        for day in (0, 1):
            gap = felt[day] - felt[2]  # day 7 is nobody's
            assert np.corrcoef(gap, mood[:, day] - mood.mean(axis=1))[0, 1] > 0.95


def test_without_a_moment_the_answer_is_for_the_end_of_the_history():
    data = drifting()
    model = TimeSVD(**SETTINGS, reg_time=0.1).fit(data)
    ends = data.time[data.offsets[1:] - 1]
    rows, item = np.arange(data.n_users), np.full(data.n_users, 3)
    quiet = data.queries().replace(at=(ends // DAY + 1) * DAY)  # a day of nobody's, held to a moment close by
    now, then = (model.predict(q, rows, item).mean for q in (data.queries(), quiet))
    np.testing.assert_allclose(now, then, atol=0.1)


def test_a_fused_product_knows_the_moment():
    data = drifting()
    model = TimeSVD(**SETTINGS).fit(data)
    queries = asked_at(data, 20)
    rows, items = np.arange(50), np.arange(50) % data.n_items
    product = (model.embed_queries(queries) @ model.embed_items().T)[rows, items]
    np.testing.assert_allclose(np.clip(product, 1, 5), model.predict(queries, rows, items).mean, rtol=1e-4)


def test_a_history_without_times_is_answered():
    data = drifting()
    model = TimeSVD(**SETTINGS).fit(data)
    bare = strangers(data.queries()).replace(times=None)
    assert np.isfinite(model.predict(bare, np.arange(100), np.zeros(100, dtype=np.int32)).mean).all()
    assert np.isfinite(model.score(data.queries().replace(values=None))).all()


def test_threads_do_not_change_a_digit():
    rng = np.random.default_rng(1)
    data = build(
        rng.integers(0, 500, 50_000), rng.integers(0, 300, 50_000), rng.integers(1, 6, 50_000),
        START + rng.integers(0, 100 * DAY, 50_000),
    )  # fmt: skip
    states = []
    for threads in (1, 2):
        parallel.set_threads(threads)
        try:
            states.append(TimeSVD(epochs=2, embedding_size=8).fit(data, rng=4).state())
        finally:
            parallel.set_threads(None)
    for name, array in states[0].arrays.items():
        np.testing.assert_array_equal(array, states[1].arrays[name])


def test_hard_logs_do_no_harm():
    one_moment = build(["u", "u", "v"], ["a", "b", "a"], [3, 3, 3], [START] * 3)
    for implicit in (True, False):
        model = TimeSVD(epochs=5, implicit=implicit).fit(one_moment)
        assert model.predict(one_moment.queries(), np.array([1, 0]), np.array([1, -1])).mean == pytest.approx(
            3, abs=0.1
        )
    with pytest.raises(DataError, match="has no times"):
        TimeSVD().fit(build(["u"], ["a"], [3]))


def test_the_moment_of_the_rating_helps_on_the_first_official_fold(official_fold):
    train, queries, rows, items, truth = official_fold
    model = TimeSVD().fit(train)
    assert np.sqrt(np.mean((model.predict(queries, rows, items).mean - truth) ** 2)) < 0.915

"""SVD++: learns from which items were rated, sums and hands on exactly, folds in the minimum, and never races."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith import parallel
from recsmith.errors import DataError
from recsmith.models.factorization.lanes import Lanes
from recsmith.models.factorization.svdpp import SVDpp, hand_on, sum_implicit

SETTINGS = {
    "embedding_size": 8,
    "epochs": 80,
    "learning_rate": 0.02,
    "reg": 0.01,
    "reg_bias": 0.01,
    "reg_implicit": 0.001,
}


@pytest.fixture(scope="module")
def tastes():
    """(train, rows, items, ratings): which of two genres a user rates says what he thinks of a third kind.

    Of each user only two ratings of the third kind are in the log, and four are held out.
    """
    rng = np.random.default_rng(2)
    users, items, ratings, held = [], [], [], []
    for u in range(300):
        taste = u % 2
        chosen = rng.permutation(40)[:12] * 2 + taste  # items 0 .. 79; rated 3 without regard to anything
        third = 80 + rng.permutation(20)[:6]
        stars = 3 + np.where(third % 2 == taste, 1.5, -1.5)
        users += [u] * 14
        items += [*chosen.tolist(), *third[:2].tolist()]
        ratings += [3.0] * 12 + stars[:2].tolist()
        held += [(u, i, s) for i, s in zip(third[2:], stars[2:], strict=True)]
    data = build(users, items, ratings)
    rows, asked, truth = (np.array(column) for column in zip(*held, strict=True))
    return data, rows, data.items.index(asked), truth


def strangers(queries):
    return queries.replace(users=np.full(len(queries), -1, dtype=np.int32), as_trained=None)


def rmse(model, tastes, queries):
    _, rows, items, truth = tastes
    return np.sqrt(np.mean((model.predict(queries, rows, items).mean - truth) ** 2))


def test_what_is_rated_says_how_the_rest_is_liked(tastes):
    data = tastes[0]
    model = SVDpp(**SETTINGS).fit(data)
    assert rmse(model, tastes, data.queries()) < 0.5
    assert rmse(model, tastes, strangers(data.queries())) < 0.5


def test_sum_and_hand_on_are_a_gradient_step_on_every_y():
    """What z gained is divided so that the new y give the new z, apart from the penalty."""
    rng = np.random.default_rng(0)
    y, items = rng.normal(size=(6, 3)).astype(np.float32), np.array([4, 1, 5], dtype=np.int32)
    z, root = np.zeros(3, np.float32), np.float32(1 / np.sqrt(3))
    sum_implicit(z, items, y, 0, 3, root)
    np.testing.assert_allclose(z, y[items].sum(axis=0) / np.sqrt(3), rtol=1e-5)
    moved, before = (z + np.float32(0.1)).astype(np.float32), y.copy()
    hand_on(moved, z, items, y, 0, 3, root, np.float32(0))
    np.testing.assert_allclose(y[items].sum(axis=0) / np.sqrt(3), moved, rtol=1e-5)
    np.testing.assert_array_equal(y[[0, 2, 3]], before[[0, 2, 3]])
    hand_on(moved, moved, items, y, 0, 3, root, np.float32(0.1))
    np.testing.assert_allclose(y[items].sum(axis=0) / np.sqrt(3), moved * 0.9**3, rtol=1e-5)


def test_fold_in_is_the_minimum_with_items_and_y_fixed(tastes):
    data = tastes[0]
    model = SVDpp(**SETTINGS).fit(data)
    query = strangers(data.queries(np.array([7])))
    x = model.embed_queries(query)[0].astype(np.float64)
    n = len(query.items)
    implied = model.implicit_factors_[query.items].sum(axis=0) / np.sqrt(n)
    p, bias = x[:8] - implied, x[9] - model.mean_
    q = model.item_factors_[query.items].astype(np.float64)
    error = query.values - model.mean_ - model.item_bias_[query.items] - bias - q @ (p + implied)
    np.testing.assert_allclose(q.T @ error, n * SETTINGS["reg"] * p, atol=1e-4)
    assert error.sum() == pytest.approx(n * SETTINGS["reg_bias"] * bias, abs=1e-4)


def large():
    rng = np.random.default_rng(1)
    return build(rng.integers(0, 500, 50_000), rng.integers(0, 300, 50_000), rng.integers(1, 6, 50_000))


def test_threads_do_not_change_a_digit():
    states = []
    for threads in (1, 2, 3):
        parallel.set_threads(threads)
        try:
            states.append(SVDpp(epochs=2, embedding_size=8).fit(large(), rng=4).state())
        finally:
            parallel.set_threads(None)
    for other in states[1:]:
        for name, array in states[0].arrays.items():
            np.testing.assert_array_equal(array, other.arrays[name])


def test_lanes_hold_every_user_once_and_mix_by_share():
    data = large()
    lanes = Lanes.of(data)
    assert len(lanes.users) == 2
    assert np.array_equal(np.sort(np.concatenate(lanes.users)), np.arange(500))
    np.testing.assert_allclose(lanes.shares.sum(axis=0), 1, rtol=1e-6)
    table = np.zeros((300, 2), dtype=np.float32)

    def learn(users, shared):
        shared[0] += 1.0 + (users.min() == lanes.users[1].min())  # one lane adds 1, the other 2
        return float(len(users))

    assert lanes.run(learn, (table,), np.random.default_rng(0)) == 500
    np.testing.assert_allclose(table[:, 0], lanes.shares[0] + 2 * lanes.shares[1], rtol=1e-6)


def test_hard_logs_do_no_harm():
    flat = build(["u", "u", "v"], ["a", "b", "a"], [3, 3, 3])
    np.testing.assert_allclose(
        SVDpp(epochs=5).fit(flat).predict(flat.queries(), np.array([1, 0]), np.array([1, -1])).mean,
        3,
        atol=0.1,
    )
    one_item = build(["u", "v"], ["a", "a"], [1, 5])
    assert np.isfinite(SVDpp(epochs=5).fit(one_item).score(one_item.queries())).all()
    unrated = build(["u", "u", "v"], ["a", "b", "c"], [4, 2, np.nan])
    model = SVDpp(epochs=2).fit(unrated)
    assert not model.item_factors_[2].any()
    assert not model.implicit_factors_[2].any()
    with pytest.raises(DataError, match="no ratings"):
        SVDpp().fit(build(["u"], ["a"]))


def test_accuracy_on_the_first_official_fold(official_fold):
    """Surprise's SVD++ has 0.9330 here."""
    train, queries, rows, items, truth = official_fold
    model = SVDpp().fit(train)
    for asked in (queries, strangers(queries)):
        assert np.sqrt(np.mean((model.predict(asked, rows, items).mean - truth) ** 2)) < 0.913

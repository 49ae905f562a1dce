"""EASE against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith.data.weighting import Weighting
from recsmith.errors import ParameterError
from recsmith.models.linear.ease import EASE
from recsmith.types import Shape


def formula(x: np.ndarray, reg: float) -> np.ndarray:
    """Steck 2019, equation 8."""
    p = np.linalg.inv(x.T @ x + reg * np.eye(x.shape[1]))
    b = p / -np.diag(p)
    np.fill_diagonal(b, 0)
    return b


@pytest.mark.parametrize("reg", [0.5, 100.0])
def test_weights_and_scores_are_the_formula(checkerboard, reg):
    x = checkerboard.matrix().toarray().astype(np.float64)
    model = EASE(reg=reg).fit(checkerboard)
    np.testing.assert_allclose(model.weights_, formula(x, reg), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.score(checkerboard.queries()), x @ formula(x, reg), rtol=1e-4, atol=1e-6)


def test_event_weights_count_in_fit_and_score():
    data = build(["a", "a", "b", "b", "b"], ["x", "y", "x", "z", "z"], weight=np.float32([1, 2, 3, 1, 1]))
    raw = Weighting(confidence="raw")
    x = np.array([[1, 2, 0], [3, 0, 2]], dtype=np.float64)
    model = EASE(reg=1).fit(raw.log(data))
    np.testing.assert_allclose(
        model.score(raw.queries(data.queries())), x @ formula(x, 1), rtol=1e-5, atol=1e-6
    )


def test_more_items_than_a_tile():
    rng = np.random.default_rng(1)
    data = build(rng.integers(200, size=4000), rng.integers(300, size=4000))
    model = EASE(reg=50).fit(data)
    x = data.matrix().toarray().astype(np.float64)
    np.testing.assert_allclose(model.weights_, formula(x, 50), rtol=1e-4, atol=1e-7)


def test_columns_of_a_subset_and_contributions(checkerboard):
    model = EASE().fit(checkerboard)
    queries = checkerboard.queries()
    full = model.score(queries)
    some = np.array([7, 0, 7, 3], dtype=np.int32)
    np.testing.assert_allclose(model.score(queries, some), full[:, some], rtol=1e-6)
    rows, items = np.array([5, 0, 5]), np.array([1, 2, 3], dtype=np.int32)
    parts = np.split(model.contributions(queries, rows, items), np.cumsum(queries.lengths[rows])[:-1])
    np.testing.assert_allclose([p.sum() for p in parts], full[rows, items], rtol=1e-5)
    np.testing.assert_array_equal(parts[1], model.weights_[queries.take(np.array([0])).items, 2])


def test_similar_is_a_copy(checkerboard):
    model = EASE().fit(checkerboard)
    model.similar(np.array([0, 1]))[:] = 9
    assert not (model.weights_ == 9).any()


@pytest.mark.parametrize("items", [[12], [-1]])
def test_an_item_out_of_range_is_refused_not_read(checkerboard, items):
    model = EASE().fit(checkerboard)
    queries = checkerboard.queries(np.array([0]))
    with pytest.raises(ParameterError, match=r"'items' parameter of score must be indices in 0 .. 11"):
        model.score(queries, np.array(items))
    history = queries.replace(items=np.full(len(queries.items), items[0]))
    with pytest.raises(ParameterError, match=r"'queries.items' parameter of score"):
        model.score(history)


def test_a_reg_too_small_for_float64_is_named():
    data = build([0, 0, 0], ["x", "y", "z"])
    with pytest.raises(ParameterError, match=r"'reg' parameter of EASE must be larger.*Got 1e-300"):
        EASE(reg=1e-300).fit(data)


@pytest.mark.parametrize("reg", [0, -1, float("nan"), "much"])
def test_reg_must_be_positive(reg):
    with pytest.raises(ParameterError, match="'reg' parameter of EASE must be"):
        EASE(reg=reg)


def test_cost_grows_with_the_items():
    assert EASE().cost(Shape(10, 200, 100)).bytes == 4 * EASE().cost(Shape(10, 100, 100)).bytes


def in_order(data, half_life: float, backward: float, reg: float) -> np.ndarray:
    """The formula of the module, pair by pair."""
    n = data.n_items
    together, after = np.zeros((n, n)), np.zeros((n, n))
    for u in range(data.n_users):
        history = data.item[data.offsets[u] : data.offsets[u + 1]]
        for a, i in enumerate(history):
            for b, j in enumerate(history):
                near = 0.5 ** (abs(a - b) / half_life)
                together[i, j] += near
                after[i, j] += near if b >= a else backward * near
    p = np.linalg.inv(together + reg * np.eye(n))
    weights = p @ after
    weights -= p * (np.diag(weights) / np.diag(p))
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("backward", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("half_life", [0.7, 40.0])
def test_order_and_closeness_are_the_formula(half_life, backward):
    rng = np.random.default_rng(4)
    users = rng.integers(40, size=900)
    data = build(users, rng.integers(25, size=900), times=rng.permutation(900))
    model = EASE(reg=5, pair_half_life=half_life, backward=backward).fit(data)
    np.testing.assert_allclose(model.weights_, in_order(data, half_life, backward, 5), rtol=1e-4, atol=1e-6)


def test_order_that_does_not_matter_is_plain_ease(checkerboard):
    plain = EASE(reg=10).fit(checkerboard)
    ordered = EASE(reg=10, pair_half_life=1e12).fit(checkerboard)
    np.testing.assert_allclose(ordered.weights_, plain.weights_, rtol=1e-4, atol=1e-6)


def test_what_always_follows_is_recommended():
    """Everybody walks the circle 0, 1, ... 9, 0: after an item comes the next, not the one before."""
    steps = (np.arange(60)[:, None] + np.arange(6)) % 10
    data = build(np.repeat(np.arange(60), 6), steps.ravel(), times=np.tile(np.arange(6), 60))
    weights = EASE(reg=1, pair_half_life=1, backward=0.1).fit(data).weights_
    item = {raw: index for index, raw in enumerate(data.items.ids.to_list())}
    for raw, index in item.items():
        assert weights[index].argmax() == item[(raw + 1) % 10]


def test_a_user_and_an_item_alone_do_not_break_order():
    data = build(["a", "b", "b"], ["x", "y", "z"], times=[1, 2, 3])
    weights = EASE(reg=1, pair_half_life=2, backward=0).fit(data).weights_
    assert np.isfinite(weights).all()
    assert not weights[0].any()

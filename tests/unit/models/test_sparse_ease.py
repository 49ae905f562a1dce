"""Sparse EASE against EASE, and against the dense regressions that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith import parallel
from recsmith.errors import ParameterError
from recsmith.models.linear.ease import EASE
from recsmith.models.linear.sparse_ease import SparseEASE
from recsmith.types import Shape

EXACT = {"tolerance": 1e-9, "epochs": 2000}


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(1)
    weight = rng.choice(np.float32([1, 1, 2]), size=3000)
    return build(rng.integers(150, size=3000), rng.zipf(1.3, size=3000) % 90, weight=weight)


@pytest.mark.parametrize("reg", [2.0, 100.0])
def test_with_all_items_it_is_ease(log, reg):
    sparse_one = SparseEASE(reg=reg, dropout=0, neighbors=log.n_items, **EXACT).fit(log)
    dense_one = EASE(reg=reg).fit(log)
    np.testing.assert_allclose(sparse_one.weights_.toarray(), dense_one.weights_, atol=1e-6)
    np.testing.assert_allclose(sparse_one.score(log.queries()), dense_one.score(log.queries()), atol=1e-4)


@pytest.mark.parametrize("dropout", [0.2, 0.7])
def test_dropout_is_a_penalty_by_popularity(log, dropout):
    """With all items it is EASE with a diagonal penalty, as a dense inverse."""
    model = SparseEASE(reg=5, dropout=dropout, neighbors=log.n_items, **EXACT).fit(log)
    x = log.matrix().toarray().astype(np.float64)
    gram = x.T @ x
    penalty = 5 + dropout / (1 - dropout) * gram.diagonal()
    # A column's own penalty falls out of the regression: the zero diagonal takes its place.
    p = np.linalg.inv(gram + np.diag(penalty))
    wanted = -p / p.diagonal()
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(model.weights_.toarray(), wanted, atol=1e-6)


def test_each_item_is_a_ridge_regression_on_its_neighbours(log):
    k, reg = 8, 5.0
    weights = SparseEASE(reg=reg, dropout=0, neighbors=k, **EXACT).fit(log).weights_.toarray()
    x = log.matrix().toarray().astype(np.float64)
    gram = x.T @ x
    length = np.sqrt(gram.diagonal())
    cosine = gram / np.outer(length, length)
    np.fill_diagonal(cosine, -1)
    for j in range(log.n_items):
        near = np.argsort(-cosine[:, j].astype(np.float32), kind="stable")[:k]
        wanted = np.linalg.solve(gram[np.ix_(near, near)] + reg * np.eye(k), gram[near, j])
        np.testing.assert_allclose(weights[near, j], wanted, atol=1e-6)
        assert np.count_nonzero(weights[:, j]) <= k


def test_more_neighbours_come_closer_to_ease(log):
    dense_one = EASE(reg=10).fit(log).weights_
    errors = [
        np.abs(
            SparseEASE(reg=10, dropout=0, neighbors=k, **EXACT).fit(log).weights_.toarray() - dense_one
        ).sum()
        for k in (5, 30, 90)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_weights_may_be_negative():
    """Nobody takes both 'x' and 'y', and all of them take 'z'."""
    data = build([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4], ["x", "z", "x", "z", "y", "z", "y", "z", "x", "y", "z"])
    x, y = data.items.index(["x", "y"])
    assert SparseEASE(reg=0.1, dropout=0).fit(data).weights_[x, y] < 0


def test_disconnected_parts_and_rows_and_columns_without_events():
    data = build([0, 0, 1, 1, 2, 3], ["a", "b", "c", "d", "alone", "gone"])
    part = data.take(np.flatnonzero(data.user < 3))
    model = SparseEASE(reg=0.1, dropout=0, neighbors=2).fit(part)
    scores = model.score(part.queries())
    a, b, c, d, alone, gone = data.items.index(["a", "b", "c", "d", "alone", "gone"])
    np.testing.assert_allclose(model.weights_[a, b], 1 / 1.1, rtol=1e-4)
    assert np.isnan(scores[0, [c, d, alone, gone]]).all()
    assert np.isnan(scores[2:]).all()


def test_threads_do_not_change_a_digit(log):
    found = []
    for threads in (1, 2):
        parallel.set_threads(threads)
        try:
            found.append(SparseEASE(neighbors=20).fit(log).weights_)
        finally:
            parallel.set_threads(None)
    np.testing.assert_array_equal(found[0].indices, found[1].indices)
    np.testing.assert_array_equal(found[0].data, found[1].data)


@pytest.mark.parametrize("wrong", [{"reg": 0}, {"neighbors": 0}, {"dropout": 1}, {"tolerance": 1}])
def test_parameters_out_of_range(wrong):
    with pytest.raises(ParameterError, match=f"'{next(iter(wrong))}' parameter of SparseEASE"):
        SparseEASE(**wrong)


def test_a_catalogue_too_large_for_a_dense_inverse_fits():
    shape = Shape(1_000_000, 200_000, 50_000_000)
    assert SparseEASE().cost(shape).bytes < 4e9 < EASE().cost(shape).bytes

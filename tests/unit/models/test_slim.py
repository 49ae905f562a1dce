"""SLIM against scikit-learn's ElasticNet, and the equations of its optimum."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet
from tests.conftest import build

from recsmith import parallel
from recsmith.errors import ParameterError
from recsmith.models.linear import regressions
from recsmith.models.linear.slim import SLIM
from recsmith.types import Shape

EXACT = {"tolerance": 1e-9, "epochs": 2000}


def elastic_net(x: np.ndarray, reg: float, l1: float, positive: bool) -> np.ndarray:
    """One regression for each column, without that column."""
    n_users, n_items = x.shape
    alpha = (reg + l1) / n_users
    w = np.zeros((n_items, n_items))
    for j in range(n_items):
        without = x.copy()
        without[:, j] = 0
        model = ElasticNet(
            alpha=alpha, l1_ratio=l1 / (reg + l1), fit_intercept=False, positive=positive, tol=1e-12, max_iter=50_000
        )  # fmt: skip
        w[:, j] = model.fit(without, x[:, j]).coef_
    return w


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(7)
    weight = rng.choice(np.float32([1, 1, 1, 2]), size=700)
    return build(rng.integers(60, size=700), rng.zipf(1.5, size=700) % 25, weight=weight)


@pytest.mark.parametrize("non_negative", [True, False])
@pytest.mark.parametrize(("reg", "l1"), [(5.0, 0.5), (0.5, 4.0), (50.0, 1e-4)])
def test_weights_are_those_of_scikit_learn(log, reg, l1, non_negative):
    model = SLIM(reg=reg, l1=l1, non_negative=non_negative, **EXACT).fit(log)
    x = log.matrix().toarray().astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns of zeros
        wanted = elastic_net(x, reg, l1, non_negative)
    np.testing.assert_allclose(model.weights_.toarray(), wanted, atol=2e-6)


def test_the_default_tolerance_is_near_the_optimum(log):
    exact = SLIM(reg=5, l1=0.5, **EXACT).fit(log).weights_.toarray()
    quick = SLIM(reg=5, l1=0.5).fit(log).weights_.toarray()
    np.testing.assert_allclose(quick, exact, atol=0.02 * exact.max())


def test_optimum_of_non_negative_weights(log):
    """No weight can fall or rise to gain anything (the Karush-Kuhn-Tucker conditions)."""
    reg, l1 = 2.0, 0.7
    w = SLIM(reg=reg, l1=l1, **EXACT).fit(log).weights_.toarray().astype(np.float64)
    x = log.matrix().toarray().astype(np.float64)
    slope = x.T @ (x @ w - x) + reg * w + l1
    np.fill_diagonal(slope, 0)
    np.testing.assert_allclose(slope[w > 0], 0, atol=1e-4)
    assert (slope[w == 0] > -1e-4).all()
    assert (w >= 0).all()
    assert not w.diagonal().any()


def test_l1_empties_the_weights(log):
    sizes = [SLIM(reg=1, l1=l1).fit(log).weights_.nnz for l1 in (0, 1, 10, 1e6)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 0
    assert np.isnan(SLIM(reg=1, l1=1e6).fit(log).score(log.queries())).all()


def test_chosen_candidates_alone_have_weights(log):
    """fsSLIM: the regression on the items of the largest cosine."""
    model = SLIM(reg=1, l1=0, candidates=3, non_negative=False, **EXACT).fit(log)
    x = log.matrix().toarray().astype(np.float64)
    gram = x.T @ x
    length = np.sqrt(gram.diagonal())
    cosine = gram / np.outer(length, length)
    np.fill_diagonal(cosine, -1)
    for j, column in enumerate(model.weights_.toarray().T):
        near = np.argsort(-cosine[:, j], kind="stable")[:3]
        assert set(np.flatnonzero(column)) <= set(near)
        wanted = np.linalg.solve(gram[np.ix_(near, near)] + np.eye(3), gram[near, j])
        np.testing.assert_allclose(column[near], wanted, atol=1e-6)


def test_the_largest_weights_are_kept(log):
    whole = SLIM(reg=1, l1=0.1).fit(log).weights_.toarray()
    kept = SLIM(reg=1, l1=0.1, neighbors=2).fit(log).weights_.toarray()
    assert ((kept > 0).sum(axis=0) <= 2).all()
    np.testing.assert_array_equal(kept[kept > 0], whole[kept > 0])
    np.testing.assert_allclose(kept.sum(axis=0), np.sort(whole, axis=0)[-2:].sum(axis=0), rtol=1e-6)


def test_disconnected_parts_and_rows_and_columns_without_events():
    data = build([0, 0, 1, 1, 2, 3], ["a", "b", "c", "d", "alone", "gone"])
    part = data.take(np.flatnonzero(data.user < 3))
    for how in ({}, {"non_negative": False}, {"candidates": 1}):
        model = SLIM(reg=0.1, l1=0, **how).fit(part)
        assert np.isfinite(model.weights_.data).all()
        scores = model.score(part.queries())
        a, c, alone, gone = data.items.index(["a", "c", "alone", "gone"])
        assert scores[0, a] > 0.5
        assert np.isnan(scores[0, [c, alone, gone]]).all()
        assert np.isnan(scores[2:]).all()


def test_no_penalty_at_all_is_least_squares():
    rng = np.random.default_rng(9)
    data = build(rng.integers(80, size=400), rng.integers(6, size=400))
    w = SLIM(reg=0, l1=0, non_negative=False, **EXACT).fit(data).weights_.toarray()
    x = data.matrix().toarray().astype(np.float64)
    for j in range(6):
        others = np.delete(np.arange(6), j)
        wanted = np.linalg.lstsq(x[:, others], x[:, j])[0]
        np.testing.assert_allclose(w[others, j], wanted, atol=1e-5)


def test_threads_do_not_change_a_digit():
    rng = np.random.default_rng(2)
    data = build(rng.integers(300, size=6000), rng.integers(200, size=6000))
    found = []
    for threads in (1, 2):
        parallel.set_threads(threads)
        try:
            found.append(SLIM(reg=3, l1=0.2).fit(data).weights_)
        finally:
            parallel.set_threads(None)
    np.testing.assert_array_equal(found[0].indices, found[1].indices)
    np.testing.assert_array_equal(found[0].data, found[1].data)


def test_a_monitor_sees_progress_and_may_stop(log):
    class Stop:
        def progress(self, done, total, **values):
            assert 0 < done <= total
            return True

    model = SLIM().fit(log, monitor=Stop())
    assert model.weights_.shape == (log.n_items, log.n_items)


@pytest.mark.parametrize(
    "wrong", [{"reg": -1}, {"l1": -0.1}, {"candidates": 0}, {"tolerance": 0}, {"epochs": 0}]
)
def test_parameters_out_of_range(wrong):
    with pytest.raises(ParameterError, match=f"'{next(iter(wrong))}' parameter of SLIM"):
        SLIM(**wrong)


def test_cost_falls_with_the_candidates():
    shape = Shape(10_000, 5_000, 200_000)
    whole, chosen = SLIM().cost(shape), SLIM(candidates=50).cost(shape)
    assert chosen.gather < whole.gather < SLIM(non_negative=False).cost(shape).gather
    assert SLIM(neighbors=10).cost(shape).bytes < whole.bytes


@pytest.mark.parametrize("neighbors", [None, 3])
def test_events_of_weight_zero_say_nothing(log, neighbors):
    weight = np.ones(len(log), dtype=np.float32)
    weight[::2] = 0
    weighed = replace(log, weight=weight)
    fitted = SLIM(reg=1.0, l1=0.0, neighbors=neighbors).fit(weighed).weights_
    without = SLIM(reg=1.0, l1=0.0, neighbors=neighbors).fit(weighed.take(weight > 0)).weights_
    np.testing.assert_allclose(fitted.toarray(), without.toarray(), atol=1e-6)


@pytest.mark.parametrize("parameters", [{}, {"non_negative": False}, {"candidates": 6}])
def test_a_large_catalogue_is_solved_by_residuals_to_the_same_end(log, parameters, monkeypatch):
    small = SLIM(reg=2.0, l1=0.3, **EXACT, **parameters).fit(log).weights_.toarray()
    monkeypatch.setattr(regressions, "_SMALL", 0)
    large = SLIM(reg=2.0, l1=0.3, **EXACT, **parameters).fit(log).weights_.toarray()
    np.testing.assert_allclose(small, large, atol=1e-6)

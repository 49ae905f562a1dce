"""RP3beta against its formula, item by item."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith.data.weighting import Weighting
from recsmith.errors import ParameterError
from recsmith.models.graph.rp3beta import RP3beta
from recsmith.types import Shape


def formula(x: np.ndarray, alpha: float, beta: float, k: int, normalize: bool) -> np.ndarray:
    """Two of the three steps as dense products, both cuts, ties to the smaller index."""
    popularity = x.sum(axis=0)
    to_user = np.where(x > 0, x / popularity, 0).T ** alpha * (x.T > 0)
    to_item = np.where(x > 0, x / x.sum(axis=1, keepdims=True), 0) ** alpha * (x > 0)
    w = to_user @ to_item / popularity**beta
    np.fill_diagonal(w, 0)
    w = largest_of_rows(w, k)
    if normalize:
        w /= np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
    return largest_of_rows(w.T, k).T


def largest_of_rows(w: np.ndarray, k: int) -> np.ndarray:
    out = np.zeros_like(w)
    for row, kept in zip(w, out, strict=True):
        best = np.argsort(-row, kind="stable")[:k]
        kept[best] = row[best]
    return out


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.5, 3, size=600).astype(np.float32)
    return build(rng.integers(50, size=600), rng.zipf(1.4, size=600) % 30, weight=weight)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("k", [4, 100])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.6, 0.4), (1.7, 1.0)])
def test_weights_are_the_formula(log, alpha, beta, k, normalize):
    model = RP3beta(alpha=alpha, beta=beta, neighbors=k, normalize=normalize).fit(log)
    x = log.matrix().toarray().astype(np.float64)
    wanted = formula(x, alpha, beta, k, normalize)
    np.testing.assert_allclose(model.weights_.toarray(), wanted, rtol=1e-4, atol=1e-9)


def test_scores_are_walks_from_the_history(log):
    model = RP3beta(neighbors=100).fit(log)
    queries = log.queries()
    wanted = log.matrix().toarray() @ model.weights_.toarray()
    got = model.score(queries)
    np.testing.assert_allclose(got[~np.isnan(got)], wanted[~np.isnan(got)], rtol=1e-4)
    assert not wanted[np.isnan(got)].any()


def test_walks_of_p3alpha_are_probabilities():
    """With alpha 1 and beta 0 everything that leaves an item arrives, but for what comes back to it."""
    rng = np.random.default_rng(5)
    data = build(rng.integers(40, size=500), rng.integers(20, size=500))
    model = RP3beta(alpha=1, beta=0, neighbors=100, normalize=False).fit(data)
    x = data.matrix().toarray().astype(np.float64)
    back = np.diag((x / x.sum(axis=0)).T @ (x / x.sum(axis=1, keepdims=True)))
    np.testing.assert_allclose(model.weights_.toarray().sum(axis=1), 1 - back, rtol=1e-4)


def test_beta_holds_popular_items_back():
    """Everybody took 'hit'; 'rare' stands only beside 'x' and 'hit'."""
    users = [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    items = ["x", "hit", "rare", "x", "hit", "rare", "y", "hit", "x", "hit", "y", "hit", "y", "hit"]
    data = build(users, items)
    x, hit, rare = data.items.index(["x", "hit", "rare"])
    plain, corrected = (RP3beta(alpha=1, beta=b).fit(data).similar(np.array([x]))[0] for b in (0, 1))
    assert plain[hit] > plain[rare]
    assert corrected[rare] > corrected[hit]


def test_disconnected_parts_say_nothing_of_each_other():
    data = build([0, 0, 1, 1, 2], ["a", "b", "c", "d", "alone"])
    scores = RP3beta().fit(data).score(data.queries())
    a, b, c, d, alone = data.items.index(["a", "b", "c", "d", "alone"])
    assert np.isfinite(scores[0, [a, b]]).all()
    assert np.isnan(scores[0, [c, d, alone]]).all()
    assert np.isnan(scores[2]).all()


def test_users_and_items_without_events():
    data = build([0, 0, 1, 1, 2, 3], ["a", "b", "b", "c", "d", "a"])
    part = data.take(np.flatnonzero((data.user < 2) & (data.item != data.items.index(["c"])[0])))
    model = RP3beta(beta=0.5).fit(part)
    assert np.isfinite(model.weights_.data).all()
    assert np.isnan(model.score(part.queries())[:, data.items.index(["c", "d"])]).all()


def test_event_weights_count_in_fit_and_score():
    data = build(["a", "a", "b", "b", "b"], ["x", "y", "x", "z", "z"], weight=np.float32([1, 2, 3, 1, 1]))
    raw = Weighting(confidence="raw")
    model = RP3beta(alpha=0.7, beta=0.3).fit(raw.log(data))
    x = np.array([[1, 2, 0], [3, 0, 2]], dtype=np.float64)
    wanted = x @ formula(x, 0.7, 0.3, 10, True)
    np.testing.assert_allclose(model.score(raw.queries(data.queries())), wanted, rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"neighbors": 0}, {"alpha": -1}, {"beta": -0.1}, {"alpha": float("nan")}])
def test_parameters_out_of_range(wrong):
    with pytest.raises(ParameterError, match=f"'{next(iter(wrong))}' parameter of RP3beta"):
        RP3beta(**wrong)


def test_cost_grows_with_the_log():
    small, large = (RP3beta().cost(Shape(1000, 500, n)) for n in (10_000, 20_000))
    assert large.gather > small.gather
    assert large.bytes > small.bytes

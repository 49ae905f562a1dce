"""Implicit ALS against exact least squares in float64."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith.data.weighting import Weighting
from recsmith.errors import ParameterError
from recsmith.models.factorization.ials import ImplicitALS


@pytest.fixture(scope="module")
def data():
    """30 users and 20 items at random, with repeats."""
    rng = np.random.default_rng(2)
    return build(rng.integers(30, size=200), rng.integers(20, size=200))


def solve(weights: np.ndarray, y: np.ndarray, reg: float, alpha: float) -> np.ndarray:
    """Hu et al. 2008, equation 4, row by row."""
    out = np.zeros((len(weights), y.shape[1]))
    for u, w in enumerate(weights):
        c = 1 + alpha * w
        out[u] = np.linalg.solve((y.T * c) @ y + reg * np.eye(y.shape[1]), y.T @ (c * (w > 0)))
    return out


def loss(weights: np.ndarray, x: np.ndarray, y: np.ndarray, reg: float, alpha: float) -> float:
    """Hu et al. 2008, equation 3."""
    errors = (1 + alpha * weights) * ((weights > 0) - x @ y.T) ** 2
    return float(errors.sum() + reg * ((x**2).sum() + (y**2).sum()))


@pytest.mark.parametrize(("alpha", "reg"), [(1.0, 0.1), (10.0, 2.0)])
def test_one_epoch_is_one_exact_alternation(data, alpha, reg):
    model = ImplicitALS(embedding_size=4, epochs=1, cg_steps=20, alpha=alpha, reg=reg).fit(data, rng=3)
    weights = data.matrix("weight").toarray().astype(np.float64)
    start = (np.random.default_rng(3).random((data.n_users, 4), dtype=np.float32) - 0.5) / 4
    items = solve(weights.T, start.astype(np.float64), reg, alpha)
    users = solve(weights, items, reg, alpha)
    np.testing.assert_allclose(model.item_factors_, items, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(model.user_factors_, users, rtol=2e-3, atol=2e-4)


def test_a_long_fit_rests_where_both_sides_are_solved(data):
    model = ImplicitALS(embedding_size=3, epochs=300, reg=0.5, alpha=3.0).fit(data)
    weights = data.matrix("weight").toarray().astype(np.float64)
    x, y = model.user_factors_.astype(np.float64), model.item_factors_.astype(np.float64)
    np.testing.assert_allclose(x, solve(weights, y, 0.5, 3.0), atol=1e-4)
    np.testing.assert_allclose(y, solve(weights.T, x, 0.5, 3.0), atol=1e-2)


def test_loss_goes_down_with_each_epoch(data):
    weights = data.matrix("weight").toarray()
    losses = []
    for epochs in range(1, 9):
        model = ImplicitALS(embedding_size=5, epochs=epochs, reg=0.1, alpha=4.0).fit(data, rng=1)
        losses.append(loss(weights, model.user_factors_, model.item_factors_, 0.1, 4.0))
    assert (np.diff(losses) < 0).all()


def test_fold_in_of_a_trained_history_is_near_the_trained_vector(data):
    model = ImplicitALS(embedding_size=6, epochs=30, reg=0.1).fit(data)
    weighted = Weighting(confidence="raw").queries(data.queries())
    trained = model.embed_queries(weighted)
    np.testing.assert_array_equal(trained, model.user_factors_)
    stranger = weighted.replace(users=np.full(data.n_users, -1), as_trained=None)
    folded = model.embed_queries(stranger)
    exact = solve(
        data.matrix().toarray().astype(np.float64), model.item_factors_.astype(np.float64), 0.1, 1.0
    )
    np.testing.assert_allclose(folded, exact, atol=1e-4)
    np.testing.assert_allclose(folded @ model.item_factors_.T, trained @ model.item_factors_.T, atol=0.01)


def test_one_history_alone_gives_what_it_gives_among_others(data):
    model = ImplicitALS(embedding_size=6).fit(data)
    queries = data.queries(as_trained=False)
    together = model.embed_queries(queries)
    alone = np.concatenate([model.embed_queries(queries.take(slice(r, r + 1))) for r in range(10)])
    np.testing.assert_allclose(alone, together[:10], rtol=1e-4, atol=1e-6)


def test_contributions_are_the_terms_of_the_folded_in_score(data):
    model = ImplicitALS(embedding_size=5, alpha=7.0, reg=0.3).fit(data)
    queries = Weighting(confidence="raw").queries(data.queries(as_trained=False))
    rows, items = np.array([4, 0, 9]), np.array([3, 8, 3], dtype=np.int32)
    parts = model.contributions(queries, rows, items)
    y, lengths = model.item_factors_.astype(np.float64), queries.lengths[rows]
    assert len(parts) == lengths.sum()
    x = solve(data.matrix().toarray().astype(np.float64)[rows], y, 0.3, 7.0)
    sums = [p.sum() for p in np.split(parts, np.cumsum(lengths)[:-1])]
    np.testing.assert_allclose(sums, (x * y[items]).sum(axis=1), rtol=1e-4, atol=1e-5)


def test_heavier_events_pull_harder(data):
    model = ImplicitALS(embedding_size=5, alpha=2.0).fit(data)
    query = data.queries(np.array([0]), as_trained=False)
    pulled = query.replace(weights=np.where(np.arange(len(query.items)) == 0, 20, 1).astype(np.float32))
    first = int(query.items[0])
    assert model.score(pulled)[0, first] > model.score(query)[0, first]


def test_a_user_without_events_has_no_vector_even_where_he_is_known(data):
    rest = data.take(data.user != 5)
    model = ImplicitALS(embedding_size=4).fit(rest)
    queries = rest.queries(np.array([4, 5]))
    assert np.isfinite(model.score(queries)[0]).all()
    assert np.isnan(model.score(queries)[1]).all()


def test_an_item_without_events_has_the_zero_vector(data):
    kept = data.take(data.item != 7)
    model = ImplicitALS(embedding_size=4).fit(kept)
    assert (model.item_factors_[7] == 0).all()
    similar = model.similar(np.array([7, 0]))
    assert (similar[0] == 0).all()
    assert similar[1, 0] == pytest.approx(1, abs=1e-5)
    assert np.abs(similar).max() <= 1 + 1e-5


def test_a_monitor_may_stop_the_fit(data):
    class Stop:
        told: list = []  # noqa: RUF012

        def progress(self, done, total, **figures):
            self.told.append((done, total))
            return done == 2

    stopped = ImplicitALS(embedding_size=3, epochs=9).fit(data, rng=1, monitor=Stop())
    assert Stop.told == [(1, 9), (2, 9)]
    two = ImplicitALS(embedding_size=3, epochs=2).fit(data, rng=1)
    np.testing.assert_array_equal(stopped.item_factors_, two.item_factors_)


def test_a_history_out_of_range_is_refused_not_read(data):
    model = ImplicitALS(embedding_size=3).fit(data)
    query = data.queries(np.array([0]), as_trained=False)
    with pytest.raises(ParameterError, match=r"'queries.items' parameter of score"):
        model.score(query.replace(items=np.full(len(query.items), 20)))


def test_a_negative_seed_is_named(data):
    with pytest.raises(ParameterError, match="'rng' parameter of fit must be a Generator or a seed >= 0"):
        ImplicitALS().fit(data, rng=-1)


@pytest.mark.parametrize(
    "bad", [{"embedding_size": 0}, {"epochs": 0}, {"reg": 0}, {"alpha": -1}, {"cg_steps": 0}]
)
def test_parameters_out_of_range(bad):
    (name,) = bad
    with pytest.raises(ParameterError, match=f"'{name}' parameter of ImplicitALS must be >=? ?[01]"):
        ImplicitALS(**bad)


def test_what_is_derived_follows_a_new_fit(checkerboard):
    model = ImplicitALS(embedding_size=4).fit(checkerboard, rng=0)
    first, alike = model.embed_items().copy(), model.similar(np.arange(3)).copy()
    assert model.embed_items() is model.embed_items()
    again = model.fit(checkerboard, rng=1)
    assert not np.array_equal(again.embed_items(), first)
    assert not np.array_equal(again.similar(np.arange(3)), alike)
    restored = ImplicitALS(embedding_size=4).restore(again.state())
    np.testing.assert_array_equal(restored.embed_items(), again.embed_items())

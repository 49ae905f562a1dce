"""The kernels of the Gibbs sampler against closed forms and against designs that are spelled out by rating."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from recsmith.models.factorization import gibbs, ordinal
from recsmith.models.factorization.chain import Block, Design, Draw, Prior, redraw

SURE = 1e8  # precision at which a draw is its mean


def spread(count=20_000):
    """(count,) normal draws out of streams of their own."""
    stream = np.empty(1, dtype=np.uint64)
    out = np.empty(count)
    for k in range(count):
        gibbs.begin(stream, np.uint64(5), k)
        out[k] = gibbs.uniform(stream)
    return out


def test_streams_and_quantiles():
    draws = spread()
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.03
    for p in (1e-300, 1e-12, 1e-3, 0.02, 0.3, 0.5, 0.77, 0.999, 1 - 1e-12):
        assert gibbs.normal_quantile(p) == pytest.approx(stats.norm.ppf(p), rel=1e-9, abs=1e-12)


def test_a_draw_is_the_normal_of_its_precision():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    precision, right = root @ root.T + np.eye(3), rng.normal(size=3)
    out = np.empty(3, dtype=np.float32)
    gibbs.draw(out, precision.copy(), right.copy(), None)
    np.testing.assert_allclose(out, np.linalg.solve(precision, right), rtol=1e-5)
    stream, draws = np.array([9], dtype=np.uint64), np.empty((20_000, 3), dtype=np.float32)
    for k in range(len(draws)):
        gibbs.draw(draws[k], precision.copy(), right.copy(), stream)
    np.testing.assert_allclose(draws.mean(axis=0), np.linalg.solve(precision, right), atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), np.linalg.inv(precision), atol=0.03)


def test_one_rating_of_one_user_gives_the_posterior_of_the_book():
    """20,000 users who each rated the same item 1.3: draws of ``N((L + a z z')^-1 (L m + a z t), ...)``."""
    n = 20_000
    item = np.array([[0.2, 0.5, -1.0]], dtype=np.float32)
    mean, precision, noise = np.array([0.1, 0.4, 0.0]), np.diag([2.0, 1.0, 3.0]), 1.7
    table = np.zeros((n, 3), dtype=np.float32)
    block = Block.of(np.arange(n, dtype=np.int32), n, [np.zeros(n, dtype=np.int32)])
    target = np.full(n, 1.3, dtype=np.float32)
    given = (
        block.bounds,
        block.others[0],
        block.others[0],
        item,
        item,
        False,
        target,
        noise,
        mean,
        precision,
    )
    gibbs.draw_rows(table, 0, n, *given, np.uint64(3))
    z = np.array([1.0, 0.5, -1.0])
    posterior = np.linalg.inv(precision + noise * np.outer(z, z))
    np.testing.assert_allclose(
        table.mean(axis=0), posterior @ (precision @ mean + noise * z * 1.1), atol=0.02
    )
    np.testing.assert_allclose(np.cov(table.T), posterior, atol=0.02)


def small(seed=0, n=60, rows=7, columns=5, days=3, m=4):
    rng = np.random.default_rng(seed)
    index = [rng.integers(0, k, n).astype(np.int32) for k in (rows, columns, days)]
    index[0].sort()
    tables = [(0.7 * rng.normal(size=(k, m))).astype(np.float32) for k in (rows, columns, days)]
    return rng, index, tables, rng.normal(size=n).astype(np.float32)


@pytest.mark.parametrize("two", [False, True])
def test_statistics_are_those_of_the_ratings_one_by_one(two):
    _, (row, item, day), (table, a, b), target = small()
    block = Block.of(row, len(table), [item, day] if two else [item])
    grams = np.empty((len(table), 4, 4), dtype=np.float32)
    rights = np.empty((len(table), 4), dtype=np.float32)
    joined = (block.bounds, block.others[0], block.others[-1], a, b if two else a, two, target)
    squares = gibbs.row_statistics(grams, rights, 0, len(table), *joined)
    z, t = np.ones((len(row), 4)), target.astype(float)
    z[:, 1:] = a[item, 1:]
    t = t - a[item, 0]
    if two:
        z[:, 1:] += b[day, 1:]
        t = t - b[day, 0] - (a[item, 1:] * b[day, 1:]).sum(axis=1)
    for r in range(len(table)):
        np.testing.assert_allclose(grams[r], z[row == r].T @ z[row == r], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(rights[r], z[row == r].T @ t[row == r], rtol=1e-4, atol=1e-4)
    assert squares == pytest.approx((t**2).sum(), rel=1e-5)
    left = squares + gibbs.changes(grams, rights, table)
    assert left == pytest.approx(((t - (table[row] * z).sum(axis=1)) ** 2).sum(), rel=1e-4)


def test_a_feature_in_a_block_is_the_feature_spelled_out_by_rating():
    """At a precision where a draw is its mean: least squares on the design with a row for each rating."""
    rng, (row, item, _), (table, a, _), target = small(n=400)
    values = sparse.random_array((len(table), 1), density=0.6, rng=rng).astype(np.float32).tocsr()
    block = Block.of(row, len(table), [item], [Design.of(values)])
    old = rng.normal(size=(1, 4)).astype(np.float32)
    own = table.copy()
    table = (own + values @ old).astype(np.float32)
    grams = np.empty((len(table), 4, 4), dtype=np.float32)
    rights = np.empty((len(table), 4), dtype=np.float32)
    gibbs.row_statistics(
        grams, rights, 0, len(table), block.bounds, block.others[0], block.others[0], a, a, False, target
    )
    rests, feature = rights.copy(), old.copy()
    gibbs.subtract(rests, grams, table)
    (design,) = block.designs
    entries = (design.indptr, design.rows, design.values)
    gibbs.draw_features(
        table, feature, 0, 1, *entries, grams, rests, SURE, np.zeros(4), np.eye(4), np.uint64(1)
    )
    z = np.column_stack([np.ones(len(row)), a[item, 1:]])
    rest = target - a[item, 0] - (own[row] * z).sum(axis=1)
    spelled = values.toarray()[row] * z
    np.testing.assert_allclose(feature[0], np.linalg.lstsq(spelled, rest)[0], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(table, own + values @ feature, atol=1e-5)
    check = rights.copy()
    gibbs.subtract(check, grams, table)
    np.testing.assert_allclose(rests, check, atol=2e-3)  # kept in step


def test_a_block_keeps_rows_features_and_errors_in_step():
    rng, (row, item, day), (table, a, b), target = small(n=300)
    shared = sparse.random_array((len(table), 6), density=0.5, rng=rng).astype(np.float32)
    block = Block.of(row, len(table), [item, day], [Design.of(shared)])
    features = [np.zeros((6, 4), dtype=np.float32)]
    draw = Draw(table.copy(), table.copy(), features, Prior.wide(4), [Prior.wide(4)])
    left = redraw(block, draw, [a, b], target, 4.0, np.random.default_rng(1))
    np.testing.assert_allclose(draw.table, draw.ids + shared.tocsr() @ features[0], atol=1e-5)
    sums = np.einsum("nd,nd->n", draw.table[row, 1:], a[item, 1:] + b[day, 1:])
    sums += draw.table[row, 0] + a[item, 0] + b[day, 0] + np.einsum("nd,nd->n", a[item, 1:], b[day, 1:])
    assert left == pytest.approx(((target - sums) ** 2).sum(), rel=1e-4)


def test_a_prior_finds_mean_and_covariance():
    rng = np.random.default_rng(0)
    cover = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, -0.3], [0.0, -0.3, 0.5]])
    x = rng.multivariate_normal([1.0, -2.0, 0.5], cover, size=20_000).astype(np.float32)
    prior, means, covers = Prior.wide(3), [], []
    for _ in range(50):
        prior.redraw(x, rng)
        means.append(prior.mean)
        covers.append(np.linalg.inv(prior.precision))
    np.testing.assert_allclose(np.mean(means, axis=0), [1.0, -2.0, 0.5], atol=0.03)
    np.testing.assert_allclose(np.mean(covers, axis=0), cover, atol=0.05)
    small_group = np.array([prior.redraw(x[:2], rng) or prior.mean for _ in range(4000)])
    assert np.isfinite(small_group).all()


def test_hidden_variables_lie_between_their_edges():
    edges = np.array([-np.inf, -1.0, 0.5, np.inf])
    score = np.repeat(np.array([-3.0, 0.0, 2.0, 30.0], dtype=np.float32), 20_000)
    for k in range(3):
        out = np.empty(len(score), dtype=np.float32)
        classes = np.full(len(score), k, dtype=np.int8)
        ordinal.draw_hidden(out, 0, len(out), score, classes, edges, np.uint64(8), 0)
        assert (out >= edges[k] - 1e-5).all() and (out <= edges[k + 1] + 1e-5).all()
        for s in (-3.0, 0.0, 2.0):
            wanted = stats.truncnorm(edges[k] - s, edges[k + 1] - s, loc=s).mean()
            assert out[score == s].mean() == pytest.approx(wanted, abs=0.03)


def test_edges_are_found_again():
    rng = np.random.default_rng(4)
    true = np.array([-np.inf, -1.2, -0.3, 0.4, 1.5, np.inf])
    score = (0.8 * rng.normal(size=20_000)).astype(np.float32)
    classes = (np.searchsorted(true, score + rng.normal(size=len(score))) - 1).astype(np.int8)
    edges = ordinal.start_edges(np.bincount(classes))
    draws = []
    for _ in range(80):
        edges = ordinal.draw_edges(edges, score, classes, rng)
        draws.append(edges[1:-1])
    kept = np.array(draws[20:])
    np.testing.assert_allclose(kept.mean(axis=0), true[1:-1], atol=0.05)
    assert (kept.std(axis=0) > 0.003).all() and (kept.std(axis=0) < 0.03).all()


def test_pull_is_the_slope_of_the_log_probability():
    for low, high in ((-np.inf, -0.4), (-1.0, 0.3), (0.2, np.inf), (3.0, 4.0), (-9.0, -8.0)):
        slope, bend = ordinal.pull(low, high)

        def log_share(x, low=low, high=high):
            return np.log(ordinal.within(low - x, high - x))

        h = 1e-4
        assert slope == pytest.approx((log_share(h) - log_share(-h)) / (2 * h), rel=1e-4)
        assert bend == pytest.approx(-(log_share(h) - 2 * log_share(0) + log_share(-h)) / h**2, rel=1e-2)
    slope, bend = ordinal.pull(60.0, 61.0)
    assert slope == pytest.approx(60, rel=0.05) and bend == 1.0

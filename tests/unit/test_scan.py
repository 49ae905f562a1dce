"""The scan by length gives what a scan of everything gives, and stops early where it may."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsmith import parallel, recommend, scan
from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.models.factorization.ials import ImplicitALS
from recsmith.recommend import Pipeline
from recsmith.scan import ByLength
from recsmith.types import Queries

WHOLE = st.integers(-3, 3)  # products of whole numbers are exact, and often equal


def lists(table, queries, k, barred=(), hidden=None):
    n = len(queries)
    hidden = hidden or [[] for _ in range(n)]
    items = np.full((n, k), -1, dtype=np.int32)
    scores = np.full((n, k), -np.inf, dtype=np.float32)
    offsets = np.concatenate([[0], np.cumsum([len(h) for h in hidden])])
    flat = np.array([i for h in hidden for i in sorted(h)], dtype=np.int32)
    ByLength.of(table).best(queries, np.array(sorted(barred), dtype=np.int64), offsets, flat, items, scores)
    return items, scores


def wanted(table, queries, k, barred=(), hidden=None):
    out = []
    for r, query in enumerate(queries):
        scored = [(-float(query @ v), i) for i, v in enumerate(table) if not np.isnan(query @ v)]
        out.append([i for _, i in sorted(scored) if i not in barred and i not in (hidden or {r: ()})[r]][:k])
    return out


@given(st.data())
def test_it_is_the_full_scan_with_ties_by_item(data):
    n_items, n = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    vector = st.lists(WHOLE, min_size=2, max_size=2)
    table = np.array(data.draw(st.lists(vector, min_size=n_items, max_size=n_items)), dtype=np.float32)
    queries = np.array(data.draw(st.lists(vector, min_size=n, max_size=n)), dtype=np.float32)
    some = st.sets(st.integers(0, n_items - 1))
    barred, hidden = data.draw(some), [data.draw(some) for _ in range(n)]
    table[data.draw(st.lists(st.integers(0, n_items - 1), max_size=2))] = np.nan
    k = data.draw(st.integers(1, 5))
    items, scores = lists(table, queries, k, barred, hidden)
    found = [[i for i in row if i >= 0] for row in items.tolist()]
    assert found == wanted(table, queries, k, barred, hidden)
    at = items >= 0
    assert np.array_equal(scores[at], np.einsum("nd,nkd->nk", queries, table[np.maximum(items, 0)])[at])
    assert np.isneginf(scores[~at]).all()


def test_no_evidence_no_list():
    items, _ = lists(np.eye(3, dtype=np.float32), np.array([[np.nan, 0, 0], [0, 1, 0]], dtype=np.float32), 1)
    assert items.tolist() == [[-1], [1]]


@pytest.fixture(scope="module")
def skewed():
    """A fitted pipeline of 6,000 items whose vectors are of very different lengths, and its log."""
    rng = np.random.default_rng(0)
    ids = IdMap(pl.Series(np.arange(6000)), "item")
    data = Dataset.build(
        users=IdMap(pl.Series(np.arange(700)), "user"),
        items=ids,
        user=rng.integers(700, size=20_000).astype(np.int32),
        item=(6000 * rng.random(20_000) ** 3).astype(np.int32),
    )
    return Pipeline(model=ImplicitALS(embedding_size=8, epochs=3)).fit(data, rng=0), data


@pytest.mark.parametrize("filters", [{}, {"exclude": np.arange(40)}, {"filter_seen": False}])
def test_lists_are_those_of_the_block_scan(skewed, filters, monkeypatch):
    pipeline, data = skewed
    scanned = pipeline.recommend(data.queries(), 10, **filters)
    monkeypatch.setattr(recommend, "SCAN_FROM", 10**9)
    whole = pipeline.recommend(data.queries(), 10, **filters)
    assert np.allclose(scanned.scores, whole.scores, rtol=1e-5, equal_nan=True)
    assert (scanned.items == whole.items).mean() > 0.999
    assert np.array_equal(scanned.available, whole.available)


def test_any_number_of_threads_gives_the_same_digits(skewed):
    pipeline, data = skewed
    found = []
    for threads in (1, 2):
        parallel.set_threads(threads)
        found.append(pipeline.recommend(data.queries(), 10))
    parallel.set_threads(None)
    assert np.array_equal(found[0].items, found[1].items)
    assert np.array_equal(found[0].scores, found[1].scores, equal_nan=True)


def test_a_refit_is_seen(skewed):
    _, data = skewed
    model = ImplicitALS(embedding_size=8, epochs=1)
    fitted = Pipeline(model=model).fit(data, rng=0)
    before = fitted.recommend(data.queries(), 5).scores
    model.fit(data.take(np.arange(9000)), rng=1)
    after = fitted.recommend(data.queries(), 5)
    fresh = Pipeline(model=model, n_items=data.n_items).recommend(data.queries(), 5)
    assert not np.array_equal(before, after.scores, equal_nan=True)
    assert np.array_equal(after.items, fresh.items)


def test_most_items_are_not_looked_at(skewed):
    pipeline, _ = skewed
    table = pipeline.model.embed_items()
    scan = ByLength.of(table)
    scan.vectors[len(scan.items) // 2 :] = 1e6  # would be in every list if it were looked at
    query = Queries(users=np.array([-1]), offsets=np.array([0, 1]), items=np.array([3], dtype=np.int32))
    items, scores = np.full((1, 5), -1, dtype=np.int32), np.full((1, 5), -np.inf, dtype=np.float32)
    scan.best(
        pipeline.model.embed_queries(query),
        np.zeros(0, np.int64),
        np.array([0, 0]),
        items[0, :0],
        items,
        scores,
    )
    assert scores.max() < 100


def test_only_the_first_vectors_of_a_steep_table_are_kept_in_order(monkeypatch):
    monkeypatch.setattr(scan, "_HEAD", 600)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(6000, 8)).astype(np.float32)
    table *= (np.arange(1, 6001)[rng.permutation(6000), None] ** -1.0).astype(np.float32)
    queries = rng.normal(size=(5, 8)).astype(np.float32)
    made = ByLength.of(table)
    assert (len(made.vectors), len(made.items)) == (600, 6000)
    k = 700  # more than the first ones can fill
    assert lists(table, queries, k)[0].tolist() == wanted(table, queries, k)
    assert np.array_equal(made.whole().vectors, table[made.items])

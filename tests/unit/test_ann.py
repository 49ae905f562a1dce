"""Lists from an index: nearly the exact ones, never what must not appear, and whole after a trip to disk."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from recsmith import ann, recommend
from recsmith.ann import ItemIndex
from recsmith.data.dataset import Dataset
from recsmith.data.sources.synthetic import generate
from recsmith.errors import BundleError, MissingExtraError
from recsmith.experiment.train import as_bundle, load_bundle
from recsmith.models.factorization.ials import ImplicitALS
from recsmith.recommend import Pipeline
from recsmith.scan import ByLength
from recsmith.types import State

faiss = pytest.importorskip("faiss")
K = 10


class Directions(ImplicitALS):
    """Factors of length 1: the scan by length has nothing to leave out, so that the index answers."""

    def embed_items(self):
        return self.once("directions", self.item_factors_, self._directions)

    def _directions(self):
        table = super().embed_items()
        return np.asarray(table / np.linalg.norm(table, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def log():
    return Dataset.from_log(generate(3_000, 6_000, 120_000, clusters=60, zipf=0.6))


@pytest.fixture(scope="module")
def fitted(log):
    return Pipeline(model=Directions(embedding_size=32, epochs=4)).fit(log, rng=0)


@pytest.fixture
def small(monkeypatch):
    """An index already pays for a small catalogue."""
    monkeypatch.setattr(recommend, "INDEX_FROM", 1_000)


@pytest.fixture(scope="module")
def indexed(fitted):
    """The same pipeline with an index, which is made once for all tests."""
    pipeline = replace(fitted, index=True)
    pipeline._kept["scan"] = scan = ByLength.of(fitted.model.embed_items())
    pipeline._kept["index"] = ItemIndex.of(scan)
    return pipeline


def share_found(some, exact):
    return np.mean([np.isin(a, b).mean() for a, b in zip(exact.items, some.items, strict=True)])


def test_recall_on_trained_factors(log, fitted, indexed, small):
    exact, some = (pipeline.recommend(log.queries(), K) for pipeline in (fitted, indexed))
    assert share_found(some, exact) > 0.98


def test_what_is_found_stands_in_the_exact_order(log, fitted, indexed, small):
    exact = fitted.recommend(log.queries(), 200)
    some = indexed.recommend(log.queries(), K)
    for row in range(0, log.n_users, 50):
        place = {item: p for p, item in enumerate(exact.items[row].tolist())}
        places = [place[item] for item in some.items[row].tolist()]
        scores = exact.scores[row][places]
        assert np.allclose(scores, some.scores[row], rtol=1e-5)
        assert (np.diff(some.scores[row]) <= 0).all()


def test_what_must_not_appear_does_not(log, indexed, small):
    queries = log.queries()
    seen = indexed.recommend(queries, K)
    for row in range(log.n_users):
        assert not np.isin(seen.items[row], queries.take([row]).items).any()
    assert (seen.items >= 0).all()
    first = np.unique(seen.items[:, 0])[:200]
    assert not np.isin(indexed.recommend(queries, K, exclude=first).items, first).any()
    own = (np.arange(len(queries) + 1) * 2, seen.items[:, :2].ravel())
    without = indexed.recommend(queries, K, exclude_each=own)
    assert not (without.items[:, :, None] == seen.items[:, None, :2]).any()


def test_where_filters_leave_little_the_lists_are_exact(log, fitted, indexed, small):
    queries = log.queries(np.arange(50))
    few = np.arange(0, 6_000, 500)
    many = np.arange(400)  # more than are sought beyond
    for filters in ({"include": few}, {"exclude": many}):
        exact, some = (p.recommend(queries, K, **filters) for p in (fitted, indexed))
        assert np.array_equal(exact.items, some.items)
    everything = indexed.recommend(queries, 512, exclude=np.arange(300, 6_000))
    assert (everything.items >= 0).sum(axis=1).tolist() == everything.available.tolist()


def test_the_same_table_gives_the_same_index(indexed):
    again = ItemIndex.of(indexed._kept["scan"]).state()
    assert all(np.array_equal(a, again.arrays[n]) for n, a in indexed._kept["index"].state().arrays.items())


def test_the_scan_answers_where_it_sees_little_or_the_catalogue_is_small(log, fitted):
    assert isinstance(replace(fitted, index=True)._item_table(None), ByLength)  # small
    steep = ByLength.of(np.diag(1.0 / np.arange(1, 100)).astype(np.float32))
    assert steep.steep and not fitted._item_table(None).steep


def test_a_bundle_keeps_the_index(log, indexed, small, tmp_path):
    model = ImplicitALS(embedding_size=32, epochs=4)
    flat = as_bundle(Pipeline(model=model, index=True), log)
    assert "index" not in flat.pipeline._kept
    table = model.item_factors_ / np.linalg.norm(model.item_factors_, axis=1, keepdims=True)
    model.item_factors_ = np.asarray(table, dtype=np.float32)
    wanted = flat.recommend(k=K)
    assert "index" in flat.pipeline._kept
    flat.save(tmp_path / "flat")
    back = load_bundle(tmp_path / "flat")
    assert back.pipeline.index and "index" in back.pipeline._kept
    assert back.recommend(k=K).equals(wanted)


@pytest.mark.parametrize(
    "centres",
    [
        np.zeros((3, 5)),
        np.zeros((0, 32)),
        np.full((3, 32), np.nan),
        np.zeros((3, 32), dtype=np.float64),
        np.zeros(3),
    ],
)
def test_centres_that_do_not_belong_are_refused(indexed, centres):
    kind = centres.dtype if centres.shape == (3, 32) and not np.isnan(centres).any() else np.float32
    with pytest.raises(ValueError):
        ItemIndex.restore(indexed._kept["index"].scan, State({"centres": centres.astype(kind)}))


def test_without_faiss_the_remedy_is_named(fitted, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"recsmith\[ann\]"):
        replace(fitted, index=True)._item_table(None)
    assert isinstance(fitted._item_table(None), ByLength)
    assert ann.INDEX_FROM > 0 and issubclass(BundleError, ValueError)

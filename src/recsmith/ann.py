"""An index of the items for approximate lists: a graph that a request walks along (extra ``ann``: faiss).

Y. Malkov, D. Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs", TPAMI 2020. Links go by scalar product, so that vectors of any length are found. What the walk finds is
scored again, exactly; a list differs from the exact one only by an item that the walk has missed. Where an index pays
and how it was chosen: ``docs/decisions/0007-ann-index.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from recsmith.errors import MissingExtraError
from recsmith.kernels import njit
from recsmith.scan import ByLength, holds, insert
from recsmith.types import FloatArray, IntArray, State, check_range

INDEX_FROM = 50_000  #: items below which an exact scan is as fast, measured
LINKS = 32  #: of an item on the lowest level: half as many, both ways
BREADTH = 128  #: candidates kept while an item is linked
WALK = 96  #: candidates kept while a list is sought: recall@10 above 0.98
_MOST_HIDDEN = 256  # items sought on top of the list for those that must not appear; beyond, the scan answers


@dataclass(frozen=True, slots=True, eq=False)
class ItemIndex:
    """A graph over the vectors of a ``ByLength``, whose order it shares."""

    scan: ByLength
    graph: Any  #: faiss.IndexHNSWFlat

    @classmethod
    def of(cls, scan: ByLength) -> Self:
        """Link the items, the longest first: on one thread, so that a table always gives the same graph.

        Raises
        ------
        MissingExtraError
            faiss is not installed.
        """
        faiss = _faiss()
        graph = _empty(faiss, scan)
        faiss.omp_set_num_threads(1)
        graph.add(scan.vectors)
        return cls(scan, graph)

    def best(
        self,
        queries: FloatArray,
        barred: IntArray,
        offsets: IntArray,
        hidden: IntArray,
        items: IntArray,
        scores: FloatArray,
    ) -> None:
        """Fill the lists of a block of requests; the parameters are those of ``ByLength.best``.

        A list that too many items are hidden from, or that the walk does not fill, is made by the exact scan.
        """
        faiss = _faiss()
        hides = np.diff(offsets) + len(barred)
        asked = np.flatnonzero(~np.isnan(queries).any(axis=1) & (hides <= _MOST_HIDDEN))
        if len(asked):
            count = min(items.shape[1] + int(hides[asked].max()), len(self.scan.items))
            faiss.omp_set_num_threads(1)  # the blocks of requests are what runs side by side
            width = faiss.SearchParametersHNSW(efSearch=max(WALK, count))
            _, found = self.graph.search(np.ascontiguousarray(queries[asked]), count, params=width)
            _rescore(
                queries,
                asked,
                self.scan.vectors,
                self.scan.items,
                found,
                barred,
                offsets,
                hidden,
                items,
                scores,
            )
        short = np.flatnonzero(items[:, -1] < 0)
        if len(short):
            self._exactly(short, queries, barred, offsets, hidden, items, scores)

    def _exactly(
        self,
        rows: IntArray,
        queries: FloatArray,
        barred: IntArray,
        offsets: IntArray,
        hidden: IntArray,
        items: IntArray,
        scores: FloatArray,
    ) -> None:
        """The lists of ``rows`` by the scan."""
        lists = np.full((len(rows), items.shape[1]), -1, dtype=items.dtype)
        best = np.full(lists.shape, -np.inf, dtype=np.float32)
        parts = [hidden[offsets[r] : offsets[r + 1]] for r in rows]
        bounds = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        self.scan.best(queries[rows], barred, bounds, np.concatenate(parts), lists, best)
        items[rows], scores[rows] = lists, best

    def state(self) -> State:
        """The links as arrays of whole numbers; the vectors are the model's."""
        faiss, graph = _faiss(), self.graph.hnsw
        arrays = {name: faiss.vector_to_array(getattr(graph, name)) for name in ("levels", "neighbors")}
        return State(arrays, {"entry": int(graph.entry_point), "top": int(graph.max_level)})

    @classmethod
    def restore(cls, scan: ByLength, state: State) -> Self:
        """Take back what ``state`` gave, every link checked: compiled code follows them.

        Raises
        ------
        MissingExtraError
            faiss is not installed.
        LookupError, ValueError
            A part is missing, or does not belong to these vectors.
        """
        faiss = _faiss()
        levels, links = state.arrays["levels"], state.arrays["neighbors"]
        entry, top = int(state.values["entry"]), int(state.values["top"])
        n = len(scan.items)
        if len(levels) != n or not n or levels.min() < 1 or top != levels.max() - 1 or not 0 <= entry < n:
            raise ValueError("the index does not belong to these items")
        if levels[entry] != levels.max():
            raise ValueError("the index is entered below its top")
        check_range("the index", "neighbors", links[links != -1], n)
        graph = _empty(faiss, scan)
        bounds = np.concatenate([[0], np.cumsum(_places(levels))]).astype(np.uint64)
        if bounds[-1] != len(links):
            raise ValueError("the index has links that belong to no item")
        _check_levels(levels, links, bounds)
        graph.storage.add(scan.vectors)
        graph.ntotal = n
        hnsw = graph.hnsw
        for name, array in (("levels", levels), ("neighbors", links), ("offsets", bounds)):
            faiss.copy_array_to_vector(np.ascontiguousarray(array), getattr(hnsw, name))
        hnsw.entry_point, hnsw.max_level = entry, top
        return cls(scan, graph)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError.of("An index of the items", "ann") from None
    return faiss


def _empty(faiss: Any, scan: ByLength) -> Any:
    graph = faiss.IndexHNSWFlat(scan.vectors.shape[1], LINKS // 2, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = BREADTH
    return graph


def _places(levels: IntArray) -> IntArray:
    """(n,) links that an item on so many levels has room for: ``LINKS`` on the lowest, half of them on each other."""
    return LINKS + (levels.astype(np.int64) - 1) * (LINKS // 2)


def _check_levels(levels: IntArray, links: IntArray, bounds: IntArray) -> None:
    """A link on a level must lead to an item of that level."""
    place = np.arange(len(links)) - np.repeat(bounds[:-1].astype(np.int64), _places(levels))
    level = np.where(place < LINKS, 0, (place - LINKS) // (LINKS // 2) + 1)
    there = links >= 0
    if (levels[links[there]] <= level[there]).any():
        raise ValueError("the index has a link to an item that is not on its level")


@njit(cache=True, nogil=True)
def _rescore(queries, asked, vectors, ids, found, barred, offsets, hidden, items, scores):  # type: ignore[no-untyped-def]
    k = items.shape[1]
    for a in range(len(asked)):
        r = asked[a]
        query, not_these = queries[r], hidden[offsets[r] : offsets[r + 1]]
        for c in range(found.shape[1]):
            at = found[a, c]
            if at < 0 or holds(not_these, ids[at]) or holds(barred, ids[at]):
                continue
            s = np.float32(0)
            for f in range(len(query)):
                s += query[f] * vectors[at, f]
            last = scores[r, k - 1]
            if s > last or (s == last and s > -np.inf and ids[at] < items[r, k - 1]):
                insert(ids[at], s, items[r], scores[r])

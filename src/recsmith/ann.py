"""An index of the items for approximate lists: cells of like items, of which a request looks into a few (faiss).

H. Jegou, M. Douze, C. Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011, section IV: an inverted
file; its cells are those of k-means, and faiss makes and searches them. What is found is scored again, exactly: a list
differs from the exact one only by an item whose cell was not looked into. Where an index pays and how this one was
chosen: ``docs/decisions/0007-ann-index.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from recsmith import parallel
from recsmith.errors import MissingExtraError
from recsmith.kernels import njit
from recsmith.scan import ByLength, holds, insert
from recsmith.types import FloatArray, IntArray, State, ragged_take

INDEX_FROM = 100_000  #: items below which making an index saves less than it takes, measured
PROBES = 24  #: cells that a request looks into: recall@10 above 0.98 on trained factors
_LEARNT_FROM = 48  # items for each cell that k-means sees
_MOST_HIDDEN = 256  # items sought on top of the list for those that must not appear; beyond, the scan answers


@dataclass(frozen=True, slots=True, eq=False)
class ItemIndex:
    """Cells of the vectors of a ``ByLength``, whose order it shares."""

    scan: ByLength
    cells: Any  #: faiss.IndexIVFFlat

    @classmethod
    def of(cls, scan: ByLength) -> Self:
        """Find about ``2 sqrt(n)`` cells, on one thread: a table always gives the same ones.

        Raises
        ------
        MissingExtraError
            faiss is not installed.
        """
        faiss, scan = _faiss(), scan.whole()
        count = min(1 << round(np.log2(2 * len(scan.items) ** 0.5)), len(scan.items))
        cells = _empty(faiss, scan, count)
        faiss.omp_set_num_threads(1)
        with parallel.single_threaded_blas():
            cells.train(scan.vectors)
            cells.add(scan.vectors)
        return cls(scan, cells)

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

        A list that too many items are hidden from, or that the cells do not fill, is made by the exact scan.
        """
        faiss = _faiss()
        hides = np.diff(offsets) + len(barred)
        asked = np.flatnonzero(~np.isnan(queries).any(axis=1) & (hides <= _MOST_HIDDEN))
        if len(asked):
            count = min(items.shape[1] + int(hides[asked].max()), len(self.scan.items))
            faiss.omp_set_num_threads(1)  # the blocks of requests are what runs side by side
            _, found = self.cells.search(np.ascontiguousarray(queries[asked]), count)
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
        bounds, positions = ragged_take(offsets, rows)
        self.scan.best(queries[rows], barred, bounds, hidden[positions], lists, best)
        items[rows], scores[rows] = lists, best

    def state(self) -> State:
        """The centres of the cells; the vectors are the model's."""
        return State({"centres": self.cells.quantizer.reconstruct_n(0, self.cells.nlist)})

    @classmethod
    def restore(cls, scan: ByLength, state: State) -> Self:
        """Take back what ``state`` gave: every vector finds its cell again, which takes seconds for a million.

        Raises
        ------
        MissingExtraError
            faiss is not installed.
        LookupError, ValueError
            There are no centres, or they do not belong to these vectors.
        """
        faiss, scan, centres = _faiss(), scan.whole(), state.arrays["centres"]
        if centres.dtype != np.float32 or centres.ndim != 2 or centres.shape[1] != scan.vectors.shape[1]:
            raise ValueError("the index does not belong to these items")
        if not len(centres) or not np.isfinite(centres).all():
            raise ValueError("the index has cells without a centre")
        cells = _empty(faiss, scan, len(centres))
        cells.quantizer.add(np.ascontiguousarray(centres))
        cells.is_trained = True
        faiss.omp_set_num_threads(1)
        with parallel.single_threaded_blas():
            cells.add(scan.vectors)
        return cls(scan, cells)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError.of("An index of the items", "ann") from None
    return faiss


def _empty(faiss: Any, scan: ByLength, count: int) -> Any:
    width = scan.vectors.shape[1]
    cells = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, count, faiss.METRIC_INNER_PRODUCT)
    cells.cp.min_points_per_centroid, cells.cp.max_points_per_centroid = 1, _LEARNT_FROM
    cells.nprobe = PROBES
    return cells


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

"""The k best products without most of the products: items in the order of their length, until none can enter.

No product exceeds ``|q| |v|`` (Cauchy and Schwarz). Where the items stand by falling length, a request is done as soon
as its k-th best score is above ``|q|`` times the length of the next item (C. Teflioudi, R. Gemulla, O. Mykytiuk,
"LEMP: Fast Retrieval of Large Entries in a Matrix Product", SIGMOD 2015, section 3). The lists are those of a full
scan. Trained factors are long for few items: a list of ten looked at 0.3 % of a million items, and at 3 % of Gowalla's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from recsmith import parallel
from recsmith.kernels import njit
from recsmith.types import FloatArray, IntArray

_COLUMNS = 512  # of one product: what is over when a request is done is wasted
_SEGMENT = 64  # columns compared at once against the k-th best so far
_HEAD = 16_384  # rows that are kept in order where few are looked at; a sixteenth, where that is more
_ROUNDING = 1.0001  # a product in float32 may be so much above the bound of exact numbers


@dataclass(frozen=True, slots=True, eq=False)
class ByLength:
    """Item vectors by falling length; those without evidence (NaN) are left out."""

    source: FloatArray  #: (n_items, d) the table that this was made of
    vectors: FloatArray  #: (h, d) float32 the first of them; all, where the table is not steep
    lengths: FloatArray  #: (n,) float64, falling
    items: IntArray  #: (n,) int32 row of ``source``

    @classmethod
    def of(cls, table: FloatArray) -> Self:
        """Sort a table; items of one length in the order of their index."""
        lengths = _lengths(table)
        order = np.argsort(-lengths, kind="stable")
        order = order[: len(order) - int(np.isnan(lengths).sum())]
        lengths = lengths[order]
        head = max(_HEAD, len(order) // 16) if _steep(lengths) else len(order)
        return cls(table, table[order[:head]], lengths, order.astype(np.int32))

    @property
    def steep(self) -> bool:
        """Whether most vectors are short beside the longest, so that few are looked at."""
        return _steep(self.lengths)

    def whole(self) -> Self:
        """The same with all vectors in order."""
        if len(self.vectors) == len(self.items):
            return self
        return replace(self, vectors=self.source[self.items])

    def best(
        self,
        queries: FloatArray,
        barred: IntArray,
        offsets: IntArray,
        hidden: IntArray,
        items: IntArray,
        scores: FloatArray,
    ) -> None:
        """Fill the lists of a block of requests.

        Parameters
        ----------
        queries
            (n, d) float32; a row with NaN gets no list.
        barred
            Sorted items that must not appear.
        offsets, hidden
            Ragged rows of sorted items that must not appear: row r owns ``hidden[offsets[r]:offsets[r + 1]]``.
        items, scores
            (n, k) int32 and float32 to be filled, -1 and -inf before: larger score first, equal scores by smaller
            item.
        """
        lengths = _lengths(queries) * _ROUNDING
        rows = np.flatnonzero(~np.isnan(lengths))
        buffer = np.empty(len(rows) * _COLUMNS, dtype=np.float32)
        for columns in parallel.blocks(len(self.items), _COLUMNS):
            rows = rows[~(scores[rows, -1] > lengths[rows] * self.lengths[columns.start])]
            if not len(rows):
                return
            width = columns.stop - columns.start
            chunk = buffer[: len(rows) * width].reshape(len(rows), width)
            np.matmul(queries[rows], self._at(columns).T, out=chunk)
            _enter(chunk, rows, self.items[columns], barred, offsets, hidden, items, scores)

    def _at(self, columns: slice) -> FloatArray:
        """(width, d) vectors at places of the order."""
        if columns.stop <= len(self.vectors):
            return self.vectors[columns]
        return self.source[self.items[columns]]


def _steep(lengths: FloatArray) -> bool:
    return len(lengths) > 0 and bool(3 * lengths[len(lengths) // 2] < lengths[0])


def _lengths(vectors: FloatArray) -> FloatArray:
    """(n,) float64; NaN where a vector holds one."""
    squares = np.einsum("id,id->i", vectors, vectors, dtype=np.float64)
    return np.asarray(np.sqrt(squares), dtype=np.float64)


@njit(cache=True, nogil=True)
def holds(values, wanted):  # type: ignore[no-untyped-def]
    """Whether sorted ``values`` hold ``wanted``; compiled."""
    at = np.searchsorted(values, wanted)
    return at < len(values) and values[at] == wanted


@njit(cache=True, nogil=True)
def insert(item, score, items, scores):  # type: ignore[no-untyped-def]
    """Put an item into a list (k,) that it belongs in, and the last one out; compiled."""
    p = len(items) - 1
    while p > 0 and (scores[p - 1] < score or (scores[p - 1] == score and items[p - 1] > item)):
        scores[p] = scores[p - 1]
        items[p] = items[p - 1]
        p -= 1
    scores[p] = score
    items[p] = item


@njit(cache=True, nogil=True)
def _enter(chunk, rows, columns, barred, offsets, hidden, items, scores):  # type: ignore[no-untyped-def]
    width, k = len(columns), items.shape[1]
    for c in range(len(rows)):
        row, r = chunk[c], rows[c]
        not_these = hidden[offsets[r] : offsets[r + 1]]
        threshold = scores[r, k - 1]
        for low in range(0, width, _SEGMENT):
            high = min(low + _SEGMENT, width)
            above = 0
            for j in range(low, high):
                above += row[j] >= threshold
            if above == 0:
                continue
            for j in range(low, high):
                s, item = row[j], columns[j]
                if not s >= threshold or s == -np.inf or (s == threshold and item > items[r, k - 1]):
                    continue
                if holds(not_these, item) or holds(barred, item):
                    continue
                insert(item, s, items[r], scores[r])
                threshold = scores[r, k - 1]

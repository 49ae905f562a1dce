"""The k best of many scores, in blocks: the inner loop under every recommendation.

Order: larger score first, equal scores by smaller index. NaN and -inf never enter.
"""

from __future__ import annotations

import numpy as np

from recsmith.errors import ParameterError
from recsmith.kernels import njit
from recsmith.types import FloatArray, IntArray, ragged_rows

_SEGMENT = 64  # columns compared at once against the k-th best so far
LONG = 512  # lists longer than this are sorted, not kept in order one by one


class TopKBlock:
    """The running k best of a block of ``n`` rows, fed with chunks of columns from left to right."""

    __slots__ = ("items", "scores")

    def __init__(self, n: int, k: int) -> None:
        if k < 1:
            raise ParameterError.of("TopKBlock", "k", ">= 1", k)
        self.items: IntArray = np.full((n, k), -1, dtype=np.int32)
        self.scores: FloatArray = np.full((n, k), -np.inf, dtype=np.float32)

    def update(self, chunk: FloatArray, first: int, offsets: IntArray, hidden: IntArray) -> None:
        """Take the scores of columns ``first ...``.

        Parameters
        ----------
        chunk
            (n, width) float32, C-contiguous. Hidden entries are overwritten with -inf.
        first
            Column that the chunk begins at.
        offsets, hidden
            Ragged rows of sorted columns that must not appear: row r owns ``hidden[offsets[r]:offsets[r + 1]]``.
        """
        if self.items.shape[1] <= LONG:
            _update(chunk, first, offsets, hidden, self.items, self.scores)
        else:
            self._sort_in(chunk, first, offsets, hidden)

    def _sort_in(self, chunk: FloatArray, first: int, offsets: IntArray, hidden: IntArray) -> None:
        """As ``_update`` by one stable sort, where an insertion would take steps in proportion to k."""
        rows, columns = ragged_rows(offsets), hidden - first
        here = (columns >= 0) & (columns < chunk.shape[1])
        chunk[rows[here], columns[here]] = -np.inf
        scores = np.concatenate([self.scores, chunk], axis=1)
        scores[np.isnan(scores)] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self.items.shape[1]]
        new = np.arange(first, first + chunk.shape[1], dtype=np.int32)
        items = np.concatenate([self.items, np.broadcast_to(new, chunk.shape)], axis=1)
        self.scores = np.take_along_axis(scores, order, axis=1)
        self.items = np.where(np.isneginf(self.scores), -1, np.take_along_axis(items, order, axis=1))


@njit(cache=True, nogil=True)
def _update(chunk, first, offsets, hidden, items, scores):  # type: ignore[no-untyped-def]
    n, width = chunk.shape
    k = items.shape[1]
    for r in range(n):
        row = chunk[r]
        start, stop = offsets[r], offsets[r + 1]
        at = start + np.searchsorted(hidden[start:stop], first)
        while at < stop and hidden[at] < first + width:
            row[hidden[at] - first] = -np.inf
            at += 1
        threshold = scores[r, k - 1]
        for low in range(0, width, _SEGMENT):
            high = min(low + _SEGMENT, width)
            above = 0
            for j in range(low, high):
                above += row[j] > threshold
            if above == 0:
                continue
            for j in range(low, high):
                s = row[j]
                if s > threshold:
                    p = k - 1
                    while p > 0 and scores[r, p - 1] < s:
                        scores[r, p] = scores[r, p - 1]
                        items[r, p] = items[r, p - 1]
                        p -= 1
                    scores[r, p] = s
                    items[r, p] = first + j
                    threshold = scores[r, k - 1]

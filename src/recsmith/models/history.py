"""Scores that are a weighted sum over the history: what item-to-item models share.

``score[r, j] = sum over events e of row r of weight[e] * M[item[e], j]``
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from scipy import sparse

from recsmith import parallel
from recsmith.types import FloatArray, IntArray, Queries, ragged_take

_ROWS = 64


def linear_scores(queries: Queries, matrix: Any, items: IntArray | None = None) -> FloatArray:
    """(n, n_items) or (n, len(items)) float32 scores; a row without events is NaN.

    Parameters
    ----------
    matrix
        (n_items, n_items) float32, dense C-contiguous or CSR. In a CSR matrix an item that no event reaches
        gets NaN: there is no evidence for it.
    items
        Columns wanted; None for all.
    """
    weights = queries.event_weights()
    history = np.ascontiguousarray(queries.items)
    is_sparse = sparse.issparse(matrix)
    if items is not None:
        matrix = matrix[:, items]
        matrix = sparse.csr_array(matrix) if is_sparse else np.ascontiguousarray(matrix)
    out = np.zeros((len(queries), matrix.shape[1]), dtype=np.float32)

    def block(rows: slice) -> None:
        if is_sparse:
            _sparse_rows(out, queries.offsets, history, weights, matrix.indptr, matrix.indices, matrix.data, rows.start, rows.stop)
        else:
            _dense_rows(out, queries.offsets, history, weights, matrix, rows.start, rows.stop)

    parallel.run(block, parallel.blocks(len(queries), _ROWS))
    return out


def linear_contributions(queries: Queries, matrix: Any, rows: IntArray, items: IntArray) -> FloatArray:
    """What each history event of the pairs (``rows[p]``, ``items[p]``) adds to the pair's score, ragged."""
    bounds, positions = ragged_take(queries.offsets, rows)
    target = np.repeat(items, np.diff(bounds))
    return np.asarray(queries.event_weights()[positions] * matrix[queries.items[positions], target], dtype=np.float32)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _dense_rows(out, offsets, items, weights, matrix, start, stop):  # type: ignore[no-untyped-def]
    for r in range(start, stop):
        row = out[r]
        if offsets[r] == offsets[r + 1]:
            row[:] = np.nan
        for e in range(offsets[r], offsets[r + 1]):
            w = weights[e]
            source = matrix[items[e]]
            for j in range(row.shape[0]):
                row[j] += w * source[j]


@njit(cache=True, nogil=True)
def _sparse_rows(out, offsets, items, weights, indptr, indices, data, start, stop):  # type: ignore[no-untyped-def]
    touched = np.zeros(out.shape[1], dtype=np.bool_)
    for r in range(start, stop):
        touched[:] = False
        for e in range(offsets[r], offsets[r + 1]):
            w = weights[e]
            for p in range(indptr[items[e]], indptr[items[e] + 1]):
                out[r, indices[p]] += w * data[p]
                touched[indices[p]] = True
        for j in range(out.shape[1]):
            if not touched[j]:
                out[r, j] = np.nan

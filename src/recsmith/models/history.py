"""Scores that are a weighted sum over the history: what item-to-item models share.

``score[r, j] = sum over events e of row r of weight[e] * M[item[e], j]``
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from recsmith import parallel
from recsmith.kernels import njit
from recsmith.types import FloatArray, IntArray, Queries, check_range, ragged_rows, ragged_take

_ROWS = 64


def linear_scores(queries: Queries, matrix: Any, items: IntArray | None = None) -> FloatArray:
    """(n, n_items) or (n, len(items)) float32 scores; a row without events is NaN.

    Parameters
    ----------
    matrix
        (n_items, n_items) float32, dense C-contiguous or CSR. In a CSR matrix an item that no event reaches
        gets NaN: there is no evidence for it.
    items
        Columns wanted; None for all. The matrix is not copied for them.

    Raises
    ------
    ParameterError
        An index out of range.
    """
    check_range("score", "queries.items", queries.items, matrix.shape[0])
    columns = np.arange(matrix.shape[1]) if items is None else np.asarray(items, dtype=np.int64)
    check_range("score", "items", columns, matrix.shape[1])
    events = (queries.offsets, np.ascontiguousarray(queries.items), queries.event_weights())
    out = np.zeros((len(queries), len(columns)), dtype=np.float32)

    def block(rows: slice) -> None:
        if sparse.issparse(matrix):
            csr = (matrix.indptr, matrix.indices, matrix.data)
            _sparse_rows(out, *events, *csr, matrix.shape[1], columns, rows.start, rows.stop)
        elif items is None:
            _dense_rows(out, *events, matrix, rows.start, rows.stop)
        else:
            _dense_columns(out, *events, matrix, columns, rows.start, rows.stop)

    parallel.run(block, parallel.blocks(len(queries), _ROWS))
    return out


def linear_contributions(queries: Queries, matrix: Any, rows: IntArray, items: IntArray) -> FloatArray:
    """What each history event of the pairs (``rows[p]``, ``items[p]``) adds to the pair's score, ragged."""
    bounds, positions = ragged_take(queries.offsets, rows)
    target = np.repeat(items, np.diff(bounds))
    if not len(positions):  # scipy answers no index with a sparse array
        return np.zeros(0, dtype=np.float32)
    return np.asarray(
        queries.event_weights()[positions] * matrix[queries.items[positions], target], dtype=np.float32
    )


def dense_rows(matrix: Any, items: IntArray) -> FloatArray:
    """(len(items), n_columns) float32 rows of a CSR matrix, NaN where it has no entry."""
    rows = matrix[np.asarray(items)]
    out = np.full(rows.shape, np.nan, dtype=np.float32)
    out[ragged_rows(rows.indptr), rows.indices] = rows.data
    return out


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


@njit(cache=True, nogil=True, fastmath={"contract"})
def _dense_columns(out, offsets, items, weights, matrix, columns, start, stop):  # type: ignore[no-untyped-def]
    for r in range(start, stop):
        row = out[r]
        if offsets[r] == offsets[r + 1]:
            row[:] = np.nan
        for e in range(offsets[r], offsets[r + 1]):
            w = weights[e]
            source = matrix[items[e]]
            for j in range(len(columns)):
                row[j] += w * source[columns[j]]


@njit(cache=True, nogil=True)
def _sparse_rows(  # type: ignore[no-untyped-def]
    out, offsets, items, weights, indptr, indices, data, width, columns, start, stop
):
    total = np.zeros(width, dtype=np.float32)
    touched = np.zeros(width, dtype=np.bool_)
    for r in range(start, stop):
        total[:] = 0
        touched[:] = False
        for e in range(offsets[r], offsets[r + 1]):
            w = weights[e]
            for p in range(indptr[items[e]], indptr[items[e] + 1]):
                total[indices[p]] += w * data[p]
                touched[indices[p]] = True
        for j in range(len(columns)):
            c = columns[j]
            out[r, j] = total[c] if touched[c] else np.nan

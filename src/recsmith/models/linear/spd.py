"""Gram matrices and their inverse, the same digits for any number of threads.

LAPACK's own threads change the order of sums. Here each tile is one single-threaded matrix product, so
the result depends on the tile size only.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from recsmith import parallel
from recsmith.data.dataset import Matrix
from recsmith.kernels import njit
from recsmith.types import FloatArray

_TILE = 256
_ROWS = 64  # rows of a Gram matrix made by one task


def gram(x: Matrix) -> FloatArray:
    """Lower triangle of X'X in float64, (n_columns, n_columns); zeros above.

    Parameters
    ----------
    x
        (n_rows, n_columns) CSR with sorted indices. Cost: half the sum of the squared row lengths.
    """
    columns = x.T.tocsr()
    out = np.zeros((x.shape[1], x.shape[1]))

    def block(rows: slice) -> None:
        _gram(
            columns.indptr,
            columns.indices,
            columns.data,
            x.indptr,
            x.indices,
            x.data,
            out,
            rows.start,
            rows.stop,
        )

    parallel.run(block, parallel.blocks(len(out), _ROWS))
    return out


@njit(cache=True, nogil=True)
def _gram(t_indptr, t_rows, t_data, indptr, columns, data, out, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        for p in range(t_indptr[i], t_indptr[i + 1]):
            r, w = t_rows[p], np.float64(t_data[p])
            for q in range(indptr[r], indptr[r + 1]):
                if columns[q] > i:
                    break
                out[i, columns[q]] += w * data[q]


def inverse(matrix: FloatArray, tile: int = _TILE) -> FloatArray:
    """Inverse of ``matrix`` (n, n), of which the lower triangle is read and overwritten by its Cholesky factor.

    Cost n^3 operations (n^3 / 3 for the factor, 2 n^3 / 3 for the inverse) and one further (n, n) array.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where the matrix is not positive definite.
    """
    n = len(matrix)
    tiles = parallel.blocks(n, tile)
    diagonal = _factorize(matrix, tiles)
    out = np.empty_like(matrix)

    def panel(p: int) -> None:
        """Columns of tile p, from its diagonal down: L L' x = e, then mirrored."""
        columns = tiles[p]
        s = columns.start
        x = np.zeros((n - s, columns.stop - s), dtype=matrix.dtype)
        x[: columns.stop - s] = diagonal[p]
        for i in range(p + 1, len(tiles)):
            rows = tiles[i]
            known = slice(s, rows.start)
            x[rows.start - s : rows.stop - s] = -diagonal[i] @ (matrix[rows, known] @ x[: rows.start - s])
        for i in range(len(tiles) - 1, p - 1, -1):
            rows = tiles[i]
            here = slice(rows.start - s, rows.stop - s)
            x[here] = diagonal[i].T @ (x[here] - matrix[rows.stop :, rows].T @ x[rows.stop - s :])
        out[s:, columns] = x
        out[columns, s:] = x.T

    parallel.run(panel, range(len(tiles)))
    return out


def _factorize(matrix: FloatArray, tiles: list[slice]) -> list[FloatArray]:
    """Lower Cholesky factor into ``matrix``; returns the inverses of its diagonal tiles."""
    diagonal: list[FloatArray] = []
    for k, pivot in enumerate(tiles):
        with parallel.single_threaded_blas():
            factor = np.linalg.cholesky(matrix[pivot, pivot])
            inverted = solve_triangular(factor, np.eye(len(factor), dtype=matrix.dtype), lower=True)
        diagonal.append(inverted)
        matrix[pivot, pivot] = factor

        def scale(rows: slice, pivot: slice = pivot, inverted: FloatArray = inverted) -> None:
            matrix[rows, pivot] = matrix[rows, pivot] @ inverted.T

        def update(rows: slice, pivot: slice = pivot) -> None:
            below = slice(pivot.stop, rows.stop)
            matrix[rows, below] -= matrix[rows, pivot] @ matrix[below, pivot].T

        parallel.run(scale, tiles[k + 1 :])
        parallel.run(update, tiles[k + 1 :])
    return diagonal

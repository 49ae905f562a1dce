"""The leading eigenvectors of ``S = R'R`` for a sparse ``R``, and products of ``R`` with panels of signals.

A panel is a float32 matrix whose columns are signals, one row for each user or item: a sparse product then runs
along contiguous memory. Every loop goes over fixed blocks, so a seed gives the same digits for any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from recsmith import parallel
from recsmith.data.dataset import Matrix
from recsmith.kernels import njit
from recsmith.protocols import Monitor
from recsmith.types import FloatArray

ROUNDS = 5  #: of filtering and rotating
DEGREE = 6  #: of the polynomial that filters, at most: products with S in a round
_GROWTH = 1e7  # of the largest eigenvector beside the smallest in one round: float32 has seven digits
_ROWS = 512  # rows of a sparse product that one task computes
_TALL = 4096  # rows of a tall matrix that one product takes
_SMALL = 1024  # items up to which a dense solver is as fast


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A matrix by its rows and by its columns."""

    by_user: Matrix  #: (n_users, n_items) CSR float32 R
    by_item: Matrix  #: (n_items, n_users) CSR float32 R'

    def smooth(self, signals: FloatArray) -> FloatArray:
        """``S signals = R'(R signals)`` for a panel (n_items, width) float32."""
        return product(self.by_item, product(self.by_user, signals))


def product(matrix: Matrix, panel: FloatArray) -> FloatArray:
    """(rows, width) float32 product of a CSR matrix (rows, columns) with a panel (columns, width)."""
    out = np.empty((matrix.shape[0], panel.shape[1]), dtype=np.float32)
    arrays = (matrix.indptr, matrix.indices, matrix.data, panel, out)
    parallel.run(lambda rows: _product(*arrays, rows.start, rows.stop), parallel.blocks(len(out), _ROWS))
    return out


def normalized(matrix: Matrix, user_exponent: float, item_exponent: float) -> Graph:
    """``R = D_u^-user_exponent X D_i^-item_exponent`` with the sums of rows and columns as degrees.

    Rows and columns without weight stay zero. Where both exponents are 1/2, the largest eigenvalue of S is 1.
    """
    users = negative_power(np.asarray(matrix.sum(axis=1, dtype=np.float64)), user_exponent)
    items = negative_power(np.asarray(matrix.sum(axis=0, dtype=np.float64)), item_exponent)
    scaled = matrix.astype(np.float64)
    scaled.data *= np.repeat(users, np.diff(matrix.indptr)) * items[matrix.indices]
    by_user = sparse.csr_array(scaled, dtype=np.float32)
    return Graph(by_user, sparse.csr_array(by_user.T))


def negative_power(degrees: FloatArray, exponent: float) -> FloatArray:
    """``degrees ** -exponent`` in float64, 0 where there is no degree."""
    some = degrees > 0
    return np.where(some, np.where(some, degrees, 1.0) ** -exponent, 0.0)


def leading(
    graph: Graph, rank: int, random: np.random.Generator, monitor: Monitor | None = None
) -> tuple[FloatArray, FloatArray]:
    """The ``rank`` largest eigenvalues of S and their eigenvectors: the right singular vectors of R.

    Small graphs are solved densely. Others by subspace iteration: each round filters a random block with a
    Chebyshev polynomial that is small on the eigenvalues that are not wanted, and rotates it to the best
    approximations inside its span. Y. Zhou et al., "Self-consistent-field calculations using Chebyshev-filtered
    subspace iteration", J. Comput. Phys. 2006.

    Returns
    -------
    values
        (r,) float64, falling; r <= rank, since those that are 0 are left out.
    vectors
        (n_items, r) float32, C-contiguous, orthonormal columns. Where an eigenvalue repeats, any basis of its
        space may come.
    """
    n = graph.by_user.shape[1]
    block = rank + max(16, rank // 8)
    if n <= _SMALL or 2 * block >= n:
        values, vectors = _dense(graph, min(rank, n))
    else:
        values, vectors = _iterated(graph, block, random, monitor)
    kept = min(rank, int(np.sum(values > 1e-6 * max(values[0], 1e-30)))) if len(values) else 0
    return values[:kept], np.ascontiguousarray(vectors[:, :kept], dtype=np.float32)


def _dense(graph: Graph, rank: int) -> tuple[FloatArray, FloatArray]:
    """By a dense solver, in one thread: its digits depend on the number of threads."""
    with parallel.single_threaded_blas():
        s = (graph.by_item.astype(np.float64) @ graph.by_user.astype(np.float64)).toarray()
        values, vectors = linalg.eigh(s, subset_by_index=(len(s) - rank, len(s) - 1))
    return values[::-1], vectors[:, ::-1]


def _iterated(
    graph: Graph, block: int, random: np.random.Generator, monitor: Monitor | None
) -> tuple[FloatArray, FloatArray]:
    """By Chebyshev-filtered subspace iteration."""
    start = random.standard_normal((graph.by_user.shape[1], block), dtype=np.float32)
    values, vectors = _rotated(graph, graph.smooth(start))
    for done in range(ROUNDS):
        values, vectors = _rotated(graph, _filtered(graph, vectors, values))
        if monitor is not None and monitor.progress(done + 1, ROUNDS):
            break
    return values, vectors


def _filtered(graph: Graph, panel: FloatArray, values: FloatArray) -> FloatArray:
    """``T_m(2 S / cut - I) panel``: at most 1 on the eigenvalues in [0, cut], large above.

    ``cut`` is the smallest of the approximate eigenvalues ``values``. The degree m is such that the largest one
    grows by no more than float32 bears.
    """
    cut = max(float(values[-1]), 1e-3 * float(values[0]))
    steepness = np.arccosh(max(2 * float(values[0]) / cut - 1, 1 + 1e-9))
    degree = int(np.clip(np.log(2 * _GROWTH) // steepness, 1, DEGREE))
    before: FloatArray = panel
    now: FloatArray = graph.smooth(panel) * np.float32(2 / cut) - panel
    for _ in range(degree - 1):
        after = graph.smooth(now)
        after *= np.float32(4 / cut)
        after -= 2 * now
        after -= before
        before, now = now, after
    return now


def _rotated(graph: Graph, panel: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ritz values, falling, and vectors (orthonormal) of S in the span of ``panel`` (n, k) (Rayleigh and Ritz).

    Fewer than k, where its columns depend on one another.
    """
    panel /= np.maximum(np.linalg.norm(panel, axis=0), np.float32(1e-30))
    with parallel.single_threaded_blas():
        sizes, basis = linalg.eigh(_gram(panel))
        kept = sizes > 1e-6 * sizes[-1]
        basis = basis[:, kept] / np.sqrt(sizes[kept])
        values, turn = linalg.eigh(basis.T @ _gram(product(graph.by_user, panel)) @ basis)
        turn = np.ascontiguousarray((basis @ turn)[:, ::-1], dtype=np.float32)
    out = np.empty((len(panel), turn.shape[1]), dtype=np.float32)

    def rotate(rows: slice) -> None:
        np.matmul(panel[rows], turn, out=out[rows])

    parallel.run(rotate, parallel.blocks(len(panel), _TALL))
    return values[::-1], out


def _gram(panel: FloatArray) -> FloatArray:
    """(k, k) float64 ``panel' panel``, summed over fixed blocks in order."""
    parts = parallel.run(
        lambda rows: (panel[rows].T @ panel[rows]).astype(np.float64), parallel.blocks(len(panel), _TALL)
    )
    return np.asarray(np.sum(parts, axis=0))


@njit(cache=True, nogil=True, fastmath={"contract"})
def _product(indptr, indices, data, panel, out, start, stop):  # type: ignore[no-untyped-def]
    """Four entries at a time: each sum is read and written a quarter as often."""
    for r in range(start, stop):
        row, p, end = out[r], indptr[r], indptr[r + 1]
        row[:] = 0
        while p + 4 <= end:
            a, b, c, d = data[p], data[p + 1], data[p + 2], data[p + 3]
            first, second = panel[indices[p]], panel[indices[p + 1]]
            third, fourth = panel[indices[p + 2]], panel[indices[p + 3]]
            for j in range(row.shape[0]):
                row[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j]
            p += 4
        for q in range(p, end):
            a, first = data[q], panel[indices[q]]
            for j in range(row.shape[0]):
                row[j] += a * first[j]

"""Many sparse regressions at once: each item explained by the others, by coordinate descent.

For each item j, over w with w[j] = 0::

    minimize  1/2 |x_j - X w|^2 + 1/2 sum_i (reg + dropout / (1 - dropout) |x_i|^2) w[i]^2 + l1 |w|_1

J. Friedman et al., "Regularization Paths for Generalized Linear Models via Coordinate Descent", JSS 2010, section 2:
each step solves for one weight, and the residual ``x_j - X w`` follows. Steps cost the events of one item, and no
product of items is held. In a small catalogue all products ``X'X`` are, and the gradient ``X'(x_j - X w)`` follows:
a step that changes nothing then costs nothing. Once every candidate has been visited, passes see only the
weights that are not 0, until these have settled and another pass over all finds nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.kernels import njit
from recsmith.models.linear.spd import gram
from recsmith.models.neighbors.similarity import Matrix, SimilarityConfig, largest, nearest, row_lengths
from recsmith.protocols import Monitor
from recsmith.types import FloatArray, IntArray, Shape

_COSINE = SimilarityConfig(similarity="cosine", weighting="none")
_ITEMS = (
    32  # regressions of one task, fewer where there are so many items that their weights need much memory
)
_WEIGHTS = 4_000_000  # weights that one task has room for
_STREAMED = 8  # entries of a row of products that cost as much as an event at a random place
_SMALL = 5_000  # items up to which their products are held: 200 MB at most
_TASKS = 64  # tasks between two reports of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Regressions:
    """What is asked of the regressions."""

    reg: float  #: L2 penalty, >= 0
    dropout: float = 0.0  #: in [0, 1): the L2 penalty that dropping such a share of X would be
    l1: float = 0.0  #: L1 penalty, >= 0
    non_negative: bool = False  #: whether weights must be >= 0
    candidates: int | None = None  #: only the items of the largest cosine may have a weight; None: all may
    kept: int | None = None  #: weights kept of each regression, the largest in absolute value; None: all
    epochs: int  #: passes over the weights of an item at most
    tolerance: float  #: the change of a weight, as a share of the largest, at which a regression ends

    def solve(self, data: Dataset, monitor: Monitor | None = None) -> Matrix:
        """(n_items, n_items) float32 CSR, [i, j]: the weight of item i in the regression of item j.

        Where ``monitor`` stops it, the items that are left have no weights.
        """
        x = data.matrix("weight")
        columns, n = sparse.csr_array(x.T), data.n_items
        squares = np.bincount(x.indices, weights=x.data.astype(np.float64) ** 2, minlength=n)
        allowed = self._allowed(x, columns)
        products = _products(x) if n <= _SMALL else np.zeros((0, 0))
        room = min(self.kept or n, self.candidates or n, n)
        penalty = self.reg + self.dropout / (1 - self.dropout) * squares
        how = (penalty, self.l1, self.non_negative, self.epochs, self.tolerance, room)

        def block(rows: slice) -> tuple[IntArray, IntArray, FloatArray]:
            found: tuple[IntArray, IntArray, FloatArray] = _regress(
                x.indptr, x.indices, x.data, columns.indptr, columns.indices, columns.data, squares,
                products, allowed.indptr, allowed.indices, *how, rows.start, rows.stop,
            )  # fmt: skip
            return found

        nothing = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))
        found = [nothing]
        tasks = parallel.blocks(n, max(1, min(_ITEMS, _WEIGHTS // max(n, 1))))
        for start in range(0, len(tasks), _TASKS):
            found += parallel.run(block, tasks[start : start + _TASKS])
            if monitor is not None and monitor.progress(min(start + _TASKS, len(tasks)), len(tasks)):
                break
        counts, ids, values = (np.concatenate([f[part] for f in found]) for part in range(3))
        counts = np.append(counts, np.zeros(n - len(counts), dtype=np.int64))
        by_target = sparse.csr_array((values, ids, np.append(0, np.cumsum(counts))), shape=(n, n))
        return sparse.csr_array(by_target.T)

    def visited(self, shape: Shape) -> tuple[float, float]:
        """Candidates of all regressions, and the work of a pass over them: what the cost depends on.

        Without a choice of candidates, non-negative weights know those that are met in common histories; items with
        many events are met by most.
        """
        n = float(shape.n_items)
        met = n**2
        if self.non_negative or self.candidates is not None:
            met = min(3.0 * shape.n_events**2 / max(shape.n_users, 1), met)
        if self.candidates is not None:
            met = min(met, n * self.candidates)
        work = min(4.0 * shape.n_events / max(n, 1.0), float(shape.n_users))
        return met, met * (min(work, n / _STREAMED) if n <= _SMALL else work)

    def _allowed(self, x: Matrix, columns: Matrix) -> Matrix:
        """Row j: the candidates of item j; no rows where the kernel is to find them."""
        n, k = x.shape[1], self.candidates
        if k is not None and k < n - 1:
            return nearest(columns, x, row_lengths(columns, _COSINE), _COSINE, k, np.arange(n))
        return sparse.csr_array((0, n), dtype=np.float32)


def _products(x: Matrix) -> FloatArray:
    """(n, n) float64 ``X'X``."""
    lower = gram(x)
    lower += np.tril(lower, -1).T
    return lower


@njit(cache=True, nogil=True)
def _regress(  # type: ignore[no-untyped-def]
    indptr, items, data, t_indptr, t_users, t_data, squares, products, a_indptr, a_items,
    penalty, l1, non_negative, epochs, tolerance, k, start, stop,
):  # fmt: skip
    """The regressions of items ``start:stop``: (counts (b,), ids (m,), weights (m,)), sorted by id."""
    n, small = len(squares), len(products) > 0
    together, w = np.zeros(n), np.zeros(n)
    residual = np.zeros(0 if small else len(indptr) - 1)
    candidates, active = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    strength, kept = np.empty(n, dtype=np.float32), np.empty(k, dtype=np.float32)
    counts = np.zeros(stop - start, dtype=np.int64)
    ids = np.empty((stop - start) * k, dtype=np.int32)
    out = np.empty((stop - start) * k, dtype=np.float32)
    filled = 0
    for j in range(start, stop):
        if small:
            together[:] = products[j]
        else:
            for p in range(t_indptr[j], t_indptr[j + 1]):
                residual[t_users[p]] = t_data[p]
        if len(a_indptr) > 1:
            m = a_indptr[j + 1] - a_indptr[j]
            candidates[:m] = a_items[a_indptr[j] : a_indptr[j + 1]]
        elif small:
            m = _above(j, together, squares, l1 if non_negative else -np.inf, candidates)
        elif non_negative:  # X w can only take away from what an item has in common with j
            m = _met(j, indptr, items, data, t_indptr, t_users, t_data, together, l1, candidates)
        else:
            m = _above(j, squares, squares, 0.0, candidates)
        if small:
            _descend_small(
                products, together, w, candidates, m, active, penalty, l1, non_negative, epochs, tolerance
            )
        else:
            _descend(
                t_indptr, t_users, t_data, squares, residual, w, candidates, m, active,
                penalty, l1, non_negative, epochs, tolerance,
            )  # fmt: skip
            for p in range(t_indptr[j], t_indptr[j + 1]):
                residual[t_users[p]] = 0.0
        m = _nonzero(t_indptr, t_users, residual, w, candidates, m)
        for a in range(m):
            strength[a] = abs(w[candidates[a]])
        count = largest(candidates, strength, m, k, ids[filled:], kept)
        for a in range(count):
            out[filled + a] = w[ids[filled + a]]
        for a in range(m):
            w[candidates[a]] = 0.0
        counts[j - start] = count
        filled += count
    return counts, ids[:filled].copy(), out[:filled].copy()


@njit(cache=True, nogil=True)
def _met(  # type: ignore[no-untyped-def]
    j, indptr, items, data, t_indptr, t_users, t_data, together, l1, candidates
):
    """Items whose product with item j is above ``l1``, into ``candidates``; returns how many."""
    m = 0
    for p in range(t_indptr[j], t_indptr[j + 1]):
        u = t_users[p]
        for q in range(indptr[u], indptr[u + 1]):
            i, product = items[q], np.float64(t_data[p]) * data[q]
            if (
                together[i] == 0 and product > 0
            ):  # an event of weight 0 says nothing, and must not be met twice
                candidates[m] = i
                m += 1
            together[i] += product
    met = 0
    for a in range(m):
        i = candidates[a]
        if i != j and together[i] > l1:
            candidates[met] = i
            met += 1
        together[i] = 0.0
    return met


@njit(cache=True, nogil=True)
def _above(j, values, squares, least, candidates):  # type: ignore[no-untyped-def]
    """Items with an event, other than j, whose value is above ``least``, into ``candidates``; returns how many."""
    m = 0
    for i in range(len(squares)):
        if i != j and squares[i] > 0 and values[i] > least:
            candidates[m] = i
            m += 1
    return m


@njit(cache=True, nogil=True)
def _descend(  # type: ignore[no-untyped-def]
    t_indptr, t_users, t_data, squares, residual, w, candidates, m, active,
    penalty, l1, non_negative, epochs, tolerance,
):  # fmt: skip
    """Coordinate descent from w = 0; ``residual`` follows."""
    all_of_them, n_active = True, 0
    for _ in range(epochs):
        visited = candidates[:m] if all_of_them else active[:n_active]
        most, change = 0.0, 0.0
        for i in visited:
            before, product = w[i], 0.0
            for p in range(t_indptr[i], t_indptr[i + 1]):
                product += residual[t_users[p]] * t_data[p]
            after = _shrunk(product + squares[i] * before, l1, non_negative) / (squares[i] + penalty[i])
            if after != before:
                w[i] = after
                for p in range(t_indptr[i], t_indptr[i + 1]):
                    residual[t_users[p]] -= (after - before) * t_data[p]
            change = max(change, abs(after - before))
            most = max(most, abs(after))
        settled = change <= tolerance * most
        if settled and all_of_them:
            return
        if all_of_them:
            n_active = _active(w, visited, active)
        all_of_them = settled


@njit(cache=True, nogil=True)
def _descend_small(  # type: ignore[no-untyped-def]
    products, gradient, w, candidates, m, active, penalty, l1, non_negative, epochs, tolerance
):
    """As ``_descend``; ``gradient`` follows, and between passes over all the active weights settle on their own."""
    left = epochs
    while left > 0:
        left -= 1
        most, change = _pass(products, gradient, w, candidates[:m], penalty, l1, non_negative)
        if change <= tolerance * most:
            return
        few = active[: _active(w, candidates[:m], active)]
        own, moved = np.empty((len(few), len(few))), np.empty(len(few))
        for a in range(len(few)):
            for b in range(len(few)):
                own[a, b] = products[few[a], few[b]]
            moved[a] = w[few[a]]
        w_few, gradient_few, penalty_few = moved.copy(), gradient[few], penalty[few]
        every = np.arange(len(few))
        while left > 0:
            left -= 1
            most, change = _pass(own, gradient_few, w_few, every, penalty_few, l1, non_negative)
            if change <= tolerance * most:
                break
        for a in range(len(few)):
            w[few[a]] = w_few[a]
            if w_few[a] != moved[a]:
                _subtract(gradient, products[few[a]], w_few[a] - moved[a])


@njit(cache=True, nogil=True)
def _pass(products, gradient, w, visited, penalty, l1, non_negative):  # type: ignore[no-untyped-def]
    """One pass over ``visited``; returns the largest weight and the largest change."""
    most, change = 0.0, 0.0
    for i in visited:
        before, square = w[i], products[i, i]
        after = _shrunk(gradient[i] + square * before, l1, non_negative) / (square + penalty[i])
        if after != before:
            w[i] = after
            _subtract(gradient, products[i], after - before)
        change = max(change, abs(after - before))
        most = max(most, abs(after))
    return most, change


@njit(cache=True, nogil=True, fastmath={"contract"})
def _subtract(gradient, row, step):  # type: ignore[no-untyped-def]
    for q in range(len(row)):
        gradient[q] -= step * row[q]


@njit(cache=True, nogil=True)
def _active(w, visited, active):  # type: ignore[no-untyped-def]
    """Those of ``visited`` with a weight, into ``active``; returns how many."""
    n = 0
    for i in visited:
        if w[i] != 0:
            active[n] = i
            n += 1
    return n


@njit(cache=True, nogil=True, inline="always")
def _shrunk(value, l1, non_negative):  # type: ignore[no-untyped-def]
    if value > l1:
        return value - l1
    if value < -l1 and not non_negative:
        return value + l1
    return 0.0


@njit(cache=True, nogil=True)
def _nonzero(t_indptr, t_users, residual, w, candidates, m):  # type: ignore[no-untyped-def]
    """Move the candidates with a weight to the front, in the order of items; clear ``residual`` where it is used."""
    kept = 0
    for a in range(m):
        i = candidates[a]
        if w[i] != 0:
            candidates[kept] = i
            kept += 1
        if len(residual):
            for p in range(t_indptr[i], t_indptr[i + 1]):
                residual[t_users[p]] = 0.0
    candidates[:kept].sort()
    return kept

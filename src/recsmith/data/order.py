"""Sorting and counting by user without comparing: the counts say where an event goes. Linear in the log."""

from __future__ import annotations

import numpy as np

from recsmith import parallel
from recsmith.kernels import njit
from recsmith.types import FloatArray, IntArray

_USERS = 1 << 16  # users whose pairs are counted together


def by_user_and_time(user: IntArray, time: IntArray | None, n_users: int) -> tuple[IntArray, IntArray]:
    """Rows in the order of (user, time, row), and where each user's begin.

    Parameters
    ----------
    user
        (m,) indices in ``0 .. n_users - 1``.
    time
        (m,) times, or None where the order of the rows stands for them. A log that is in the order of time
        already, as most are written, is not sorted again.

    Returns
    -------
    tuple of (m,) int64 and (n_users + 1,) int64
        What ``np.lexsort((time, user))`` gives, and the bounds of the users in it.
    """
    in_time = time is None or not len(time) or bool(_rising(time))
    rows = np.zeros(0, dtype=np.int64) if in_time else np.argsort(time, kind="stable")  # type: ignore[arg-type]
    offsets = np.zeros(n_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(user, minlength=n_users), out=offsets[1:])
    order = np.empty(len(user), dtype=np.int64)
    _place(user, rows, offsets[:-1].copy(), order)
    return order, offsets


def pair_totals(offsets: IntArray, item: IntArray, weight: FloatArray | None, n_items: int) -> FloatArray:
    """(m,) float64 sum of the weights (None: number of events) of the pair that each event belongs to.

    ``offsets`` (n_users + 1,) are the bounds of the users in ``item`` and ``weight`` (m,).
    """
    totals = np.empty(len(item), dtype=np.float64)
    given = np.ones(0, dtype=np.float32) if weight is None else weight

    def block(users: slice) -> None:
        _totals(offsets, item, given, np.zeros(n_items), totals, users.start, users.stop)

    parallel.run(block, parallel.blocks(len(offsets) - 1, _USERS))
    return totals


@njit(cache=True, nogil=True)
def _rising(values):  # type: ignore[no-untyped-def]
    for i in range(1, len(values)):  # noqa: SIM110 (compiled)
        if values[i] < values[i - 1]:
            return False
    return True


@njit(cache=True, nogil=True)
def _place(user, rows, at, order):  # type: ignore[no-untyped-def]
    """Each row to the next free place of its user, in the order of ``rows`` (empty: as they are)."""
    for i in range(len(user)):
        row = rows[i] if len(rows) else i
        u = user[row]
        order[at[u]] = row
        at[u] += 1


@njit(cache=True, nogil=True)
def _totals(offsets, item, weight, total, totals, start, stop):  # type: ignore[no-untyped-def]
    for u in range(start, stop):
        for e in range(offsets[u], offsets[u + 1]):
            total[item[e]] += weight[e] if len(weight) else np.float64(1)
        for e in range(offsets[u], offsets[u + 1]):
            totals[e] = total[item[e]]
        for e in range(offsets[u], offsets[u + 1]):
            total[item[e]] = 0

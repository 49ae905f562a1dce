"""A ridge regression of the reward on the context for each item, kept up to date by rank-one updates.

For an item with contexts x and rewards r: ``A = reg I + sum x x'`` and ``theta = A^-1 sum r x``. A reward changes the
inverse by the formula of Sherman and Morrison, and theta with it; nothing is inverted::

    v = A^-1 x,  s = 1 + x' v,  theta += v (r - x' theta) / s,  A^-1 -= v v' / s

Of the symmetric inverse the lower triangle is kept, row after row: then ``x' A^-1 x`` is one scalar product with the
products ``x_i x_j``, which are made once for each request.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import ParameterError
from recsmith.kernels import njit
from recsmith.models.bandits.policy import BasePolicy, Beliefs
from recsmith.models.bandits.triangle import diagonal, dot, less, products, times
from recsmith.protocols import Evidence
from recsmith.types import FloatArray, IntArray, Queries, State

UNSEEN, NONE = -1, -2  # in place of the row of a candidate: it had no reward; it is none
_REQUESTS, _CANDIDATES = 16, 32  # looked at together: their numbers stay in the cache


class LinearConfig(Config):
    """Parameters that all linear policies share."""

    reg: float = Field(default=1.0, gt=0)
    """Ridge penalty, > 0: the larger, the less a first reward says."""
    intercept: bool = True
    """Whether a 1 is put behind the context, so that each item has a level of its own."""


L = TypeVar("L", bound=LinearConfig)


class LinearPolicy(BasePolicy[L]):
    """What is believed of a candidate is the mean of its reward in this context, and how uncertain it is.

    Memory is ``4 d (d + 3)`` bytes for each item that ever had a reward, with d the width of the context.
    """

    needs = Evidence.CONTEXT
    by_item: ClassVar[tuple[str, ...]] = ("items_", "thetas_", "inverses_")  #: learned, a row for each item
    learned = by_item
    items_: IntArray  #: (a,) int32 item of each row below, in the order of their first rewards
    thetas_: FloatArray  #: (a, d) float64 weights, perhaps with room for more rows
    inverses_: FloatArray  #: (a, d (d + 1) / 2) float64 lower triangles of the inverses, likewise
    _row: IntArray  # (n_items,) int32 row of an item, -1 for one that never had a reward

    def forget(self) -> None:
        """Go back to no rewards, and to contexts of any width."""
        self.items_ = np.zeros(0, dtype=np.int32)
        self.thetas_, self.inverses_ = np.zeros((0, 0)), np.zeros((0, 0))
        self._row = np.zeros(0, dtype=np.int32)

    def contexts(self, queries: Queries) -> FloatArray:
        """(n, d) float64 contexts, with a 1 behind them where there is an intercept.

        Raises
        ------
        ParameterError
            None are given, they are not finite, or their width is not that of those learned from.
        """
        owner, given = type(self).__name__, queries.context
        if given is None:
            raise ParameterError.of(owner, "queries.context", "given, (n, d) features of the moment", given)
        ones = np.ones((len(given), int(self.config.intercept)))
        found = np.concatenate([np.asarray(given, dtype=np.float64), ones], axis=1)
        known = self.thetas_.shape[1]
        if len(self.items_) and found.shape[1] != known:
            wanted = f"of width {known - self.config.intercept}, as those learned from"
            raise ParameterError.of(owner, "queries.context", wanted, given.shape[1])
        if not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
            raise ParameterError.of(owner, "queries.context", "finite", f"row {row}: {given[row]}")
        return found

    def _beliefs(self, queries: Queries, candidates: IntArray) -> Beliefs:
        contexts = self.contexts(queries)
        mean, variance = np.zeros(candidates.shape), np.zeros(candidates.shape)
        known = rows_of(self._row, candidates)
        _believe(contexts, known, self.thetas_, self.inverses_, self.config.reg, mean, variance)
        return mean, np.maximum(variance, 0.0)

    def _learn(self, queries: Queries, rows: IntArray, items: IntArray, rewards: FloatArray) -> None:
        contexts = self.contexts(queries)
        self._make_room(items, contexts.shape[1])
        _follow(contexts, rows, self._row[items], rewards, self.thetas_, self.inverses_)

    def _make_room(self, items: IntArray, width: int) -> None:
        """A row for each item that has none."""
        if (more := int(items.max()) + 1 - len(self._row)) > 0:
            self._row = np.pad(self._row, (0, more), constant_values=-1)
        fresh = items[self._row[items] < 0]
        if not len(fresh):
            return
        distinct, first = np.unique(fresh, return_index=True)
        distinct, had = distinct[np.argsort(first)], len(self.items_)
        self.items_ = np.concatenate([self.items_, distinct.astype(np.int32)])
        self._row[distinct] = np.arange(had, len(self.items_))
        self._widen(had, len(self.items_), width)

    def _widen(self, had: int, rows: int, width: int) -> None:
        """Room for ``rows`` items of which ``had`` are there."""
        self.thetas_ = grown(self.thetas_, had, rows, (width,))
        self.inverses_ = grown(self.inverses_, had, rows, (width * (width + 1) // 2,))
        self.inverses_[had:rows, diagonal(width)] = 1 / self.config.reg

    def state(self) -> State:
        """Everything learned, without the room for more."""
        n = len(self.items_)
        arrays = {name: getattr(self, name) for name in self.learned}
        return State({name: (a[:n] if name in self.by_item else a).copy() for name, a in arrays.items()})

    def _check_state(self, arrays: dict[str, Any]) -> None:
        items, thetas, inverses = arrays["items_"], arrays["thetas_"], arrays["inverses_"]
        wide = thetas.shape[-1]
        fits = items.ndim == 1 and thetas.shape == (len(items), wide)
        if not fits or inverses.shape != (len(items), wide * (wide + 1) // 2):
            raise ValueError("items_, thetas_ and inverses_ of a linear policy do not fit together")
        if len(items) and (items.min() < 0 or len(np.unique(items)) < len(items)):
            raise ValueError("items_ of a linear policy must be distinct and >= 0")
        self._row = np.full(int(items.max(initial=-1)) + 1, -1, dtype=np.int32)
        self._row[items] = np.arange(len(items))


def grown(array: FloatArray, had: int, rows: int, shape: tuple[int, ...]) -> FloatArray:
    """The first ``had`` rows of an array with room for ``rows``; it doubles, so that many single ones cost little."""
    if rows <= len(array) and array.shape[1:] == shape:
        return array
    new = np.zeros((max(rows, 2 * had), *shape))
    if had:
        new[:had] = array[:had]
    return new


def rows_of(row: IntArray, candidates: IntArray) -> IntArray:
    """Row of each candidate, -1 for an item without rewards, -2 where there is no candidate."""
    missing = np.where(candidates < 0, NONE, UNSEEN)
    if not len(row):
        return missing
    known = (candidates >= 0) & (candidates < len(row))
    return np.where(known, row[np.where(known, candidates, 0)], missing)


@njit(cache=True, nogil=True)
def _believe(contexts, rows, thetas, inverses, reg, mean, variance):  # type: ignore[no-untyped-def]
    """Some requests and some candidates at a time: requests that share candidates read each triangle once."""
    n, width = contexts.shape
    m = rows.shape[1]
    pairs = np.empty((min(n, _REQUESTS), width * (width + 1) // 2))
    for first in range(0, n, _REQUESTS):
        last = min(first + _REQUESTS, n)
        for r in range(first, last):
            products(contexts[r], pairs[r - first])
        for low in range(0, m, _CANDIDATES):
            for r in range(first, last):
                x = contexts[r]
                for c in range(low, min(low + _CANDIDATES, m)):
                    row = rows[r, c]
                    if row >= 0:
                        mean[r, c] = dot(thetas[row], x)
                        variance[r, c] = dot(inverses[row], pairs[r - first])
                    elif row == UNSEEN:
                        variance[r, c] = dot(x, x) / reg


@njit(cache=True, nogil=True)
def _follow(contexts, asked, rows, rewards, thetas, inverses):  # type: ignore[no-untyped-def]
    v = np.empty(contexts.shape[1])
    for e in range(len(rows)):
        x, row = contexts[asked[e]], rows[e]
        times(inverses[row], x, v)
        s = 1.0 + dot(x, v)
        step = (rewards[e] - dot(thetas[row], x)) / s
        for i in range(len(v)):
            thetas[row, i] += step * v[i]
        less(inverses[row], v, s)

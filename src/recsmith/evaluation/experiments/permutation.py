"""Permutation test of the studentized difference: exact where the variant changes nothing, however skewed users are.

A. Janssen, Statistics & Probability Letters 36, 1997, and E. Chung, J. Romano, Annals of Statistics 41(2), 2013: of a
difference in standard errors, the permutation test is exact where the groups have one distribution, and keeps its
level for many users where they have only one mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recsmith import parallel
from recsmith.evaluation.experiments.nulls import Nulls, bound
from recsmith.evaluation.significance import Interval
from recsmith.kernels import njit
from recsmith.types import FloatArray

_AT_ONCE = 250  # draws per task
_LEAST_ERROR = 1e-12  # relative to a difference, where users vary in neither group
_TIES = 1e-9  # relative to a statistic: equal ones may differ by rounding


@dataclass(frozen=True, slots=True, eq=False)
class Permutations:
    """A line of hypotheses, and what random groups of the same sizes give.

    Sums are of base, base squared, shift, base times shift, shift squared; they say the statistic of every ``t``.
    """

    nulls: Nulls
    drawn: FloatArray  #: (draws, 5) float64, sums over a random group of the variant's size
    observed: FloatArray  #: (5,) over the variant's users
    total: FloatArray  #: (5,) over all users

    def p(self) -> float:
        """Two-sided p-value of "nothing differs": twice the smaller of the two tails."""
        return min(1.0, 2 * min(self._tail(1.0, 0.0, side) for side in (-1, 1)))

    def interval(self, alpha: float, step: float) -> Interval:
        """The ``t`` that are not rejected; NaN where that is a range without an end.

        Parameters
        ----------
        alpha
            One minus the level.
        step
            Standard error of the estimate, about.
        """
        if not min(self._tail(0.0, 1.0, side) for side in (-1, 1)) < alpha / 2:
            return Interval(math.nan, math.nan)
        low, high = (
            bound(lambda t, s=-side: math.log(self._tail(1.0, t, s)), alpha / 2, self.nulls.estimate, side * step)  # type: ignore[misc]
            for side in (-1, 1)
        )  # fmt: skip
        return Interval(low, high)

    def _tail(self, base: float, shift: float, side: int) -> float:
        """Share of draws whose statistic is at least as far to one side as that of the groups, these among them."""
        values, seen = (side * self._statistic(sums, base, shift) for sums in (self.drawn, self.observed))
        beyond = int((values >= seen - _TIES * abs(seen)).sum())
        return (beyond + 1) / (len(self.drawn) + 1)

    def _statistic(self, sums: FloatArray, base: float, shift: float) -> FloatArray:
        """The difference in its standard errors, each group with its own variance."""
        m = int(self.nulls.treated.sum())
        n = len(self.nulls.base) - m
        mean, variance = [], []
        for size, of in ((m, sums), (n, self.total - sums)):
            first = base * of[..., 0] - shift * of[..., 2]
            second = base**2 * of[..., 1] - 2 * base * shift * of[..., 3] + shift**2 * of[..., 4]
            centred = second - first**2 / size
            mean.append(first / size)
            variance.append(np.where(centred > _TIES * second, centred, 0.0) / (size - 1) / size)
        difference = mean[0] - mean[1]
        error = np.sqrt(variance[0] + variance[1]) + _LEAST_ERROR * np.abs(difference)
        return difference / np.where(error > 0, error, 1.0)


def permuted(lines: tuple[Nulls, Nulls], *, draws: int, seed: int) -> tuple[Permutations, Permutations]:
    """Two lines over the same users, with the same random groups; equal seeds draw equal ones.

    Parameters
    ----------
    lines
        Hypotheses with one base, as ``Nulls.of`` gives them.
    draws
        Random groups, >= 1.
    seed
        Equal seeds give equal digits for any number of threads.
    """
    base, treated = lines[0].base, lines[0].treated
    shifts = [line.shift for line in lines]
    columns = np.column_stack([base, base * base, *(part for b in shifts for part in (b, base * b, b * b))])
    observed, total = columns[treated].sum(axis=0), columns.sum(axis=0)
    n, m = len(base), int(treated.sum())
    drawn = np.empty((draws, columns.shape[1]))

    def block(rows: slice) -> None:
        _draw(columns, min(m, n - m), np.random.default_rng([seed, rows.start]), drawn[rows])

    parallel.run(block, parallel.blocks(draws, _AT_ONCE))
    if m > n - m:
        drawn = total - drawn
    difference, lift = (
        Permutations(line, *(sums[..., [0, 1, *own]] for sums in (drawn, observed, total)))
        for line, own in zip(lines, ((2, 3, 4), (5, 6, 7)), strict=True)
    )
    return difference, lift


@njit(cache=True, nogil=True)
def _draw(columns, size, rng, out):  # type: ignore[no-untyped-def]
    """Sums of ``columns`` over random ``size`` of the rows, a draw for each row of ``out``."""
    n = len(columns)
    order = np.arange(n)
    out[:] = 0.0
    for draw in range(len(out)):
        for first in range(size):
            other = first + int(rng.random() * (n - first))
            order[first], order[other] = order[other], order[first]
            for column in range(columns.shape[1]):
                out[draw, column] += columns[order[first], column]

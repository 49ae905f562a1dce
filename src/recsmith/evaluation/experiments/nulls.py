"""Null hypotheses under which it is chance alone which group a user is in.

Users are assigned at random. If the variant changes nothing, a user's value is the same in either group, and the
difference of the groups is that of a random draw: of these users, with these values, however skewed they are. "The
difference is ``t``" is the same hypothesis once ``t`` is taken from every treated user, and "the lift is ``t``" once
every user of the control is raised by it. Each of the two is a line of values, ``base - t shift``, so a test of
"nothing differs" also bounds the difference and the lift: the ``t`` that it does not reject (M. Ernst, Statistical
Science 19(4), 2004, section 3).

Values are influences on a pooled figure (see ``contrast``), so means and ratios, adjusted by a covariate or not, are
one case.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import optimize

from recsmith.evaluation.experiments.units import Group
from recsmith.types import BoolArray, FloatArray

LogP = Callable[[float], float]
"""Logarithm of the p-value of one hypothesis of a line."""
_DOUBLINGS = 60
_PRECISION = 1e-6  # of a bound, in standard errors


@dataclass(frozen=True, slots=True, eq=False)
class Nulls:
    """A line of hypotheses: under the one of ``t``, ``base - t shift`` is the same for a user in either group."""

    base: FloatArray  #: (n,) float64, adding up to 0
    shift: FloatArray  #: (n,) float64, adding up to 0
    treated: BoolArray  #: (n,) in the variant's group

    @classmethod
    def of(cls, groups: tuple[Group, Group], theta: float) -> tuple[Self, Self]:
        """The hypotheses on the difference, and those on the lift, of control and variant.

        Parameters
        ----------
        groups
            Users of the control and of the variant, by one metric.
        theta
            Factor of the covariate, 0 without one.
        """
        control, variant = groups
        both = control.joined(variant)
        treated = np.repeat([False, True], [len(control.total), len(variant.total)])
        ones = np.ones_like(both.total)
        count = ones if both.count is None else both.count
        base = _influence(both.total, count)
        if theta and both.before is not None:
            base = base - theta * _influence(
                both.before, ones if both.before_count is None else both.before_count
            )
        difference = _influence(treated * count, count)
        lift = -_influence(~treated * both.total, count)
        return cls(base, difference, treated), cls(base, lift, treated)

    @property
    def estimate(self) -> float:
        """The ``t`` at which the groups do not differ."""
        return float(self.base[self.treated].sum() / self.shift[self.treated].sum())

    def values(self, base: float, shift: float) -> FloatArray:
        """(n,) ``base`` times the values of no difference, minus ``shift`` times the shift."""
        return base * self.base - shift * self.shift

    def skewness(self) -> float:
        """Skewness of the difference of the groups under "nothing differs".

        That of one user's value, times ``|n - m| / sqrt(n m (n + m))`` for groups of ``n`` and ``m``: at equal groups
        the two skewnesses cancel. 0 without variance.
        """
        squares = float(np.mean(self.base**2))
        if not squares > 0:
            return 0.0
        m = int(self.treated.sum())
        n = len(self.base) - m
        of_a_user = abs(float(np.mean(self.base**3))) / math.pow(squares, 1.5)
        return of_a_user * abs(n - m) / math.sqrt(n * m * (n + m))


def bound(log_p: LogP, alpha: float, start: float, step: float) -> float:
    """The ``t`` at which a p-value crosses ``alpha``; NaN where none is found.

    Parameters
    ----------
    log_p
        Of ``t``; it falls in the direction of ``step``.
    start, step
        Where the search begins, and how far it goes at first: away from 0 towards the bound.
    """
    level = math.log(alpha)

    def above(t: float) -> float:
        return log_p(t) - level

    inside = above(start) >= 0
    step = step if inside else -step
    near = start
    for _ in range(_DOUBLINGS):
        far = start + step
        if (above(far) >= 0) != inside:
            return float(optimize.brentq(above, near, far, xtol=_PRECISION * abs(step) + 1e-300))
        near, step = far, 2 * step
    return math.nan


def _influence(total: FloatArray, count: FloatArray) -> FloatArray:
    """How each user moves the pooled figure."""
    influence: FloatArray = (total - total.sum() / count.sum() * count) / count.mean()
    return influence

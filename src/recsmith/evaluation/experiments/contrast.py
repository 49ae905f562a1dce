"""Two groups of users compared: from what each user did to a difference, its variance, its test and its interval.

A figure is a mean over users or a ratio of two sums. Either way a user moves it by a quantity of its own, the influence
``z_i = (y_i - r d_i) / mean(d)`` with ``r = sum(y) / sum(d)`` and ``d = 1`` for a mean, and the variance of the figure
is ``var(z) / n``: the delta method (A. Deng, U. Knoblich, J. Lu, KDD 2018, section 3). A covariate from before the
experiment has influences ``u_i`` likewise, and CUPED (A. Deng, Y. Xu, R. Kohavi, T. Walker, WSDM 2013, appendix B
for ratios) takes ``z_i - theta u_i``. So means and ratios, adjusted or not, are one case.

All fields may be arrays over many experiments at once: the functions work element by element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from scipy import special, stats

from recsmith.types import FloatArray

Number: TypeAlias = Any
"""A float, or an array of floats over experiments."""
_ROUNDING = 1e-12  # of a variance, relative to what it was computed from


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """What one group says of a metric: figures, and the variances of one user's influence on them."""

    n: Number  #: users
    value: Number  #: mean, or ratio of sums
    variance: Number  #: of z, with n - 1 below the line
    before: Number = 0.0  #: the covariate's figure
    before_variance: Number = 0.0  #: of u
    covariance: Number = 0.0  #: of z and u

    @classmethod
    def of(
        cls,
        total: FloatArray,
        count: FloatArray | None = None,
        before: FloatArray | None = None,
        before_count: FloatArray | None = None,
    ) -> Self:
        """Figures of users on the last axis.

        Parameters
        ----------
        total, count
            (..., n) what each user adds above and below the line; without ``count`` a mean over users.
        before, before_count
            The covariate likewise.
        """
        n = total.shape[-1]
        if not n:
            return cls(0, np.nan, np.float64(np.nan))
        value, z = _influence(total, count)
        degrees = n - 1 if n > 1 else np.nan
        variance = _square_sum(z, total) / degrees
        if before is None:
            return cls(n, value, variance)
        covariate, u = _influence(before, before_count)
        before_variance = _square_sum(u, before) / degrees
        return cls(n, value, variance, covariate, before_variance, (z * u).sum(axis=-1) / degrees)

    @property
    def degrees(self) -> Number:
        """Degrees of freedom of the variances."""
        return np.asarray(self.n) - 1

    def adjusted_variance(self, theta: Number) -> Number:
        """Of ``z - theta u``."""
        left = self.variance - theta * (2 * self.covariance - theta * self.before_variance)
        return np.where(left > _ROUNDING * self.variance, left, 0.0 * self.variance)


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Treatment minus control."""

    difference: Number
    variance: Number  #: of the difference
    degrees: Number  #: of freedom, by Welch and Satterthwaite
    users: Number  #: of both groups
    baseline: Number  #: the control's figure, not adjusted
    baseline_variance: Number
    covariance: Number  #: of difference and baseline

    @classmethod
    def of(cls, control: Arm, treatment: Arm, theta: Number = 0.0) -> Self:
        """The difference of two independent groups, adjusted by ``theta`` times that of the covariate.

        B. L. Welch, Biometrika 34, 1947, for the degrees of freedom.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ours = control.adjusted_variance(theta) / control.n
            theirs = treatment.adjusted_variance(theta) / treatment.n
            degrees = (ours + theirs) ** 2 / (ours**2 / control.degrees + theirs**2 / treatment.degrees)
        return cls(
            difference=treatment.value - control.value - theta * (treatment.before - control.before),
            variance=ours + theirs,
            degrees=degrees,
            users=np.asarray(control.n) + treatment.n,
            baseline=control.value,
            baseline_variance=control.variance / control.n,
            covariance=-(control.variance - theta * control.covariance) / control.n,
        )

    @property
    def error(self) -> Number:
        """Standard error of the difference."""
        return np.sqrt(self.variance)

    def p(self) -> Number:
        """Two-sided p-value of Welch's t; NaN without variance."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return 2 * special.stdtr(self.degrees, -np.abs(self.difference) / self.error)

    def quantile(self, alpha: float) -> Number:
        """Standard errors to each side of the difference that hold it with probability ``1 - alpha``."""
        return special.stdtrit(self.degrees, 1 - alpha / 2)

    def mixture_p(self, planned: float, alpha: float) -> Number:
        """P-value for any number of looks at many users, each group with its own variance.

        One over the likelihood ratio of a normal mixture of effects against none (R. Johari, P. Koomen, L. Pekelis,
        D. Walsh, KDD 2017), with the variance as estimated (I. Waudby-Smith, D. Arbour, R. Sinha, E. Kennedy,
        A. Ramdas, Annals of Statistics 52, 2024). For few users Welch's t is replaced by the normal deviate that has
        its tail. It does not hold by itself where users are skewed or a group is small: see ``sequential``.
        """
        k = self.mixture(planned, alpha)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(self.difference) / self.error
        z = -special.ndtri(special.stdtr(self.degrees, -t))
        return np.exp(-np.maximum(z**2 * k / (2 * (1 + k)) - np.log1p(k) / 2, 0.0))

    def quantile_of_mixture(self, planned: float, alpha: float) -> Number:
        """Standard errors to each side that hold the difference at all looks together: the same test, inverted.

        Infinite long before the planned users.
        """
        tail = special.ndtr(-mixture_quantile(self.mixture(planned, alpha), alpha))
        return np.abs(special.stdtrit(self.degrees, tail))

    def mixture(self, planned: float, alpha: float) -> Number:
        """Variance of the mixture over effects, in variances of the difference.

        It grows with the users, ``k = users rho^2``, and ``rho`` makes the interval narrowest at ``planned`` users.
        ``planned`` must not be chosen by the data.
        """
        return best_mixture(alpha) * np.asarray(self.users) / planned

    def interval(self, quantile: Number) -> tuple[Number, Number]:
        """Bounds ``quantile`` standard errors to each side; NaN without variance."""
        half = np.where(self.variance > 0, quantile * self.error, np.nan)
        return self.difference - half, self.difference + half

    def lift(self) -> Number:
        """The difference relative to the control; NaN unless the control is above 0."""
        positive = np.asarray(self.baseline) > 0
        return np.where(positive, self.difference, np.nan) / np.where(positive, self.baseline, 1.0)

    def lift_interval(self, quantile: Number) -> tuple[Number, Number]:
        """Fieller's bounds of the lift (E. C. Fieller, JRSS B 16, 1954).

        The lifts ``l`` for which ``difference - l baseline`` is within ``quantile`` of its standard errors of 0. NaN
        where the control cannot be told from 0, since there the set has no end, and without variance.
        """
        square = quantile**2
        a = self.baseline**2 - square * self.baseline_variance
        b = self.difference * self.baseline - square * self.covariance
        c = self.difference**2 - square * self.variance
        bounded = (a > 0) & (np.asarray(self.baseline) > 0) & (self.variance > 0)
        root = np.sqrt(np.maximum(b * b - a * c, 0.0))
        below = np.where(bounded, a, 1.0)
        low, high = ((b + sign * root) / below for sign in (-1, 1))
        return np.where(bounded, low, np.nan), np.where(bounded, high, np.nan)


def best_mixture(alpha: float) -> float:
    """The variance of the mixture, in variances of the difference, with which the interval is narrowest.

    ``-1 - W(-alpha^2 / e)`` with the lower branch of Lambert's W (S. Howard, A. Ramdas, J. McAuliffe, J. Sekhon,
    Annals of Statistics 49, 2021, proposition 3).
    """
    return float(-1 - special.lambertw(-(alpha**2) / np.e, k=-1).real)


def mixture_quantile(k: Number, alpha: float) -> Number:
    """Standard errors to each side of an always-valid interval whose mixture has ``k`` variances."""
    return np.sqrt((1 + 1 / k) * (2 * np.log(1 / alpha) + np.log1p(k)))


def cuped_theta(arms: Sequence[Arm]) -> Number:
    """The factor that takes the most variance out: pooled covariance by pooled variance, within the groups.

    Deng et al. 2013, section 3.2. 0 where the covariate does not vary.
    """
    covariance = sum(arm.degrees * arm.covariance for arm in arms)
    variance = np.asarray(sum(arm.degrees * arm.before_variance for arm in arms), dtype=np.float64)
    return np.where(variance > 0, covariance, 0.0) / np.where(variance > 0, variance, 1.0)


def proportions_p(control: Arm, treatment: Arm) -> Number:
    """Two-sided p-value of the z-test of two proportions with pooled variance, Pearson's chi-square."""
    pooled = (control.n * control.value + treatment.n * treatment.value) / (control.n + treatment.n)
    variance = pooled * (1 - pooled) * (1 / np.asarray(control.n) + 1 / np.asarray(treatment.n))
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * stats.norm.sf(np.abs(treatment.value - control.value) / np.sqrt(variance))


def proportions_interval(control: Arm, treatment: Arm, alpha: float) -> tuple[Number, Number]:
    """Bounds of the difference of two proportions out of Wilson's of each.

    R. G. Newcombe, Statistics in Medicine 17, 1998, method 10.
    """
    low_c, high_c = _wilson(control, alpha)
    low_t, high_t = _wilson(treatment, alpha)
    c, t = control.value, treatment.value
    low = t - c - np.sqrt((t - low_t) ** 2 + (high_c - c) ** 2)
    high = t - c + np.sqrt((high_t - t) ** 2 + (c - low_c) ** 2)
    return low, high


def _wilson(arm: Arm, alpha: float) -> tuple[Number, Number]:
    z = stats.norm.isf(alpha / 2)
    middle = (arm.value + z**2 / (2 * arm.n)) / (1 + z**2 / arm.n)
    half = z * np.sqrt(arm.value * (1 - arm.value) / arm.n + z**2 / (4 * arm.n**2)) / (1 + z**2 / arm.n)
    return middle - half, middle + half


def _influence(total: FloatArray, count: FloatArray | None) -> tuple[Number, FloatArray]:
    """A figure, and how each user moves it; NaN where nothing is below the line."""
    if count is None:
        value = total.mean(axis=-1)
        return value, total - value[..., None]
    below = count.mean(axis=-1)
    below = np.where(below > 0, below, np.nan)
    value = total.mean(axis=-1) / below
    return value, (total - value[..., None] * count) / below[..., None]


def _square_sum(influence: FloatArray, values: FloatArray) -> Number:
    """Sum of squares; 0 where it is nothing but the rounding of equal values."""
    squares = (influence * influence).sum(axis=-1)
    return np.where(squares <= _ROUNDING**2 * (values * values).sum(axis=-1), 0.0 * squares, squares)

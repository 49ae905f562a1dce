"""How one difference is tested: the method that was chosen, or the one that its users call for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np

from recsmith.errors import ParameterError
from recsmith.evaluation.experiments.contrast import Arm, Contrast, proportions_interval, proportions_p
from recsmith.evaluation.experiments.nulls import Nulls
from recsmith.evaluation.experiments.permutation import permuted
from recsmith.evaluation.experiments.result import Method, RowMethod
from recsmith.evaluation.experiments.sequential import always_valid_bounds, always_valid_p
from recsmith.evaluation.experiments.units import Group, Metric
from recsmith.evaluation.significance import Interval, percentiles, replicates

FEW = 5
"""Users of the rarer outcome in a group for the z-test of proportions; and of other than the most frequent value for an
interval of a permutation or always-valid test, which shifts or scales the values that were seen."""
MOST_SKEWNESS = 355**-0.5
"""Skewness of a difference up to which Welch's t is used.

For one mean ``n >= 355 skewness^2`` users are asked for, which keeps each tail of 2.5 % of the t interval within .25 %
(R. Kohavi, A. Deng, R. Longbotham, Y. Xu, KDD 2014, rule 7; D. Boos, J. Hughes-Oliver, American Statistician 54, 2000):
a skewness of the mean of ``355^-1/2`` at most.
"""
_UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Settings:
    """How effects are tested."""

    method: Method
    planned_users: int
    alpha: float
    resamples: int
    seed: int

    def check(self) -> None:
        """Refuse a method that does not exist and numbers out of range.

        Raises
        ------
        ParameterError
            One is.
        """
        if self.method not in get_args(Method):
            raise ParameterError.unknown("method", self.method, get_args(Method))
        for name, expected, good in (
            ("alpha", "in (0, 1)", 0 < self.alpha < 1),
            ("planned_users", ">= 4", self.planned_users >= 4),
            ("resamples", ">= 100", self.resamples >= 100),
        ):
            if not good:
                raise ParameterError.of("analyze", name, expected, getattr(self, name))


@dataclass(frozen=True, eq=False)
class Pair:
    """Control and variant by one metric."""

    metric: Metric
    groups: tuple[Group, Group]
    arms: tuple[Arm, Arm]
    theta: float  #: factor of the covariate, 0 without one

    @cached_property
    def contrast(self) -> Contrast:
        """Variant minus control, adjusted."""
        return Contrast.of(*self.arms, self.theta)

    @cached_property
    def nulls(self) -> tuple[Nulls, Nulls]:
        """Hypotheses on the difference, and on the lift."""
        return Nulls.of(self.groups, self.theta)

    @cached_property
    def informative(self) -> int:
        """Users of the smaller group by this count: those with another value than the most frequent one."""
        values, counts = np.unique(np.concatenate([group.total for group in self.groups]), return_counts=True)
        usual = values[counts.argmax()]
        return min(int((group.total != usual).sum()) for group in self.groups)

    @cached_property
    def rough(self) -> str:
        """Why a normal distribution does not hold for the difference; empty where it does."""
        if self.metric.kind == "proportion":
            rarer = min(arm.n * min(arm.value, 1 - arm.value) for arm in self.arms)
            if rarer < FEW:
                return f"fewer than {FEW} users of the rarer outcome in a group"
        skewness = self.nulls[0].skewness()
        if skewness > MOST_SKEWNESS:
            return f"the difference is skewed: {skewness:.2g}, above {MOST_SKEWNESS:.3f}"
        return ""


@dataclass(frozen=True, slots=True)
class Tested:
    """What one method says of one difference."""

    method: RowMethod
    p: float
    interval: Interval
    lift_interval: Interval


def tested(pair: Pair, settings: Settings) -> Tested:
    """The difference of a pair whose contrast has a variance, by the method of the settings."""
    method = settings.method
    if method == "auto":
        method = "permutation" if pair.rough else "t"
    if method == "bootstrap":
        return _bootstrap(pair, settings)
    if method == "permutation":
        return _permutation(pair, settings)
    if method == "sequential":
        return _sequential(pair, settings)
    return _t(pair, settings.alpha)


def _t(pair: Pair, alpha: float) -> Tested:
    """Welch's test, or the z-test of two proportions."""
    contrast = pair.contrast
    quantile = contrast.quantile(alpha)
    lift = _bounds(contrast.lift_interval(quantile))
    if pair.metric.kind == "proportion":
        interval = _bounds(proportions_interval(*pair.arms, alpha))
        return Tested("t", float(proportions_p(*pair.arms)), interval, lift)
    return Tested("t", float(contrast.p()), _bounds(contrast.interval(quantile)), lift)


def _permutation(pair: Pair, settings: Settings) -> Tested:
    """Random groups of the same sizes; the same ones for the difference and the lift."""
    lines = permuted(pair.nulls, draws=settings.resamples, seed=settings.seed)
    intervals = (
        _UNKNOWN if math.isnan(step) else line.interval(settings.alpha, step)
        for line, step in zip(lines, _steps(pair), strict=True)
    )
    return Tested("permutation", lines[0].p(), *intervals)


def _sequential(pair: Pair, settings: Settings) -> Tested:
    contrast, planned, alpha = pair.contrast, settings.planned_users, settings.alpha
    quantile = contrast.quantile_of_mixture(planned, alpha)
    mixtures = (_bounds(contrast.interval(quantile)), _bounds(contrast.lift_interval(quantile)))
    intervals = (
        _UNKNOWN if math.isnan(step) else always_valid_bounds(nulls, mixture, step, planned, alpha)
        for nulls, mixture, step in zip(pair.nulls, mixtures, _steps(pair), strict=True)
    )
    return Tested("sequential", always_valid_p(pair.nulls[0], contrast, planned, alpha), *intervals)


def _steps(pair: Pair) -> tuple[float, float]:
    """Standard errors of difference and lift; NaN for that which has no interval."""
    error, baseline = float(pair.contrast.error), float(pair.arms[0].value)
    if pair.informative < FEW:
        return math.nan, math.nan
    return error, error / baseline if baseline > 0 else math.nan


def _bootstrap(pair: Pair, settings: Settings) -> Tested:
    """Each group's users are drawn by themselves; the covariate goes with its user, and theta stays."""
    drawn = [
        replicates(group.samples(), resamples=settings.resamples, seed=2 * settings.seed + number)
        for number, group in enumerate(pair.groups)
    ]
    difference = drawn[1][:, 0] - drawn[0][:, 0]
    if pair.theta:
        difference = difference - pair.theta * (drawn[1][:, 1] - drawn[0][:, 1])
    level, baseline = 1 - settings.alpha, drawn[0][:, 0]
    lift = percentiles(difference / baseline, level) if (baseline > 0).all() else _UNKNOWN
    below, above = (difference <= 0).sum(), (difference >= 0).sum()
    p = min(1.0, 2 * (min(below, above) + 1) / (settings.resamples + 1))
    return Tested("bootstrap", float(p), percentiles(difference, level), lift)


def _bounds(pair: tuple[Any, Any]) -> Interval:
    return Interval(float(pair[0]), float(pair[1]))

"""Before an experiment: how many users, which effect, what power, how many days."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from scipy import optimize, stats

from recsmith.data.sources.files import read_table
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.experiments.contrast import best_mixture, cuped_theta, mixture_quantile
from recsmith.evaluation.experiments.units import Kind, Metric, group_of, numbers
from recsmith.tables import Table

POWER = 0.8
_MOST_USERS = 1e15
_CERTAIN = 9.0  # standard errors: what is beyond has a probability below 1e-18, and the noncentral t is not sound there
_NORMAL_DEGREES = 1e6  # from where the noncentral t is a normal to seven digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a metric is like without the treatment."""

    value: float  #: of the mean, the proportion or the ratio
    sd: float  #: of one user's influence on it: for a mean his standard deviation
    kind: Kind = "mean"

    @classmethod
    def of_mean(cls, mean: float, sd: float, *, correlation: float = 0.0) -> Self:
        """A mean over users; ``correlation`` with a covariate from before takes variance out (CUPED).

        Raises
        ------
        ParameterError
            Numbers that are not finite, ``sd`` not above 0, or a correlation outside (-1, 1).
        """
        _check("mean", mean, "a finite number", math.isfinite(mean))
        _check("sd", sd, "> 0", 0 < sd < math.inf)
        _check("correlation", correlation, "in (-1, 1)", -1 < correlation < 1)
        return cls(value=mean, sd=sd * math.sqrt(1 - correlation**2))

    @classmethod
    def of_proportion(cls, p: float) -> Self:
        """A share of users who do something.

        Raises
        ------
        ParameterError
            ``p`` outside (0, 1).
        """
        _check("proportion", p, "in (0, 1)", 0 < p < 1)
        return cls(value=p, sd=math.sqrt(p * (1 - p)), kind="proportion")

    @classmethod
    def of_users(cls, frame: Any, metric: Metric) -> Self:
        """What past users say, with a row for each; the metric's covariate takes variance out.

        Raises
        ------
        DataError
            A column that is missing or holds what it must not, or fewer than two users.
        ParameterError
            Users who do not vary.
        """
        table = read_table(frame)
        if len(table) < 2:
            raise DataError(f"A plan wants two past users or more. The frame has {len(table)}.")
        arm = group_of(numbers(table, [metric]), metric).arm()
        if metric.kind == "proportion":
            return cls.of_proportion(float(arm.value))
        variance = float(arm.adjusted_variance(cuped_theta([arm])))
        _check("frame", metric.name, "a metric by which users vary", variance > 0)
        return cls(value=float(arm.value), sd=math.sqrt(variance), kind=metric.kind)

    @classmethod
    def of_ratio(
        cls,
        *,
        mean: float,
        sd: float,
        count_mean: float,
        count_sd: float,
        correlation: float,
    ) -> Self:
        """A ratio of sums, ``mean / count_mean``, by the delta method.

        Parameters
        ----------
        mean, sd
            Of what a user adds above the line.
        count_mean, count_sd
            Of what he adds below it.
        correlation
            Of the two over users.

        Raises
        ------
        ParameterError
            Standard deviations below 0, ``count_mean`` not above 0, a correlation outside [-1, 1], or no variance.
        """
        _check("mean", mean, "a finite number", math.isfinite(mean))
        _check("sd", sd, ">= 0", 0 <= sd < math.inf)
        _check("count_mean", count_mean, "> 0", 0 < count_mean < math.inf)
        _check("count_sd", count_sd, ">= 0", 0 <= count_sd < math.inf)
        _check("correlation", correlation, "in [-1, 1]", -1 <= correlation <= 1)
        ratio = mean / count_mean
        variance = sd**2 - 2 * ratio * correlation * sd * count_sd + (ratio * count_sd) ** 2
        _check("sd", sd, "such that the ratio varies", variance > 0)
        return cls(value=ratio, sd=math.sqrt(variance) / count_mean, kind="ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Users, effect and power that belong together."""

    baseline: Baseline
    effect: float  #: absolute difference to be found
    power: float  #: of the comparison that has the fewest users
    alpha: float
    comparisons: int
    users: Mapping[str, int]  #: of each variant, the control first
    days: int | None
    sequential: bool = False  #: the power is that of the always-valid test at the last look

    @property
    def total(self) -> int:
        """Users of all variants."""
        return sum(self.users.values())

    @property
    def relative_effect(self) -> float:
        """The effect relative to the baseline; NaN at a baseline of 0."""
        return self.effect / self.baseline.value if self.baseline.value else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        relative = self.relative_effect
        return {
            "kind": self.baseline.kind,
            "baseline": self.baseline.value,
            "sd": self.baseline.sd,
            "effect": self.effect,
            "relative_effect": None if math.isnan(relative) else relative,
            "power": self.power,
            "alpha": self.alpha,
            "comparisons": self.comparisons,
            "users": dict(self.users),
            "total": self.total,
            "days": self.days,
            "sequential": self.sequential,
        }

    def __rich__(self) -> Table:
        rows = [
            ("baseline", self.baseline.value),
            ("effect", f"{self.effect:+.4g}"),
            ("effect, relative", f"{self.relative_effect:+.2%}"),
            ("power", f"{self.power:.1%}"),
            ("alpha", f"{self.alpha:g} in all, {self.comparisons} comparison{'s' * (self.comparisons > 1)}"),
            *((f"users of {name}", count) for name, count in self.users.items()),
            ("users in all", self.total),
        ]
        if self.days is not None:
            rows.append(("days", self.days))
        looks = "any number of looks" if self.sequential else "one look"
        return Table(
            f"Plan of an experiment on a {self.baseline.kind}, {looks}",
            ("", "value"),
            rows,
            numbers=("value",),
        )


def plan(
    baseline: Baseline,
    *,
    effect: float | None = None,
    relative: bool = False,
    users: int | None = None,
    power: float | None = None,
    alpha: float = 0.05,
    shares: Mapping[str, float] | Sequence[float] = (1.0, 1.0),
    comparisons: int | None = None,
    users_per_day: float | None = None,
    sequential: bool = False,
) -> Plan:
    """Solve for the one of users, effect and power that is not given.

    Two-sided tests. A mean or ratio by the noncentral t distribution with equal variances (J. Cohen, "Statistical
    Power Analysis", 1988, chapter 2); a proportion by the z-test with pooled variance under "no difference" and each
    group's own under the effect (J. Fleiss, B. Levin, M. Paik, "Statistical Methods for Rates and Proportions", 2003,
    chapter 4).

    Parameters
    ----------
    baseline
        What the metric is like without the treatment.
    effect
        Difference to be found, relative to the baseline with ``relative``; None: the smallest, upwards.
    users
        Of all variants together, two of each at least; None: as many as are needed.
    power
        Probability to find the effect, in (alpha, 1); None: 0.8, or solved for where effect and users are given.
    alpha
        Probability to find a difference where there is none, of all comparisons together, in (0, 1).
    shares
        Parts of the users, relative to one another, the control first; names are ``control, treatment, ...`` where
        none are given.
    comparisons
        Tests that share ``alpha`` (Bonferroni): variants beside the control times metrics; None: one metric.
    users_per_day
        New users on a day; gives ``days``.
    sequential
        The test is the always-valid one, with its interval narrowest at these users. The power is that of the last
        look; earlier ones add to it.

    Raises
    ------
    ParameterError
        All three are given, two are missing, or a number is out of range.
    """
    parts = _shares(shares)
    tests = len(parts) - 1 if comparisons is None else comparisons
    _check("comparisons", tests, ">= 1", tests >= 1)
    _check("alpha", alpha, "in (0, 1)", 0 < alpha < 1)
    _check("users", users, f">= {2 * len(parts)}", users is None or users >= 2 * len(parts))
    _check("users_per_day", users_per_day, "> 0", users_per_day is None or 0 < users_per_day < math.inf)
    design = _Design.of(baseline, parts, alpha / tests, sequential)
    given = (effect is not None) + (users is not None) + (power is not None)
    if given == 3 or (effect is None and users is None):
        raise ParameterError("plan solves for one of effect, users and power: give effect, users, or both.")
    wanted = POWER if power is None else power
    _check("power", wanted, f"above {design.alpha:g} and below 1", design.alpha < wanted < 1)
    if effect is not None:
        effect = _absolute(baseline, effect, relative)
        groups = _groups(parts, design.users(effect, wanted) if users is None else users)
    else:
        groups = _groups(parts, users or 0)
        effect = design.effect(groups, wanted)
    total = sum(groups.values())
    return Plan(
        baseline=baseline,
        effect=effect,
        power=design.power(groups, effect),
        alpha=alpha,
        comparisons=tests,
        users=groups,
        days=None if users_per_day is None else math.ceil(total / users_per_day),
        sequential=sequential,
    )


@dataclass(frozen=True, slots=True)
class _Design:
    """The comparison with the fewest users: the control beside the smallest other group."""

    baseline: Baseline
    control: str
    smallest: str
    shares: Mapping[str, float]  #: of all users, adding up to 1
    alpha: float  #: of one comparison
    sequential: bool

    @classmethod
    def of(cls, baseline: Baseline, parts: Mapping[str, float], alpha: float, sequential: bool) -> Self:
        control, *others = parts
        whole = sum(parts.values())
        shares = {name: part / whole for name, part in parts.items()}
        return cls(baseline, control, min(others, key=shares.__getitem__), shares, alpha, sequential)

    def power(self, users: Mapping[str, float], effect: float) -> float:
        """Probability to find ``effect``."""
        n, m = users[self.control], users[self.smallest]
        if self.sequential:
            return _power_of_always_valid(self.baseline, effect, n, m, self.alpha)
        if self.baseline.kind == "proportion":
            return _power_of_proportions(self.baseline.value, effect, n, m, self.alpha)
        return _power_of_means(effect / self.baseline.sd, n, m, self.alpha)

    def users(self, effect: float, power: float) -> int:
        """Users of all variants with which ``effect`` is found."""

        def missing(total: float) -> float:
            return self.power({name: total * share for name, share in self.shares.items()}, effect) - power

        least = 2 / min(self.shares.values())  # two of the smallest group
        return math.ceil(_crossing(missing, least, _MOST_USERS, "effect", effect))

    def effect(self, users: Mapping[str, float], power: float) -> float:
        """The smallest effect, upwards, that is found."""
        most = 1 - self.baseline.value if self.baseline.kind == "proportion" else self.baseline.sd * 1e6
        return _crossing(
            lambda effect: self.power(users, effect) - power, most * 1e-12, most, "users", sum(users.values())
        )


def _power_of_means(standardized: float, n: float, m: float, alpha: float) -> float:
    degrees = n + m - 2
    shift = abs(standardized) * math.sqrt(n * m / (n + m))
    bound = stats.t.isf(alpha / 2, degrees)
    if shift - bound > _CERTAIN:
        return 1.0
    if degrees > _NORMAL_DEGREES:
        return float(stats.norm.sf(bound - shift) + stats.norm.cdf(-bound - shift))
    other = stats.nct.cdf(-bound, degrees, shift) if shift < _CERTAIN / 2 else 0.0
    return float(stats.nct.sf(bound, degrees, shift) + other)


def _power_of_proportions(p: float, effect: float, n: float, m: float, alpha: float) -> float:
    other = p + effect
    pooled = (n * p + m * other) / (n + m)
    null = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    alternative = math.sqrt(p * (1 - p) / n + max(other * (1 - other), 0.0) / m)
    bound = stats.norm.isf(alpha / 2) * null
    return float(
        stats.norm.sf(bound - effect, scale=alternative) + stats.norm.cdf(-bound - effect, scale=alternative)
    )


def _power_of_always_valid(baseline: Baseline, effect: float, n: float, m: float, alpha: float) -> float:
    other = baseline.value + effect if baseline.kind == "proportion" else None
    variance = baseline.sd**2 if other is None else max(other * (1 - other), 0.0)
    shift = abs(effect) / math.sqrt(baseline.sd**2 / n + variance / m)
    bound = float(mixture_quantile(best_mixture(alpha), alpha))
    return float(stats.norm.sf(bound - shift) + stats.norm.cdf(-bound - shift))


def _crossing(function: Callable[[float], float], low: float, high: float, given: str, value: float) -> float:
    """Where a rising function reaches 0; ``low`` where it is there already."""
    if function(low) >= 0:
        return low
    if function(high) < 0:
        raise ParameterError.of("plan", given, "large enough for that power", value)
    root = optimize.brentq(lambda x: function(math.exp(x)), math.log(low), math.log(high), xtol=1e-12)
    return math.exp(root)


def _groups(parts: Mapping[str, float], total: float) -> dict[str, int]:
    """Whole users of each variant, none rounded down."""
    whole = sum(parts.values())
    return {name: max(2, math.ceil(total * part / whole - 1e-9)) for name, part in parts.items()}


def _shares(shares: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
    """Parts by name of the variant."""
    if not isinstance(shares, Mapping):
        others = [f"treatment {n}" for n in range(1, len(shares))] if len(shares) > 2 else ["treatment"]
        shares = dict(zip(["control", *others], shares, strict=len(shares) >= 2))
    _check("shares", list(shares.values()), "of two variants or more", len(shares) >= 2)
    _check("shares", dict(shares), "> 0", all(0 < share < math.inf for share in shares.values()))
    return dict(shares)


def _absolute(baseline: Baseline, effect: float, relative: bool) -> float:
    """The effect as a difference."""
    _check("effect", effect, "a finite number other than 0", math.isfinite(effect) and effect != 0)
    if relative:
        _check("effect", effect, "absolute where the baseline is 0", baseline.value != 0)
        effect *= abs(baseline.value)
    if baseline.kind == "proportion":
        _check(
            "effect",
            effect,
            f"such that {baseline.value:g} + effect is in [0, 1]",
            0 <= baseline.value + effect <= 1,
        )
    return effect


def _check(name: str, value: object, wanted: str, good: bool) -> None:
    if not good:
        raise ParameterError.of("plan", name, wanted, value)

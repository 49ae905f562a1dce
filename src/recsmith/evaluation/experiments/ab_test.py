"""After an experiment: which variant is better, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from recsmith.errors import ParameterError
from recsmith.evaluation.experiments.bayes import Belief, beta_belief, normal_belief
from recsmith.evaluation.experiments.contrast import (
    Arm,
    Contrast,
    cuped_theta,
    proportions_interval,
    proportions_p,
)
from recsmith.evaluation.experiments.result import ABResult, Correction, Effect, Method
from recsmith.evaluation.experiments.sample_ratio import sample_ratio
from recsmith.evaluation.experiments.units import Group, Metric, Units
from recsmith.evaluation.significance import (
    Interval,
    benjamini_hochberg,
    holm,
    percentiles,
    replicates,
    verdict,
)

PLANNED_USERS = 10_000
_FEW = 5  # of the rarer outcome in a group, for the z-test of proportions
_CORRECTIONS: Mapping[str, Callable[[Sequence[float]], list[float]]] = {
    "holm": holm,
    "benjamini-hochberg": benjamini_hochberg,
    "none": list,
}
_UNKNOWN = Interval(math.nan, math.nan)


def analyze(
    frame: Any,
    metrics: Sequence[Metric],
    *,
    control: str,
    variant: str = "variant",
    unit: str | None = "user_id",
    segment: str | None = None,
    shares: Mapping[str, float] | None = None,
    method: Method = "t",
    planned_users: int = PLANNED_USERS,
    correction: Correction = "holm",
    alpha: float = 0.05,
    resamples: int = 2000,
    seed: int = 0,
) -> ABResult:
    """Each variant beside the control by each metric, for all users and for each segment.

    Parameters
    ----------
    frame
        A row for each user, as polars, pandas, Arrow or the path of a file: the variant, and for each metric the
        sums over what the user did. ``recsmith.serving.logged.units`` makes it of the service's log.
    metrics
        Those that decide, one or more.
    control
        Name of the variant that others are compared with.
    variant, unit, segment
        Names of columns. Users of a ``unit`` column must be distinct; None: the rows are taken to be. A ``segment``
        must be known before the experiment.
    shares
        What part of the users each variant should have; None: equal parts.
    method
        ``"t"``: Welch's test, the delta method for ratios, for proportions the z-test with Newcombe's interval. It
        holds for one look at a moment fixed beforehand. ``"sequential"``: holds for any number of looks; its
        intervals are wider. ``"bootstrap"``: percentiles of ``resamples`` draws of users, for one look too.
    planned_users
        Users of two variants together at which the sequential intervals are narrowest. Fix it before the first look;
        they hold for any value.
    correction
        Of the p-values, for all rows together: ``"holm"`` for the chance of any false find, ``"benjamini-hochberg"``
        for the expected share of false finds, or ``"none"``. Intervals are not corrected.
    alpha
        Level of tests and intervals, in (0, 1).
    resamples, seed
        Of the bootstrap.

    Returns
    -------
    ABResult
        Where the sample ratio is broken, every verdict is ``"not to be trusted"``.

    Raises
    ------
    DataError
        A column that is missing or holds NaN, a denominator below 0, a proportion that is not 0 or 1, fewer than two
        variants or a variant of one user, and a user in two variants: two models on the same users are compared by
        ``recsmith.evaluation.compare``.
    ParameterError
        No metric or two of one name, an unknown control, method or correction, or a number out of range.
    """
    settings = _Settings(method, planned_users, alpha, resamples, seed)
    settings.check()
    _check_metrics(metrics)
    if correction not in get_args(Correction):
        raise ParameterError.unknown("correction", correction, get_args(Correction))
    units = Units.read(frame, metrics, control=control, variant=variant, unit=unit, segment=segment)
    ratio = sample_ratio(units.counts, shares)
    rows = [
        row
        for name, part in units.parts()
        for metric in metrics
        for row in _effects(metric, units.names, name, units.groups(metric, part), settings)
    ]
    return ABResult(
        control=control,
        method=method,
        correction=correction,
        alpha=alpha,
        planned_users=planned_users if method == "sequential" else None,
        sample_ratio=ratio,
        rows=tuple(_judged(rows, correction, alpha, metrics, broken=ratio.broken)),
    )


@dataclass(frozen=True, slots=True)
class _Settings:
    """How effects are tested."""

    method: Method
    planned_users: int
    alpha: float
    resamples: int
    seed: int

    def check(self) -> None:
        if self.method not in get_args(Method):
            raise ParameterError.unknown("method", self.method, get_args(Method))
        for name, wanted, good in (
            ("alpha", "in (0, 1)", 0 < self.alpha < 1),
            ("planned_users", ">= 4", self.planned_users >= 4),
            ("resamples", ">= 100", self.resamples >= 100),
        ):
            if not good:
                raise ParameterError.of("analyze", name, wanted, getattr(self, name))


@dataclass(frozen=True, slots=True)
class _Test:
    """What one method says of one difference."""

    p: float
    interval: Interval
    lift_interval: Interval


def _effects(
    metric: Metric, names: Sequence[str], segment: str, groups: Sequence[Group], settings: _Settings
) -> list[Effect]:
    """Every variant beside the control, in one segment."""
    arms = [group.arm() for group in groups]
    theta = float(cuped_theta([arm for arm in arms if arm.n > 1])) if metric.before is not None else 0.0
    found = []
    for number in range(1, len(names)):
        pair = (arms[0], arms[number])
        contrast = Contrast.of(*pair, theta)
        common: dict[str, Any] = {
            "metric": metric.name,
            "variant": names[number],
            "segment": segment,
            "users": (int(pair[0].n), int(pair[1].n)),
            "control": float(pair[0].value),
            "value": float(pair[1].value),
            "difference": float(contrast.difference),
            "lift": float(contrast.lift()),
        }
        if not contrast.variance > 0:
            found.append(_unknown(common, _obstacle(pair, contrast)))
            continue
        test = _test(metric, pair, (groups[0], groups[number]), contrast, theta, settings)
        belief = _belief(metric, pair, contrast)
        plain = Contrast.of(*pair).variance
        found.append(
            Effect(
                **common,
                interval=test.interval,
                lift_interval=test.lift_interval,
                p=test.p,
                p_corrected=math.nan,
                probability=belief.better,
                loss=belief.loss,
                variance_reduction=None if metric.before is None else float(1 - contrast.variance / plain),
                verdict="",
                note="; ".join(_cautions(metric, pair, test)),
            )
        )
    return found


def _test(
    metric: Metric,
    arms: tuple[Arm, Arm],
    groups: tuple[Group, Group],
    contrast: Contrast,
    theta: float,
    settings: _Settings,
) -> _Test:
    alpha, planned = settings.alpha, settings.planned_users
    if settings.method == "bootstrap":
        return _bootstrap(groups, theta, contrast, settings)
    if settings.method == "sequential":
        quantile = contrast.always_valid_quantile(planned, alpha)
        p = contrast.always_valid_p(planned, alpha)
        return _Test(
            float(p), _bounds(contrast.interval(quantile)), _bounds(contrast.lift_interval(quantile))
        )
    quantile = contrast.quantile(alpha)
    lift = _bounds(contrast.lift_interval(quantile))
    if metric.kind == "proportion":
        return _Test(float(proportions_p(*arms)), _bounds(proportions_interval(*arms, alpha)), lift)
    return _Test(float(contrast.p()), _bounds(contrast.interval(quantile)), lift)


def _bootstrap(groups: tuple[Group, Group], theta: float, contrast: Contrast, settings: _Settings) -> _Test:
    """Each group's users are drawn by themselves; the covariate goes with its user, and theta stays."""
    drawn = [
        replicates(group.samples(), resamples=settings.resamples, seed=2 * settings.seed + number)
        for number, group in enumerate(groups)
    ]
    difference = drawn[1][:, 0] - drawn[0][:, 0]
    if theta:
        difference = difference - theta * (drawn[1][:, 1] - drawn[0][:, 1])
    level, baseline = 1 - settings.alpha, drawn[0][:, 0]
    lift = percentiles(difference / baseline, level) if (baseline > 0).all() else _UNKNOWN
    below, above = (difference <= 0).sum(), (difference >= 0).sum()
    p = min(1.0, 2 * (min(below, above) + 1) / (settings.resamples + 1))
    return _Test(float(p), percentiles(difference, level), lift)


def _belief(metric: Metric, arms: tuple[Arm, Arm], contrast: Contrast) -> Belief:
    belief = beta_belief(*arms) if metric.kind == "proportion" else normal_belief(contrast)
    return belief.mirrored() if metric.smaller_is_better else belief


def _judged(
    rows: Sequence[Effect], correction: Correction, alpha: float, metrics: Sequence[Metric], *, broken: bool
) -> list[Effect]:
    """The rows with corrected p-values and verdicts."""
    tested = [row.p for row in rows if not math.isnan(row.p)]
    corrected = iter(_CORRECTIONS[correction](tested))
    smaller = {metric.name for metric in metrics if metric.smaller_is_better}
    out = []
    for row in rows:
        p = math.nan if math.isnan(row.p) else next(corrected)
        verdict = "not to be trusted" if broken else _verdict(row.difference, p, alpha, row.metric in smaller)
        out.append(replace(row, p_corrected=p, verdict=verdict))
    return out


def _verdict(difference: float, p: float, alpha: float, smaller_is_better: bool) -> str:
    if math.isnan(p):
        return "nothing can be said"
    return verdict(difference, p, alpha, smaller_is_better=smaller_is_better)


def _unknown(common: Mapping[str, Any], note: str) -> Effect:
    """An effect without an interval, and why."""
    rest: dict[str, Any] = dict.fromkeys(("p", "p_corrected", "probability", "loss"), math.nan)
    return Effect(
        **common, **rest, interval=_UNKNOWN, lift_interval=_UNKNOWN, variance_reduction=None, verdict="", note=note
    )  # fmt: skip


def _obstacle(arms: tuple[Arm, Arm], contrast: Contrast) -> str:
    """Why there is no interval."""
    if min(arm.n for arm in arms) < 2:
        return "fewer than two users in a group: no interval is possible"
    if math.isnan(contrast.variance):
        return "nothing below the line in a group: there is no ratio"
    return "no user of a group differs from another: no interval is possible"


def _cautions(metric: Metric, arms: tuple[Arm, Arm], test: _Test) -> Iterator[str]:
    """What to know of an effect that has an interval."""
    if not arms[0].value > 0:
        yield "the control is not above 0: there is a difference and no lift"
    elif math.isnan(test.lift_interval.low):
        yield "the control cannot be told from 0: the difference has an interval, and the lift has none"
    if metric.kind == "proportion" and min(arm.n * min(arm.value, 1 - arm.value) for arm in arms) < _FEW:
        yield f"fewer than {_FEW} users of the rarer outcome in a group: p is rough, look at P(better)"


def _bounds(pair: tuple[Any, Any]) -> Interval:
    return Interval(float(pair[0]), float(pair[1]))


def _check_metrics(metrics: Sequence[Metric]) -> None:
    if not metrics:
        raise ParameterError.of("analyze", "metrics", "one or more", [])
    kinds: dict[str, str] = {}
    for metric in metrics:
        if metric.name in kinds:
            raise ParameterError(
                f"Two metrics are named {metric.name!r}: a {kinds[metric.name]} and a {metric.kind}. A metric has the "
                "name of its column. Leave one out, or give the table the column a second time under another name."
            )
        kinds[metric.name] = metric.kind

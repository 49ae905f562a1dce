"""After an experiment: which variant is better, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from recsmith.errors import ParameterError
from recsmith.evaluation.experiments.bayes import Belief, beta_belief, normal_belief
from recsmith.evaluation.experiments.contrast import Arm, Contrast, cuped_theta
from recsmith.evaluation.experiments.methods import FEW, Pair, Settings, Tested, tested
from recsmith.evaluation.experiments.result import ABResult, Correction, Effect, Method
from recsmith.evaluation.experiments.sample_ratio import sample_ratio
from recsmith.evaluation.experiments.units import Group, Metric, Units
from recsmith.evaluation.significance import Interval, benjamini_hochberg, holm, verdict

PLANNED_USERS = 10_000
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
    method: Method = "auto",
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
        ``"auto"``: ``"t"``, or ``"permutation"`` for a row in which the difference is too skewed for it
        (``methods.MOST_SKEWNESS``) or a group has fewer than five users of the rarer outcome. For one look at a moment
        fixed beforehand, as are: ``"t"``, Welch's test, the delta method for ratios, for proportions the z-test with
        Newcombe's interval; ``"permutation"``, of the studentized difference, exact where the variant changes nothing;
        ``"bootstrap"``, percentiles of draws of users. ``"sequential"`` holds for any number of looks; its intervals
        are wider.
    planned_users
        Users of two variants together at which the sequential intervals are narrowest. Fix it before the first look;
        they hold for any value.
    correction
        Of the p-values, for all rows together: ``"holm"`` for the chance of any false find, ``"benjamini-hochberg"``
        for the expected share of false finds, or ``"none"``. Intervals are not corrected.
    alpha
        Level of tests and intervals, in (0, 1).
    resamples, seed
        Of the bootstrap and the permutation test.

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
    settings = Settings(method, planned_users, alpha, resamples, seed)
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


def _effects(
    metric: Metric, names: Sequence[str], segment: str, groups: Sequence[Group], settings: Settings
) -> list[Effect]:
    """Every variant beside the control, in one segment."""
    arms = [group.arm() for group in groups]
    theta = float(cuped_theta([arm for arm in arms if arm.n > 1])) if metric.before is not None else 0.0
    found = []
    for number in range(1, len(names)):
        pair = Pair(metric, (groups[0], groups[number]), (arms[0], arms[number]), theta)
        (control, treatment), contrast = pair.arms, pair.contrast
        common: dict[str, Any] = {
            "metric": metric.name,
            "variant": names[number],
            "segment": segment,
            "users": (int(control.n), int(treatment.n)),
            "control": float(control.value),
            "value": float(treatment.value),
            "difference": float(contrast.difference),
            "lift": float(contrast.lift()),
        }
        if not contrast.variance > 0:
            found.append(_unknown(common, _obstacle(pair.arms, contrast)))
            continue
        test, belief = tested(pair, settings), _belief(metric, pair.arms, contrast)
        plain = Contrast.of(*pair.arms).variance
        found.append(
            Effect(
                **common,
                method=test.method,
                interval=test.interval,
                lift_interval=test.lift_interval,
                p=test.p,
                p_corrected=math.nan,
                probability=belief.better,
                loss=belief.loss,
                variance_reduction=None if metric.before is None else float(1 - contrast.variance / plain),
                verdict="",
                note="; ".join(_cautions(pair, test, settings.method)),
            )
        )
    return found


def _belief(metric: Metric, arms: tuple[Arm, Arm], contrast: Contrast) -> Belief:
    belief = beta_belief(*arms) if metric.kind == "proportion" else normal_belief(contrast)
    return belief.mirrored() if metric.smaller_is_better else belief


def _judged(
    rows: Sequence[Effect], correction: Correction, alpha: float, metrics: Sequence[Metric], *, broken: bool
) -> list[Effect]:
    """The rows with corrected p-values and verdicts."""
    known = [row.p for row in rows if not math.isnan(row.p)]
    corrected = iter(_CORRECTIONS[correction](known))
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
    rest |= dict.fromkeys(("interval", "lift_interval"), _UNKNOWN)
    return Effect(**common, **rest, method=None, variance_reduction=None, verdict="", note=note)


def _obstacle(arms: tuple[Arm, Arm], contrast: Contrast) -> str:
    """Why there is no interval."""
    if min(arm.n for arm in arms) < 2:
        return "fewer than two users in a group: no interval is possible"
    if math.isnan(contrast.variance):
        return "nothing below the line in a group: there is no ratio"
    return "no user of a group differs from another: no interval is possible"


def _cautions(pair: Pair, test: Tested, method: Method) -> Iterator[str]:
    """What to know of an effect that was tested."""
    if math.isnan(test.interval.low):
        few = f"a group has {pair.informative} users with another value than the most frequent one, expected {FEW}"
        why = (
            few
            if pair.informative < FEW
            else "no difference, however large, can be excluded with so few users"
        )
        yield f"p holds, and an interval would not: {why}"
    elif not pair.arms[0].value > 0:
        yield "the control is not above 0: there is a difference and no lift"
    elif math.isnan(test.lift_interval.low):
        yield "the control cannot be told from 0: the difference has an interval, and the lift has none"
    if pair.rough:
        rough = "" if pair.metric.kind == "proportion" else "; P(better) and loss are rough"
        if test.method in ("t", "bootstrap"):
            yield f"{pair.rough}: p and intervals are rough; the method auto takes the permutation test{rough}"
        elif method == "auto":
            yield f"{pair.rough}: tested by permutation{rough}"


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

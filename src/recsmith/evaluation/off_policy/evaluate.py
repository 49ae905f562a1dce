"""What a target policy would have earned: every estimator from one pass over the log, with intervals and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from scipy.special import ndtri

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.off_policy import estimators as known
from recsmith.evaluation.off_policy import slates, tuning
from recsmith.evaluation.off_policy.estimators import Estimator, Terms, influence, value
from recsmith.evaluation.off_policy.logged import LoggedBandit
from recsmith.evaluation.off_policy.result import Estimate, OffPolicyResult, Overlap, notes_on
from recsmith.evaluation.off_policy.rounds import Rounds, Target
from recsmith.evaluation.off_policy.slates import LoggedSlates
from recsmith.evaluation.off_policy.tuning import Rule
from recsmith.evaluation.significance import Interval, Sample, replicates
from recsmith.types import FloatArray

Method: TypeAlias = Literal["bootstrap", "normal"]
METHODS = ("bootstrap", "normal")
_LEAST_RESAMPLES = 100
MOST_OUTSIDE = 0.1  #: of the target's probability that may lie outside the log's support


def evaluate_policy(
    log: LoggedBandit,
    target: Target,
    *,
    rewards: FloatArray | None = None,
    estimators: Iterable[str] | None = None,
    parameters: Mapping[str, float | Sequence[float]] | None = None,
    rule: Rule = "slope",
    intervals: Method = "bootstrap",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    most_outside: float = MOST_OUTSIDE,
) -> OffPolicyResult:
    """Estimate the mean reward of a round, had the target policy chosen the actions.

    Parameters
    ----------
    log
        n rounds of the policy that ran.
    target, rewards
        Probabilities of the target policy and predicted rewards, as ``Rounds.of`` takes them. Without ``rewards``
        (see ``cross_fitted``) there are the estimators that need none.
    estimators
        Names of ``ESTIMATORS``; None: all that can be had.
    parameters
        Estimator -> the value of its parameter, or candidates of which ``rule`` chooses. Of the others the candidates
        are ``tuning.grid``.
    rule
        ``"slope"`` or ``"mse"``, see ``tuned``.
    intervals
        ``"bootstrap"``: percentiles over rounds drawn with replacement (over units, where the log has them), the
        normalization drawn too. ``"normal"``: the delta method. Of an estimate that is biased on this log there is
        none: ``dm``, those with a parameter, and ``replay`` where the log is not uniform.
    most_outside
        Share, in [0, 1], of the target's probability that may lie outside the log's support: on other actions where
        the logged one was certain; or on actions never shown, where the mean weight is below 1 by more than chance.

    Raises
    ------
    DataError
        The log cannot speak for the target: no overlap, or too much of its probability outside.
    ParameterError
        An unknown name or rule, a parameter of an estimator that was not asked for, predicted rewards missing, arrays
        of another shape, numbers out of range; ``resamples`` is at least 100.
    """
    _check(intervals, level, resamples, most_outside)
    rounds = Rounds.of(log, target, rewards)
    chosen = known.choose(estimators, model=rounds.predicted is not None)
    given = dict(parameters or {})
    _check_given(given, chosen)
    overlap = overlap_of(rounds)
    if any(one.weighted for one in chosen.values()):
        _check_overlap(overlap, most_outside)
    values = {name: _parameter(one, name, given, rounds, rule) for name, one in chosen.items()}
    terms = {
        name: one.terms(rounds) if values[name] is None else one.terms(rounds, values[name])
        for name, one in chosen.items()
    }
    found = judged({**terms, "logged": (rounds.sample(rounds.reward),)}, intervals, level, resamples, seed)
    biases = _biases(log, chosen)
    named = [
        replace(
            one,
            interval=None if one.estimator in biases else one.interval,
            parameter=_said(chosen[one.estimator], values[one.estimator]),
        )
        for one in found[:-1]
    ]
    return OffPolicyResult(
        estimates=tuple(named), logged=found[-1], overlap=overlap, level=level, method=intervals,
        notes=(*notes_on(overlap), *_without_interval(biases)),
    )  # fmt: skip


def evaluate_slates(
    log: LoggedSlates,
    *,
    estimators: Sequence[str] | None = None,
    intervals: Method = "bootstrap",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    most_outside: float = MOST_OUTSIDE,
) -> OffPolicyResult:
    """Estimate the mean reward of a whole list, had the target policy made the lists.

    Parameters
    ----------
    log
        Slots with the probabilities of both policies.
    estimators
        Names of ``SLATE_ESTIMATORS``; None: all that can be had.
    intervals, level, resamples, seed, most_outside
        As of ``evaluate_policy``; lists are drawn.

    Raises
    ------
    DataError
        The log cannot speak for the target's lists.
    ParameterError
        An unknown name, predictions missing, numbers out of range.
    """
    _check(intervals, level, resamples, most_outside)
    chosen = slates.choose(estimators, model=log.predicted is not None and log.expected is not None)
    terms = {name: one(log) for name, one in chosen.items()}
    whole = log.whole
    error = _error((Sample(whole, np.ones(len(whole))),))
    overlap = _of_weights(whole, error, float(log.impossible.mean()))
    _check_outside(overlap, most_outside)
    if overlap.effective == 0 and "slate-ips" in chosen:
        raise DataError(
            f"No overlap: the target would have made none of the {overlap.rounds:,} lists as they were. Ask for "
            "independent-ips or interaction-ips alone."
        )
    found = judged({**terms, "logged": (log.per_list(log.reward),)}, intervals, level, resamples, seed)
    return OffPolicyResult(
        estimates=tuple(found[:-1]), logged=found[-1], overlap=overlap, level=level, method=intervals, per="list",
        notes=tuple(notes_on(overlap, "list")),
    )  # fmt: skip


def judged(
    terms: Mapping[str, Terms], intervals: Method, level: float, resamples: int, seed: int
) -> list[Estimate]:
    """Values, standard errors and intervals of sums of ratios; one draw of the units serves all of them."""
    errors = {name: _error(parts) for name, parts in terms.items()}
    values = {name: value(parts) for name, parts in terms.items()}
    if intervals == "normal":
        z = float(ndtri((1 + level) / 2))
        bounds = {n: Interval(values[n] - z * errors[n], values[n] + z * errors[n]) for n in terms}
    else:
        bounds = _bootstrap(terms, level, resamples, seed)
    return [Estimate(name, values[name], bounds[name], errors[name]) for name in terms]


def overlap_of(rounds: Rounds) -> Overlap:
    """Effective sample size, largest and mean weight, and what the log cannot or does not show of the target."""
    error = _error((rounds.sample(rounds.weight),))
    return _of_weights(rounds.weight, error, float(rounds.impossible.mean()), float(rounds.unseen.mean()))


def _of_weights(weight: FloatArray, error: float, impossible: float, unseen: float = 0.0) -> Overlap:
    squares = float(weight @ weight)
    return Overlap(
        rounds=len(weight),
        effective=float(weight.sum()) ** 2 / squares if squares else 0.0,
        largest=float(weight.max()),
        mean=float(weight.mean()),
        mean_error=error,
        impossible=impossible,
        unseen=unseen,
    )


def _biases(log: LoggedBandit, chosen: Mapping[str, Estimator]) -> dict[str, str]:
    """Estimator -> what biases it on this log."""
    found = {name: one.bias for name, one in chosen.items() if one.bias is not None}
    if "replay" in chosen and float(np.ptp(log.propensity)) > 1e-9:
        found["replay"] = "the log, which is not uniform"
    return found


def _without_interval(biases: Mapping[str, str]) -> list[str]:
    """Why estimates have no interval, a sentence for each reason."""
    return [
        f"No interval for {', '.join(name for name, why in biases.items() if why == bias)}: biased by {bias}, of which "
        "the sampling error says nothing."
        for bias in dict.fromkeys(biases.values())
    ]


def _error(terms: Terms) -> float:
    moves = influence(terms)
    n = len(moves)
    return float(moves.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def _bootstrap(terms: Mapping[str, Terms], level: float, resamples: int, seed: int) -> dict[str, Interval]:
    samples = [part for parts in terms.values() for part in parts]
    drawn = replicates(samples, resamples=resamples, seed=seed)
    found, first = {}, 0
    for name, parts in terms.items():
        sums = drawn[:, first : first + len(parts)].sum(axis=1)
        first += len(parts)
        sums = sums[~np.isnan(sums)]
        low, high = np.quantile(sums, [(1 - level) / 2, (1 + level) / 2]) if len(sums) else (np.nan, np.nan)
        found[name] = Interval(float(low), float(high))
    return found


def _check(intervals: str, level: float, resamples: int, most_outside: float) -> None:
    if intervals not in METHODS:
        raise ParameterError.unknown("method of intervals", str(intervals), METHODS)
    if not 0 < level < 1:
        raise ParameterError.of("off-policy evaluation", "level", "in (0, 1)", level)
    if resamples < _LEAST_RESAMPLES:
        raise ParameterError.of("off-policy evaluation", "resamples", f">= {_LEAST_RESAMPLES}", resamples)
    if not 0 <= most_outside <= 1:
        raise ParameterError.of("off-policy evaluation", "most_outside", "in [0, 1]", most_outside)


def _check_overlap(overlap: Overlap, most_outside: float) -> None:
    if overlap.effective == 0:
        raise DataError(
            f"No overlap: the target would have taken none of the {overlap.rounds:,} logged actions, so the log says "
            "nothing of it. Log with exploration, or ask for the estimator 'dm' alone."
        )
    _check_outside(overlap, most_outside)


def _check_outside(overlap: Overlap, most_outside: float) -> None:
    remedy = f"at most {most_outside:.0%} may. Log with exploration, or restrict the target."
    if overlap.impossible > most_outside:
        raise DataError(
            f"No overlap: {overlap.impossible:.1%} of the target's probability lies on other actions where the logged "
            f"one was certain (propensity 1); {remedy}"
        )
    if overlap.unseen > most_outside and 1 - overlap.mean > 2 * overlap.mean_error:
        raise DataError(
            f"No overlap: {overlap.unseen:.1%} of the target's probability lies on actions that the log never shows, "
            f"and the mean weight is {overlap.mean:.3f} instead of 1; {remedy}"
        )


def _check_given(given: Mapping[str, float | Sequence[float]], chosen: Mapping[str, Estimator]) -> None:
    for name, what in given.items():
        one = known.ESTIMATORS.get(name)
        if one is None or one.parameter is None:
            with_one = [n for n, other in known.ESTIMATORS.items() if other.parameter]
            raise ParameterError.unknown("estimator with a parameter", name, with_one)
        if name not in chosen:
            raise ParameterError(
                f"A parameter is given for {name!r}, which is not among the estimators: {', '.join(chosen)}. "
                "Ask for it too, or leave its parameter out."
            )
        if not _are_candidates(what):
            raise ParameterError.of(name, one.parameter, "a number >= 0, or candidates", what)


def _are_candidates(what: Any) -> bool:
    """A number >= 0, or several of them."""
    try:
        values = np.asarray(what)
    except ValueError:  # lists of different lengths
        return False
    return values.dtype.kind in "iuf" and values.ndim <= 1 and values.size > 0 and bool((values >= 0).all())


def _parameter(
    one: Estimator, name: str, given: Mapping[str, float | Sequence[float]], rounds: Rounds, rule: Rule
) -> float | None:
    if one.parameter is None:
        return None
    what = given.get(name)
    if what is not None and np.ndim(what) == 0:
        return float(cast(float, what))
    return tuning.tuned(one, rounds, rule=rule, candidates=cast(Sequence[float] | None, what))


def _said(one: Estimator, parameter: float | None) -> dict[str, float] | None:
    return None if one.parameter is None or parameter is None else {one.parameter: parameter}

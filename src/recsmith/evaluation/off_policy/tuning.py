"""How much to bound or shrink the weights, chosen by the log itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.special import stdtrit

from recsmith.errors import ParameterError
from recsmith.evaluation.off_policy.estimators import Estimator, influence, value
from recsmith.evaluation.off_policy.rounds import Rounds
from recsmith.types import FloatArray

Rule: TypeAlias = Literal["slope", "mse"]
RULES = ("slope", "mse")
_GRID = 30  # candidates besides infinity
_LEAST = 10.0  # of them
_KEPT = np.sqrt(6) - 1  # constant of SLOPE++


class _Candidate(NamedTuple):
    parameter: float
    value: float
    width: float  # half of the interval's length


def tuned(
    estimator: Estimator,
    rounds: Rounds,
    *,
    rule: Rule = "slope",
    candidates: Sequence[float] | None = None,
    delta: float = 0.1,
) -> float:
    """The parameter of an estimator that the log itself advises.

    Parameters
    ----------
    estimator
        One with a parameter.
    rule
        ``"slope"``: of the candidates, ordered from the widest interval (least bias) to the narrowest, the last one
        whose estimate lies within the intervals of all before it. Y. Su, P. Srinath, A. Krishnamurthy. Adaptive
        estimator selection for off-policy evaluation. ICML 2020, algorithm 1; with the constant of G. Tucker, J. Lee.
        Improved estimator selection for off-policy evaluation, 2021. ``"mse"``: the smallest estimate of variance plus
        squared bias, the bias by its upper bound: Y. Su, M. Dimakopoulou, A. Krishnamurthy, M. Dudík. Doubly robust
        off-policy evaluation with shrinkage. ICML 2020.
    candidates
        Values >= 0; None: ``grid`` of the weights.
    delta
        Probability, in (0, 1), that a bound is wrong.

    Returns
    -------
    float
        Infinity where no bound is best.

    Raises
    ------
    ParameterError
        Another rule, candidates that are none or negative, ``delta`` outside (0, 1).
    """
    if rule not in RULES:
        raise ParameterError.unknown("rule of tuning", str(rule), RULES)
    if not 0 < delta < 1:
        raise ParameterError.of("tuned", "delta", "in (0, 1)", delta)
    values = list(grid(estimator, rounds.weight) if candidates is None else candidates)
    if not values or not all(v >= 0 for v in values):
        raise ParameterError.of("tuned", "candidates", "one or more numbers >= 0", values)
    values.sort(reverse=True)
    if rule == "mse":
        return min(values, key=lambda v: mse_bound(estimator, rounds, v, delta=delta))
    return _slope([_judged(estimator, rounds, v, delta) for v in values])


def grid(estimator: Estimator, weight: FloatArray) -> list[float]:
    """Thirty values in geometric order from 10 to the largest weight, and infinity.

    Weights below 10 cost little variance and much bias: with candidates down to 1, SLOPE bounds far too much on logs
    that could do without (``docs/decisions/0020-off-policy.md``). Weights are compared with a limit itself, their
    squares with the strength of shrinkage: there the values go to a hundred times the largest square.
    """
    largest = float(weight.max())
    high = 100 * largest**2 if estimator.parameter == "strength" else largest
    return [*(np.geomspace(_LEAST, high, _GRID).tolist() if high > _LEAST else ()), float("inf")]


def mse_bound(estimator: Estimator, rounds: Rounds, parameter: float, *, delta: float = 0.1) -> float:
    """An upper bound, with probability ``1 - delta``, of the mean squared error at one value of the parameter.

    Variance of the estimate, plus the square of: the mean of ``(w - shrunk w) (r - q)`` and Bernstein's bound of its
    error.
    """
    if estimator.shrink is None:
        raise ParameterError.of("mse_bound", "estimator", "one with a parameter", estimator.terms.__name__)
    weight, n = rounds.weight, len(rounds)
    predicted = rounds.predicted if estimator.model and rounds.predicted is not None else 0.0
    moved = (weight - estimator.shrink(weight, parameter)) * (rounds.reward - predicted)
    log = np.log(2 / delta)
    bias = abs(float(moved.mean())) + np.sqrt(2 * float((weight**2).mean()) * log / n)
    bias += 2 * float(weight.max()) * log / (3 * n)
    moves = influence(estimator.terms(rounds, parameter))
    return float(moves.var() / len(moves) + bias**2)


def _judged(estimator: Estimator, rounds: Rounds, parameter: float, delta: float) -> _Candidate:
    terms = estimator.terms(rounds, parameter)
    moves = influence(terms)
    n = len(moves)
    width = float(stdtrit(n - 1, 1 - delta) * np.sqrt(moves.var() / (n - 1))) if n > 1 else float("inf")
    return _Candidate(parameter, value(terms), width)


def _slope(found: list[_Candidate]) -> float:
    """The last candidate, widest first, whose interval meets those of all before it."""
    found = sorted(found, key=lambda one: -one.width)
    kept = [found[0]]
    for one in found[1:]:
        if any(abs(one.value - other.value) > one.width + _KEPT * other.width for other in kept):
            break
        kept.append(one)
    return kept[-1].parameter

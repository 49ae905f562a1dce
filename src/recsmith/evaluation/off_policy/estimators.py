"""The estimators, one definition each. An estimate is a sum of ratios of sums over rounds, so one bootstrap serves all.

Symbols are those of ``rounds.py``: w importance weight, r reward, q predicted reward of the logged action, and
m = sum over a of pi(a | x) q(x, a). Means are over the n rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from recsmith.errors import ParameterError
from recsmith.evaluation.off_policy.rounds import Rounds
from recsmith.evaluation.significance import Sample
from recsmith.types import FloatArray

Terms: TypeAlias = tuple[Sample, ...]
"""An estimate is the sum of these ratios."""
Shrinkage: TypeAlias = Callable[[FloatArray, float], FloatArray]
"""(weights (n,), parameter) -> weights that are no larger."""


@dataclass(frozen=True, slots=True)
class Estimator:
    """An estimator and what it needs."""

    terms: Callable[..., Terms]  #: of (rounds), or of (rounds, parameter)
    model: bool = False  #: needs predicted rewards
    parameter: str | None = None  #: name of its parameter, which bounds or shrinks the weights
    shrink: Shrinkage | None = None  #: what the parameter does
    weighted: bool = True  #: uses importance weights: of no worth where the target leaves the log's support
    bias: str | None = None  #: what biases it; the sampling error alone then gives no interval


def value(terms: Terms) -> float:
    """The estimate."""
    return sum(term.estimate() for term in terms)


def influence(terms: Terms) -> FloatArray:
    """(units,) what each unit moves the estimate by, times their number: its variance is n times the estimate's.

    The delta method for a ratio of means, summed over the terms.
    """
    return sum(
        ((t.total - t.estimate() * t.count) / t.count.mean() for t in terms),
        start=np.zeros(len(terms[0].total)),
    )


def replay(rounds: Rounds) -> Terms:
    r"""Replay: the mean reward of the rounds in which the target agrees with the log.

    :math:`\sum_i \pi(a_i \mid x_i) r_i / \sum_i \pi(a_i \mid x_i)`. A target that draws its action keeps a round with
    probability :math:`\pi(a_i \mid x_i)`; here it keeps that share of it. Right only where the log is uniform.

    L. Li, W. Chu, J. Langford, X. Wang. Unbiased offline evaluation of contextual-bandit-based news article
    recommendation algorithms. WSDM 2011, algorithm 2 ("Policy evaluator").
    """
    return (rounds.sample(rounds.chosen * rounds.reward, rounds.chosen),)


def ips(rounds: Rounds) -> Terms:
    r"""Inverse propensity score: :math:`\frac{1}{n} \sum_i w_i r_i`. Unbiased; its variance grows with the weights.

    D. Horvitz, D. Thompson. A generalization of sampling without replacement from a finite universe. JASA 47, 1952.
    """
    return (rounds.sample(rounds.weight * rounds.reward),)


def snips(rounds: Rounds) -> Terms:
    r"""Self-normalized IPS: :math:`\sum_i w_i r_i / \sum_i w_i`. Never leaves the range of the rewards.

    A. Swaminathan, T. Joachims. The self-normalized estimator for counterfactual learning. NeurIPS 2015.
    """
    return (rounds.sample(rounds.weight * rounds.reward, rounds.weight),)


def clipped_ips(rounds: Rounds, limit: float) -> Terms:
    r"""Clipped IPS: :math:`\frac{1}{n} \sum_i \min(w_i, c)\, r_i`. Too low where weights are cut and rewards positive.

    E. Ionides. Truncated importance sampling. JCGS 17(2), 2008; L. Bottou et al. Counterfactual reasoning and learning
    systems. JMLR 14, 2013, section 4.4.
    """
    return (rounds.sample(clipped(rounds.weight, limit) * rounds.reward),)


def direct(rounds: Rounds) -> Terms:
    r"""Direct method: :math:`\frac{1}{n} \sum_i m_i`, the predicted reward of what the target would do.

    As biased as the prediction is. M. Dudík, J. Langford, L. Li. Doubly robust policy evaluation and learning. ICML
    2011, section 2.
    """
    return (rounds.sample(_model(rounds)[1]),)


def doubly_robust(rounds: Rounds) -> Terms:
    r"""Doubly robust: :math:`\frac{1}{n} \sum_i m_i + w_i (r_i - q_i)`.

    Unbiased where propensities or predictions are right. M. Dudík, J. Langford, L. Li, ICML 2011, section 2.1.
    """
    return _corrected(rounds, rounds.weight)


def self_normalized_doubly_robust(rounds: Rounds) -> Terms:
    r"""Self-normalized DR: :math:`\frac{1}{n} \sum_i m_i + \sum_i w_i (r_i - q_i) / \sum_i w_i`.

    P. Thomas, E. Brunskill. Data-efficient off-policy policy evaluation for reinforcement learning. ICML 2016 (weighted
    doubly robust, for one step).
    """
    predicted, of_target = _model(rounds)
    residual = rounds.sample(rounds.weight * (rounds.reward - predicted), rounds.weight)
    return rounds.sample(of_target), residual


def switch_doubly_robust(rounds: Rounds, tau: float) -> Terms:
    r"""Switch-DR: :math:`\frac{1}{n} \sum_i m_i + w_i [w_i \le \tau] (r_i - q_i)`.

    Y.-X. Wang, A. Agarwal, M. Dudík. Optimal and adaptive off-policy evaluation in contextual bandits. ICML 2017
    (SWITCH, with the doubly robust estimator below the threshold).
    """
    return _corrected(rounds, switched(rounds.weight, tau))


def shrunk_doubly_robust(rounds: Rounds, strength: float) -> Terms:
    r"""DR with optimistic shrinkage: :math:`\frac{1}{n} \sum_i m_i + \frac{\lambda w_i}{w_i^2 + \lambda} (r_i - q_i)`.

    :math:`\lambda = 0` is the direct method, :math:`\lambda = \infty` is DR. Y. Su, M. Dimakopoulou, A. Krishnamurthy,
    M. Dudík. Doubly robust off-policy evaluation with shrinkage. ICML 2020.
    """
    return _corrected(rounds, shrunk(rounds.weight, strength))


def clipped(weight: FloatArray, limit: float) -> FloatArray:
    """``min(w, limit)``."""
    return np.minimum(weight, limit)


def switched(weight: FloatArray, tau: float) -> FloatArray:
    """``w`` where it is at most ``tau``, else 0."""
    return np.where(weight <= tau, weight, 0.0)


def shrunk(weight: FloatArray, strength: float) -> FloatArray:
    """``strength w / (w ** 2 + strength)``; w itself where the strength is infinite, 0 where it is 0."""
    if np.isinf(strength):
        return weight
    if strength == 0:
        return np.zeros_like(weight)
    return strength * weight / (weight**2 + strength)


def _model(rounds: Rounds) -> tuple[FloatArray, FloatArray]:
    """Predicted rewards of the logged actions and of the target."""
    if rounds.predicted is None or rounds.direct is None:
        raise ParameterError.of("this estimator", "rewards", "given: predicted rewards of all actions", None)
    return rounds.predicted, rounds.direct


def _corrected(rounds: Rounds, weight: FloatArray) -> Terms:
    """The mean of m + weight (r - q)."""
    predicted, of_target = _model(rounds)
    return (rounds.sample(of_target + weight * (rounds.reward - predicted)),)


_SHRUNK = "weights that are made smaller"

#: Name -> estimator, in the order of reports.
ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "replay": Estimator(replay),
        "ips": Estimator(ips),
        "snips": Estimator(snips),
        "clipped-ips": Estimator(clipped_ips, parameter="limit", shrink=clipped, bias=_SHRUNK),
        "dm": Estimator(direct, model=True, weighted=False, bias="the error of the predicted rewards"),
        "dr": Estimator(doubly_robust, model=True),
        "sndr": Estimator(self_normalized_doubly_robust, model=True),
        "switch-dr": Estimator(
            switch_doubly_robust, model=True, parameter="tau", shrink=switched, bias=_SHRUNK
        ),
        "dros": Estimator(
            shrunk_doubly_robust, model=True, parameter="strength", shrink=shrunk, bias=_SHRUNK
        ),
    }
)


def choose(names: object, *, model: bool) -> dict[str, Estimator]:
    """The named estimators; None: all that can be had, with or without predicted rewards.

    Raises
    ------
    ParameterError
        An unknown name, or one that needs predicted rewards where there are none.
    """
    if names is None:
        return {name: one for name, one in ESTIMATORS.items() if model or not one.model}
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise ParameterError.of("off-policy evaluation", "estimators", "a list of names", names)
    chosen: dict[str, Estimator] = {}
    for name in names:
        if name not in ESTIMATORS:
            raise ParameterError.unknown("estimator", str(name), ESTIMATORS)
        if ESTIMATORS[name].model and not model:
            raise ParameterError(
                f"The estimator {name!r} needs predicted rewards. Give rewards=, for example those of "
                "cross_fitted(log), or leave it out."
            )
        chosen[name] = ESTIMATORS[name]
    if not chosen:
        raise ParameterError.of("off-policy evaluation", "estimators", "at least one name", [])
    return chosen

"""Lists of several slots, judged as a whole: what a target policy would have earned with its lists.

Per slot ``k`` of a list, ``p_k`` is the probability with which the logging policy put that item there, given the items
above it, and ``pi_k`` that of the target. All values are sums of the rewards of a list, averaged over the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.off_policy.estimators import Terms
from recsmith.evaluation.off_policy.logged import check_finite, check_propensities
from recsmith.evaluation.significance import Sample
from recsmith.types import FloatArray, IntArray

_COLUMNS = (
    "position",
    "reward",
    "propensity",
    "target",
    "logged_marginal",
    "target_marginal",
    "predicted",
    "expected",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedSlates:
    """``m`` slots of lists that were shown, in any order.

    Raises
    ------
    DataError
        Columns of different lengths, a place that a list has twice, a propensity outside (0, 1], a target probability
        outside [0, 1], a reward or prediction that is not finite. Rows are counted from 1.
    """

    slate: IntArray  #: (m,) number of the list
    position: IntArray  #: (m,) slot, from 0 at the top
    reward: FloatArray  #: (m,) float64
    propensity: FloatArray  #: (m,) float64 in (0, 1], of the item in this slot given the items above
    target: FloatArray  #: (m,) float64 in [0, 1], the same of the target policy
    logged_marginal: FloatArray | None = (
        None  #: (m,) of the item in this slot whatever is above; None: ``propensity``
    )
    target_marginal: FloatArray | None = None  #: (m,) the same of the target; None: ``target``
    predicted: FloatArray | None = (
        None  #: (m,) expected reward of this slot and those below, given the item and above
    )
    expected: FloatArray | None = None  #: (m,) its mean over the items that the target would put there

    def __post_init__(self) -> None:
        object.__setattr__(self, "slate", np.asarray(self.slate))
        for name in _COLUMNS:
            column = getattr(self, name)
            if column is not None:
                kind = np.int64 if name == "position" else np.float64
                object.__setattr__(self, name, np.asarray(column, dtype=kind))
                if len(column) != len(self.slate):
                    raise DataError(
                        f"The log has {len(self.slate)} slots, but {name} has {len(column)} rows."
                    )
        if not len(self.slate):
            raise DataError("The log holds no slot. Wanted at least one list with one item.")
        self._check_values()
        order = np.lexsort((self.position, self.slate))
        for name in ("slate", *_COLUMNS):
            column = getattr(self, name)
            object.__setattr__(self, name, None if column is None else column[order])
        twice = (np.diff(self.slate) == 0) & (np.diff(self.position) == 0)
        if twice.any():
            row = int(np.argmax(twice))
            raise DataError(f"List {self.slate[row]} has position {self.position[row]} more than once.")

    def _check_values(self) -> None:
        if (self.position < 0).any():
            raise DataError(f"position must be >= 0. Row {int(np.argmax(self.position < 0)) + 1} is below.")
        for name in ("reward", "predicted", "expected"):
            if getattr(self, name) is not None:
                check_finite(name, getattr(self, name))
        for name in ("propensity", "logged_marginal"):
            if getattr(self, name) is not None:
                check_propensities(getattr(self, name), name)
        for name in ("target", "target_marginal"):
            column = getattr(self, name)
            if column is not None and not ((column >= 0) & (column <= 1)).all():
                row = int(np.argmax(~((column >= 0) & (column <= 1))))
                raise DataError(f"{name} must be in [0, 1]. Row {row + 1} has {column[row]}.")

    @property
    def starts(self) -> IntArray:
        """(s,) first slot of each list."""
        return np.flatnonzero(np.r_[True, np.diff(self.slate) != 0])

    @property
    def cascade(self) -> FloatArray:
        """(m,) importance weight of the list down to each slot: the product of ``target / propensity`` from the top."""
        ratio = self.target / self.propensity
        lengths = np.diff(np.r_[self.starts, len(self.slate)])
        table = np.ones((len(lengths), int(lengths.max())))
        rows = np.repeat(np.arange(len(lengths)), lengths)
        columns = np.arange(len(self.slate)) - np.repeat(self.starts, lengths)
        table[rows, columns] = ratio
        return np.cumprod(table, axis=1)[rows, columns]

    @property
    def whole(self) -> FloatArray:
        """(s,) importance weight of each list as a whole."""
        weight: FloatArray = self.cascade[np.r_[self.starts[1:], len(self.slate)] - 1]
        return weight

    @property
    def impossible(self) -> FloatArray:
        """(s,) target's probability of lists that differ in a slot that was certain, whatever is above."""
        logged = self.propensity if self.logged_marginal is None else self.logged_marginal
        agreed = np.where(logged >= 1, self.target, 1.0)
        return np.asarray(1 - np.multiply.reduceat(agreed, self.starts))

    def per_list(self, values: FloatArray) -> Sample:
        """The mean over lists of the sums of ``values`` (m,)."""
        sums = np.add.reduceat(values, self.starts)
        return Sample(sums, np.ones(len(sums)))


def standard_ips(slates: LoggedSlates) -> Terms:
    """Each list's reward times the weight of the whole list. No assumption; the weights are soon astronomic."""
    lengths = np.diff(np.r_[slates.starts, len(slates.slate)])
    return (slates.per_list(np.repeat(slates.whole, lengths) * slates.reward),)


def independent_ips(slates: LoggedSlates) -> Terms:
    """Each slot's reward times the weight of its own item: a slot's reward does not depend on the other items.

    S. Li, Y. Abbasi-Yadkori, B. Kveton, S. Muthukrishnan, V. Vinay, Z. Wen. Offline evaluation of ranking policies with
    click models. KDD 2018 (item-position model).
    """
    logged = slates.propensity if slates.logged_marginal is None else slates.logged_marginal
    target = slates.target if slates.target_marginal is None else slates.target_marginal
    return (slates.per_list(target / logged * slates.reward),)


def interaction_ips(slates: LoggedSlates) -> Terms:
    """Each slot's reward times the weight of the list down to it: a reward depends on the items above alone.

    J. McInerney, B. Brost, P. Chandar, R. Mehrotra, B. Carterette. Counterfactual evaluation of slate recommendations
    with sequential reward interactions. KDD 2020.
    """
    return (slates.per_list(slates.cascade * slates.reward),)


def cascade_doubly_robust(slates: LoggedSlates) -> Terms:
    """Reward interaction IPS of what the prediction misses, plus the prediction: ``w_1:k (r - q) + w_1:k-1 v``.

    H. Kiyohara, Y. Saito, T. Matsuhiro, Y. Narita, N. Shimizu, Y. Yamamoto. Doubly robust off-policy evaluation for
    ranking policies under the cascade behavior model. WSDM 2022.
    """
    if slates.predicted is None or slates.expected is None:
        raise ParameterError.of("cascade-dr", "predicted and expected", "given in LoggedSlates", None)
    weight = slates.cascade
    above = np.r_[1.0, weight[:-1]]
    above[slates.starts] = 1.0
    return (slates.per_list(weight * (slates.reward - slates.predicted) + above * slates.expected),)


#: Name -> estimator of a list's whole reward.
SLATE_ESTIMATORS: Mapping[str, Callable[[LoggedSlates], Terms]] = MappingProxyType(
    {
        "slate-ips": standard_ips,
        "independent-ips": independent_ips,
        "interaction-ips": interaction_ips,
        "cascade-dr": cascade_doubly_robust,
    }
)


def choose(names: Any, *, model: bool) -> dict[str, Callable[[LoggedSlates], Terms]]:
    """The named estimators; None: all that can be had."""
    if names is None:
        return {n: one for n, one in SLATE_ESTIMATORS.items() if model or n != "cascade-dr"}
    for name in names:
        if name not in SLATE_ESTIMATORS:
            raise ParameterError.unknown("estimator of lists", str(name), SLATE_ESTIMATORS)
    return {name: SLATE_ESTIMATORS[name] for name in names}

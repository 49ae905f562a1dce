"""Predicted rewards of all actions, cross-fitted: no round is predicted by a model that has seen its reward."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.off_policy.logged import LoggedBandit
from recsmith.types import FloatArray, IntArray

Regression: TypeAlias = Literal["auto", "logistic", "ridge"]
_KINDS = ("auto", "logistic", "ridge")
LEAST_ROUNDS = 30  #: of a log, for a regression of its rewards
_STEPS = 50  # of Newton's method, at most
_CLOSE = 1e-10  # of the mean square of a step


def cross_fitted(
    log: LoggedBandit,
    *,
    model: Regression | Any = "auto",
    item_features: FloatArray | None = None,
    reg: float = 1.0,
    folds: int = 3,
    seed: int = 0,
) -> FloatArray:
    """Expected rewards of every action in every round, at the round's own position.

    A regression of the reward on the features of the round and of the action, one for each position, is fitted on all
    folds but the round's own (V. Chernozhukov et al., Double/debiased machine learning, Econometrics Journal 21(1),
    2018), so that the doubly robust estimators stay unbiased.

    Parameters
    ----------
    log
        n rounds.
    model
        ``"logistic"`` or ``"ridge"`` regression; ``"auto"``: logistic where all rewards are 0 or 1. Or an unfitted
        estimator with ``fit(X, y)`` and ``predict_proba(X)`` or ``predict(X)``, as scikit-learn's; it is copied.
        ``X`` is (rows, d + e): the round's context, then the action's features.
    item_features
        (n_actions, e) features of the actions; None: one column for each action.
    reg
        Weight, > 0, of the squared coefficients beside the sum of losses; the intercept is free. scikit-learn's
        ``1 / C``, or ``alpha``.
    folds
        At least 2.
    seed
        Of the assignment of rounds (of units, where the log has them) to folds.

    Returns
    -------
    numpy.ndarray
        (n, n_actions) float64. The regression holds a dense matrix of (n, 1 + d + e): with very many actions give
        ``item_features``.

    Raises
    ------
    ParameterError
        An unknown model, features of another shape, ``folds`` or ``reg`` out of range.
    DataError
        Fewer than 30 rounds, or a position without rounds outside one of the folds.
    """
    features = np.eye(log.n_actions) if item_features is None else np.asarray(item_features, dtype=np.float64)
    _check(log, model, features, reg, folds)
    fold = fold_of(log, folds, seed)
    context = np.zeros((len(log), 0)) if log.context is None else log.context
    out = np.empty((len(log), log.n_actions))
    for position in range(log.n_positions):
        here = log.positions == position
        for held_out in range(folds):
            train, test = np.flatnonzero(here & (fold != held_out)), np.flatnonzero(here & (fold == held_out))
            if not len(test):
                continue
            if not len(train):
                raise DataError(
                    f"Position {position} has {len(test)} rounds, all in one of {folds} folds: no model can be fitted "
                    "for them. Give fewer folds, or leave the position out."
                )
            fitted = _fitted(model, context[train], features[log.action[train]], log.reward[train], reg)
            out[test] = fitted.predict(context[test], features)
    return out


def fold_of(log: LoggedBandit, folds: int, seed: int) -> IntArray:
    """(n,) fold of each round: equally large, in an order that the seed draws; rounds of one unit stay together."""
    units = log.units
    unit = np.arange(len(log)) if units is None else units
    n = int(unit.max()) + 1
    assigned = np.empty(n, dtype=np.int64)
    assigned[np.random.default_rng(seed).permutation(n)] = np.arange(n) % folds
    return assigned[unit]


def _check(log: LoggedBandit, model: Any, features: FloatArray, reg: float, folds: int) -> None:
    if isinstance(model, str) and model not in _KINDS:
        raise ParameterError.unknown("reward model", model, _KINDS)
    if not isinstance(model, str) and not (
        hasattr(model, "fit") and (hasattr(model, "predict_proba") or hasattr(model, "predict"))
    ):
        raise ParameterError.of(
            "cross_fitted", "model", "a name, or an estimator with fit and predict", model
        )
    if features.ndim != 2 or len(features) != log.n_actions or not np.isfinite(features).all():
        raise ParameterError.of(
            "cross_fitted", "item_features", f"finite, of shape ({log.n_actions}, e)", features.shape
        )
    if not reg > 0:
        raise ParameterError.of("cross_fitted", "reg", "> 0", reg)
    if not 2 <= folds <= len(log):
        raise ParameterError.of("cross_fitted", "folds", f"from 2 to {len(log)}", folds)
    if len(log) < LEAST_ROUNDS:
        raise DataError(
            f"The log has {len(log)} rounds, too few for predicted rewards: a regression wants {LEAST_ROUNDS}. Leave "
            "them out: no rewards=, or --model none on the command line."
        )


def _fitted(model: Any, context: FloatArray, items: FloatArray, reward: FloatArray, reg: float) -> Any:
    if not isinstance(model, str):
        inner = deepcopy(model)
        inner.fit(np.hstack([context, items]), reward)
        return _Foreign(inner)
    binary = bool(np.isin(reward, (0.0, 1.0)).all())
    if model == "logistic" and not binary:
        raise DataError("Logistic regression wants rewards of 0 or 1. Use model='ridge'.")
    kind = ("logistic" if binary else "ridge") if model == "auto" else model
    return _Linear.fit(context, items, reward, reg, logistic=kind == "logistic")


class _Foreign:
    """An estimator of somebody else, asked for all actions."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def predict(self, context: FloatArray, features: FloatArray) -> FloatArray:
        out = np.empty((len(context), len(features)))
        for action, row in enumerate(features):
            known = np.hstack([context, np.broadcast_to(row, (len(context), len(row)))])
            out[:, action] = self._one(known)
        return out

    def _one(self, known: FloatArray) -> FloatArray:
        if not hasattr(self.inner, "predict_proba"):
            return np.asarray(self.inner.predict(known), dtype=np.float64)
        classes = np.asarray(self.inner.classes_, dtype=np.float64)
        return np.asarray(self.inner.predict_proba(known) @ classes, dtype=np.float64)


class _Linear:
    """Regularized linear or logistic regression: coefficients of the round's features and of the action's."""

    def __init__(self, coefficients: FloatArray, width: int, logistic: bool) -> None:
        self.intercept, self.of_context = coefficients[0], coefficients[1 : width + 1]
        self.of_item, self.logistic = coefficients[width + 1 :], logistic

    @classmethod
    def fit(
        cls, context: FloatArray, items: FloatArray, reward: FloatArray, reg: float, *, logistic: bool
    ) -> _Linear:
        design = np.hstack([np.ones((len(reward), 1)), context, items])
        penalty = np.full(design.shape[1], float(reg))
        penalty[0] = 0.0
        solve = _newton if logistic else _least_squares
        return cls(solve(design, reward, penalty), context.shape[1], logistic)

    def predict(self, context: FloatArray, features: FloatArray) -> FloatArray:
        logits = (context @ self.of_context)[:, None] + (features @ self.of_item + self.intercept)
        predicted: FloatArray = expit(logits) if self.logistic else logits
        return predicted


def _least_squares(design: FloatArray, reward: FloatArray, penalty: FloatArray) -> FloatArray:
    return _solved(design.T @ design + np.diag(penalty), design.T @ reward)


def _newton(design: FloatArray, reward: FloatArray, penalty: FloatArray) -> FloatArray:
    """The minimum of the logistic loss plus half the penalized squares, by Newton's method with halved steps."""
    beta = np.zeros(design.shape[1])
    share = (reward.sum() + 0.5) / (len(reward) + 1)
    beta[0] = np.log(share / (1 - share))
    if reward.min() == reward.max():  # no finite intercept is best
        return beta
    loss = _loss(design, reward, penalty, beta)
    for _ in range(_STEPS):
        p = expit(design @ beta)
        gradient = design.T @ (p - reward) + penalty * beta
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step, size = _solved(hessian, gradient), 1.0
        while (lower := _loss(design, reward, penalty, beta - size * step)) > loss and size > 1e-4:
            size /= 2
        beta, loss = beta - size * step, lower
        if float(np.mean((size * step) ** 2)) < _CLOSE:
            break
    return beta


def _loss(design: FloatArray, reward: FloatArray, penalty: FloatArray, beta: FloatArray) -> float:
    logits = design @ beta
    return float(np.logaddexp(0, logits).sum() - reward @ logits + 0.5 * (penalty * beta**2).sum())


def _solved(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """The system's solution, also where nearly no row has any weight."""
    matrix[np.diag_indices_from(matrix)] += 1e-12 * np.trace(matrix) / len(matrix)
    found: FloatArray = cho_solve(cho_factor(matrix, check_finite=False), right, check_finite=False)
    return found

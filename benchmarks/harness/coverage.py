"""How often 95 % intervals of off-policy estimates hold the true reward of the target, in worlds where it is known.

Ten actions, five features, rewards of 0 and 1 with a chance that no linear model has; the log prefers what earns little
and the target what earns much, a little (beta 1.5: weights up to some 20) or a lot (beta 3: up to some hundreds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table
from scipy import stats

from recsmith.evaluation.off_policy import (
    ESTIMATORS,
    LoggedBandit,
    OffPolicyResult,
    cross_fitted,
    evaluate_policy,
)

ACTIONS, FEATURES = 10, 5
CELLS = ((1.5, 500), (1.5, 2000), (3.0, 500), (3.0, 2000))  #: (beta, rounds)
_Z = float(stats.norm.ppf(0.975))


def covered(runs: int) -> dict[str, Any]:
    """Per cell and estimator: the share of logs whose interval holds the truth, its exact 95 % interval, the bias.

    Of an estimator without an interval it is that of the value plus and minus 1.96 standard errors: why there is none.
    """
    return {"runs": runs, "cells": [_cell(beta, rounds, runs) for beta, rounds in CELLS]}


def coverage_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each estimator, a column for each cell."""
    table = Table(
        "coverage, 95 %", *(f"beta {c['beta']:g}, {c['rounds']:,} rounds" for c in cells), "has an interval"
    )
    for name in cells[0]["estimators"]:
        rows = [cell["estimators"][name] for cell in cells]
        shares = [f"{row['share']:.1%} ({row['low']:.1%} to {row['high']:.1%})" for row in rows]
        table.add_row(name, *shares, "yes" if rows[0]["interval"] else "no")
    return table


def _cell(beta: float, rounds: int, runs: int) -> dict[str, Any]:
    _, target, expected = _world(beta, 1_000_000, np.random.default_rng([0, 1]))
    truth = float((target * expected).sum(axis=1).mean())
    found = [_estimates(beta, rounds, np.random.default_rng([1, run])) for run in range(runs)]
    out = {}
    for name in ESTIMATORS:
        values = np.array([one[name].value for one in found])
        bounds = np.array([one[name].interval or _around(one, name) for one in found])
        hits = int(((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).sum())
        low, high = stats.binomtest(hits, runs).proportion_ci(method="exact")
        out[name] = {
            "share": hits / runs, "low": float(low), "high": float(high),
            "bias": float(values.mean() - truth), "sd": float(values.std(ddof=1)) if runs > 1 else None,
            "interval": found[0][name].interval is not None,
        }  # fmt: skip
    return {"beta": beta, "rounds": rounds, "truth": truth, "estimators": out}


def _estimates(beta: float, rounds: int, rng: np.random.Generator) -> OffPolicyResult:
    log, target, _ = _world(beta, rounds, rng)
    return evaluate_policy(log, target, rewards=cross_fitted(log), intervals="normal", most_outside=1)


def _around(found: OffPolicyResult, name: str) -> tuple[float, float]:
    one = found[name]
    return one.value - _Z * one.error, one.value + _Z * one.error


def _world(beta: float, n: int, rng: np.random.Generator) -> tuple[LoggedBandit, Any, Any]:
    """A log of n rounds, the target's probabilities and the expected rewards, both (n, actions)."""
    fixed = np.random.default_rng(7)
    slopes, heights = fixed.uniform(-1, 1, (FEATURES, ACTIONS)), fixed.uniform(-1, 1, ACTIONS)
    context = rng.normal(size=(n, FEATURES))
    bent = np.sin(2 * context[:, :1]) * np.arange(ACTIONS) / ACTIONS
    expected = 1 / (1 + np.exp(-(context @ slopes + heights + bent)))
    logging, target = (_softmax(sign * beta * expected) for sign in (-1, 1))
    action = (logging.cumsum(axis=1) > rng.random(n)[:, None] * (1 - 1e-12)).argmax(axis=1)
    rows = np.arange(n)
    log = LoggedBandit(
        action=action,
        reward=(rng.random(n) < expected[rows, action]).astype(float),
        propensity=logging[rows, action],
        n_actions=ACTIONS,
        context=context,
    )
    return log, target, expected


def _softmax(scores: Any) -> Any:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)

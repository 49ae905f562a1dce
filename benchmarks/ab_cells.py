"""False finds of A/B tests, a cell for each distribution, share of the control and number of users.

Each rate has Clopper's and Pearson's interval of 95 %. ``python benchmarks/ab.py`` prints them; the distributions of
``HELD_OUT`` were looked at after the tests were fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from recsmith.evaluation.experiments import Metric
from recsmith.evaluation.experiments.contrast import Arm, Contrast
from recsmith.evaluation.experiments.methods import Pair
from recsmith.evaluation.experiments.nulls import Nulls
from recsmith.evaluation.experiments.permutation import permuted
from recsmith.evaluation.experiments.sequential import always_valid_p
from recsmith.evaluation.experiments.units import Group
from recsmith.types import BoolArray, FloatArray

ALPHA = 0.05
LOOKS = 30
LEAST = 1.5  # pooled standard errors: no always-valid p-value of a smaller difference is below ALPHA
Draw = Callable[[np.random.Generator, int], FloatArray]
SHOWN: dict[str, Draw] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "binary, 0.1 %": lambda rng, n: (rng.random(n) < 0.001).astype(float),
    "binary, 1 %": lambda rng, n: (rng.random(n) < 0.01).astype(float),
    "revenue": lambda rng, n: (rng.random(n) < 0.05) * rng.lognormal(3, 1.2, n),
    "log-normal": lambda rng, n: rng.lognormal(0, 1.5, n),
}
HELD_OUT: dict[str, Draw] = {
    "gamma": lambda rng, n: rng.gamma(0.3, 1, n),
    "Poisson": lambda rng, n: rng.poisson(0.05, n).astype(float),
    "Pareto": lambda rng, n: rng.pareto(2.1, n),
}


def looked_at(rng: np.random.Generator, trials: int) -> list[dict[str, Any]]:
    """30 daily looks without a difference: how often the always-valid test ever finds one."""
    rows = []
    for planned in (20, 200, 2_000, 20_000):
        count = trials if planned < 20_000 else trials // 4
        for name, draw in (SHOWN | HELD_OUT).items():
            for share in (0.5, 0.1, 0.02):
                found = [_ever(draw(rng, planned), rng.random(planned) < share) for _ in range(count)]
                old, new = (sum(one) for one in zip(*found, strict=True))
                rows.append(
                    {
                        "values": name + " (held out)" * (name in HELD_OUT),
                        "control": f"{1 - share:.0%}",
                        "planned": planned,
                        **rate(new, count),
                        "each group's variance alone": f"{old / count:.1%}",
                    }
                )
    return rows


def one_look(rng: np.random.Generator, trials: int) -> list[dict[str, Any]]:
    """One look at shares 90 to 10 without a difference: Welch's t, and the method auto."""
    rows = []
    for n in (200, 1_000, 5_000, 20_000):
        count = trials if n < 5_000 else trials // 2
        for name, draw in (SHOWN | HELD_OUT).items():
            if name.startswith("binary"):
                continue
            found = [_once(draw(rng, n), n // 10, seed) for seed in range(count)]
            t, auto, permuted = (sum(one) for one in zip(*found, strict=True))
            rows.append(
                {
                    "values": name + " (held out)" * (name in HELD_OUT),
                    "users": n,
                    **rate(auto, count),
                    "permuted": f"{permuted / count:.0%}",
                    "Welch's t": f"{t / count:.1%}",
                }
            )
    return rows


def rate(found: int, trials: int) -> dict[str, Any]:
    """A share of experiments with its interval."""
    low, high = stats.binomtest(found, trials).proportion_ci(method="exact")
    return {"experiments": trials, "error": f"{found / trials:.1%}", "95 %": f"{low:.1%} to {high:.1%}"}


def _ever(values: FloatArray, treated: BoolArray) -> tuple[bool, bool]:
    """Whether a look finds a difference, by each group's variance alone and by the test that is offered."""
    planned = len(values)
    n = np.unique(np.ceil(planned * np.arange(1, LOOKS + 1) / LOOKS).astype(int))
    control, variant = (_arms(values, mask, n) for mask in (~treated, treated))
    ready = (control.n > 1) & (variant.n > 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        contrast = Contrast.of(control, variant)
        k = contrast.mixture(planned, ALPHA)
        log_ratio = contrast.difference**2 / contrast.variance * k / (2 * (1 + k)) - np.log1p(k) / 2
        old = ready & (log_ratio > np.log(1 / ALPHA))
        pooled = _arms(values, np.ones_like(treated), n).variance * (1 / control.n + 1 / variant.n)
        near = ready & (contrast.variance > 0) & (contrast.difference**2 > LEAST**2 * pooled)
    for look in n[near]:
        groups = _groups(values[:look], treated[:look])
        line, _ = Nulls.of(groups, 0.0)
        both = Contrast.of(groups[0].arm(), groups[1].arm())
        if both.variance > 0 and always_valid_p(line, both, planned, ALPHA) < ALPHA:
            return bool(old.any()), True
    return bool(old.any()), False


def _once(values: FloatArray, size: int, seed: int) -> tuple[bool, bool, bool]:
    """Whether t and auto find a difference, and whether auto permuted."""
    groups = _groups(values, np.arange(len(values)) < size)
    pair = Pair(Metric.mean("value"), groups, (groups[0].arm(), groups[1].arm()), 0.0)
    if not pair.contrast.variance > 0:
        return False, False, False
    t = float(pair.contrast.p())
    if not pair.rough:
        return t < ALPHA, t < ALPHA, False
    difference, _ = permuted(pair.nulls, draws=400, seed=seed)
    return t < ALPHA, difference.p() < ALPHA, True


def _groups(values: FloatArray, treated: BoolArray) -> tuple[Group, Group]:
    control, variant = (Group(values[mask], None, None, None) for mask in (~treated, treated))
    return control, variant


def _arms(values: FloatArray, mask: BoolArray, n: FloatArray) -> Arm:
    """What is known of some users at each look."""
    size, total, squares = (np.cumsum(mask * v)[n - 1] for v in (1.0, values, values**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = squares - total**2 / size
        return Arm(size, total / size, np.where(centred > 1e-12 * squares, centred, 0.0) / (size - 1))

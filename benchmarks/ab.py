"""Error rates of experiments, by simulation: A/A, daily looks, planned power, CUPED, interleaving.

Users are skewed as they are in life: each has a taste (gamma), sees slots (Poisson), clicks some, and spends (taste
plus a gamma). Whatever is counted goes through the library's own functions. ``python benchmarks/ab.py --help``.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import ab_cells
import numpy as np
import polars as pl
from rich.console import Console

from recsmith.evaluation.experiments import (
    Baseline,
    Metric,
    analyze,
    compare_clicks,
    credit,
    plan,
    sample_ratio,
    team_draft,
)
from recsmith.evaluation.experiments.contrast import Arm, Contrast, cuped_theta, proportions_p
from recsmith.tables import Table
from recsmith.types import FloatArray

ALPHA = 0.05
RATE = 0.06  # clicks of a slot, per unit of taste


def users(rng: np.random.Generator, *shape: int, effect: float = 0.0) -> dict[str, FloatArray]:
    """What users did before and during an experiment; ``effect`` is added to the spending."""
    taste = rng.gamma(2.0, 1.0, shape)
    slots, slots_before = (1.0 + rng.poisson(8.0, shape) for _ in range(2))
    rate = np.minimum(RATE * taste, 1.0)
    return {
        "spent_before": taste + rng.gamma(1.0, 0.7, shape),
        "spent": taste + rng.gamma(1.0, 0.7, shape) + effect,
        "slots": slots,
        "clicks": rng.binomial(slots.astype(int), rate).astype(float),
        "slots_before": slots_before,
        "clicks_before": rng.binomial(slots_before.astype(int), rate).astype(float),
        "bought": (rng.random(shape) < 0.1).astype(float),
    }


def p_values(a: dict[str, FloatArray], b: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """P-values of many experiments at once, by every test for one look."""

    def tested(*columns: str | None, cuped: bool = False) -> FloatArray:
        arms = [Arm.of(*(None if c is None else group[c] for c in columns)) for group in (a, b)]
        return np.asarray(Contrast.of(*arms, cuped_theta(arms) if cuped else 0.0).p())

    clicks = [group["clicks"].sum(axis=-1) for group in (a, b)]
    slots = [group["slots"].sum(axis=-1) for group in (a, b)]
    as_if = [Arm(n, c / n, c / n * (1 - c / n)) for c, n in zip(clicks, slots, strict=True)]
    return {
        "mean: Welch's t": tested("spent"),
        "mean: CUPED": tested("spent", None, "spent_before", cuped=True),
        "ratio: delta method": tested("clicks", "slots"),
        "ratio: CUPED": tested("clicks", "slots", "clicks_before", "slots_before", cuped=True),
        "proportion: z": np.asarray(proportions_p(*(Arm.of(group["bought"]) for group in (a, b)))),
        "ratio: slots as if independent (wrong)": np.asarray(Contrast.of(*as_if).p()),
    }


def same_against_same(rng: np.random.Generator, trials: int, n: int) -> list[dict[str, Any]]:
    """A/A: how often a difference is found where there is none."""
    blocks = [p_values(users(rng, 50, n), users(rng, 50, n)) for _ in range(trials // 50)]
    found = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    found |= bootstrapped(rng, trials, n // 4)
    counts = rng.binomial(2 * n, 0.5, trials)
    broken = [sample_ratio({"a": int(c), "b": int(2 * n - c)}).p for c in counts]
    rows = [error_row(name, p, n // 4 if "bootstrap" in name else n) for name, p in found.items()]
    return [*rows, error_row("sample ratio: chi-square", np.array(broken), n)]


def bootstrapped(rng: np.random.Generator, trials: int, n: int) -> dict[str, FloatArray]:
    """The same by ``analyze``, one experiment after the other."""
    metrics = [
        Metric.mean("spent"),
        Metric.mean("adjusted", before="spent_before"),
        Metric.ratio("clicks", "slots"),
    ]
    drawn = users(rng, trials, 2 * n)
    drawn["adjusted"] = drawn["spent"]
    variant = np.repeat(["a", "b"], n)
    names = ("mean: bootstrap", "mean: bootstrap with CUPED", "ratio: bootstrap")
    found: dict[str, list[float]] = {name: [] for name in names}
    for trial in range(trials):
        frame = pl.DataFrame({"variant": variant} | {name: column[trial] for name, column in drawn.items()})
        options: dict[str, Any] = {"method": "bootstrap", "resamples": 400, "seed": trial}
        rows = analyze(frame, metrics, control="a", unit=None, **options).rows
        for name, row in zip(names, rows, strict=True):
            found[name].append(row.p)
    return {name: np.array(values) for name, values in found.items()}


def error_row(name: str, p: FloatArray, n: int) -> dict[str, Any]:
    rate = float((p < ALPHA).mean())
    return {
        "test": name,
        "users per group": n,
        "experiments": len(p),
        "error": rate,
        "within": abs(rate - ALPHA) <= 0.015,
    }


def looking_daily(rng: np.random.Generator, trials: int, days: int, daily: int) -> list[dict[str, Any]]:
    """Daily looks: how often a difference is ever found, without one and with one."""
    baseline = Baseline.of_mean(2.7, float(np.sqrt(2 + 0.49)))
    effect = plan(baseline, users=2 * days * daily).effect
    tests = {"Welch's t": None} | {
        f"normal mixture of the always-valid test, planned {n:,}": n
        for n in (1_000, 2 * days * daily, 60_000)
    }
    rows = []
    looks = [
        arm_looks(users(rng, trials, days * daily, effect=e)["spent"], days, daily)
        for e in (0.0, 0.0, effect)
    ]
    none, there = Contrast.of(looks[0], looks[1]), Contrast.of(looks[0], looks[2])
    for name, planned in tests.items():
        p, q = (
            np.asarray(c.p() if planned is None else c.mixture_p(planned, ALPHA)) < ALPHA
            for c in (none, there)
        )
        first = np.where(q.any(axis=1), q.argmax(axis=1) + 1, days)
        rows.append(
            {
                "test": name,
                "error, last day only": float(p[:, -1].mean()),
                "error, any day": float(p.any(axis=1).mean()),
                "power, last day only": float(q[:, -1].mean()),
                "power, any day": float(q.any(axis=1).mean()),
                "days until it stops": float(first.mean()),
            }
        )
    return rows


def arm_looks(values: FloatArray, days: int, daily: int) -> Arm:
    """What is known at the end of each day: arms of (trials, days)."""
    n = daily * np.arange(1, days + 1)
    sums, squares = (np.cumsum(v, axis=1)[:, n - 1] for v in (values, values**2))
    return Arm(n, sums / n, (squares - sums**2 / n) / (n - 1))


def planned_power(rng: np.random.Generator, trials: int) -> list[dict[str, Any]]:
    """Experiments with the users that ``plan`` asked for, and an effect of the planned size."""
    past = users(rng, 200_000)
    frame = pl.DataFrame(past)
    rows = []
    for name, metric, effect, shares in (
        ("mean", Metric.mean("spent"), 0.2, [1, 1]),
        ("mean, shares 3 to 1", Metric.mean("spent"), 0.2, [3, 1]),
        ("mean, CUPED", Metric.mean("spent", before="spent_before"), 0.15, [1, 1]),
        ("ratio", Metric.ratio("clicks", "slots"), 0.012, [1, 1]),
        ("proportion", Metric.proportion("bought"), 0.04, [1, 1]),
        ("mean, always valid", Metric.mean("spent"), 0.2, [1, 1]),
    ):
        sequential = "always valid" in name
        made = plan(Baseline.of_users(frame, metric), effect=effect, shares=shares, sequential=sequential)
        n, m = made.users.values()
        blocks = [_powered(rng, metric, n, m, effect, sequential) for _ in range(trials // 100)]
        power = float((np.concatenate(blocks) < ALPHA).mean())
        rows.append(
            {"plan": name, "effect": effect, "users": made.total, "planned": made.power, "met": power,
             "within": abs(power - made.power) <= 0.03}
        )  # fmt: skip
    return rows


def _powered(
    rng: np.random.Generator, metric: Metric, n: int, m: int, effect: float, sequential: bool
) -> FloatArray:
    a, b = users(rng, 100, n), users(rng, 100, m)
    if metric.kind == "proportion":
        b["bought"] = (rng.random((100, m)) < 0.1 + effect).astype(float)
        return np.asarray(proportions_p(Arm.of(a["bought"]), Arm.of(b["bought"])))
    if metric.kind == "ratio":
        b["clicks"] += rng.binomial(b["slots"].astype(int), effect)
        return np.asarray(Contrast.of(*(Arm.of(g["clicks"], g["slots"]) for g in (a, b))).p())
    b["spent"] += effect
    arms = [Arm.of(g["spent"], None, g["spent_before"] if metric.before else None) for g in (a, b)]
    contrast = Contrast.of(*arms, cuped_theta(arms) if metric.before else 0.0)
    return np.asarray(contrast.mixture_p(n + m, ALPHA) if sequential else contrast.p())


def narrowed(rng: np.random.Generator, trials: int, n: int) -> list[dict[str, Any]]:
    """CUPED: how much narrower intervals are than without, and how often they hold the truth."""
    rows = []
    for rho in (0.0, 0.3, 0.5, 0.7, 0.9):
        arms = []
        for effect in (0.0, 0.1):
            before = rng.standard_normal((trials, n))
            arms.append(
                Arm.of(
                    rho * before + np.sqrt(1 - rho**2) * rng.standard_normal((trials, n)) + effect,
                    None,
                    before,
                )
            )
        adjusted, plain = Contrast.of(*arms, cuped_theta(arms)), Contrast.of(*arms)
        low, high = adjusted.interval(adjusted.quantile(ALPHA))
        width = (high - low) / (2 * plain.quantile(ALPHA) * plain.error)
        rows.append(
            {
                "correlation": rho,
                "width": float(width.mean()),
                "theory": float(np.sqrt(1 - rho**2)),
                "coverage": float((np.abs((low + high) / 2 - 0.1) <= (high - low) / 2).mean()),
            }
        )
    return rows


def interleaved(rng: np.random.Generator, trials: int, n: int, k: int = 10) -> list[dict[str, Any]]:
    """Team draft: clicks by place and taste; two equal rankings, and one that knows the taste better."""
    rows = []
    for name, noise in (("equal", 1.5), ("the second knows more", 0.5)):
        found = []
        for _ in range(trials):
            liked = rng.standard_normal((n, 30))
            first, second = (
                np.argsort(-(liked + s * rng.standard_normal((n, 30))), axis=1) for s in (1.5, noise)
            )
            items, teams = team_draft(first, second, k, rng)
            rate = (
                0.3 / (1 + np.exp(-2 * np.take_along_axis(liked, items, axis=1))) / np.log2(np.arange(k) + 2)
            )
            found.append(compare_clicks(np.arange(n), credit(teams, rng.random((n, k)) < rate)).p)
        rows.append(
            {
                "rankings": name,
                "users": n,
                "experiments": trials,
                "found": float((np.array(found) < ALPHA).mean()),
            }
        )
    return rows


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    trials, begin = options.experiments, time.perf_counter()
    rngs = iter(np.random.default_rng(options.seed).spawn(7))
    parts = {
        "A/A": same_against_same(next(rngs), trials, 1000),
        "Looks on each of 30 days, 100 users a day in each group": looking_daily(
            next(rngs), 2 * trials, 30, 100
        ),
        "Power": planned_power(next(rngs), 2 * trials),
        "CUPED": narrowed(next(rngs), trials, 1000),
        "Interleaving": interleaved(next(rngs), trials, 300),
        "Always valid, 30 daily looks, nothing differs": ab_cells.looked_at(next(rngs), trials),
        "One look, 90 to 10, nothing differs": ab_cells.one_look(next(rngs), trials),
    }
    parts_seconds = time.perf_counter() - begin
    if options.json:
        print(json.dumps(parts | {"seconds": parts_seconds}, indent=1))
        return
    console = Console(highlight=False, markup=False)
    for title, rows in parts.items():
        columns = list(rows[0])
        console.print(Table(title, columns, [tuple(row.values()) for row in rows], numbers=columns[1:]))
    console.print(f"{parts_seconds:.0f} s")


if __name__ == "__main__":
    main()

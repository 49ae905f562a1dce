"""Error rates of offline comparisons by simulation: all parts, or those named.

- ``best``: of 20 equal models, how often one is called worse than the best of the same data: corrected for all pairs,
  as ``compare`` does without a baseline, and by Holm as if the best had been named beforehand;
- ``rare``: how often 95 % intervals of a rate or an NDCG with few hits hold it: as reports have them, and the
  percentiles of the bootstrap alone;
- ``skewed``: how often the sign flips call differences around 0 different, and how often without a warning.

Each rate has its exact 95 % interval. Results go to ``runs/comparisons.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from recsmith.evaluation.all_pairs import all_pairs_p
from recsmith.evaluation.significance import (
    Sample,
    holm,
    interval_of,
    paired_p,
    percentiles,
    replicates,
    skewed,
)

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness.machine import machine  # noqa: E402

MODELS, FLIPS, ALPHA = 20, 999, 0.05
Draw = Callable[[np.random.Generator, tuple[int, ...]], Any]


def best(trials: int) -> list[dict[str, Any]]:
    """Family-wise error of 20 equal models. A tenth of the trials is enough for Holm's, which is far off."""
    rows = []
    for metric, users in ((m, n) for m in ("hit rate", "NDCG") for n in (50, 200, 1000)):
        pairs, named = 0, 0
        for trial in range(trials):
            samples = [Sample.of_users(column, bounded=True) for column in _equal(metric, users, trial).T]
            values = [sample.estimate() for sample in samples]
            top = int(np.argmax(values))
            pairs += bool((all_pairs_p(samples, flips=FLIPS, seed=trial)[top] < ALPHA).any())
            if trial < trials // 10:
                p = [
                    paired_p(one, samples[top], flips=FLIPS, seed=trial)
                    for one in samples
                    if one is not samples[top]
                ]
                named += min(holm(p)) < ALPHA
        rows.append(
            {
                "metric": metric,
                "users": users,
                "all pairs": rate(pairs, trials),
                "Holm": rate(named, trials // 10),
            }
        )
    return rows


def _equal(metric: str, users: int, trial: int) -> Any:
    """(users, 20): users differ in how easy they are, and models do not."""
    rng = np.random.default_rng([trial, users])
    hit = rng.random((users, MODELS)) < rng.beta(0.5, 3, (users, 1))
    return np.where(hit, rng.beta(2, 2, (users, MODELS)) if metric == "NDCG" else 1.0, 0.0)


def rare(trials: int) -> list[dict[str, Any]]:
    """Coverage of intervals of figures with few hits."""
    rows = []
    for metric, users, share in (
        ("hit rate", 30, 0.02), ("hit rate", 30, 0.2), ("hit rate", 300, 0.01), ("hit rate", 1000, 0.02),
        ("NDCG", 30, 0.02), ("NDCG", 30, 0.2), ("NDCG", 300, 0.01), ("NDCG", 1000, 0.02),
    ):  # fmt: skip
        rng, held, alone = np.random.default_rng(users), 0, 0
        truth = share * (2 / 3 if metric == "NDCG" else 1.0)
        for trial in range(trials):
            hit = rng.random(users) < share
            sample = Sample.of_users(
                np.where(hit, rng.beta(2, 1, users) if metric == "NDCG" else 1.0, 0.0), bounded=True
            )
            drawn = replicates([sample], resamples=400, seed=trial)[:, 0]
            for counted, (low, high) in enumerate(
                (interval_of(sample, drawn, 0.95), percentiles(drawn, 0.95))
            ):
                held += counted == 0 and low <= truth <= high
                alone += counted == 1 and low <= truth <= high
        rows.append({
            "metric": metric, "users": users, "hits": share,
            "as reported": rate(held, trials), "bootstrap": rate(alone, trials),
        })  # fmt: skip
    return rows


DIFFERENCES: Mapping[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "Student's t, 3": lambda rng, shape: rng.standard_t(3, shape),
    "exponential": lambda rng, shape: rng.exponential(1, shape) - 1,
    "log-normal": lambda rng, shape: rng.lognormal(0, 1, shape) - np.exp(0.5),
    "log-normal, sigma 2": lambda rng, shape: rng.lognormal(0, 2, shape) - np.exp(2),
}


def skewed_differences(trials: int) -> list[dict[str, Any]]:
    """Sign flips of differences with a mean of 0."""
    rows = []
    for (name, draw), users in ((pair, n) for pair in DIFFERENCES.items() for n in (30, 300, 3000)):
        rng, found, unsaid, told = np.random.default_rng(users), 0, 0, 0
        for trial in range(trials):
            gap = draw(rng, (users,))
            other = Sample.of_users(np.zeros(users))
            error = paired_p(Sample.of_users(gap), other, flips=FLIPS, seed=trial) < ALPHA
            warned = skewed(gap)
            found, unsaid, told = found + error, unsaid + (error and not warned), told + warned
        rows.append({
            "differences": name, "users": users, "error": rate(found, trials),
            "without a warning": rate(unsaid, trials), "warned": told / trials,
        })  # fmt: skip
    return rows


def rate(count: int, trials: int) -> dict[str, float]:
    """A share with its exact 95 % interval (Clopper and Pearson)."""
    low, high = stats.binomtest(int(count), trials).proportion_ci(method="exact")
    return {"share": count / trials, "low": float(low), "high": float(high)}


PARTS: Mapping[str, tuple[Callable[[int], list[dict[str, Any]]], int]] = {
    "best": (best, 5000),
    "rare": (rare, 2000),
    "skewed": (skewed_differences, 1000),
}


def main() -> None:
    """The parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--trials", type=int, help="instead of the part's own number, at least 10")
    parser.add_argument("--out", type=Path, default=HERE.parent / "runs" / "comparisons.json")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part named {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    console = Console(width=140)
    for name in options.parts or PARTS:
        run, trials = PARTS[name]
        rows = run(options.trials or trials)
        results[name] = {"machine": machine(), "trials": options.trials or trials, "rows": rows}
        options.out.write_text(json.dumps(results, indent=1))
        console.print(_table(name, rows))


def _table(name: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(*rows[0], title=name)
    for row in rows:
        table.add_row(*(_written(value) for value in row.values()))
    return table


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['share']:.1%} ({value['low']:.1%} to {value['high']:.1%})"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()

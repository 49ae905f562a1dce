"""Cold start over several draws of the hidden users, and how often the tests of fairness are wrong.

``python benchmarks/cold_start.py`` runs every row; ``--rows curves-100k level`` some. Each is written to
``runs/cold_start.json`` as soon as it is done, beside what earlier calls wrote.

- ``curves-100k``, ``curves-1m``: NDCG@10 of users that train does not hold, told 0 to 50 events: the mean over five
  draws of these users (three for ML-1M), and in how many of them the model beats its fallback by the paired interval.
  At 0 events every model must have the fallback's figure to the digit; the row says whether it had.
- ``shuffled-100k``: the same with every history in random order: what the order of the first events costs.
- ``level``: groups that are drawn by chance among the judged users of ML-100K, with the real figures of EASE. Nothing
  differs, so whatever is called different is an error, and so is an interval of the difference without 0.
- ``spread``: two groups of equal means and unequal spread, where a permutation test of the raw difference fails.

ML-100K comes from ``recsmith.load``; ML-1M needs RECSMITH_EXTRA_DATA or ``--folder``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from towers import ml_1m

import recsmith as rs
from recsmith.data.dataset import Dataset
from recsmith.data.splitters import user_time
from recsmith.evaluation import evaluate
from recsmith.evaluation.cold_start import cold_start
from recsmith.evaluation.fairness import user_fairness
from recsmith.evaluation.groups import labels_of, permutation_p
from recsmith.evaluation.significance import Sample
from recsmith.experiment.train import make_pipeline

console = Console(width=160)
METRIC = "ndcg@10"
GIVEN = (0, 1, 2, 5, 10, 20, 50)
MODELS = ("popular", "item-knn", "user-knn", "ease", "slim", "rp3beta", "ials", "bpr", "graph-filter")
QUICK = ("popular", "item-knn", "ease", "rp3beta", "ials")
OUT = Path("runs/cold_start.json")


def curves(data: Dataset, models: tuple[str, ...], seeds: int) -> dict[str, Any]:
    """Means over draws of the hidden users."""
    drawn: dict[tuple[str, int], list[tuple[float, bool]]] = {}
    exact = True
    for seed in range(seeds):
        pipelines = {name: make_pipeline(name) for name in models}
        found = cold_start(pipelines, data, given=GIVEN, metrics=(METRIC,), seed=seed)
        popular = found.curve("popular", METRIC)[0].value
        for name in models:
            for row in found.curve(name, METRIC):
                drawn.setdefault((name, row.given), []).append((row.value, row.gain_low > 0))
                exact &= row.given > 0 or (row.value == popular and row.fallback_share in (0.0, 1.0))
        console.print(f"{data.name}, draw {seed}: {found.users} users")
    return {
        "exactly_the_fallback_at_0": exact,
        "mean": {
            f"{name}, {given}": float(np.mean([v for v, _ in rows])) for (name, given), rows in drawn.items()
        },
        "above_the_fallback": {
            f"{name}, {given}": sum(a for _, a in rows) for (name, given), rows in drawn.items()
        },
        "draws": seeds,
    }


def shuffled(data: Dataset) -> Dataset:
    """The same events at random times."""
    time = np.random.default_rng(0).permutation(len(data))
    return Dataset.build(
        users=data.users,
        items=data.items,
        user=data.user,
        item=data.item,
        time=time,
        name=f"{data.name}, shuffled",
    )


def level(times: int = 2000) -> dict[str, Any]:
    """Errors where groups are drawn by chance."""
    split = user_time(rs.load("ml-100k"))
    report = evaluate(make_pipeline("ease"), split, ks=(10,), rating=False)
    report = replace(report, values={METRIC: report.values[METRIC]})
    rng = np.random.default_rng(0)
    shares = {
        "273 of 943 (gender)": [273, 670],
        "40 of 943": [40, 903],
        "seven ages": [36, 198, 310, 194, 80, 73, 52],
    }
    out = {}
    for name, sizes in shares.items():
        found = [0, 0, 0]
        for seed in range(times):
            groups = np.repeat([f"g{n}" for n in range(len(sizes))], sizes)
            table = pl.DataFrame({"user_id": report.user_ids, "g": rng.permutation(groups)})
            one = user_fairness(report, table, "g", permutations=499, resamples=500, seed=seed)
            found[0] += one.gaps[0].p < 0.05
            found[1] += any(row.verdict in ("better", "worse") for row in one.rows)
            low, high = one.rows[0].difference_interval
            found[2] += not low <= 0 <= high
        rates = [count / times for count in found]
        out[name] = dict(
            zip(
                ("any difference", "a group is called better or worse", "interval without 0"),
                rates,
                strict=True,
            )
        )
        console.print(name, out[name])
    return out


def spread(times: int = 1000) -> dict[str, float]:
    """Errors of Welch's t and of the raw difference, permuted, at equal means."""
    rng = np.random.default_rng(1)
    labels = labels_of(pl.Series("g", ["a"] * 30 + ["b"] * 270))
    codes = labels.codes == 0
    welch = raw = 0
    for seed in range(times):
        values = np.concatenate([rng.normal(0, 2, 30), rng.normal(0, 0.5, 270)])
        p, _ = permutation_p([Sample.of_users(values)], labels, np.array([0]), permutations=499, seed=seed)
        welch += p[0, 0] < 0.05
        shuffled = rng.permuted(np.tile(codes, (499, 1)), axis=1)
        gaps = np.abs(
            np.where(shuffled, values, 0).sum(axis=1) / 30 - np.where(shuffled, 0, values).sum(axis=1) / 270
        )
        observed = abs(values[:30].mean() - values[30:].mean())
        raw += (1 + (gaps >= observed).sum()) / 500 < 0.05
    return {"welch": float(welch / times), "raw difference": float(raw / times)}


def main() -> None:
    """Run rows and keep what they say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("RECSMITH_EXTRA_DATA", ".")))
    parser.add_argument("--rows", nargs="+")
    given = parser.parse_args()
    rows: Mapping[str, Callable[[], dict[str, Any]]] = {
        "curves-100k": lambda: curves(rs.load("ml-100k"), MODELS, 5),
        "shuffled-100k": lambda: curves(shuffled(rs.load("ml-100k")), MODELS, 5),
        "curves-1m": lambda: curves(ml_1m(given.folder / "ml-1m"), QUICK, 3),
        "level": level,
        "spread": spread,
    }
    done = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name in given.rows or rows:
        done[name] = rows[name]()
        console.print(name, done[name])
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(json.dumps(done, indent=1))


if __name__ == "__main__":
    main()

"""WARP beside BPR on MovieLens-100K: equal budgets on validation, then one paired comparison on test.

``python benchmarks/pairwise.py`` draws the same number of parameter sets for both, chooses on a random 20 % of train,
judges the two winners on the random split of seed 0 and writes ``runs/pairwise.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import recsmith as rs
from recsmith.data.split import Split
from recsmith.data.split_by_name import parse
from recsmith.evaluation import evaluate
from recsmith.evaluation.comparison import compare
from recsmith.evaluation.report import Report
from recsmith.experiment.train import make_pipeline

METRIC = "ndcg@10"
console = Console(width=140)

#: What both are drawn from, evenly on a logarithmic scale.
SPACE = {"embedding_size": (32, 128), "epochs": (20, 80), "learning_rate": (0.02, 0.2), "reg": (0.01, 0.2)}
WHOLE = ("embedding_size", "epochs")


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """One set of parameters."""
    found: dict[str, Any] = {n: float(np.exp(rng.uniform(*np.log(bounds)))) for n, bounds in SPACE.items()}
    found |= {name: round(found[name]) for name in WHOLE}
    return {**found, "item_bias": bool(rng.integers(2))}


def report(model: str, parameters: dict[str, Any], split: Split) -> Report:
    """Fit on the split's train and judge."""
    return evaluate(
        make_pipeline(model, **parameters), split, ks=(10,), metrics=("ndcg",), rating=False, name=model
    )


def main() -> None:
    """Search, choose, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("runs") / "pairwise.json")
    options = parser.parse_args()
    split = parse("random:seed=0").split(rs.load("ml-100k", keep_catalogue=False))[0]
    inner = parse("random:seed=1").split(split.train)[0]
    results: dict[str, Any] = {}
    reports = []
    for model in ("bpr", "warp"):
        rng = np.random.default_rng(0)
        trials = []
        for _ in range(options.trials):
            parameters = draw(rng)
            trials.append({"parameters": parameters, "value": report(model, parameters, inner).means[METRIC]})
            console.print(model, trials[-1])
        best = max(trials, key=lambda trial: trial["value"])
        reports.append(report(model, best["parameters"], split))
        results[model] = {
            "best": best,
            "test": reports[-1].means[METRIC],
            "fit_seconds": reports[-1].seconds["fit"],
            "trials": trials,
        }
    comparison = compare(reports, METRIC, baseline="bpr")
    console.print({model: {k: v for k, v in r.items() if k != "trials"} for model, r in results.items()})
    console.print(comparison)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**results, "comparison": comparison.as_dict()}, indent=1))


if __name__ == "__main__":
    main()

"""Accuracy on MovieLens by the protocols of the literature, parameters chosen on validation only.

``python benchmarks/accuracy.py`` prints a table for each protocol and writes ``runs/accuracy.json``. MovieLens-100K
comes from ``recsmith.load("ml-100k")``; its official folds, and MovieLens-1M as SASRec's authors give it, need
RECSMITH_EXTRA_DATA or ``--folder``, a folder with ``ml-100k`` and ``ml-1m``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

import recsmith as rs
from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.data.split import Split, fixed
from recsmith.data.split_by_name import Splitter, parse
from recsmith.evaluation import evaluate
from recsmith.evaluation.report import Report
from recsmith.experiment.blend import learn_weights, mix
from recsmith.experiment.choose import choose
from recsmith.experiment.train import make_pipeline

console = Console(width=160)
_LISTS = ("precision@10", "recall@10", "ndcg@10", "hit_rate@10")


@dataclass(frozen=True)
class Entrant:
    """A model, the grid that validation chooses from, and the published or measured figure beside it."""

    label: str
    model: str
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    wanted: Mapping[str, float] = field(default_factory=dict)


_HALF_LIVES = (3, 5, 7, 10, 15, 20)
_IALS = {"embedding_size": (24, 32, 48), "reg": (1, 10, 30), "alpha": (0, 0.25, 1)}

RANDOM = (
    Entrant("ease", "ease", {"reg": (100, 200, 300, 500)}, wanted={"ndcg@10": 0.440}),
    Entrant("ials", "ials", _IALS, wanted={"ndcg@10": 0.409}),
    Entrant(
        "item-knn cosine", "item-knn", {"neighbors": (20, 30, 50, 100), "shrinkage": (0, 10)},
        {"similarity": "cosine", "weighting": "none", "amplification": 1}, {"ndcg@10": 0.375},
    ),
    Entrant(
        "item-knn bm25", "item-knn", {"neighbors": (20, 30, 50, 100), "bm25_b": (0.2, 0.5, 0.75)},
        {"similarity": "cosine", "amplification": 1, "weighting": "bm25"}, {"ndcg@10": 0.39},
    ),
    Entrant("popular", "popular"),
)  # fmt: skip
USER_TIME = (
    Entrant("ease", "ease", {"reg": (50, 100, 200, 300)}, wanted={"ndcg@10": 0.207}),
    Entrant("ials", "ials", _IALS, wanted={"ndcg@10": 0.202}),
    Entrant(
        "ease, recency", "ease", {"reg": (200, 300, 500, 1000, 2000), "half_life": _HALF_LIVES},
        wanted={"ndcg@10": 0.255, "precision@10": 0.217, "recall@10": 0.149},
    ),
    Entrant(
        "ease, order", "ease",
        {
            "reg": (300, 1000, 2000), "pair_half_life": (20, 50, 100), "backward": (0.2, 0.4, 0.6),
            "half_life": _HALF_LIVES,
        },
        wanted={"ndcg@10": 0.265, "precision@10": 0.225},
    ),
    Entrant(
        "item-knn, order", "item-knn",
        {"shrinkage": (2, 5), "pair_half_life": (20, 50, 100), "backward": (0.2, 0.4, 0.6), "half_life": _HALF_LIVES},
    ),
    Entrant("popular", "popular"),
)  # fmt: skip
SEQUENCE = (
    Entrant(
        "ease, order", "ease",
        {"reg": (100, 300), "pair_half_life": (3, 5, 8), "backward": (0.2, 0.4), "half_life": (2, 3, 5)},
    ),
    Entrant(
        "item-knn, order", "item-knn",
        {"shrinkage": (2, 5), "pair_half_life": (3, 5, 10), "backward": (0.1, 0.3), "half_life": (2, 3, 5)},
    ),
    Entrant("ease, recency", "ease", {"reg": (300, 1000, 3000), "half_life": (2, 3, 5, 10)}),
    Entrant("popular", "popular"),
)  # fmt: skip
_ORDERED = ("ease, order", "item-knn, order")
GLOBAL_TIME = (
    Entrant(
        "popular, decayed", "popular", {"half_life": (3, 5, 7, 10, 14, 21, 30, 60)}, wanted={"ndcg@10": 0.39}
    ),
    Entrant("popular", "popular"),
    Entrant("ease, popular behind it", "ease", {"reg": (100, 300, 1000)}),
)
RATINGS = (
    Entrant("biased-mf", "biased-mf", wanted={"rmse": 0.9196}),
    Entrant(
        "item-knn",
        "item-knn",
        fixed={"similarity": "jaccard", "shrinkage": 0, "amplification": 2},
        wanted={"rmse": 0.9204},
    ),
    Entrant(
        "user-knn",
        "user-knn",
        fixed={
            "similarity": "pearson_baseline",
            "shrinkage": 100,
            "amplification": 1,
            "neighbors": 40,
            "damping": 0.3,
        },
        wanted={"rmse": 0.9245},
    ),
    Entrant("rating-baseline", "rating-baseline", wanted={"rmse": 0.9457}),
)


@dataclass(frozen=True)
class Protocol:
    """Splits whose figures are averaged, and the split of train that parameters are chosen on."""

    splits: Sequence[str]
    validation: str
    entrants: Sequence[Entrant]
    blended: Sequence[str] = ()  #: labels of the entrants that are mixed, with weights learned on validation
    data: str = "ml-100k"


PROTOCOLS = {
    "random": Protocol([f"random:seed={seed}" for seed in range(5)], "random", RANDOM),
    "user-time": Protocol(["user-time"], "user-time", USER_TIME, _ORDERED),
    "global-time": Protocol(["global-time"], "time-folds:5", GLOBAL_TIME),
    "sequence": Protocol(["leave-last-out"], "leave-last-out", SEQUENCE, _ORDERED, data="ml-1m"),
}


def ranking(splits: Sequence[Split], splitter: Splitter, how: Protocol) -> list[Any]:
    """Choose on ``splitter`` of the first split's train part, judge on every split, average."""
    rows, chosen = [], {}
    inner = splitter.split(splits[0].train)
    for entrant in how.entrants:
        best = choose(entrant.model, entrant.grid, inner, "ndcg@10", fixed=entrant.fixed).best.parameters
        chosen[entrant.label] = (entrant.model, best)
        reports = [
            evaluate(make_pipeline(entrant.model, **best), split, ks=(10,), name=entrant.label, seed=seed)
            for seed, split in enumerate(splits)
        ]
        rows.append(_row(entrant, dict(best), reports, _LISTS))
    if how.blended:
        parts = [chosen[label] for label in how.blended]
        fitted = [make_pipeline(model, **best).fit(inner[0].train, rng=0) for model, best in parts]
        learned = learn_weights(fitted, inner[0])
        pipeline = make_pipeline("blend", parts=mix(fitted, learned.weights).model.config.parts)
        reports = [evaluate(pipeline, split, ks=(10,), name="blend") for split in splits]
        weights = {label: round(float(w), 3) for label, w in zip(how.blended, learned.weights, strict=True)}
        rows.insert(0, _row(Entrant("blend", "blend"), weights, reports, _LISTS))
    return rows


def ml_1m_sequences(folder: Path) -> Dataset:
    """MovieLens-1M as SASRec's authors give it: a line for each event, in the order of time within a user."""
    with gzip.open(folder / "sasrec" / "ml-1m.txt.gz", "rt") as lines:
        pairs = np.loadtxt(lines, dtype=np.int64)
    frame = pl.DataFrame({"user_id": pairs[:, 0], "item_id": pairs[:, 1], "timestamp": np.arange(len(pairs))})
    return Dataset.from_log(Log(interactions=frame, name="ml-1m (SASRec)"))


def official_folds(folder: Path) -> list[Split]:
    """u1 to u5 as GroupLens cut them."""
    frame = pl.read_parquet(folder / "ratings.parquet").rename({"user": "user_id", "item": "item_id"})
    splits = []
    for k in range(1, 6):
        parts = [
            Dataset.from_log(
                Log(
                    interactions=frame.filter(rows).select("user_id", "item_id", "rating", "timestamp"),
                    name=f"ml-100k u{k}",
                    rating_scale=(1.0, 5.0),
                )
            )
            for rows in (pl.col("fold") != k, pl.col("fold") == k)
        ]
        splits.append(fixed(*parts))
    return splits


def ratings(splits: Sequence[Split]) -> list[Any]:
    """Mean RMSE and MAE over the folds, with the recipes of the models' docstrings."""
    rows = []
    for entrant in RATINGS:
        reports = [
            evaluate(
                make_pipeline(entrant.model, **entrant.fixed), s, metrics=(), rating=True, name=entrant.label
            )
            for s in splits
        ]
        rows.append(_row(entrant, dict(entrant.fixed), reports, ("rmse", "mae")))
    return rows


def _row(
    entrant: Entrant, parameters: dict[str, Any], reports: Sequence[Report], names: Sequence[str]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "model": entrant.label,
        "parameters": parameters,
        "figures": {name: float(np.mean([r.means[name] for r in reports])) for name in names},
        "each": {name: [r.means[name] for r in reports] for name in names},
        "wanted": dict(entrant.wanted),
        "fit_seconds": float(np.mean([r.seconds["fit"] for r in reports])),
    }
    if len(reports) == 1:
        row["strata"] = {
            name: {"users": stratum.users, "means": dict(stratum.means)}
            for name, stratum in reports[0].strata.items()
        }
    return row


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a protocol's table; a figure that misses what is wanted is red."""
    names = list(rows[0]["figures"])
    table = Table(title=title, title_justify="left")
    for column in ("model", "parameters", *names, "fit s"):
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = []
        for name in names:
            value, wanted = row["figures"][name], row["wanted"].get(name)
            missed = wanted is not None and (value > wanted if name in {"rmse", "mae"} else value < wanted)
            beside = "" if wanted is None else f" ({wanted:g})"
            cells.append(f"[red]{value:.4f}{beside}[/red]" if missed else f"{value:.4f}{beside}")
        parameters = ", ".join(f"{k}={v}" for k, v in row["parameters"].items())
        table.add_row(row["model"], parameters, *cells, f"{row['fit_seconds']:.2f}")
    console.print(table)
    for row in rows:
        for name, stratum in row.get("strata", {}).items():
            console.print(
                f"  {row['model']}, {name}: {stratum['users']} users, NDCG@10 {stratum['means']['ndcg@10']:.4f}"
            )


def _load(name: str, folder: Path) -> Dataset:
    return ml_1m_sequences(folder / "ml-1m") if name == "ml-1m" else rs.load("ml-100k", keep_catalogue=False)


def main() -> None:
    """All protocols, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("protocols", nargs="*", choices=[[], *PROTOCOLS, "ratings"])
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("RECSMITH_EXTRA_DATA", ".")))
    parser.add_argument("--out", type=Path, default=Path("runs") / "accuracy.json")
    options = parser.parse_args()
    wanted = options.protocols or [*PROTOCOLS, "ratings"]
    results = {}
    for name, how in PROTOCOLS.items():
        if name in wanted:
            data = _load(how.data, options.folder)
            splits = [split for text in how.splits for split in parse(text).split(data)]
            results[name] = ranking(splits, parse(how.validation), how)
            show(
                f"{data.name}, {name}: mean over {', '.join(how.splits)}; validation: {how.validation}",
                results[name],
            )
    if "ratings" in wanted:
        results["ratings"] = ratings(official_folds(options.folder / "ml-100k"))
        show("ml-100k, ratings, official folds u1-u5, mean", results["ratings"])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

"""Recall@20 and NDCG@20 on Gowalla and Yelp2018 by the fixed public files, parameters chosen on validation only.

``python benchmarks/gowalla_yelp.py`` runs every row on both data sets; ``--data gowalla --rows bspm rp3beta`` some.
Each row is written to ``runs/gowalla_yelp.json`` as soon as it is done, beside what earlier calls wrote; the table
shows all of it. The files (``lightgcn-gowalla`` and ``lightgcn-yelp2018``: ``train.parquet`` and ``test.parquet`` with
the columns ``user`` and ``item``) are in the folder RECSMITH_EXTRA_DATA or ``--folder``.

Validation is a random tenth of the train events, the same for every row, judged for a sample of its users. The test
file is read once a row, by the final fit.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.data.split import Split, Truth, fixed
from recsmith.data.split_by_name import parse
from recsmith.evaluation import evaluate, judge
from recsmith.evaluation.report import Report
from recsmith.experiment.blend import learn_weights, mix
from recsmith.experiment.choose import choose
from recsmith.experiment.train import make_pipeline
from recsmith.recommend import Pipeline
from recsmith.resources import measure

console = Console(width=160)
METRIC = "ndcg@20"
SHOWN = ("recall@20", "ndcg@20")
VALIDATION = "random:0.1"
DATA = ("gowalla", "yelp2018")


@dataclass(frozen=True)
class Row:
    """A model with what is asked of it on each data set."""

    name: str
    model: str = ""
    fixed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  #: data set -> parameters
    grid: Mapping[str, Mapping[str, Sequence[Any]]] = field(
        default_factory=dict
    )  #: data set -> values to try
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)  #: data set -> Recall, NDCG
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: of a blend: data set -> rows


def both(**same: Any) -> dict[str, dict[str, Any]]:
    """The same parameters, or the same values to try, on both data sets."""
    return dict.fromkeys(DATA, same)


def figures(gowalla: tuple[float, float], yelp: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """Published Recall@20 and NDCG@20."""
    return {"gowalla": gowalla, "yelp2018": yelp}


ROWS = (
    Row("popular", "popular"),
    Row(
        "item-knn", "item-knn",
        fixed=both(similarity="cosine"),
        grid=both(neighbors=(50, 100, 300)),
        published=figures((0.1570, 0.1214), (0.0639, 0.0531)),
    ),
    Row(
        "user-knn", "user-knn",
        fixed=both(similarity="cosine"),
        grid=both(neighbors=(100, 200, 400)),
    ),
    Row(
        "rp3beta", "rp3beta",
        fixed={"gowalla": {"neighbors": 777, "alpha": 0.566, "beta": 0.001},
               "yelp2018": {"neighbors": 342, "alpha": 0.768, "beta": 0.418}},
        published=figures((0.1829, 0.1520), (0.0671, 0.0559)),
    ),
    Row(
        "slim", "slim",
        fixed=both(l1=0.1),
        grid={"gowalla": {"reg": (50, 100)}, "yelp2018": {"reg": (100, 200)}},
        published=figures((0.1699, 0.1382), (0.0646, 0.0541)),
    ),
    Row(
        "slim, as published", "slim",
        fixed={"gowalla": {"reg": 149.3, "l1": 1.5e-4}, "yelp2018": {"reg": 316.6, "l1": 0.0317}},
        published=figures((0.1699, 0.1382), (0.0646, 0.0541)),
    ),
    Row(
        "sparse-ease", "sparse-ease",
        grid={"gowalla": {"reg": (50, 80), "dropout": (0.3, 0.5, 0.7)},
              "yelp2018": {"reg": (100, 200, 300), "dropout": (0.3, 0.5, 0.7)}},
        published=figures((0.1765, 0.1467), (0.0657, 0.0552)),
    ),
    Row(
        "sparse-ease, as published", "sparse-ease",
        fixed={"gowalla": {"reg": 80, "dropout": 0, "neighbors": 400},
               "yelp2018": {"reg": 300, "dropout": 0, "neighbors": 400}},
        published=figures((0.1765, 0.1467), (0.0657, 0.0552)),
    ),
    Row(
        "ials", "ials",
        fixed=both(embedding_size=128),
        grid=both(alpha=(10, 40), reg=(10, 100)),
        published={"gowalla": (0.1628, 0.1367)},
    ),
    Row(
        "bpr", "bpr",
        fixed=both(epochs=100, candidates=10, reg=0.01),
        grid=both(learning_rate=(0.05, 0.1)),
        published=figures((0.1627, 0.1378), (0.0576, 0.0468)),
    ),
    Row(
        "gf-cf", "gf-cf",
        grid=both(ideal_weight=(0.2, 0.3, 0.4)),
        published=figures((0.1849, 0.1518), (0.0697, 0.0571)),
    ),
    Row(
        "bspm", "bspm",
        fixed={"gowalla": {"rank": 448, "ideal_weight": 0.2, "solver": "rk4"},
               "yelp2018": {"rank": 384, "ideal_weight": 0.3, "solver": "euler"}},
        grid={"gowalla": {"sharpen_time": (1.7, 2.1, 2.5)},
              "yelp2018": {"sharpen_time": (0.8, 1.0, 1.2), "average": (False, True)}},
        published=figures((0.1920, 0.1597), (0.0720, 0.0593)),
    ),
    Row(
        "graph-filter", "graph-filter",
        fixed={"gowalla": {"rank": 512, "input_exponent": 0.25, "output_exponent": 0.3},
               "yelp2018": {"rank": 512, "input_exponent": 0.2, "output_exponent": 0.15}},
        grid=both(sharpen_order=(1, 3, 4), sharpen_time=(0.95, 1.6)),
        published=figures((0.1920, 0.1597), (0.0720, 0.0593)),
    ),
    Row(
        "blend",
        parts=dict.fromkeys(DATA, ("graph-filter", "user-knn", "sparse-ease", "rp3beta")),
        published=figures((0.1920, 0.1597), (0.0720, 0.0593)),
    ),
)  # fmt: skip


def load(folder: Path, name: str) -> Split:
    """The public files of a data set."""
    parts = []
    for part in ("train", "test"):
        frame = pl.read_parquet(folder / f"lightgcn-{name}" / f"{part}.parquet", columns=["user", "item"])
        log = Log(interactions=frame.rename({"user": "user_id", "item": "item_id"}), name=f"{name} {part}")
        parts.append(Dataset.from_log(log))
    return fixed(*parts)


def validation_of(train: Dataset, users: int, seed: int = 0) -> Split:
    """The cut of train that parameters are chosen on, with ``users`` of its users."""
    (whole,) = parse(VALIDATION).split(train)
    rows = np.sort(np.random.default_rng(seed).permutation(len(whole.queries))[:users])
    offsets = np.append(0, np.cumsum(np.diff(whole.truth.offsets)[rows]))
    kept = np.flatnonzero(np.isin(whole.truth.rows, rows))
    return replace(
        whole,
        queries=whole.queries.take(rows),
        user_ids=whole.user_ids[rows],
        truth=Truth(offsets=offsets, items=whole.truth.items[kept]),
        notes=(),
    )


@dataclass(frozen=True)
class Bench:
    """One data set, and what is known of its rows so far."""

    name: str
    split: Split
    validation: Split
    done: dict[str, Any]  #: row -> what is in the file

    def parameters(self, row: Row) -> dict[str, Any]:
        """Those of the file, else those that validation prefers."""
        if row.name in self.done:
            return dict(self.done[row.name]["parameters"])
        return self.chosen(row)[0]

    def chosen(self, row: Row) -> tuple[dict[str, Any], list[Any]]:
        """The best point of the grid, and all trials."""
        grid, fixed_ones = row.grid.get(self.name, {}), row.fixed.get(self.name, {})
        if not grid:
            return dict(fixed_ones), []
        found = choose(row.model, grid, self.validation, METRIC, fixed=fixed_ones)
        return dict(found.best.parameters), found.as_dict()["trials"]

    def judged(self, row: Row) -> dict[str, Any]:
        """Choose, fit on all of train, judge on test."""
        if row.parts:
            return self.blended(row)
        with measure() as usage:
            parameters, trials = self.chosen(row)
        report = evaluate(make_pipeline(row.model, **parameters), self.split, ks=(20,), name=row.name)
        return _entry(row, self.name, report, parameters) | {
            "choose_seconds": usage.seconds,
            "trials": trials,
        }

    def blended(self, row: Row) -> dict[str, Any]:
        """Weights from fits on the train part of validation; the mix of fits on all of train is judged."""
        parts = [next(r for r in ROWS if r.name == name) for name in row.parts[self.name]]
        how = {part.name: self.parameters(part) for part in parts}
        with measure() as usage:
            fitted = [self._fit(part, how[part.name], self.validation) for part in parts]
            learned = learn_weights(fitted, self.validation, METRIC)
        with measure() as fits:
            whole = [self._fit(part, how[part.name], self.split) for part in parts]
        report = judge(mix(whole, learned.weights), self.split, ks=(20,), name=row.name)
        weights = {part.name: round(float(w), 4) for part, w in zip(parts, learned.weights, strict=True)}
        entry = _entry(row, self.name, report, {"weights": weights, "parts": how})
        return entry | {"fit_seconds": fits.seconds, "choose_seconds": usage.seconds}

    def _fit(self, row: Row, parameters: Mapping[str, Any], split: Split) -> Pipeline:
        return make_pipeline(row.model, **parameters).fit(split.train, rng=0)


def _entry(row: Row, data: str, report: Report, parameters: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a row."""
    return {
        "parameters": parameters,
        "figures": {name: report.means[name] for name in SHOWN},
        "intervals": {name: list(report.intervals[name]) for name in SHOWN},
        "published": list(row.published.get(data, ())),
        "fit_seconds": report.seconds.get("fit"),
        "recommend_seconds": report.seconds.get("recommend"),
        "memory_mb": {name: value for name, value in report.memory_mb.items() if value is not None},
    }


def show(name: str, done: Mapping[str, Any]) -> None:
    """Print the rows of a data set; a figure below the published one is red."""
    title = f"{name}, fixed files, all items ranked; 95 % bootstrap intervals; published figures in brackets"
    table = Table(title=title, title_justify="left")
    for column in ("model", "parameters", *SHOWN, "choose s", "fit s", "recommend s"):
        table.add_column(column, overflow="fold")
    for row in (row for row in ROWS if row.name in done):
        entry = done[row.name]
        cells = []
        for n, metric in enumerate(SHOWN):
            value, (low, high) = entry["figures"][metric], entry["intervals"][metric]
            beside = f" ({entry['published'][n]:.4f})" if entry["published"] else ""
            text = f"{value:.4f} [{low:.4f}, {high:.4f}]".replace("[", "\\[") + beside
            missed = bool(entry["published"]) and value < entry["published"][n]
            cells.append(f"[red]{text}[/red]" if missed else text)
        seconds = (entry[f"{what}_seconds"] for what in ("choose", "fit", "recommend"))
        parameters = ", ".join(f"{k}={v}" for k, v in entry["parameters"].items())
        table.add_row(row.name, parameters, *cells, *("" if s is None else f"{s:.1f}" for s in seconds))
    console.print(table)


def main() -> None:
    """All rows on both data sets, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", choices=DATA, default=DATA)
    parser.add_argument("--rows", nargs="*", choices=[row.name for row in ROWS], default=None)
    parser.add_argument(
        "--users", type=int, default=3_000, help="validation users that parameters are chosen on"
    )
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("RECSMITH_EXTRA_DATA", ".")))
    parser.add_argument("--out", type=Path, default=Path("runs") / "gowalla_yelp.json")
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.data:
        split = load(options.folder, name)
        done = results.setdefault(name, {})
        bench = Bench(name, split, validation_of(split.train, options.users), done)
        for row in ROWS:
            if options.rows is None or row.name in options.rows:
                console.print(f"{name}: {row.name}")
                done[row.name] = bench.judged(row)
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(results, indent=1))
        show(name, done)


if __name__ == "__main__":
    main()

"""Autoencoders and graph convolutions beside linear models, parameters chosen on validation only.

``python benchmarks/neural.py`` runs every row; ``--rows lightgcn recvae`` some. Each row is written to
``runs/neural.json`` as soon as it is done, beside what earlier calls wrote, and its figures of each user to
``runs/neural/``; the comparisons are made of all that is there.

- ML-1M in the split of LightGCN++ (``ml-1m/lightgcnpp_{train,valid,test}.parquet``): Recall@20 and NDCG@20 over all
  items that are not in train. Trainings stop early on the valid file, and keep their best weights; parameters are the
  best there. The test file is read once a row.
- ML-100K, official fold u1 (``ml-100k/ratings.parquet``, fold 1 is the test): RMSE. Parameters and the number of epochs
  come from a random tenth of train; the model is then fitted on all of train.

The files are in the folder RECSMITH_EXTRA_DATA or ``--folder``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
from accuracy import official_folds
from rich.console import Console

from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.data.split import Split, fixed
from recsmith.data.split_by_name import parse
from recsmith.evaluation import evaluate, judge
from recsmith.evaluation.comparison import compare, leaderboard
from recsmith.evaluation.report import Report
from recsmith.experiment.coach import EpochCoach
from recsmith.experiment.held_out import HeldOut
from recsmith.experiment.train import make_pipeline
from recsmith.recommend import Pipeline
from recsmith.resources import measure
from recsmith.tracking.null import NullTracker

console = Console(width=160)
LISTS, RATINGS = "ndcg@20", "rmse"
#: What others are compared with.
BASELINE = {LISTS: "ease", RATINGS: "biased-mf"}


@dataclass(frozen=True)
class Row:
    """A model, and the values that validation chooses from."""

    model: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    metric: str = LISTS
    trained: bool = False  #: by the loop: stops early
    every: int = 1  #: epochs between judgements

    def trials(self) -> list[dict[str, Any]]:
        """The sets of parameters."""
        return [
            {**self.fixed, **dict(zip(self.grid, values, strict=True))}
            for values in product(*self.grid.values())
        ]


ROWS = (
    Row("popular"),
    Row("ease", grid={"reg": (100, 300, 1000, 3000)}),
    Row(
        "bpr",
        fixed={"epochs": 60, "embedding_size": 64},
        grid={"learning_rate": (0.05, 0.1), "reg": (0.01, 0.03), "candidates": (1, 5)},
    ),
    Row(
        "lightgcn",
        fixed={
            "batch_size": 8192,
            "learning_rate": 0.01,
            "layers": 2,
            "candidates": 5,
            "epochs": 120,
            "patience": 4,
        },
        grid={"reg": (1e-4, 1e-2)},
        trained=True,
        every=3,
    ),
    Row(
        "mult-vae",
        fixed={"batch_size": 256, "epochs": 100, "patience": 5},
        grid={"beta": (0.5, 1.0), "dropout": (0.5, 0.7)},
        trained=True,
        every=2,
    ),
    Row(
        "recvae",
        fixed={"batch_size": 256, "epochs": 50, "patience": 3},
        grid={"gamma": (0.005,)},
        trained=True,
    ),
    Row("biased-mf", metric=RATINGS),
    Row("gcmc", metric=RATINGS, trained=True, every=5),
)


@dataclass(frozen=True)
class Shown:
    """Says how a training goes, a line for each judgement."""

    last: int | None = None  #: the epoch after which the training stops

    def progress(self, done: int, total: int, **figures: float) -> bool:
        """Print, and stop when it is time."""
        if RATINGS in figures or any("@" in name for name in figures):
            console.print(f"  {done}/{total}", {name: round(value, 4) for name, value in figures.items()})
        return done == self.last


def ml_1m(folder: Path) -> tuple[Split, Split]:
    """Validation and test of one train file."""
    parts = []
    for part in ("train", "valid", "test"):
        frame = pl.read_parquet(folder / "ml-1m" / f"lightgcnpp_{part}.parquet")
        log = Log(interactions=frame.rename({"user": "user_id", "item": "item_id"}), name=f"ml-1m {part}")
        parts.append(Dataset.from_log(log))
    return fixed(parts[0], parts[1]), fixed(parts[0], parts[2])


def ml_100k(folder: Path) -> tuple[Split, Split]:
    """A tenth of u1's train, and u1."""
    test = official_folds(folder / "ml-100k")[0]
    return parse("random:0.1").split(test.train)[0], test


def coach(row: Row, pipeline: Pipeline, split: Split) -> EpochCoach:
    """Judges on ``split``."""
    held_out = HeldOut(split=split, users=split.queries.users)
    return EpochCoach(
        stage="train", pipeline=pipeline, data=split.train, tracker=NullTracker(), monitor=Shown(),
        held_out=held_out, metric=row.metric, every=row.every,
    )  # fmt: skip


def choose(row: Row, valid: Split) -> tuple[dict[str, Any], Pipeline | None]:
    """All trials on ``valid``; what they gave, and the fitted pipeline of the best where it can be judged further."""
    trials, best, kept = [], float("-inf"), None
    for parameters in row.trials():
        pipeline = make_pipeline(row.model, **parameters)
        with measure() as usage:
            watcher = coach(row, pipeline, valid) if row.trained else None
            fitted = pipeline.fit(valid.train, rng=0, monitor=watcher)
        figure = judged(row, fitted, valid).means[row.metric]
        trial: dict[str, Any] = {"parameters": parameters, row.metric: figure, "seconds": usage.seconds}
        if row.trained:
            course = fitted.model.course_  # type: ignore[attr-defined]
            trial |= {"best_epoch": course.best_epoch, "epochs": course.epoch}
            trial["examples_per_second"] = max(epoch["examples_per_second"] for epoch in course.history)
        trials.append(trial)
        console.print(row.model, trial)
        signed = -figure if row.metric == RATINGS else figure
        if signed > best:
            best, kept, chosen = signed, fitted, trial
    return {"chosen": chosen, "trials": trials}, kept


def judged(row: Row, fitted: Pipeline, split: Split) -> Report:
    """The report of a row."""
    if row.metric == RATINGS:
        return judge(fitted, split, name=row.model, metrics=(), rating=True)
    cut = int(row.metric.partition("@")[2])
    return judge(fitted, split, name=row.model, ks=(cut,), metrics=("recall", "ndcg"), rating=False)


def measured(row: Row, valid: Split, test: Split) -> tuple[dict[str, Any], Report]:
    """Choose, then judge on test, once."""
    found, fitted = choose(row, valid)
    chosen = found["chosen"]
    if row.metric == LISTS and fitted is not None:
        return found, judged(row, fitted, test)
    pipeline = make_pipeline(row.model, **chosen["parameters"])
    watcher = Shown(last=chosen["best_epoch"]) if row.trained else None
    report = evaluate(pipeline, test, name=row.model, metrics=(), rating=True, monitor=watcher)
    return found, report


def show(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Print what there is of each table, with the paired tests, and give these as JSON."""
    told = {}
    for metric in (LISTS, "recall@20", RATINGS):
        kind = RATINGS if metric == RATINGS else LISTS
        names = [row.model for row in ROWS if row.metric == kind and row.model in record]
        if not names:
            continue
        reports = [
            Report.read(record[name]["report"], pl.read_parquet(folder / f"{name}.parquet")) for name in names
        ]
        console.print(leaderboard(reports, metric))
        if BASELINE[kind] in names and len(names) > 1:
            tested = [compare(reports, metric, baseline=BASELINE[kind])]
            if {"bpr", "lightgcn"} <= set(names):
                tested.append(
                    compare([r for r in reports if r.model in ("bpr", "lightgcn")], metric, baseline="bpr")
                )
            for one in tested:
                console.print(one)
            told[metric] = [one.as_dict() for one in tested]
    return told


def main() -> None:
    """All rows, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", choices=[row.model for row in ROWS])
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("RECSMITH_EXTRA_DATA", ".")))
    parser.add_argument("--out", type=Path, default=Path("runs") / "neural.json")
    options = parser.parse_args()
    users = options.out.with_suffix("")
    users.mkdir(parents=True, exist_ok=True)
    wanted = [row for row in ROWS if options.rows is None or row.model in options.rows]
    splits = {
        metric: load(options.folder)
        for metric, load in ((LISTS, ml_1m), (RATINGS, ml_100k))
        if any(row.metric == metric for row in wanted)
    }
    for row in wanted:
        found, report = measured(row, *splits[row.metric])
        report.per_user().write_parquet(users / f"{row.model}.parquet")
        record = json.loads(options.out.read_text()) if options.out.exists() else {}
        record[row.model] = {**found, "report": report.as_dict()}
        record["comparisons"] = show(record, users)
        options.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()

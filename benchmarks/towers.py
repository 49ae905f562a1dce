"""Models that pool the history: what ratings, features, several tasks and a curriculum of negatives bring.

``python benchmarks/towers.py`` runs every row; ``--rows ratings two-tower`` some. Each is written to
``runs/towers.json`` as soon as it is done, beside what earlier calls wrote.

- ``ratings``: ML-100K, official fold u1, RMSE of neural collaborative filtering. The form and the penalty are chosen on
  a random tenth of train.
- ``curriculum``: ML-100K, user time, NDCG@10 of NeuMF by how its negatives are drawn, and the seconds until the best
  figure of uniform ones is reached. The epoch is chosen on the last fifth of each history in train.
- ``two-tower``, ``two-tower-1m``: users of ML-100K and ML-1M that train does not know, told none or
  three of their events, with features and without.
- ``multitask-shop``: RetailRocket (``multibehavior-retailrocket``). Test is the given purchase of each user, and his
  last cart and view where he has three; all events of these pairs are out of train. Each task beside the same model
  with that task alone.
- ``multitask-ratings``: ML-100K, u1: rating, liked (4 and more) and watched, likewise.

The number of epochs of a row comes from a part of train, never from test. The files are in the folder
RECSMITH_EXTRA_DATA or ``--folder``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from accuracy import official_folds
from rich.console import Console

import recsmith as rs
from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.data.split import Split, fixed
from recsmith.data.split_by_name import parse
from recsmith.evaluation import evaluate, judge
from recsmith.evaluation.comparison import compare
from recsmith.evaluation.report import Report
from recsmith.experiment.coach import EpochCoach
from recsmith.experiment.held_out import HeldOut
from recsmith.experiment.train import make_pipeline
from recsmith.recommend import Pipeline
from recsmith.tracking.null import NullTracker

console = Console(width=160)
LISTS, RATINGS = "ndcg@10", "rmse"
_JUDGED = 500  # users whom a validation of RetailRocket asks
_FEWEST = 3  # events of a kind that a user has, for the last to be held out


class Clock:
    """Keeps the figures of each epoch, and when they were known."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.epochs: list[dict[str, float]] = []

    def progress(self, done: int, total: int, **figures: float) -> bool:
        """Remember, and show what was judged."""
        self.epochs.append({**figures, "at": time.perf_counter() - self.began})
        console.print(f"  {done}/{total}", {name: round(value, 4) for name, value in figures.items()})
        return False


def coach(
    pipeline: Pipeline, split: Split, metric: str, *, every: int = 1, last: int | None = None
) -> EpochCoach:
    """Judges on ``split`` after every so many epochs, or where ``last`` is given only stops after that epoch."""
    held_out = HeldOut(split=split, users=split.queries.users) if last is None else None
    return EpochCoach(
        stage="train", pipeline=pipeline, data=split.train, tracker=NullTracker(), monitor=Clock(),
        held_out=held_out, metric=metric, every=every, last=last,
    )  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A pipeline fitted on all of train for as long as validation said, and what validation said."""

    fitted: Pipeline
    epochs: int
    validation: float
    clock: Clock


def trained(
    model: str, valid: Split, test: Split, metric: str = LISTS, *, every: int = 1, **parameters: Any
) -> Trained:
    """Find the best number of epochs on ``valid``; then fit on ``test.train``."""
    pipeline = make_pipeline(model, **parameters)
    watcher = coach(pipeline, valid, metric, every=every)
    course = pipeline.fit(valid.train, rng=0, monitor=watcher).model.course_  # type: ignore[attr-defined]
    console.print(model, parameters, f"best after {course.best_epoch} epochs: {course.best:.4f}")
    pipeline = make_pipeline(model, **parameters)
    fitted = pipeline.fit(test.train, rng=0, monitor=coach(pipeline, test, metric, last=course.best_epoch))
    return Trained(fitted, course.best_epoch, course.best, watcher.monitor)  # type: ignore[arg-type]


def told(reports: list[Report], metric: str, baseline: str) -> dict[str, Any]:
    """Figures and the paired test, printed and as JSON."""
    tested = compare(reports, metric, baseline=baseline)
    console.print(tested)
    return {"figures": {r.model: r.means[metric] for r in reports}, "paired": tested.as_dict()}


def ratings(folder: Path) -> dict[str, Any]:
    """Neural collaborative filtering of ratings on u1."""
    test = official_folds(folder / "ml-100k")[0]
    valid = parse("random:0.1").split(test.train)[0]
    trials = []
    for form, reg in product(("gmf", "mlp", "neumf"), (1e-4, 3e-4)):
        parameters = {"form": form, "reg": reg}
        report = evaluate(make_pipeline("neumf-rating", **parameters), valid, metrics=(), rating=True)
        trials.append(
            {"parameters": parameters, RATINGS: report.means[RATINGS], "seconds": report.seconds["fit"]}
        )
        console.print(trials[-1])
    chosen = min(trials, key=lambda trial: trial[RATINGS])["parameters"]
    rows = [("neumf-rating", chosen), ("biased-mf", {}), ("svdpp", {})]
    reports = [
        evaluate(make_pipeline(m, **p), test, metrics=(), rating=True, name=m, seed=0) for m, p in rows
    ]
    return {"trials": trials, "chosen": chosen, **told(reports, RATINGS, "biased-mf")}


def curriculum(folder: Path) -> dict[str, Any]:
    """Ways of drawing negatives."""
    test = parse("user-time").split(rs.load("ml-100k", keep_catalogue=False))[0]
    valid = parse("user-time").split(test.train)[0]
    rows, reports = {}, []
    for kind in ("uniform", "popular", "hard", "curriculum"):
        run = trained("neumf", valid, test, negatives=kind, loss="bce", epochs=30, patience=5)
        rows[kind] = {"validation": run.validation, "epochs": run.epochs}
        target = rows["uniform"]["validation"]
        reached = [epoch["at"] for epoch in run.clock.epochs if epoch.get(LISTS, 0.0) >= target]
        rows[kind]["seconds_to_uniforms_best"] = reached[0] if reached else None
        reports.append(judge(run.fitted, test, ks=(10,), name=kind, rating=False))
        rows[kind][LISTS] = reports[-1].means[LISTS]
        console.print(kind, rows[kind])
    return {"rows": rows, **told(reports, LISTS, "uniform")}


_TOWERS = {
    "min_count": 20, "hidden": 0, "drop_history": 0.7, "temperature": 0.2, "patience": 3, "batch_size": 1024
}  # fmt: skip


def two_tower(folder: Path) -> dict[str, Any]:
    """Features of unknown users of ML-100K."""
    return unknown_users(rs.load("ml-100k", keep_catalogue=False), epochs=8)


def two_tower_1m(folder: Path) -> dict[str, Any]:
    """Features of unknown users of ML-1M."""
    return unknown_users(ml_1m(folder / "ml-1m"), epochs=3)


def unknown_users(data: Dataset, **parameters: Any) -> dict[str, Any]:
    """A model with features and one without, each asked about the same users, of whom 0 or 3 events are told."""
    tests = {given: parse(f"unknown-users:given={given}").split(data)[0] for given in (0, 3)}
    valids = {given: parse(f"unknown-users:given={given}").split(tests[0].train)[0] for given in tests}
    runs = {  # without features and events there is nothing to judge: the list is that of ``popular``
        "with": trained("two-tower", valids[0], tests[0], **_TOWERS, **parameters),
        "without": trained("two-tower", valids[3], tests[3], features=False, **_TOWERS, **parameters),
    }
    out: dict[str, Any] = {label: {"epochs": run.epochs} for label, run in runs.items()}
    for given, test in tests.items():
        reports = [judge(run.fitted, test, ks=(10,), name=label, rating=False) for label, run in runs.items()]
        out[f"given={given}"] = told(reports, LISTS, "without")
    return out


def ml_1m(folder: Path) -> Dataset:
    """Ratings in the order of SASRec's file, with the table of users."""
    ratings = pl.read_parquet(folder / "ratings.parquet").select(
        "rating", user_id="user", item_id="item", timestamp=pl.col("sas_pos").cast(pl.Int64)
    )
    users = pl.read_parquet(folder / "users.parquet").rename({"user": "user_id"})
    return Dataset.from_log(Log(interactions=ratings, users=users, name="ml-1m"))


def shop(folder: Path) -> tuple[Dataset, dict[str, Dataset]]:
    """Train, and for each kind of event the held-out pairs."""
    files = folder / "multibehavior-retailrocket"
    parts = [
        pl.read_parquet(files / f"train_mat_{kind}.parquet").with_columns(event=pl.lit(kind))
        for kind in ("view", "cart", "buy")
    ]
    frame = pl.concat(parts).rename({"user": "user_id", "item": "item_id", "value": "timestamp"})
    bought = pl.read_parquet(files / "test_mat.parquet").select(
        user_id="user", item_id="item", event=pl.lit("buy")
    )
    pairs = frame.join(bought, on=["user_id", "item_id"], how="anti")
    held, test = hold_last(pairs, ("view", "cart"))
    rest = held.join(bought, on=["user_id", "item_id"], how="anti")
    return dataset(rest, "train"), {k: dataset(f, k) for k, f in {**test, "buy": bought}.items()}


def hold_last(frame: pl.DataFrame, kinds: tuple[str, ...]) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Take the last pair of each kind out of histories with enough of that kind, with all events of the pair."""
    test = {}
    for kind in kinds:
        own = frame.filter(event=kind).sort("user_id", "timestamp", maintain_order=True)
        last = own.filter(pl.len().over("user_id") >= _FEWEST).group_by("user_id", maintain_order=True).last()
        test[kind] = last.select("user_id", "item_id", "event")
    for pairs in test.values():
        frame = frame.join(pairs, on=["user_id", "item_id"], how="anti")
    return frame, test


def dataset(frame: pl.DataFrame, name: str) -> Dataset:
    """A log of events."""
    return Dataset.from_log(Log(interactions=frame, name=f"RetailRocket, {name}"))


def multitask_shop(folder: Path) -> dict[str, Any]:
    """View, cart and buy, together and one by one."""
    train, tests = shop(folder)
    splits = {kind: fixed(train, log) for kind, log in tests.items()}
    frame = pl.DataFrame(
        {
            "user_id": train.users.raw(train.user), "item_id": train.items.raw(train.item),
            "timestamp": train.time, "event": [train.event_names[c] for c in train.event],  # type: ignore[union-attr]
        }
    )  # fmt: skip
    inner, held = hold_last(frame, ("view", "cart", "buy"))
    inner_train = dataset(inner, "inner train")
    valids = {kind: fixed(inner_train, dataset(some_users(events), kind)) for kind, events in held.items()}
    return tasks_and_alone(
        splits, valids, dict.fromkeys(splits, LISTS), every=2, epochs=20, patience=2, batch_size=512
    )


def some_users(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of some users, drawn at random, who are enough for a validation."""
    users = frame["user_id"].unique().sort()
    return frame.filter(pl.col("user_id").is_in(users.sample(min(len(users), _JUDGED), seed=0).implode()))


def multitask_ratings(folder: Path) -> dict[str, Any]:
    """Rating, liked and watched, together and one by one."""
    test = official_folds(folder / "ml-100k")[0]
    valid = parse("random:0.1").split(test.train)[0]
    metrics = {"rating": RATINGS, "liked": LISTS, "watched": LISTS}
    return tasks_and_alone(
        {"rating": test, "liked": liked(test), "watched": test},
        {"rating": valid, "liked": liked(valid), "watched": valid},
        metrics, epochs=20, patience=4, batch_size=512, reg=1e-4, dropout=0.5,
    )  # fmt: skip


def liked(split: Split) -> Split:
    """Only the truth of 4 stars and more."""
    truth = split.truth
    kept = truth.values >= 4  # type: ignore[operator]
    bounds = np.concatenate([[0], np.cumsum(kept)])[truth.offsets]
    few = replace(
        truth, offsets=bounds, items=truth.items[kept], values=truth.values[kept], times=truth.times[kept]  # type: ignore[index]
    )  # fmt: skip
    return replace(split, truth=few)


def tasks_and_alone(
    splits: Mapping[str, Split], valids: Mapping[str, Split], metrics: Mapping[str, str], **parameters: Any
) -> dict[str, Any]:
    """Each task of shared bottom and MMoE beside a shared bottom of that task alone."""
    first = next(iter(splits))
    together = {}
    for model in ("shared-bottom", "mmoe"):
        answer = None if first == "rating" else "buy"
        metric = RATINGS if first == "rating" else LISTS
        key = first if first == "rating" else "buy"
        together[model] = trained(model, valids[key], splits[key], metric, answer=answer, **parameters)
    out: dict[str, Any] = {model: {"epochs": run.epochs} for model, run in together.items()}
    for task, split in splits.items():
        metric = metrics[task]
        alone = trained("shared-bottom", valids[task], split, metric, tasks=(task,), **parameters)
        fits = {"alone": alone.fitted, **{m: answering(run.fitted, task) for m, run in together.items()}}
        lists = {"metrics": (), "rating": True} if metric == RATINGS else {"ks": (10,), "rating": False}
        reports = [judge(fitted, split, name=name, **lists) for name, fitted in fits.items()]  # type: ignore[arg-type]
        out[task] = {"alone_epochs": alone.epochs, **told(reports, metric, "alone")}
    return out


def answering(fitted: Pipeline, task: str) -> Pipeline:
    """The pipeline with the lists of another task."""
    return replace(fitted, model=fitted.model.answering(task))  # type: ignore[attr-defined]


ROWS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "ratings": ratings,
    "curriculum": curriculum,
    "two-tower": two_tower,
    "two-tower-1m": two_tower_1m,
    "multitask-shop": multitask_shop,
    "multitask-ratings": multitask_ratings,
}


def main() -> None:
    """All rows, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("RECSMITH_EXTRA_DATA", ".")))
    parser.add_argument("--out", type=Path, default=Path("runs") / "towers.json")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.rows:
        found = ROWS[name](options.folder)
        record = json.loads(options.out.read_text()) if options.out.exists() else {}
        options.out.write_text(json.dumps({**record, name: found}, indent=1))


if __name__ == "__main__":
    main()

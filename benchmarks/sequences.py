"""Models of the next item on Beauty and MovieLens-1M, parameters chosen on validation only.

``python benchmarks/sequences.py`` runs every row; ``--data beauty --rows gru4rec sasrec`` some. Each row is written to
``runs/sequences.json`` as soon as it is done, beside what earlier calls wrote, and its figures of each user to
``runs/sequences/``; the comparisons are made of all that is there.

The last event of every user is the test, judged by HR@10 and NDCG@10 over all items that are not in the user's
history. Of some users the last train event is held out, too: trainings stop early by it and keep their best weights,
and parameters are the best there. Simple models are then fitted on all of train; trained ones stay as they are.

- beauty: the file of S3-Rec (``s3rec/Beauty.parquet``), Amazon's reviews, five or more of each user and item.
- ml-1m: the file of SASRec (``ml-1m/sasrec/ml-1m.txt.gz``). On a CPU a row takes hours there.

The files are in the folder RECSMITH_EXTRA_DATA or ``--folder``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from accuracy import ml_1m_sequences
from neural import Row, judged
from neural import choose as learn
from rich.console import Console

from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.data.split_by_name import parse
from recsmith.evaluation import evaluate
from recsmith.evaluation.comparison import compare, leaderboard
from recsmith.evaluation.report import Report
from recsmith.experiment.choose import choose
from recsmith.experiment.config import Training
from recsmith.experiment.held_out import hold_out
from recsmith.experiment.train import make_pipeline

console = Console(width=160)
METRIC = "ndcg@10"


def beauty(folder: Path) -> Dataset:
    """Amazon Beauty as the authors of S3-Rec give it: a row for each event, in the order of time within a user."""
    frame = pl.read_parquet(folder / "s3rec" / "Beauty.parquet")
    frame = frame.select(user_id="user", item_id="item", timestamp=np.arange(len(frame)))
    return Dataset.from_log(Log(interactions=frame, name="Beauty (S3-Rec)"))


def ml_1m(folder: Path) -> Dataset:
    """MovieLens-1M as the authors of SASRec give it."""
    return ml_1m_sequences(folder / "ml-1m")


@dataclass(frozen=True)
class Setting:
    """A log, and what is tried on it."""

    load: Callable[[Path], Dataset]
    users: int  #: of whom the last train event is held out
    rows: Sequence[Row]


def _trained(model: str, every: int, grid: Mapping[str, Sequence[Any]], **fixed: Any) -> Row:
    return Row(model, fixed=fixed, grid=grid, metric=METRIC, trained=True, every=every)


def _simple(model: str, **grid: Sequence[Any]) -> Row:
    return Row(model, grid=grid, metric=METRIC)


_ORDER = {"pair_half_life": (3, 5, 8), "backward": (0.2, 0.4)}
_LOOSE = {"half_life": (2, 3, 5), "pair_half_life": (5, 10, 20), "backward": (0.4, 0.7, 1.0)}
_SPARSE = {"batch_size": 128, "learning_rate": 2e-3, "schedule": "cosine", "patience": 6}
SETTINGS = {
    "beauty": Setting(
        beauty,
        5000,
        (
            _simple("popular"),
            _simple("item-knn", shrinkage=(5, 10, 20), **_LOOSE),
            _simple("ease", reg=(200,), half_life=(2, 3, 5), pair_half_life=(10,), backward=(0.4, 0.7)),
            _trained("gru4rec", 3, {"dropout": (0.5,)}, epochs=45, **_SPARSE),
            _trained("sasrec", 3, {"dropout": (0.5,)}, epochs=45, **_SPARSE),
            _trained("bert4rec", 5, {"dropout": (0.4,)}, epochs=100, mask_share=0.4, **_SPARSE),
        ),
    ),
    "ml-1m": Setting(
        ml_1m,
        1000,
        (
            _simple("popular"),
            _simple("item-knn", shrinkage=(2, 5), half_life=(2, 3, 5), **_ORDER),
            _simple("ease", reg=(100, 300), half_life=(2, 3, 5), **_ORDER),
            _trained("gru4rec", 1, {}, max_length=200, epochs=200, dropout=0.2, batch_size=128, embedding_size=128),
            _trained("sasrec", 2, {}, max_length=200, epochs=80, dropout=0.1, batch_size=128),
            _trained("bert4rec", 2, {}, max_length=200, epochs=300, dropout=0.1, batch_size=128, mask_share=0.2),
        ),
    ),
}  # fmt: skip


def measured(row: Row, setting: Setting, data: Dataset) -> tuple[dict[str, Any], Report]:
    """Choose, then judge on test, once."""
    split = parse("leave-last-out").split(data)[0]
    held = hold_out(split.train, Training(users=setting.users), seed=0)
    if row.trained:
        found, fitted = learn(row, held.split)
        found["device"] = str(fitted.model.device)  # type: ignore[union-attr]
        return found, judged(row, fitted, held.fresh(split))  # type: ignore[arg-type]
    choice = choose(row.model, row.grid, held.split, METRIC)
    found = choice.as_dict() | {
        "chosen": {"parameters": dict(choice.best.parameters), METRIC: choice.best.value}
    }
    console.print(row.model, found["chosen"])
    pipeline = make_pipeline(row.model, **choice.best.parameters)
    return found, evaluate(
        pipeline, split, name=row.model, ks=(10,), metrics=("recall", "ndcg"), rating=False
    )


def show(name: str, record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Print the table of a log; the paired tests against SASRec, or the first row, as JSON."""
    names = [row.model for row in SETTINGS[name].rows if row.model in record]
    reports = [
        Report.read(record[n]["report"], pl.read_parquet(folder / f"{name}-{n}.parquet")) for n in names
    ]
    console.print(f"{name}: recall@10 is HR@10, since one item is to be found")
    console.print(leaderboard(reports, METRIC))
    if len(names) < 2:
        return {}
    tested = compare(reports, METRIC, baseline="sasrec" if "sasrec" in names else names[0])
    console.print(tested)
    return tested.as_dict()


def main() -> None:
    """All rows, or those that are named."""
    models = [row.model for row in SETTINGS["beauty"].rows]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--rows", nargs="*", choices=models, default=models)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("RECSMITH_EXTRA_DATA", ".")))
    parser.add_argument("--out", type=Path, default=Path("runs") / "sequences.json")
    options = parser.parse_args()
    users = options.out.with_suffix("")
    users.mkdir(parents=True, exist_ok=True)
    for name in options.data:
        setting = SETTINGS[name]
        data = setting.load(options.folder)
        for row in (row for row in setting.rows if row.model in options.rows):
            found, report = measured(row, setting, data)
            report.per_user().write_parquet(users / f"{name}-{row.model}.parquet")
            record = json.loads(options.out.read_text()) if options.out.exists() else {}
            table = record.setdefault(name, {})
            table[row.model] = {**found, "report": report.as_dict()}
            table["comparisons"] = show(name, table, users)
            options.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()

"""Bayesian factorization of ratings beside myFM: same folds, same blocks, same rank and number of iterations.

``python benchmarks/ratings.py`` runs every row, ``python benchmarks/ratings.py ids svdpp`` some; ``--list`` names
them. The two sides take turns, fold by fold and seed by seed. Results go to ``runs/ratings.json``, one entry a row,
so that a row can be run again by itself. The data are found through RECSMITH_EXTRA_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.models.factorization.bayesian import BayesianMF
from recsmith.types import Prediction

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

from harness.environments import PeerError, Peers  # noqa: E402
from harness.workers import Worker  # noqa: E402

_NORMAL_95 = 1.6448536
_SECONDS = 3600.0  # that the peer may take for one job
_IDS = {"implicit": False, "flipped": False}
_PROBIT = {"likelihood": "probit"}
_FOLDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison."""

    what: str
    data: str = "ml-100k"
    folds: tuple[int, ...] = _FOLDS
    ours: Mapping[str, Any] = field(default_factory=dict)
    job: str = "ids"  #: of the peer's runner
    theirs: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    tables: bool = False  #: with the tables of users and items
    day: bool = False  #: with the time of the rating that is predicted
    wanted: str = ""


#: One chain, as myFM has it. With tables, ours takes that of the items alone, because on validation the users' does not
#: help; myFM gets both, as in its own recipe.
_300 = {"chains": 1, "epochs": 300, "burn_in": 5, "samples": 290}
_512 = {"chains": 1, "epochs": 512, "burn_in": 10, "samples": 400}
_THEIR_512 = {"n_iter": 512, "n_kept_samples": 502, "likelihood": "probit"}

ROWS: Mapping[str, Row] = {
    "ids": Row(
        what="ids only, d = 10, 300 iterations, gaussian", ours={"likelihood": "gaussian", **_IDS, **_300},
        wanted="0.8978 / 0.7034",
    ),
    "ids-probit": Row(
        what="ids only, d = 10, 300 iterations, probit", ours={**_PROBIT, **_IDS, **_300}, theirs=_PROBIT,
    ),
    "svdpp": Row(
        what="SVD++ and flipped, d = 10, 300 iterations, gaussian", ours={"likelihood": "gaussian", **_300},
        job="svdpp_flipped", wanted="myFM's",
    ),
    "svdpp-probit": Row(
        what="SVD++ and flipped, d = 10, 300 iterations, probit", ours={**_PROBIT, **_300}, job="svdpp_flipped",
        theirs=_PROBIT,
    ),
    "defaults": Row(
        what="ratings only, recsmith's defaults", folds=(1,), seeds=(0, 1, 2), job="svdpp_flipped", theirs=_THEIR_512,
        wanted="0.900 on u1",
    ),
    "side": Row(
        what="with tables, without the day, d = 10, 512 iterations, probit", folds=(1,), seeds=(0, 1, 2),
        ours={**_PROBIT, **_512}, job="full", theirs=_THEIR_512, tables=True,
    ),
    "side-day": Row(
        what="with tables and the rating's day, d = 10, 512 iterations, probit", folds=(1,), seeds=(0, 1, 2),
        ours={**_PROBIT, **_512, "rating_day": True}, job="full", theirs=_THEIR_512, tables=True, day=True,
        wanted="myFM's + 1 sd; published 0.8808 / 0.6921",
    ),
    "ml1m-ids": Row(
        what="ids only, d = 10, 300 iterations, gaussian", data="ml-1m", folds=(1,),
        ours={"likelihood": "gaussian", **_IDS, **_300}, wanted="myFM's",
    ),
    "ml1m-svdpp": Row(
        what="SVD++ and flipped, d = 10, 300 iterations, gaussian", data="ml-1m", folds=(1,),
        ours={"likelihood": "gaussian", **_300}, job="svdpp_flipped", wanted="myFM's",
    ),
    "ml1m-svdpp-probit": Row(
        what="SVD++ and flipped, d = 10, 300 iterations, probit", data="ml-1m", folds=(1,), ours={**_PROBIT, **_300},
        job="svdpp_flipped", theirs=_PROBIT,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Fold:
    """Train and test parts of a fold, and the tables."""

    train: pl.DataFrame
    test: pl.DataFrame
    users: pl.DataFrame | None
    items: pl.DataFrame | None

    @classmethod
    def read(cls, row: Row, fold: int) -> Fold:
        """Columns user_id, item_id, rating and, where there are any, timestamp."""
        folder = Path(os.environ["RECSMITH_EXTRA_DATA"]) / row.data
        frame = pl.read_parquet(folder / "ratings.parquet").rename({"user": "user_id", "item": "item_id"})
        types = {"user_id": pl.Int64, "item_id": pl.Int64, "rating": pl.Float32, "timestamp": pl.Int64}
        kept = [name for name in types if name in frame.columns]
        parts = [
            frame.filter(chosen).select(kept).cast({n: types[n] for n in kept})
            for chosen in (pl.col("fold") != fold, pl.col("fold") == fold)
        ]
        return cls(*parts, *(_tables(folder) if row.tables else (None, None)))

    def dataset(self) -> Dataset:
        """The train part."""
        log = Log(
            interactions=self.train, users=self.users, items=self.items, name="train", rating_scale=(1.0, 5.0)
        )
        return Dataset.from_log(log, keep_catalogue=False)


def _tables(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """ML-100K's tables as recsmith's own loader gives them: genres as lists, the year of the release."""
    users = pl.read_parquet(folder / "users.parquet").rename({"user": "user_id", "zip": "zip_code"})
    raw = pl.read_parquet(folder / "items.parquet").rename({"item": "item_id"})
    genres = [name for name in raw.columns if raw[name].dtype.is_integer() and name != "item_id"]
    listed = pl.concat_list([pl.when(pl.col(g) == 1).then(pl.lit(g)) for g in genres]).list.drop_nulls()
    year = pl.col("release_date").str.slice(-4).cast(pl.Int32, strict=False)
    return users, raw.select("item_id", "title", year.alias("year"), listed.alias("genres"))


def ours(row: Row, fold: Fold, seed: int) -> dict[str, float]:
    """Fit and predict; the learned user vectors answer."""
    data = fold.dataset()
    model = BayesianMF(**row.ours)
    start = time.perf_counter()
    model.fit(data, rng=seed)
    fit = time.perf_counter() - start
    users, items = data.users.index(fold.test["user_id"]), data.items.index(fold.test["item_id"])
    if row.day:
        queries, rows = data.queries(users), np.arange(len(users))
        queries = queries.replace(at=fold.test["timestamp"].to_numpy())
    else:
        asked, rows = np.unique(users, return_inverse=True)
        queries = data.queries(asked)
    start = time.perf_counter()
    given = model.predict(queries, rows, items)
    predict = time.perf_counter() - start
    actual = fold.test["rating"].to_numpy()
    low, high = model.quantiles(queries, rows, items).T
    return {
        **_errors(given.mean, actual),
        "coverage": _coverage(given, actual),
        "quantile_coverage": float(np.mean((actual >= low) & (actual <= high))),
        "fit": fit,
        "predict": predict,
    }


def _coverage(given: Prediction, actual: Any) -> float:
    """Share of ratings within mean +- 1.645 standard deviations."""
    assert given.std is not None
    return float(np.mean(np.abs(actual - given.mean) <= _NORMAL_95 * given.std))


def _errors(predicted: Any, actual: Any) -> dict[str, float]:
    away = np.clip(predicted, 1, 5).astype(np.float64) - actual
    return {"rmse": float(np.sqrt(np.mean(away**2))), "mae": float(np.abs(away).mean())}


def theirs(row: Row, fold: Fold, seed: int, worker: Worker, folder: Path) -> dict[str, float]:
    """The peer's turn, clipped to the scale as ours is."""
    np.savez(folder / "in.npz", **_arrays(row, fold))
    settings = {**row.theirs, "random_seed": seed}
    answer = worker.ask(row.job, folder / "in.npz", folder / "out.npz", settings, seconds=_SECONDS)
    predicted = np.load(folder / "out.npz")["predictions"]
    return {**_errors(predicted, fold.test["rating"].to_numpy()), **answer["phases"]}


def _arrays(row: Row, fold: Fold) -> dict[str, Any]:
    """The fold as index arrays; a table's column as (2, nnz) rows and values, binned as in myFM's examples."""
    users = np.unique(np.concatenate([fold.train["user_id"], fold.test["user_id"]]))
    items = np.unique(np.concatenate([fold.train["item_id"], fold.test["item_id"]]))
    found: dict[str, Any] = {}
    for part, frame in (("train", fold.train), ("test", fold.test)):
        found[f"{part}_users"] = np.searchsorted(users, frame["user_id"]).astype(np.int32)
        found[f"{part}_items"] = np.searchsorted(items, frame["item_id"]).astype(np.int32)
        found[f"{part}_ratings"] = frame["rating"].to_numpy()
    if row.day:
        train, test = (frame["timestamp"].to_numpy() // 86_400 for frame in (fold.train, fold.test))
        days = np.unique(train)
        found["train_days"] = np.searchsorted(days, train)
        place = np.minimum(np.searchsorted(days, test), len(days) - 1)
        found["test_days"] = np.where(days[place] == test, place, -1)
    if fold.users is not None and fold.items is not None:
        about = fold.users.filter(pl.col("user_id").is_in(users)).sort("user_id")
        columns = [pl.col("age") // 5, "gender", "occupation", pl.col("zip_code").str.slice(0, 1)]
        found |= {f"user_{c.name}": _entries(c) for c in about.select(columns)}
        about = fold.items.filter(pl.col("item_id").is_in(items)).sort("item_id")
        found |= {f"item_{c.name}": _entries(c) for c in about.select(pl.col("year") // 5, "genres")}
    return found


def _entries(column: pl.Series) -> Any:
    """Rows and codes of the values that are there."""
    frame = pl.DataFrame({"row": np.arange(len(column)), "value": column})
    if column.dtype == pl.List:
        frame = frame.explode("value")
    frame = frame.drop_nulls()
    return np.stack([frame["row"].to_numpy(), frame["value"].rank("dense").to_numpy() - 1]).astype(np.int64)


def run(name: str, row: Row, *, peer: bool) -> dict[str, Any]:
    """Both sides in turn; the first run of ours is preceded by one that compiles."""
    runs: dict[str, list[dict[str, float]]] = {"recsmith": []}
    error = ""
    folds = [Fold.read(row, k) for k in row.folds]
    BayesianMF(**{**row.ours, "epochs": 2, "burn_in": 1}).fit(folds[0].dataset())
    worker = None
    with tempfile.TemporaryDirectory() as folder:
        try:
            if peer:
                worker = Worker(Peers(HERE / "peers", ROOT / ".bench").command("myfm"))
        except PeerError as problem:
            error = str(problem)
        for k, fold in zip(row.folds, folds, strict=True):
            for seed in row.seeds:
                runs["recsmith"].append({"fold": k, "seed": seed, **ours(row, fold, seed)})
                if worker is not None:
                    try:
                        own = theirs(row, fold, seed, worker, Path(folder))
                        runs.setdefault("myfm", []).append({"fold": k, "seed": seed, **own})
                    except PeerError as problem:
                        error = str(problem)
                Console(stderr=True).print(name, *(f"{side} {each[-1]}" for side, each in runs.items()))
        if worker is not None:
            worker.close()
    config = BayesianMF(**row.ours).config.model_dump()
    return {"what": row.what, "data": row.data, "wanted": row.wanted, "runs": runs, "error": error, "config": config,
            "theirs": dict(row.theirs)}  # fmt: skip


def table(results: Mapping[str, Any]) -> Table:
    """Means over folds and seeds, with the standard deviation over seeds where there are several; median times."""
    shown = Table("row", "what", "side", "RMSE", "MAE", "90 % covers", "fit s", "predict s", "wanted")
    for name, result in results.items():
        for side, runs in result["runs"].items():
            values = {key: [each[key] for each in runs if key in each] for key in (*runs[0], "coverage")}
            seeds = len({each["seed"] for each in runs}) > 1
            cells = []
            for key in ("rmse", "mae", "coverage"):
                mean = f"{statistics.mean(values[key]):.4f}" if values[key] else ""
                cells.append(mean + (f" ({statistics.stdev(values[key]):.4f})" if seeds and mean else ""))
            cells += [f"{statistics.median(values[key]):.2f}" for key in ("fit", "predict")]
            what = f"{result['data']}: {result['what']}" if side == "recsmith" else ""
            shown.add_row(name if what else "", what, side, *cells, result["wanted"] if what else "")
        if result["error"]:
            shown.add_row("", result["error"], "myfm")
    return shown


def main() -> None:
    """The rows that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--alone", action="store_true", help="without myFM")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "ratings.json")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no row named {', '.join(sorted(unknown))}; known: {', '.join(ROWS)}")
    if options.list:
        for name, row in ROWS.items():
            print(f"{name:18} {row.data}: {row.what}")
        return
    if "RECSMITH_EXTRA_DATA" not in os.environ:
        parser.error("RECSMITH_EXTRA_DATA is not set: the folder with ml-100k and ml-1m")
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.rows or ROWS:
        results[name] = run(name, ROWS[name], peer=not options.alone)
        options.out.write_text(json.dumps(results, indent=1))
    Console(width=200).print(table({name: results[name] for name in options.rows or ROWS}))


if __name__ == "__main__":
    main()

"""What ``recsmith auto`` finds on seven public logs, beside every model of the registry and the peers' defaults.

``python benchmarks/auto.py ml-100k --minutes 10`` runs one log, ``all`` every one; each writes ``runs/auto/NAME.json``
and the page ``NAME.md``. ``--minutes`` is all that auto gets: race, tuning, blend and its own test. The models of the
registry with their defaults, and the peers with theirs, are judged afterwards on the same test part. ``--only auto``,
``--only peers`` and ``--only table`` do a part of it. Data sets are found through RECSMITH_EXTRA_DATA; a peer's
environment is made where it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from harness.environments import PeerError, Peers
from harness.machine import machine
from harness.workers import Worker
from rich.console import Console
from rich.table import Table

from recsmith import estimate
from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.data.split import Split, fixed
from recsmith.data.split_by_name import parse
from recsmith.evaluation.metrics import ranking
from recsmith.evaluation.significance import Interval, Sample, intervals
from recsmith.experiment.auto.page import page, payload
from recsmith.experiment.auto.run import auto
from recsmith.experiment.train import make_pipeline
from recsmith.experiment.validation import Deadline, Late, Validation, ask, together
from recsmith.models.registry import MODELS, model_class
from recsmith.recommend import Pipeline

console = Console(width=150)
#: Lists that the peers make with the settings that their own libraries have when nothing is said.
PEER_JOBS = {
    "implicit": ("als", "bpr", "cosine", "bm25"),
    "lenskit": ("als", "item_knn", "user_knn", "ease", "slim", "popular"),
    "irspack": ("ials", "cosine", "user_cosine", "ease", "slim", "p3alpha", "rp3beta", "popular"),
    "cornac": ("ease", "bpr", "popular"),
    "recbole": ("item_knn", "ease", "slim", "bpr", "popular"),
    "rectools": ("als", "bpr", "cosine", "bm25", "ease", "popular"),
}
_DENSE = {"ease", "slim", "user_cosine"}  # peers' jobs that hold a square matrix
_DENSE_ITEMS = 20_000
_NOT_ALONE = {"blend", "random"}


@dataclass(frozen=True)
class Case:
    """A log, how it is cut, and what it is judged by."""

    make: Callable[[], Split]
    metric: str = "ndcg@10"


def _file(*parts: str) -> Path:
    return Path(os.environ["RECSMITH_EXTRA_DATA"]).joinpath(*parts)


def _dataset(frame: pl.DataFrame, columns: Mapping[str, str], name: str) -> Dataset:
    frame = frame.select(pl.col(old).alias(new) for old, new in columns.items())
    return Dataset.from_log(Log(interactions=frame, name=name))


_PAIR = {"user": "user_id", "item": "item_id"}


def ml_100k() -> Split:
    """Each user's last fifth."""
    frame = pl.read_parquet(_file("ml-100k", "ratings.parquet"))
    columns = {**_PAIR, "rating": "rating", "timestamp": "timestamp"}
    return parse("user-time:0.2").split(_dataset(frame, columns, "ml-100k"))[0]


def ml_1m() -> Split:
    """Each user's last fifth, in the order of SASRec's file; what that file leaves out stands first."""
    frame = pl.read_parquet(_file("ml-1m", "ratings.parquet")).with_columns(pl.col("sas_pos").cast(pl.Int64))
    columns = {**_PAIR, "rating": "rating", "sas_pos": "timestamp"}
    return parse("user-time:0.2").split(_dataset(frame, columns, "ml-1m"))[0]


def _fixed(folder: str, name: str) -> Split:
    parts = [
        _dataset(pl.read_parquet(_file(folder, f"{part}.parquet")), _PAIR, f"{name} {part}")
        for part in ("train", "test")
    ]
    return fixed(*parts)


def _random(folder: str, file: str, columns: Mapping[str, str], name: str) -> Split:
    return parse("random:0.2:seed=0").split(_dataset(pl.read_parquet(_file(folder, file)), columns, name))[0]


CASES = {
    "ml-100k": Case(ml_100k),
    "ml-1m": Case(ml_1m),
    "gowalla": Case(lambda: _fixed("lightgcn-gowalla", "gowalla"), "ndcg@20"),
    "yelp2018": Case(lambda: _fixed("lightgcn-yelp2018", "yelp2018"), "ndcg@20"),
    "lastfm": Case(
        lambda: _random(
            "hetrec2011-lastfm-2k",
            "user_artists.parquet",
            {"userID": "user_id", "artistID": "item_id", "weight": "weight"},
            "lastfm",
        )
    ),
    "filmtrust": Case(
        lambda: _random("filmtrust", "ratings.parquet", {**_PAIR, "rating": "rating"}, "filmtrust")
    ),
    "citeulike-a": Case(lambda: _random("citeulike-a", "interactions.parquet", _PAIR, "citeulike-a")),
}


@dataclass(frozen=True)
class Options:
    """What a run is asked to do."""

    minutes: float
    seed: int
    peers: list[str]
    limit: float  #: seconds for each of the others
    out: Path


def run(name: str, options: Options) -> None:
    """``auto`` on one log, then every model of the registry with its defaults, and the leaders as tuned."""
    case = CASES[name]
    split = case.make()
    console.print(f"{name}: {split.train!r}, {len(split.queries):,} test users")
    begin = time.perf_counter()
    found = auto(
        None, test=split, minutes=options.minutes, metric=case.metric, seed=options.seed, watch=_watch
    )
    took = time.perf_counter() - begin
    assert found.ending.bundle is not None
    console.print(f"auto: {found.ending.winner}, {took:.0f} s of {60 * options.minutes:.0f} s")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.md").write_text(page(found, "bundle"))
    facts = {
        "data": name,
        "metric": case.metric,
        "minutes": options.minutes,
        "seconds": took,
        "threads": os.environ.get("RECSMITH_THREADS"),
        "load": os.getloadavg(),
        "machine": machine(),
        "auto": payload(found, ""),
    }
    judged = Validation.of(split, case.metric, seed=options.seed)
    pipeline = found.ending.bundle.pipeline
    rows = {"auto": _asked(pipeline, judged, Deadline())}
    others, errors = _judged(_singles(found, options.limit), judged)
    _save(options.out / f"{name}-ours", {**rows, **others}, {**facts, "errors": errors})


def run_peers(name: str, options: Options) -> None:
    """The peers' lists for one log, by their defaults."""
    case = CASES[name]
    split = case.make()
    judged = Validation.of(split, case.metric, seed=options.seed)
    rows, errors = _judged(_peers(options.peers, split, case.metric, options.limit), judged)
    _save(options.out / f"{name}-peers", rows, {"errors": errors})


def _judged(
    contenders: Iterator[tuple[str, str, Callable[[Validation], Sample]]], judged: Validation
) -> tuple[dict[str, Sample], dict[str, str]]:
    """Each one's figure, or why it has none."""
    rows: dict[str, Sample] = {}
    errors: dict[str, str] = {}
    for kind, label, make in contenders:
        name = f"{kind} {label}"
        try:
            rows[name] = make(judged)
            console.print(f"  {name}: {rows[name].estimate():.4f}")
        except Late:
            errors[name] = "took longer than the limit"
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"
        if name in errors:
            console.print(f"  {name}: {errors[name]}")
    return rows, errors


def _save(path: Path, rows: Mapping[str, Sample], facts: Mapping[str, Any]) -> None:
    """Per-user figures and what is said of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path.with_suffix(".npz"), **{name: np.stack([one.total, one.count]) for name, one in rows.items()}
    )
    path.with_suffix(".json").write_text(json.dumps(facts, indent=1, default=str))


def table(name: str, out: Path) -> dict[str, Any]:
    """What has been run of one log, beside one another; written as ``NAME.json``."""
    rows: dict[str, Sample] = {}
    facts: dict[str, Any] = {"errors": {}}
    for kind in ("ours", "peers"):
        path = out / f"{name}-{kind}.json"
        if path.exists():
            found = json.loads(path.read_text())
            facts |= {**found, "errors": {**facts["errors"], **found["errors"]}}
            with np.load(path.with_suffix(".npz")) as file:
                rows |= {label: Sample(*file[label]) for label in file.files}
    if "auto" not in rows:
        raise SystemExit(f"There is no run of auto on {name} in {out}.")
    result = {**facts, **_compared(rows)}
    (out / f"{name}.json").write_text(json.dumps(result, indent=1))
    return result


class _Quiet:
    """A monitor that stops nothing."""

    def progress(self, done: int, total: int, **figures: float) -> bool:
        return False


@contextmanager
def _watch(label: str) -> Iterator[_Quiet]:
    """Say what runs, and how long it took."""
    begin = time.perf_counter()
    console.print(f"  {label}", end=" ")
    yield _Quiet()
    console.print(f"{time.perf_counter() - begin:.1f} s")


def _asked(fitted: Pipeline, judged: Validation, deadline: Deadline) -> Sample:
    return together([sample for sample, _ in ask(fitted, judged.parts[0], judged.metric, deadline)])


def _singles(found: Any, limit: float) -> Iterator[tuple[str, str, Callable[[Validation], Sample]]]:
    """Every model that orders items: with its defaults, and the leaders as auto tuned them."""

    def fit(parameters: Mapping[str, Any], model: str) -> Callable[[Validation], Sample]:
        def make(judged: Validation) -> Sample:
            deadline = Deadline(time.monotonic() + limit)
            pipeline = make_pipeline(model, **parameters)
            train = judged.folds[0].train
            expected = estimate.of_fit(pipeline.model, train.shape)
            if not expected.fits or expected.seconds > 3 * limit:
                raise MemoryError(f"needs about {expected.memory_mb:,.0f} MB, {expected.seconds:,.0f} s")
            fitted = pipeline.fit(train, rng=found.seed, monitor=deadline)
            return _asked(fitted, judged, deadline)

        return make

    for model in MODELS:
        if model not in _NOT_ALONE and hasattr(model_class(model), "score"):
            yield "default", model, fit({}, model)
    for runner in found.race.leaders(4):
        yield "tuned", runner.model, fit(dict(runner.best.parameters), runner.model)


def _peers(
    names: list[str], split: Split, metric: str, limit: float
) -> Iterator[tuple[str, str, Callable[[Validation], Sample]]]:
    """Lists of the peers for the users of train, by their defaults."""
    environments = Peers(Path(__file__).parent / "peers", Path(".bench"))
    matrix = split.train.matrix("ones")
    arrays = {
        "indptr": matrix.indptr.astype(np.int32),
        "indices": matrix.indices.astype(np.int32),
        "data": np.ones(matrix.nnz, dtype=np.float32),
        "shape": np.array(matrix.shape),
    }
    for name in names:
        for job in PEER_JOBS[name]:
            if job in _DENSE and split.train.n_items > _DENSE_ITEMS:
                continue

            def make(judged: Validation, name: str = name, job: str = job) -> Sample:
                with tempfile.TemporaryDirectory() as folder:
                    source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
                    np.savez(source, **arrays)
                    try:
                        with Worker(environments.command(name)) as worker:
                            worker.ask(job, source, target, {}, seconds=limit)
                    except PeerError as error:
                        raise RuntimeError(str(error)) from None
                    with np.load(target) as file:
                        lists = file["items"].astype(np.int32)
                return together([_of_lists(lists, part, metric) for part in judged.parts[0]])

            yield name, job, make


def _of_lists(lists: Any, part: Split, metric: str) -> Sample:
    """The metric of a peer's lists for the requests of a part; a user whom train does not know has none."""
    from recsmith.data.split import repeats

    _, k = ranking.parse(metric)
    users = part.queries.users
    mine = np.where((users >= 0)[:, None], lists[np.maximum(users, 0), :k], -1).astype(np.int32)
    seen, _ = repeats(part.queries, part.truth, part.train.n_items)
    offsets = np.append(0, np.cumsum(np.bincount(part.truth.rows[~seen], minlength=len(users))))
    hit, relevant = ranking.hits(mine, offsets, part.truth.items[~seen])
    return Sample.of_users(ranking.score(hit, relevant, [metric])[metric])


def _compared(rows: Mapping[str, Sample]) -> dict[str, Any]:
    """Figures, paired intervals against auto, and the verdict on what the issue asks for."""
    alone, apart = intervals(rows), intervals(rows, against="auto")
    table = [
        {
            "name": name,
            "value": sample.estimate(),
            "interval": list(alone[name]),
            "minus_auto": list(apart[name]) if name != "auto" else None,
        }
        for name, sample in sorted(rows.items(), key=lambda pair: -pair[1].estimate())
    ]
    singles = [name for name in rows if name.startswith(("default ", "tuned "))]
    others = [name for name in rows if name != "auto" and name not in singles]
    best = max(singles, key=lambda name: rows[name].estimate())
    gap: Interval = apart[best]
    best_peer = max(others, key=lambda name: rows[name].estimate(), default=None)
    return {
        "rows": table,
        "best_single": best,
        "not_worse_than_best_single": bool(gap.low <= 0),
        "best_peer": best_peer,
        "above_every_peer": None
        if best_peer is None
        else bool(rows["auto"].estimate() > rows[best_peer].estimate()),
    }


def show(result: Mapping[str, Any]) -> None:
    """Print a log's table."""
    title = (
        f"{result['data']}, {result['metric']}: {result['auto']['winner']}; not worse than {result['best_single']}: "
        f"{result['not_worse_than_best_single']}; above every peer (best {result['best_peer']}): "
        f"{result['above_every_peer']}"
    )
    table = Table(title=title, title_justify="left")
    for column in ("", result["metric"], "95 %", "minus auto, 95 % paired"):
        table.add_column(column)
    for row in result["rows"]:
        gap = row["minus_auto"]
        table.add_row(
            row["name"],
            f"{row['value']:.4f}",
            "{:.4f} to {:.4f}".format(*row["interval"]),
            "" if gap is None else f"{gap[0]:+.4f} to {gap[1]:+.4f}",
        )
    console.print(table)
    for name, words in result["errors"].items():
        console.print(f"  {name}: {words}")


def main() -> None:
    """The logs that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", choices=[*CASES, "all"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("auto", "peers", "table"), help="else auto, peers and the table")
    parser.add_argument("--peers", default=",".join(PEER_JOBS), help="names")
    parser.add_argument(
        "--limit", type=float, default=300.0, help="seconds for each one that auto is compared with"
    )
    parser.add_argument("--out", type=Path, default=Path("runs") / "auto")
    given = parser.parse_args()
    options = Options(given.minutes, given.seed, given.peers.split(","), given.limit, given.out)
    for name in CASES if "all" in given.logs else given.logs:
        if given.only in (None, "auto"):
            run(name, options)
        if given.only in (None, "peers"):
            run_peers(name, options)
        if given.only != "peers":
            show(table(name, given.out))


if __name__ == "__main__":
    main()

"""A log of 1,000,000 users, 200,000 items and 50,000,000 events from file to lists for everybody, on one machine.

``python benchmarks/scale.py`` draws the log into a Parquet file (in a process of its own), prints what each step
will take, takes the steps, and prints what they took beside it: load, split by user time, implicit ALS at d = 64,
top 10 of every user to a Parquet file; then it judges a sample of the users. ``--users 50000 --items 10000 --events
2500000`` is a quick run. The figures go to ``runs/scale.json``. These are the steps of ``recsmith train ials`` and
``recsmith recommend BUNDLE --all --out lists.parquet`` without the bundle between them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

import recsmith as rs
from recsmith import estimate
from recsmith.bundle import USERS_AT_ONCE
from recsmith.cli.console import duration, megabytes
from recsmith.cli.stream import write_frames
from recsmith.data.sources.synthetic import Synthetic
from recsmith.data.split import Split
from recsmith.data.split_by_name import parse
from recsmith.estimate import Estimate
from recsmith.evaluation.protocol import judge
from recsmith.experiment.train import as_bundle, make_pipeline
from recsmith.recommend import Pipeline
from recsmith.resources import available_mb, measure, resident_mb
from recsmith.types import Shape, ragged_take

T = TypeVar("T")
console = Console(width=140)


def draw(options: argparse.Namespace, path: Path) -> None:
    """The log as a file; see ``recsmith.data.sources.synthetic``."""
    world = Synthetic(n_users=options.users, n_items=options.items, n_events=options.events)
    log = world.log()
    path.parent.mkdir(parents=True, exist_ok=True)
    log.interactions.write_parquet(path)


def plan(options: argparse.Namespace, pipeline: Pipeline) -> dict[str, Estimate]:
    """What each step will take, from the size of the log alone."""
    whole = Shape(options.users, options.items, options.events)
    train = Shape(options.users, options.items, round(0.8 * options.events))
    model = pipeline.model
    # the whole log is gone by then; its train part, the questions about it and the answers are not
    held = estimate.log_bytes(train) + 12.0 * options.events
    factors = 4.0 * model.config.embedding_size * (whole.n_users + whole.n_items)  # type: ignore[attr-defined]
    lists = estimate.recommend_cost(model, train, options.users, options.k, pipeline.memory_mb)
    at_once = estimate.recommend_cost(model, train, USERS_AT_ONCE, options.k, pipeline.memory_mb)
    return {
        "load": estimate.of_cost(estimate.load_cost(whole)),
        "split": estimate.of_cost(estimate.split_cost(whole), estimate.log_bytes(whole)),
        "fit": estimate.of_fit(model, train, held),
        "lists": estimate.of_cost(replace(lists, bytes=at_once.bytes), held + factors),
    }


class Steps:
    """Takes steps and keeps what they used beside what was expected."""

    def __init__(self, expected: dict[str, Estimate]) -> None:
        self.expected = expected
        self.used: dict[str, dict[str, Any]] = {}

    def take(self, name: str, work: Callable[[], T]) -> T:
        """One step, measured and said."""
        with measure() as usage:
            result = work()
        wanted = self.expected[name]
        self.used[name] = {
            "seconds": usage.seconds,
            "peak_mb": usage.peak_mb,
            "after_mb": resident_mb(),
            "expected_seconds": wanted.seconds,
            "expected_mb": wanted.memory_mb,
        }
        console.print(
            f"{name}: {duration(usage.seconds)} (expected {duration(wanted.seconds)}), "
            f"peak {megabytes(usage.peak_mb)} (expected {megabytes(wanted.memory_mb)})"
        )
        return result


def show(expected: dict[str, Estimate]) -> None:
    """The plan as a table."""
    table = Table(title="Expected", title_justify="left")
    for column in ("step", "time", "peak memory"):
        table.add_column(column)
    for name, wanted in expected.items():
        table.add_row(name, duration(wanted.seconds), megabytes(wanted.memory_mb))
    peak = max(wanted.memory_mb for wanted in expected.values())
    total = sum(wanted.seconds for wanted in expected.values())
    table.add_row("in all", duration(total), megabytes(peak))
    console.print(table)
    console.print(f"memory free: {megabytes(available_mb())}")


def sample(split: Split, users: int) -> Split:
    """The same split with at most ``users`` judged users, drawn by seed 0."""
    rows = np.random.default_rng(0).permutation(len(split.queries))[:users]
    rows.sort()
    offsets, positions = ragged_take(split.truth.offsets, rows)
    truth = replace(
        split.truth,
        offsets=offsets,
        items=split.truth.items[positions],
        values=None,
        times=None if split.truth.times is None else split.truth.times[positions],
    )
    return replace(split, queries=split.queries.take(rows), user_ids=split.user_ids.gather(rows), truth=truth)


def quality(pipeline: Pipeline, split: Split, options: argparse.Namespace) -> dict[str, float]:
    """NDCG of a sample of users, of the model and of its fallback alone."""
    few = sample(split, options.judged)
    ranked = {"ials": pipeline, "popular": replace(pipeline, model=pipeline.fallback, fallback=None)}
    return {
        name: judge(one, few, ks=(options.k,), metrics=("ndcg",), resamples=10).means[f"ndcg@{options.k}"]
        for name, one in ranked.items()
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All steps."""
    path = options.folder / f"scale-{options.users}-{options.items}-{options.events}.parquet"
    if not path.exists():
        console.print(f"drawing the log into {path}")
        sizes = [f"--{name}={getattr(options, name)}" for name in ("users", "items", "events")]
        subprocess.run([sys.executable, __file__, *sizes, "--draw", str(path)], check=True)
    pipeline = make_pipeline("ials", embedding_size=options.size, epochs=options.epochs)
    warm_up()
    expected = plan(options, pipeline)
    show(expected)
    steps = Steps(expected)
    data = [steps.take("load", lambda: rs.load(path))]
    split = steps.take("split", lambda: parse("user-time:0.2").split(data[0])[0])
    data.clear()  # the whole log has done its work
    bundle = steps.take("fit", lambda: as_bundle(pipeline, split.train))
    out = options.folder / "scale-lists.parquet"
    rows = steps.take("lists", lambda: write_frames(bundle.recommend_batches(options.k), out))
    figures = quality(bundle.pipeline, split, options)
    console.print(
        f"{rows:,} rows in {out} ({out.stat().st_size / 2**20:,.0f} MB); NDCG@{options.k} {figures}"
    )
    check(out, split, options)
    peak = max(step["peak_mb"] or 0.0 for step in steps.used.values())
    total = sum(step["seconds"] for step in steps.used.values())
    console.print(f"in all: {duration(total)}, peak {megabytes(peak)}")
    return {
        "users": options.users,
        "items": options.items,
        "events": options.events,
        "steps": steps.used,
        "peak_mb": peak,
        "seconds": total,
        "rows": rows,
        "ndcg": figures,
    }


def warm_up() -> None:
    """Compile what the steps use: the first use on a machine is not what is measured."""
    data = rs.load("synthetic:users=300,items=200,events=5000")
    split = parse("user-time:0.2").split(data)[0]
    as_bundle(make_pipeline("ials", epochs=1), split.train).recommend()
    estimate.calibrate()


def check(out: Path, split: Split, options: argparse.Namespace) -> None:
    """Everybody has a full list."""
    frame = pl.scan_parquet(out)
    counts = frame.group_by("user_id").len().select(pl.col("len").min(), pl.len().alias("users")).collect()
    if counts.row(0) != (min(options.k, split.train.n_items), split.train.n_users):
        raise SystemExit(f"{out} is not complete: {counts}")


def main() -> None:
    """Options; the log in a process of its own, so that its memory is not taken for that of the steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--size", type=int, default=64, help="length of the factor vectors")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--judged", type=int, default=10_000, help="users whose lists are judged")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="for the log and the lists")
    parser.add_argument("--out", type=Path, default=Path("runs") / "scale.json")
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.draw is not None:
        draw(options, options.draw)
        return
    result = run(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""The size of a log without loading it, and what ``--dry-run`` says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsmith.cli.console import Output, duration, facts, megabytes

if TYPE_CHECKING:
    import polars as pl

    from recsmith.estimate import Estimate
    from recsmith.types import Shape

_SCANNED = (".csv", ".tsv", ".inter", ".parquet", ".pq", ".jsonl", ".ndjson")


def shape_of(source: str, options: Mapping[str, Any]) -> Shape:
    """Users, items and events of a log.

    A registered data set tells its size; of a plain file only the two id columns are scanned, in a stream, and
    their distinct values counted approximately (within about 1 %). Anything else is read.
    """
    from recsmith.types import Shape

    if (known := _registered(source)) is not None:
        return known
    columns = options.get("columns")
    lazy = (
        _scan(Path(source))
        if Path(source).suffix.lower() in _SCANNED and not isinstance(columns, list)
        else None
    )
    found = None if lazy is None else _id_columns(lazy.collect_schema().names(), columns or {})
    if lazy is None or found is None:
        from recsmith.data.sources import load_log

        frame = load_log(source, **options).interactions
        return Shape(frame["user_id"].n_unique(), frame["item_id"].n_unique(), frame.height)
    import polars as pl

    user, item = found
    counts = lazy.select(
        pl.col(user).approx_n_unique().alias("users"),
        pl.col(item).approx_n_unique().alias("items"),
        pl.len().alias("events"),
    )
    return Shape(*counts.collect(engine="streaming").row(0))


def _registered(source: str) -> Shape | None:
    """The size that a registered data set is known to have."""
    from importlib import import_module

    from recsmith.data.sources import SOURCES
    from recsmith.types import Shape

    name = source.partition(":")[0]
    if name not in SOURCES:
        return None
    about = import_module(SOURCES[name].partition(":")[0]).about(source)
    sizes = [about[key] for key in ("users", "items", "events")]
    return None if None in sizes else Shape(*sizes)


def _scan(path: Path) -> pl.LazyFrame | None:
    """A file as a lazy frame; None where it is not there or too odd to be scanned."""
    import polars as pl

    if not path.is_file() or path.stat().st_size == 0:
        return None
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return pl.scan_parquet(path)
    if suffix in (".jsonl", ".ndjson"):
        return pl.scan_ndjson(path)
    with path.open("rb") as file:
        first = file.readline().decode("utf-8", errors="replace")
    separator = max("\t,;|", key=first.count)
    return pl.scan_csv(path, separator=separator, infer_schema=False, truncate_ragged_lines=True)


def _id_columns(header: list[str], chosen: Mapping[str, str]) -> tuple[str, str] | None:
    """The user and the item column; None where the header leaves it open, so that reading it says why."""
    from recsmith.data.schema import ALIASES, normalized

    found = []
    for name in ("user_id", "item_id"):
        accepted = {normalized(alias) for alias in ALIASES[name]}
        matching = [chosen[name]] if name in chosen else [c for c in header if normalized(c) in accepted]
        if len(matching) != 1 or matching[0] not in header:
            return None
        found.append(matching[0])
    return found[0], found[1]


def show_estimate(output: Output, shape: Shape, work: Mapping[str, Estimate]) -> None:
    """What ``--dry-run`` prints: each piece of work with its time and memory."""
    sizes = {"users": shape.n_users, "items": shape.n_items, "events": shape.n_events}
    seconds = sum(estimate.seconds for estimate in work.values())
    memory = max(estimate.memory_mb for estimate in work.values())
    available = next(iter(work.values())).available_mb
    fits = all(estimate.fits for estimate in work.values())
    payload = {
        "dry_run": True,
        "log": sizes,
        "work": {name: estimate.as_dict() for name, estimate in work.items()},
        "seconds": seconds,
        "memory_mb": memory,
        "available_mb": available,
        "fits": fits,
    }
    lines = {"log": f"{shape.n_users:,} users, {shape.n_items:,} items, {shape.n_events:,} events"}
    lines |= {name: f"about {duration(e.seconds)}, {megabytes(e.memory_mb)}" for name, e in work.items()}
    lines["in all"] = f"about {duration(seconds)}, {megabytes(memory)} of memory"
    lines["memory free"] = megabytes(available) + ("" if fits else ": this does not fit")
    output.show(payload, facts("Dry run: nothing was fitted and nothing written", lines))

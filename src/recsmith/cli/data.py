"""``recsmith data``: which data sets there are, what a log holds, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.console import Output, facts, line
from recsmith.cli.options import Json, Quiet, Source, pairs, reads_log
from recsmith.errors import ParameterError
from recsmith.tables import Table

if TYPE_CHECKING:
    from recsmith.data.schema import Log

app = typer.Typer(help="List, fetch, describe and check logs.", no_args_is_help=True)

_BAR = 30  # characters of the longest bar of a histogram
_Src = Annotated[str, typer.Argument(help="Data set, file or folder.", metavar="SRC", show_default=False)]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """The data sets that recsmith knows by name."""
    from recsmith.data.sources import list_sources

    frame = list_sources()
    columns = ("name", "users", "items", "events", "MB", "here", "licence")
    rows = [
        (r["name"], r["users"], r["items"], r["events"], _mb(r["size"]), r["cached"], r["licence"])
        for r in frame.iter_rows(named=True)
    ]
    shown = Table("Data sets", columns, rows, numbers=columns[1:5])
    Output(as_json).show({"sources": frame.to_dicts()}, shown)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name that 'data list' shows.", show_default=False)],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Download a data set once, verify it, and say what it holds."""
    from recsmith.data.sources import SOURCES
    from recsmith.data.sources.fetch import cache_dir

    if name.partition(":")[0] not in SOURCES:
        raise ParameterError.unknown("data set", name, SOURCES)
    output = Output(as_json, quiet)
    log = Source(data=name).log()
    found = {"folder": str(cache_dir()), **_sizes(log), "citation": log.citation}
    output.show({"name": name, **found}, facts(name, found))


@app.command()
@reads_log(_Src, filters=False)
def describe(
    source: Source,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What a log holds: sizes, density, time span, ratings, the busiest items and users."""
    from recsmith.cli.description import describe as description

    found = description(source.log())
    Output(as_json, quiet).show(found, *_described(found))


@app.command()
@reads_log(_Src, filters=False)
def validate(
    source: Source,
    repair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=HOW", help="duplicates=last, nulls=drop, off_scale=clip, bad_timestamps=drop."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the repaired log goes: .csv, .parquet or .jsonl.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look for what makes a log unfit. Exit status 2 where something must be repaired."""
    from recsmith.data import quality

    output = Output(as_json, quiet)
    settings = _repairs(repair, out)
    log = source.log()
    if not settings or out is None:
        report = quality.check(log)
    else:
        from recsmith.cli.stream import write_frame

        log, report = quality.repair(log, **settings)
        write_frame(log.interactions, out)
        output.note(f"{len(log):,} rows were written to {out}.")
    output.show(report.as_dict(), report, line("" if report.findings else "Nothing was found."))
    if not report.ok:
        raise typer.Exit(2)


def _repairs(texts: list[str] | None, out: Path | None) -> dict[str, Any]:
    """The settings of ``quality.repair``, checked before the log is read."""
    if (texts is None) != (out is None):
        raise ParameterError("--repair and --out go together: the log that was given is never changed.")
    from recsmith.data.parameters import parameters_of
    from recsmith.data.quality import repair

    settings: dict[str, Any] = dict(pairs("--repair", texts or ()))
    parameters_of(repair).make("repair", **settings)
    return settings


def _sizes(log: Log) -> dict[str, Any]:
    frame = log.interactions
    return {
        "users": frame["user_id"].n_unique(),
        "items": frame["item_id"].n_unique(),
        "events": frame.height,
    }


def _mb(size: int | None) -> str:
    return "" if not size else f"{size / 2**20:,.1f}"


def _described(found: dict[str, Any]) -> list[Any]:
    """The tables of ``describe``."""
    plain = {name: value for name, value in found.items() if not isinstance(value, dict | list)}
    plain = {name.replace("_", " "): value for name, value in plain.items() if value not in (None, "")}
    plain["density"] = f"{found['density']:.4%}"
    plain |= found["time"] or {}
    tables = (_rating_table(found["ratings"]), _activity_table(found), _top_table(found["top_items"]))
    return [facts(found["name"], plain), *(shown for shown in tables if shown is not None)]


def _rating_table(ratings: list[dict[str, Any]] | None) -> Any:
    """How often each rating was given; None for an implicit log."""
    if not ratings:
        return None
    most = max(row["events"] for row in ratings)
    rows = [(f"{r['rating']:g}", r["events"], "#" * round(_BAR * r["events"] / most)) for r in ratings]
    return Table("Ratings", ("rating", "events", ""), rows, numbers=("rating", "events"))


def _activity_table(found: dict[str, Any]) -> Any:
    """Quantiles of the events of a user and of an item."""
    kinds = ("user", "item")
    rows = [(kind, *found[f"events_per_{kind}"].values()) for kind in kinds]
    heads = ("events per", *(name.replace("_", " ") for name in found["events_per_user"]))
    return Table("Activity", heads, rows, numbers=heads[1:])


def _top_table(top: list[dict[str, Any]]) -> Any:
    rows = [(str(r["item_id"]), r["title"], r["events"]) for r in top]
    return Table("Busiest items", ("item", "title", "events"), rows, numbers=("events",))

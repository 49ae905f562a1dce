"""The section on an experiment with users: what each variant did, and whether it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from recsmith.errors import ParameterError
from recsmith.plots import experiments as plots
from recsmith.report.html import Html, Section, bullets, folded, gallery, paragraph, table
from recsmith.report.pictures import Pictures
from recsmith.tables import Table

_METHODS = {
    "auto": "Welch's t or permutations, one look",
    "t": "Welch's t, one look",
    "permutation": "permutations, one look",
    "sequential": "always valid, any number of looks",
    "bootstrap": "bootstrap, one look",
}
_ALL = "all"


def experiment(found: Mapping[str, Any], pictures: Pictures) -> Section:
    """Lift with intervals, sample ratio, segments.

    Parameters
    ----------
    found
        ``ABResult.as_dict()``.
    """
    ratio, level = found["sample_ratio"], f"{100 * (1 - found['alpha']):g} %"
    users = ", ".join(f"{name} {count:,}" for name, count in ratio["counts"].items())
    method = _METHODS.get(found["method"], found["method"])
    rows = [row for row in found["rows"] if row["segment"] == _ALL]
    segments = [row for row in found["rows"] if row["segment"] != _ALL]
    parts = [
        paragraph(f"Users: {users}. Against {found['control']}, {level} intervals by {method}."),
        paragraph(ratio["verdict"], class_="warning" if ratio["broken"] else ""),
        gallery(_drawn(found, level, pictures)),
        table(_table("Effects", rows, level)),
    ]
    if segments:
        parts.append(
            folded("By segment", table(_table("Effects by segment", segments, level, segmented=True)))
        )
    notes = [
        *found.get("notes", ()),
        *(f"{r['metric']}, {r['variant']}: {r['note']}" for r in rows if r.get("note")),
    ]
    if notes:
        parts.append(bullets(notes))
    return Section("experiment", "Experiment with users", parts)


def in_short(found: Mapping[str, Any]) -> str:
    """A sentence for the top of the page."""
    if found["sample_ratio"]["broken"]:
        return "The experiment with users cannot be trusted: its sample ratio is broken."
    told = [
        f"{row['variant']} is {row['verdict']} by {row['metric']}"
        + ("" if row["lift"] is None else f" ({100 * row['lift']:+.1f} %)")
        for row in found["rows"] if row["segment"] == _ALL and row["verdict"] in ("better", "worse")
    ]  # fmt: skip
    return f"With users: {'; '.join(told) or 'no difference was shown'}."


def _drawn(found: Mapping[str, Any], level: str, pictures: Pictures) -> list[Html]:
    frame = pl.DataFrame(found["rows"], infer_schema_length=None)
    try:
        figure = plots.lift(frame, control=found["control"], alpha=found["alpha"])
    except ParameterError:  # no row has a lift: the table says why
        return []
    alt = f"Lift of each variant over {found['control']} by each metric, with {level} intervals."
    return [
        pictures.show(
            "lift",
            figure,
            alt,
            "An interval that holds 0 shows no difference. P-values are corrected, intervals are not.",
        )
    ]


def _table(title: str, rows: Sequence[Mapping[str, Any]], level: str, *, segmented: bool = False) -> Table:
    columns = [
        "metric",
        "variant",
        *["segment"] * segmented,
        "control",
        "value",
        "lift",
        level,
        "p",
        "P(better)",
        "verdict",
    ]
    numbers = [c for c in columns if c not in ("metric", "variant", "segment", "verdict")]
    cells = [
        (row["metric"], row["variant"], *[row["segment"]] * segmented, row["control"], row["value"], *_change(row),
         _p(row["p_corrected"]), row["probability"], row["verdict"])
        for row in rows
    ]  # fmt: skip
    return Table(title, columns, cells, numbers=numbers)


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _change(row: Mapping[str, Any]) -> tuple[str, str]:
    """The lift and its interval; those of the difference where only the difference has an interval."""
    unbounded = None in row["lift_interval"] and None not in row["interval"]
    relative = row["lift"] is not None and not unbounded
    form = "+.2%" if relative else "+.4g"
    value, bounds = (row["lift"], row["lift_interval"]) if relative else (row["difference"], row["interval"])
    return (
        "" if value is None else f"{value:{form}}",
        "" if None in bounds else f"{bounds[0]:{form}} to {bounds[1]:{form}}",
    )

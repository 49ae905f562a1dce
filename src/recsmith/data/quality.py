"""What is wrong with a log, in which rows, what it means, and repairs that are asked for by name."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import polars as pl

from recsmith.data.parameters import checked
from recsmith.data.schema import ALIASES, Log
from recsmith.errors import DataError, ParameterError
from recsmith.tables import Table

Severity: TypeAlias = Literal["error", "warning", "note"]
Duplicates: TypeAlias = Literal["keep", "first", "last", "sum"]
Strictness: TypeAlias = Literal["error", "drop"]
OffScale: TypeAlias = Literal["error", "drop", "clip"]

SAMPLES = 5  #: rows shown for each finding
EARLY = 631_152_000  #: 1990-01-01 in Unix seconds, before which no log of this kind was kept
TOLERANCE = 86_400  #: seconds that a timestamp may lie in the future: clocks and time zones differ
_STYLES: Mapping[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of flaw."""

    code: str  #: stable name, for programs
    severity: Severity  #: error: must be repaired; warning: look at it; note: good to know
    count: int  #: rows, or users, items or ids where the code says so
    share: float  #: of all rows (users, items), 0 to 1
    meaning: str  #: what it is and what it does to models
    remedy: str  #: what to do about it
    done: str = "kept"  #: kept, dropped, clipped or merged
    samples: tuple[dict[str, Any], ...] = ()  #: up to 5 rows, with ``row`` as an editor numbers it


@dataclass(frozen=True, slots=True)
class QualityReport:
    """All findings about a log, the worst first."""

    name: str
    rows: int
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing that must be repaired is left."""
        return not any(f.severity == "error" and f.done == "kept" for f in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "name": self.name,
            "rows": self.rows,
            "ok": self.ok,
            "findings": [asdict(f) for f in self.findings],
        }

    def __rich__(self) -> Table:
        title = f"{self.name}: {self.rows:,} rows, {'fit for use' if self.ok else 'needs repair'}"
        columns = ("finding", "count", "share", "done", "meaning and remedy", "rows")
        rows = [
            (
                f.code,
                f.count,
                f"{f.share:.2%}",
                f.done,
                f"{f.meaning} {f.remedy}",
                [str(s["row"]) for s in f.samples if "row" in s],
            )
            for f in self.findings
        ]
        styles = [_STYLES[f.severity] for f in self.findings]
        return Table(title, columns, rows, numbers=columns[1:3], styles=styles)


@dataclass(frozen=True, slots=True)
class _Probe:
    """A flaw of single rows: where it is, as an expression over the log."""

    code: str
    severity: Severity
    where: pl.Expr
    meaning: str
    remedy: str


def check(log: Log) -> QualityReport:
    """Look for what makes a log unfit or misleading. Nothing is changed.

    Codes: ``empty_log, missing_ids, missing_ratings, off_scale_ratings, missing_weights, negative_weights,
    negative_timestamps, future_timestamps, missing_timestamps`` (errors); ``zero_timestamps,
    early_timestamps, constant_timestamps, constant_ratings, zero_weights, duplicate_rows,
    conflicting_ratings, mixed_ids, padded_ids`` (warnings);
    ``repeated_pairs`` (exact duplicates among them)``, single_event_users, single_event_items`` (notes).

    Returns
    -------
    QualityReport
        Errors first, then warnings, then notes.
    """
    frame = log.interactions
    if frame.is_empty():
        remedy = "Give a file with at least one row."
        empty = Finding(
            code="empty_log", severity="error", count=0, share=0.0, meaning="No rows.", remedy=remedy
        )
        return QualityReport(log.name, 0, (empty,))
    findings = [
        *_row_findings(log),
        *_constant_findings(frame),
        *_single_findings(frame),
    ]
    order = list(_STYLES)
    return QualityReport(log.name, len(frame), tuple(sorted(findings, key=lambda f: order.index(f.severity))))


@checked
def repair(
    log: Log,
    *,
    duplicates: Duplicates = "keep",
    nulls: Strictness = "error",
    off_scale: OffScale = "error",
    bad_timestamps: Strictness = "error",
) -> tuple[Log, QualityReport]:
    """A log without errors, and the report that says of each finding what was done.

    Parameters
    ----------
    duplicates
        Rows with the same user, item and event: ``"keep"`` all; the ``"first"`` or the ``"last"`` in time
        (in the file, if there are no timestamps); ``"sum"`` their weights into the last one, where rows
        without a weight column count 1 (implicit logs only).
    nulls
        Missing or empty ids; ratings, weights and timestamps that are missing or no finite number:
        ``"error"`` or ``"drop"`` the row.
    off_scale
        Ratings outside ``log.rating_scale`` and weights below 0: ``"error"``, ``"drop"`` the row, or
        ``"clip"`` to the scale, weights to 0.
    bad_timestamps
        Negative, or more than a day in the future: ``"error"`` or ``"drop"`` the row.

    Returns
    -------
    (Log, QualityReport)
        Rows keep their order. The numbers in the report are those of the log that came in.

    Raises
    ------
    DataError
        A flaw whose setting is ``"error"``.
    ParameterError
        An unknown setting, or ``"sum"`` for a log with ratings.
    """
    if duplicates == "sum" and not log.implicit:
        raise ParameterError(
            "repair(duplicates='sum') adds up weights; a log with ratings needs 'first' or 'last'."
        )
    chosen = {"nulls": nulls, "off_scale": off_scale, "bad_timestamps": bad_timestamps}
    report = check(log)
    probes = {p.code: p for p in _probes(log)}
    done: dict[str, str] = {}
    drop = pl.lit(False)
    for finding in report.findings:
        setting = _SETTING_OF.get(finding.code)
        if setting not in chosen:
            continue
        if chosen[setting] == "error":
            raise _refusal(log, finding, setting)
        if chosen[setting] == "drop":
            drop = drop | probes[finding.code].where.fill_null(False)
            done[finding.code] = "dropped"
        else:
            done[finding.code] = "clipped"
    frame = log.interactions.filter(~drop)
    if "off_scale_ratings" in done and off_scale == "clip" and log.rating_scale is not None:
        frame = frame.with_columns(pl.col("rating").clip(*log.rating_scale))
    if "negative_weights" in done and off_scale == "clip":
        frame = frame.with_columns(pl.col("weight").clip(lower_bound=0))
    if duplicates != "keep":
        frame = _merged(frame, duplicates)
        word = "merged" if duplicates == "sum" else "dropped"
        done |= {f.code: word for f in report.findings if _SETTING_OF.get(f.code) == "duplicates"}
    findings = tuple(replace(f, done=done.get(f.code, f.done)) for f in report.findings)
    return replace(log, interactions=frame), replace(report, findings=findings)


#: Finding -> the parameter of ``repair`` that decides about it.
_SETTING_OF: Mapping[str, str] = {
    "missing_ids": "nulls",
    "missing_ratings": "nulls",
    "missing_weights": "nulls",
    "missing_timestamps": "nulls",
    "off_scale_ratings": "off_scale",
    "negative_weights": "off_scale",
    "negative_timestamps": "bad_timestamps",
    "future_timestamps": "bad_timestamps",
    "duplicate_rows": "duplicates",
    "repeated_pairs": "duplicates",
    "conflicting_ratings": "duplicates",
}


def _probes(log: Log) -> Iterator[_Probe]:
    """The flaws of single rows that can be in this log."""
    frame = log.interactions
    yield _Probe(
        "missing_ids",
        "error",
        _is_missing(frame, "user_id") | _is_missing(frame, "item_id"),
        "The user or item id is missing or empty.",
        "Repair with nulls=drop, or fill it in.",
    )
    if "rating" in frame.columns:
        yield from _rating_probes(log)
    if "weight" in frame.columns:
        yield from _weight_probes()
    if "timestamp" in frame.columns:
        yield from _time_probes()
    yield from _duplicate_probes(frame)
    for name in ("user_id", "item_id"):
        if frame[name].dtype == pl.String:
            yield from _text_id_probes(name)


def _is_missing(frame: pl.DataFrame, name: str) -> pl.Expr:
    column = pl.col(name)
    text = frame[name].dtype == pl.String
    return column.is_null() | (column.str.strip_chars() == "") if text else column.is_null()


def _rating_probes(log: Log) -> Iterator[_Probe]:
    rating = pl.col("rating")
    yield _Probe(
        "missing_ratings",
        "error",
        rating.is_null() | ~rating.is_finite(),
        "The rating is missing or no finite number.",
        "Repair with nulls=drop, or leave the column out and treat the log as implicit.",
    )
    if log.rating_scale is not None:
        low, high = log.rating_scale
        yield _Probe(
            "off_scale_ratings",
            "error",
            rating.is_finite() & ~rating.is_between(low, high),
            f"The rating is outside the scale {low:g} to {high:g}.",
            "Repair with off_scale=drop or off_scale=clip, or give the right scale.",
        )


def _weight_probes() -> Iterator[_Probe]:
    weight = pl.col("weight")
    missing = weight.is_null() | ~weight.is_finite()
    nulls = "Repair with nulls=drop, or leave the column out."
    below = "Repair with off_scale=drop or off_scale=clip (to 0)."
    zero = "Nothing to do if that is meant; else drop these rows."
    yield _Probe("missing_weights", "error", missing, "The weight is missing or no finite number.", nulls)
    yield _Probe("negative_weights", "error", weight < 0, "The weight is below 0: no model takes it.", below)
    yield _Probe(
        "zero_weights", "warning", weight == 0, "The weight is 0: the event counts for nothing.", zero
    )


def _time_probes() -> Iterator[_Probe]:
    at, now = pl.col("timestamp"), int(time.time())
    nulls = "Repair with nulls=drop, or leave the timestamp column out."
    drop = "Repair with bad_timestamps=drop; if all are wrong, check the timestamp unit."
    zero = "Drop these rows, or leave the timestamp column out."
    unit = "Check the timestamp unit: days, minutes, times since the start of the log or 20240131 look like this."
    yield _Probe("missing_timestamps", "error", at.is_null(), "The time is missing.", nulls)
    yield _Probe("negative_timestamps", "error", at < 0, "The time is before 1970.", drop)
    yield _Probe("future_timestamps", "error", at > now + TOLERANCE, "The time is in the future.", drop)
    yield _Probe("zero_timestamps", "warning", at == 0, "The time is 0, which often means 'unknown'.", zero)
    yield _Probe("early_timestamps", "warning", at.is_between(1, EARLY - 1), "The time is before 1990.", unit)


def _text_id_probes(name: str) -> Iterator[_Probe]:
    """Text ids that look like a slip: words among integers, blanks around."""
    bare = pl.col(name).str.strip_chars()
    words = (bare != "") & ~bare.str.contains(r"^-?\d+$")
    yield _Probe(
        "padded_ids",
        "warning",
        pl.col(name) != bare,
        f"{name} begins or ends with a blank: 'a' and 'a ' are two ids.",
        "Strip the column.",
    )
    yield _Probe(
        "mixed_ids",
        "warning",
        words & (2 * words.sum() < pl.len()),
        f"{name} is an integer in most rows but not in these, so all ids are text: '7' and '07' are two ids.",
        "Correct these ids if they are a slip.",
    )


def _duplicate_probes(frame: pl.DataFrame) -> Iterator[_Probe]:
    key = _key(frame)
    yield _Probe(
        "duplicate_rows",
        "warning",
        ~pl.struct(frame.columns).is_first_distinct(),
        "The row repeats an earlier one exactly, as if the file was written twice.",
        "Repair with duplicates=first.",
    )
    yield _Probe(
        "repeated_pairs",
        "note",
        ~pl.struct(key).is_first_distinct(),
        "The user met the item before: usual in logs of views or plays, odd in ratings.",
        "Repair with duplicates=last, or duplicates=sum for counts.",
    )
    if "rating" in frame.columns:
        rating = pl.col("rating")
        yield _Probe(
            "conflicting_ratings",
            "warning",
            (rating.max() > rating.min()).over(key),
            "The same user rated the same item differently.",
            "Repair with duplicates=last to keep the latest opinion.",
        )


def _row_findings(log: Log) -> Iterator[Finding]:
    """The probes that hit, each with its first rows."""
    frame = log.interactions
    probes = list(_probes(log))
    hits = frame.select(p.where.fill_null(False).alias(str(n)) for n, p in enumerate(probes))
    for probe, mask in zip(probes, hits, strict=True):
        if count := int(mask.sum()):
            yield Finding(
                code=probe.code,
                severity=probe.severity,
                count=count,
                share=count / len(frame),
                meaning=probe.meaning,
                remedy=probe.remedy,
                samples=_samples(log, mask),
            )


def _constant_findings(frame: pl.DataFrame) -> Iterator[Finding]:
    """Columns that say nothing."""
    for column, meaning, remedy in (
        ("rating", "All ratings are equal.", "Leave the column out and treat the log as implicit."),
        ("timestamp", "All times are equal: there is no order.", "Leave the column out and split at random."),
    ):
        if column in frame.columns and len(frame) > 1 and frame[column].drop_nulls().n_unique() == 1:
            yield Finding(
                code=f"constant_{column}s",
                severity="warning",
                count=len(frame),
                share=1.0,
                meaning=meaning,
                remedy=remedy,
            )


def _single_findings(frame: pl.DataFrame) -> Iterator[Finding]:
    """Users and items of whom there is one event."""
    for name, kind in (("user_id", "users"), ("item_id", "items")):
        counts = frame[name].drop_nulls().value_counts()
        single = counts.filter(pl.col("count") == 1)[name].sort()
        if len(single):
            yield Finding(
                code=f"single_event_{kind}",
                severity="note",
                count=len(single),
                share=len(single) / len(counts),
                meaning=f"{kind.capitalize()} with one event: nothing to learn from, or nothing to test on.",
                remedy="Nothing to do; mind them when you read results.",
                samples=tuple({name: v} for v in single.head(SAMPLES)),
            )


def _samples(log: Log, mask: pl.Series) -> tuple[dict[str, Any], ...]:
    """The first rows where ``mask``, with their numbers in the file."""
    rows = mask.arg_true().head(SAMPLES)
    values = log.interactions[rows.to_list()].to_dicts()
    return tuple({"row": r + log.first_row, **v} for r, v in zip(rows, values, strict=True))


def _merged(frame: pl.DataFrame, how: Duplicates) -> pl.DataFrame:
    """One row for each user, item and event, in the order of the kept rows."""
    key = _key(frame)
    numbered = frame.with_row_index("_row")
    order = ["timestamp", "_row"] if "timestamp" in frame.columns else ["_row"]
    kept = numbered.sort(order).unique(key, keep="first" if how == "first" else "last", maintain_order=True)
    if how == "sum":
        weight = (
            pl.col("weight").sum() if "weight" in frame.columns else pl.len().cast(pl.Float32).alias("weight")
        )
        sums = frame.group_by(key).agg(weight)
        kept = kept.drop("weight", strict=False).join(sums, on=key, how="left", nulls_equal=True)
    return kept.sort("_row").select(name for name in ALIASES if name in kept.columns)


def _key(frame: pl.DataFrame) -> list[str]:
    """The columns in which duplicates agree: a view and a purchase of an item are two things."""
    return [name for name in ("user_id", "item_id", "event") if name in frame.columns]


def _refusal(log: Log, finding: Finding, setting: str) -> DataError:
    """The message about a flaw that must be decided on."""
    rows = ", ".join(str(s["row"]) for s in finding.samples)
    more = " ..." if finding.count > len(finding.samples) else ""
    return DataError(
        f"{log.origin or log.name}: {finding.count} of {len(log):,} rows: {finding.meaning} "
        f"Rows: {rows}{more}. Decide what to do: {finding.remedy} (parameter {setting!r})."
    )

"""What a split gives away: knowledge in train or in a question that nobody has when the question is asked."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsmith.data.clones import clones
from recsmith.data.filters import K_CORE_NOTE
from recsmith.data.split import Split, percent, repeats
from recsmith.types import BoolArray, IntArray

_UNITS = (10**8, 10**11, 10**14, 10**17)  # from which on a number is a moment in seconds (1973), ms, us, ns
_NAMES = ("another unit than seconds (before 1973)", "seconds", "milliseconds", "microseconds", "nanoseconds")

Column: TypeAlias = "NDArray[Any] | None"


def leakage(split: Split) -> list[str]:
    """Say what leaked, one sentence with figures for each kind; an empty list where nothing did.

    Looked for are

    - events of a judged user's history that are later than the user's question,
    - events of the train log, anyone's, that are later than the questions,
    - pairs of user and item, and whole rows, that stand in the history and among the test events,
    - test events that are exact copies of one another,
    - test users whose events stand in the log under another id too (``clones.py``),
    - times in another unit than seconds, or of two units in one log,
    - a filter before the split that has looked at test events.

    An event of the very second of the question does not count as later. A split per user cannot keep the
    train log free of other users' later events: only a cut in global time can.

    Parameters
    ----------
    split
        Any split. Without times, only pairs, rows, users and filters are looked at.
    """
    found = [*_units(split), *_later_history(split), *_later_train(split), *_twice(split), *clones(split)]
    found += [
        f"A filter has looked at test events too, which makes the task easier: {note}"
        for note in split.notes
        if note.startswith(K_CORE_NOTE)
    ]
    return found


def _units(split: Split) -> list[str]:
    """Times that cannot be seconds, and times in seconds beside much smaller ones: order and cuts are wrong then."""
    parts = {"train": split.train.time, "history": split.queries.times, "test": split.truth.times}
    if split.known.any():
        del parts["history"]  # that of train
    times = {name: column for name, column in parts.items() if column is not None and len(column)}
    if all(_UNITS[0] <= t.min() and t.max() < _UNITS[1] for t in times.values()):
        return []
    units = {name: np.searchsorted(_UNITS, np.abs(t), side="right") for name, t in times.items()}
    counts = {name: np.bincount(column, minlength=5) for name, column in units.items()}
    whole = sum(counts.values(), start=np.zeros(5, dtype=np.int64))
    wrong = [unit for unit in range(5) if whole[unit] and (unit > 1 or (unit == 0 and whole[1]))]
    found = []
    for unit in wrong:
        held = ", ".join(
            f"{count[unit]:,} of {len(times[name]):,} {name}" for name, count in counts.items() if count[unit]
        )
        named = next(name for name, count in counts.items() if count[unit])
        example = int(times[named][np.argmax(units[named] == unit)])
        found.append(
            f"{held} events have a time in {_NAMES[unit]}, such as {example}, where seconds since 1970 are expected: "
            "order, ages and cuts in time are wrong. Read these rows with their own unit (--timestamp-unit)."
        )
    return found


def _later_history(split: Split) -> list[str]:
    queries = split.queries
    if queries.times is None or queries.at is None:
        return []
    rows = queries.rows
    later = queries.times > queries.at[rows]
    count = int(later.sum())
    if not count:
        return []
    touched = len(np.unique(rows[later]))
    return [
        f"{percent(count, len(later))} of the history events of judged users ({count:,} of {len(later):,}) "
        f"are later than the user's own question; that touches {touched:,} of {len(queries):,} users."
    ]


def _later_train(split: Split) -> list[str]:
    time, at = split.train.time, split.queries.at
    if time is None or at is None:
        return []
    if (at == at[0]).all():
        newer = int((time > at[0]).sum())
        text = (
            f"{newer:,} of {len(time):,} train events ({percent(newer, len(time))}) are newer than the cut."
        )
        return [text] if newer else []
    later = len(time) - np.searchsorted(np.sort(time), at, side="right")
    if not later.any():
        return []
    touched, share = percent(int((later > 0).sum()), len(at)), percent(float(later.mean()), len(time))
    return [
        f"{touched} of the questions are asked of a train log that goes on after them: on average {share} of "
        "its events, of all users, are later than the question. Only a cut in global time avoids it."
    ]


def _twice(split: Split) -> list[str]:
    """Pairs and rows that are judged although they were told, and rows that are judged twice."""
    seen, again = repeats(split.queries, split.truth, split.train.n_items)
    found, total, told = [], len(seen), int(seen.sum())
    if told:
        found.append(
            f"{percent(told, total)} of the test events ({told:,} of {total:,}) are of an item that the "
            "user's own history holds: a model may answer from memory."
        )
    if copies := _copies(split, seen):
        found.append(f"{copies:,} test events are exact copies of events of the same user's history.")
    if twins := _twins(split, again):
        found.append(f"{twins:,} test events are exact copies of other test events of the same user.")
    return found


def _copies(split: Split, seen: BoolArray) -> int:
    """Count the test events that equal a history event in item, time and value."""
    if not seen.any():
        return 0
    rows = split.truth.rows
    touched = np.zeros(len(split.queries), dtype=np.bool_)
    touched[rows[seen]] = True
    queries = split.queries
    kept = touched[queries.rows]
    told = _frame(
        queries.rows[kept], queries.items[kept], _cut(queries.times, kept), _cut(queries.values, kept)
    )
    truth = split.truth
    asked = _frame(rows[seen], truth.items[seen], _cut(truth.times, seen), _cut(truth.values, seen))
    columns = [name for name in asked.columns if name in told.columns]
    if len(columns) < 3:
        return 0
    return asked.join(told, on=columns, how="semi").height


def _twins(split: Split, again: BoolArray) -> int:
    """Count the test events that equal an earlier one of the same user in item, time and value."""
    truth = split.truth
    if not again.any() or (truth.times is None and truth.values is None):
        return 0
    known = truth.items >= 0
    asked = _frame(truth.rows[known], truth.items[known], _cut(truth.times, known), _cut(truth.values, known))
    return asked.height - asked.n_unique()


def _frame(rows: IntArray, items: IntArray, times: Column, values: Column) -> pl.DataFrame:
    """One row per event; where the log has neither times nor values, equal pairs say nothing about rows."""
    columns = {"request": rows, "item": items, "time": times, "value": values}
    return pl.DataFrame({name: column for name, column in columns.items() if column is not None})


def _cut(column: Column, mask: BoolArray) -> Column:
    return None if column is None else column[mask]

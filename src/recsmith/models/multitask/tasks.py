"""What a log asks of a pair of a user and an item: one label a task."""

from __future__ import annotations

import numpy as np

from recsmith.data.dataset import Dataset
from recsmith.errors import DataError, ParameterError
from recsmith.types import FloatArray, IntArray

RATING, LIKED, WATCHED = "rating", "liked", "watched"


def task_names(data: Dataset, wanted: tuple[str, ...] | None) -> list[str]:
    """The tasks of a log: its kinds of events, or for ratings ``rating``, ``liked`` and ``watched``.

    Raises
    ------
    ParameterError
        A task that the log does not have.
    """
    possible = [*data.event_names, *((RATING, LIKED) if data.value is not None else ()), WATCHED]
    if wanted is None:
        chosen = possible if not data.event_names else possible[:-1]
        return [name for name in chosen if _any(data, name)]
    for name in wanted:
        if name not in possible:
            raise ParameterError.unknown("task", name, possible)
        if not _any(data, name):
            raise DataError(f"{data.name} has no event of the task {name!r}. Leave it out of 'tasks'.")
    return list(dict.fromkeys(wanted))


def labels(
    data: Dataset, tasks: list[str], threshold: float, indptr: IntArray, items: IntArray
) -> FloatArray:
    """(pairs, len(tasks)) float32, a row for each distinct pair as in CSR; NaN where the pair is no example of a task.

    A pair with an event of a kind has a 1 for it; one without says nothing: who only looked may buy yet. ``liked`` is
    1 or 0 by whether the latest rating reaches ``threshold``, ``rating`` is that rating, ``watched`` 1 everywhere.
    """
    out = np.full((len(items), len(tasks)), np.nan, dtype=np.float32)
    keys = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)) * data.n_items + items
    of_event = data.user.astype(np.int64) * data.n_items + data.item
    for column, name in enumerate(tasks):
        if name in (RATING, LIKED):
            rating = data.matrix("value").data
            out[:, column] = (
                rating if name == RATING else np.where(np.isnan(rating), np.nan, rating >= threshold)
            )
        elif name in data.event_names and data.event is not None:
            kind = data.event_names.index(name)
            out[np.searchsorted(keys, of_event[data.event == kind]), column] = 1
        else:
            out[:, column] = 1
    return out


def _any(data: Dataset, name: str) -> bool:
    if name in data.event_names:
        return data.event is not None and bool((data.event == data.event_names.index(name)).any())
    if name in (RATING, LIKED):
        return data.value is not None and not np.isnan(data.value).all()
    return True

"""Split: what a model may learn from, what it is asked, and what really happened.

The ways of splitting are in ``splitters.py``; what a split gives away is told by ``leakage.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from recsmith.data.dataset import Dataset, rows_of
from recsmith.errors import DataError
from recsmith.kernels import njit
from recsmith.types import BoolArray, FloatArray, IntArray, Queries, ragged_rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What really happened after the questions, ragged: row r owns ``offsets[r]:offsets[r + 1]``.

    Events are as in the log, oldest first. A pair that occurs twice is here twice, and so is an item that
    stands in the user's own history: whether such an event counts is for the evaluation to say.
    """

    offsets: IntArray  #: (n + 1,) int64
    items: IntArray  #: (t,) int32 index in ``train.items``, -1 for an item that the model cannot know
    values: FloatArray | None = None  #: (t,) float32 ratings
    times: IntArray | None = None  #: (t,) int64 Unix seconds

    @property
    def rows(self) -> IntArray:
        """(t,) the request that each event answers."""
        return ragged_rows(self.offsets)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """A train log with id maps of its own, and one request per judged user with its answer.

    A user without a training event has index -1 in ``queries`` and, unless the split gives one, no history.
    """

    name: str
    train: Dataset
    queries: Queries  #: (n,) who is asked about, with the history known at that moment
    user_ids: pl.Series  #: (n,) raw ids of the judged users
    truth: Truth
    notes: tuple[str, ...] = field(default=())  #: what the reader of a report must know
    user_features: pl.DataFrame | None = None  #: n rows, what the log's user table holds of the judged users

    def features(self) -> pl.DataFrame | None:
        """(n rows) features of the judged users; None where the logs have none."""
        if self.user_features is not None:
            return self.user_features
        return rows_of(self.train.user_features, self.queries.users)

    @property
    def known(self) -> BoolArray:
        """(n,) bool: the user has events in train."""
        return self.queries.users >= 0


def assemble(
    name: str,
    train: Dataset,
    test: Dataset,
    *,
    history: Dataset | None = None,
    at: int | None = None,
    keep_catalogue: bool = False,
    notes: Iterable[str] = (),
) -> Split:
    """Build the split of a train log and a test log; every way of splitting ends here.

    Parameters
    ----------
    name
        How the split is called in reports.
    train
        The events to learn from. Its id maps are cut to the users and items that occur in it.
    test
        The events to predict, with id maps of its own (matched by raw id). Its users are judged.
    history
        Events that are told in the question and not learnt from; id maps as in ``test``. The judged users
        must all be unknown to train. None: the history is that of train.
    at
        Unix seconds at which every question is asked. None: the time of each user's first test event.
    keep_catalogue
        Items of ``train.items`` without a train event stay in the id map, so that models that know an item by
        its features can recommend it. Otherwise a test event of such an item has index -1 and is a miss.
    notes
        What the way of splitting has to say; ``train.notes`` stand before them, the counts after.

    Returns
    -------
    Split
        One request per user with a test event, in the order of ``test.users``.

    Raises
    ------
    DataError
        Where ``train`` or ``test`` has no event, or ``history`` is given and a judged user is in train.
    """
    for part, log in (("train", train), ("test", test)):
        if not len(log):
            raise DataError(
                f"{name!r} leaves no {part} event of {log.name}. Choose another share or another way."
            )
    catalogue = np.ones(train.n_items, dtype=np.bool_) if keep_catalogue else None
    fitted = replace(
        train.compact(keep_items=catalogue), notes=(*train.notes, f"This is the train part of {name}.")
    )
    judged = np.flatnonzero(np.diff(test.offsets)).astype(np.int32)
    user_ids = test.users.raw(judged).alias("user_id")
    index_of = fitted.items.index(test.items.ids)
    truth = Truth(
        offsets=np.append(test.offsets[judged], len(test)).astype(np.int64),
        items=index_of[test.item],
        values=test.value,
        times=test.time,
    )
    queries = fitted.queries(fitted.users.index(user_ids))
    said = [*train.notes, *notes]
    if history is not None:
        queries, lost = _told(queries, history.queries(judged, as_trained=False), index_of)
        if lost:
            said.append(
                f"{lost:,} events of the given histories are of items that train does not know: left out."
            )
    if at is not None:
        queries = queries.replace(at=np.full(len(judged), at, dtype=np.int64))
    elif truth.times is not None:
        queries = queries.replace(at=truth.times[truth.offsets[:-1]].astype(np.int64))
    said += _counts(fitted, queries, truth, n_silent=test.n_users - len(judged))
    return Split(
        name=name,
        train=fitted,
        queries=queries,
        user_ids=user_ids,
        truth=truth,
        notes=tuple(said),
        user_features=rows_of(test.user_features, judged),
    )


def cut(
    name: str,
    data: Dataset,
    train: BoolArray,
    test: BoolArray | None = None,
    *,
    told: BoolArray | None = None,
    at: int | None = None,
    keep_catalogue: bool,
    notes: list[str] | None = None,
) -> Split:
    """The split of one log by (m,) masks of its events; see ``assemble``. ``test`` None: all that is not train."""
    return assemble(
        name,
        data.take(train),
        data.take(~train if test is None else test),
        history=None if told is None else data.take(told),
        at=at,
        keep_catalogue=keep_catalogue,
        notes=notes or [],
    )


def fixed(train: Dataset, test: Dataset, *, keep_catalogue: bool = False) -> Split:
    """The split of a public train file and test file. Users and items are matched by raw id.

    Parameters
    ----------
    train, test
        Two logs, each with id maps of its own.
    keep_catalogue
        Keep items without a train event in the id map of train.

    Raises
    ------
    DataError
        Where one of the two is empty.
    """
    notes = ["Train and test were given as two logs.", *(f"Test log: {note}" for note in test.notes)]
    name = f"fixed ({train.name}, {test.name})"
    return assemble(name, train, test, keep_catalogue=keep_catalogue, notes=notes)


def _told(queries: Queries, given: Queries, index_of: IntArray) -> tuple[Queries, int]:
    """Requests of unknown users with the histories ``given``, and the number of events that were left out."""
    if len(queries.items):
        raise DataError("Users of the train log cannot be judged with another history. Make two splits.")
    items = index_of[given.items]
    told = given.keep(items >= 0, items).replace(users=queries.users)
    return told, int((items < 0).sum())


def _counts(train: Dataset, queries: Queries, truth: Truth, n_silent: int) -> list[str]:
    """Say the figures of a split in words."""
    n, t = len(queries), len(truth.items)
    known = int((queries.users >= 0).sum())
    notes = [f"Judged users: {n:,} ({known:,} known from train, {n - known:,} not), on {t:,} test events."]
    if n_silent:
        notes.append(f"Users without a test event, who are not judged: {n_silent:,}.")
    outside = int((truth.items < 0).sum())
    if outside:
        notes.append(
            f"{percent(outside, t)} of the test events are of items unknown to train: they are misses."
        )
    inside = truth.items[truth.items >= 0]
    fresh = int((train.item_counts()[inside] == 0).sum())
    if fresh:
        notes.append(f"{percent(fresh, t)} of the test events are of catalogue items without a train event.")
    seen, again = repeats(queries, truth, train.n_items)
    if seen.any():
        notes.append(
            f"{percent(int(seen.sum()), t)} of the test events are of an item that the user's own history "
            "holds. They are kept; the evaluation says whether they count."
        )
    if again.any():
        notes.append(f"{percent(int(again.sum()), t)} of the test events repeat a pair of user and item.")
    return notes


def percent(part: float, whole: float) -> str:
    """``part`` of ``whole`` in words: ``"12.3 %"``; a small part is not rounded to nothing."""
    share = 100.0 * part / whole if whole else 0.0
    return "less than 0.1 %" if 0 < share < 0.05 else f"{share:.1f} %"


def repeats(queries: Queries, truth: Truth, n_items: int) -> tuple[BoolArray, BoolArray]:
    """Which test events are of pairs that were there before.

    Returns
    -------
    tuple of (t,) bool and (t,) bool
        The event's item is in the history of its request; the event's item is in an earlier test event of its
        request. Items that train does not know are neither.
    """
    return _repeats(queries.offsets, queries.items, truth.offsets, truth.items, n_items)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _repeats(history_offsets, history, truth_offsets, truth, n_items):  # type: ignore[no-untyped-def]
    seen = np.zeros(len(truth), dtype=np.bool_)
    again = np.zeros(len(truth), dtype=np.bool_)
    in_history = np.full(n_items, -1, dtype=np.int32)  # the last request whose history holds the item
    in_truth = np.full(n_items, -1, dtype=np.int32)
    for r in range(len(truth_offsets) - 1):
        for p in range(history_offsets[r], history_offsets[r + 1]):
            in_history[history[p]] = r
        for p in range(truth_offsets[r], truth_offsets[r + 1]):
            i = truth[p]
            if i >= 0:
                seen[p] = in_history[i] == r
                again[p] = in_truth[i] == r
                in_truth[i] = r
    return seen, again

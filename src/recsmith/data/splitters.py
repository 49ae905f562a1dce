"""The ways of cutting a log into what is learnt from and what is judged, and their names.

Each takes a Dataset and gives a ``Split`` (two give an iterator of them). Applied to ``split.train`` it gives
the validation split, on which parameters are chosen. Shares are exact: 0.8 of 10 is 8.

==================  ==========================================================  =============================
name                what is judged                                              parameters
==================  ==========================================================  =============================
``user-time``       each user's last events                                     share=0.2
``global-time``     the last events of the log, or all from a moment on         share=0.2, at=None
``leave-last-out``  each user's last ``n`` events                               n=1
``random``          each event by itself, by chance                             share=0.2, seed=0
``k-fold``          every event once, in ``k`` random parts                     k=5, seed=0
``time-folds``      ``k`` windows of time; all that came before each is train   k=5
``unknown-users``   users without a train event, told the first part of theirs  share=0.2, given=0.5, seed=0
``unknown-items``   items without a train event                                 share=0.1, seed=0
==================  ==========================================================  =============================

Every way but the last takes ``keep_catalogue=False``: whether items without a train event stay in the id map
of train (those of the item table, or without one all items of the log), so that content models can recommend
them. ``split_by_name.py`` makes a ``Splitter`` of a name and its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsmith.data.dataset import Dataset
from recsmith.data.parameters import Amount, Moment, Seed, Share, checked, unix_seconds
from recsmith.data.split import Split, cut, percent
from recsmith.errors import DataError
from recsmith.types import BoolArray, IntArray

FILE_ORDER = "The log has no times: the order of the file stands for them."


@checked
def user_time(data: Dataset, share: Share = 0.2, *, keep_catalogue: bool = False) -> Split:
    """Each user's last events: of n events, in (time, file) order, the first floor((1 - share) n) are train.

    Parameters
    ----------
    data
        The log. Without times the order of the file stands for them.
    share
        Share of each history to judge, in (0, 1).
    keep_catalogue
        Keep items without a train event in the id map of train.

    Raises
    ------
    ParameterError
        A value out of range.
    DataError
        Where nothing is left to learn from or to judge.
    """
    kept = _floor(1 - _exact(share), np.diff(data.offsets))
    notes = [FILE_ORDER if data.time is None else _ties(data, kept)]
    short = int(((kept == 0) & (np.diff(data.offsets) > 0)).sum())
    if short:
        notes.append(f"Users with so few events that train has none of them: {short:,}.")
    return cut(f"user-time:{share}", data, _first(data, kept), notes=notes, keep_catalogue=keep_catalogue)


@checked
def leave_last_out(
    data: Dataset, n: Annotated[int, Field(ge=1)] = 1, *, keep_catalogue: bool = False
) -> Split:
    """Each user's last ``n`` events. Users with no more than ``n`` events are train and are not judged.

    Parameters
    ----------
    data
        The log. Without times the order of the file stands for them.
    n
        Number of events to judge, >= 1.
    keep_catalogue
        Keep items without a train event in the id map of train.

    Raises
    ------
    ParameterError
        A value out of range.
    DataError
        Where no user has more than ``n`` events.
    """
    lengths = np.diff(data.offsets)
    kept = np.where(lengths > n, lengths - n, lengths)
    notes = [FILE_ORDER if data.time is None else _ties(data, kept)]
    return cut(f"leave-last-out:{n}", data, _first(data, kept), notes=notes, keep_catalogue=keep_catalogue)


@checked
def global_time(
    data: Dataset, share: Share = 0.2, at: Moment | None = None, *, keep_catalogue: bool = False
) -> Split:
    """The log's last events: of m events, in (time, file) order, the first floor((1 - share) m) are train.

    Every question is asked at the moment of the cut. Users who come after it are unknown and have no history.

    Parameters
    ----------
    data
        A log with times.
    share
        Share of the events to judge, in (0, 1). Not used where ``at`` is given.
    at
        Judge the events at this moment and later: Unix seconds, a date, or ISO text (UTC).
    keep_catalogue
        Keep items without a train event in the id map of train.

    Raises
    ------
    ParameterError
        A value out of range.
    DataError
        Where the log has no times, or nothing is left to learn from or to judge.
    """
    time = _times(data, "global-time")
    _enough(data, 2)
    if at is not None:
        moment = unix_seconds(at)
        name, train, notes = f"global-time:at={moment}", time < moment, [f"The cut is at {_utc(moment)}."]
    else:
        train = _earliest(data, time, int(_floor(1 - _exact(share), np.array([len(data)]))[0]))
        moment = int(time[~train].min())
        name, notes = f"global-time:{share}", [f"The cut is at {_utc(moment)}."]
        if tied := int((time[train] == moment).sum()):
            notes.append(f"Events of that very second in train, by the order of the file: {tied:,}.")
    return cut(name, data, train, at=moment, notes=notes, keep_catalogue=keep_catalogue)


@checked
def random_holdout(
    data: Dataset, share: Share = 0.2, seed: Seed = 0, *, keep_catalogue: bool = False
) -> Split:
    """Each event by itself is train with probability 1 - share; the draws go over the rows in file order.

    Parameters
    ----------
    data
        The log.
    share
        Expected share of the events to judge, in (0, 1).
    seed
        Seed of ``numpy.random.default_rng``.
    keep_catalogue
        Keep items without a train event in the id map of train.

    Raises
    ------
    ParameterError
        A value out of range.
    DataError
        Where nothing is left to learn from or to judge.
    """
    draws = np.random.default_rng(seed).random(len(data))
    train = _in_file_order(data, draws < float(1 - _exact(share)))
    return cut(f"random:{share}:seed={seed}", data, train, keep_catalogue=keep_catalogue)


@checked
def k_fold(
    data: Dataset, k: Annotated[int, Field(ge=2)] = 5, seed: Seed = 0, *, keep_catalogue: bool = False
) -> Iterator[Split]:
    """``k`` splits that judge every event once: random parts whose sizes differ by one at most.

    Parameters
    ----------
    data
        The log.
    k
        Number of parts, >= 2.
    seed
        Seed of ``numpy.random.default_rng``.
    keep_catalogue
        Keep items without a train event in the id maps of train.

    Raises
    ------
    ParameterError
        A value out of range.
    DataError
        Where the log has fewer than ``k`` events.
    """
    _enough(data, k)
    drawn = np.random.default_rng(seed).permutation(np.arange(len(data)) % k)
    part = _in_file_order(data, drawn)
    for fold in range(k):
        name = f"k-fold:{k}:seed={seed} part {fold + 1} of {k}"
        yield cut(name, data, part != fold, keep_catalogue=keep_catalogue)


@checked
def time_folds(
    data: Dataset, k: Annotated[int, Field(ge=1)] = 5, *, keep_catalogue: bool = False
) -> Iterator[Split]:
    """An expanding window: of k + 1 equal parts of time, each but the first is judged on all before it.

    Every question is asked at the moment at which its part begins.

    Parameters
    ----------
    data
        A log with times.
    k
        Number of splits, >= 1.
    keep_catalogue
        Keep items without a train event in the id maps of train.

    Raises
    ------
    ParameterError
        A value out of range.
    DataError
        Where the log has no times or fewer than k + 1 events.
    """
    time = _times(data, "time-folds")
    _enough(data, k + 1)
    for fold in range(1, k + 1):
        train = _earliest(data, time, len(data) * fold // (k + 1))
        test = _earliest(data, time, len(data) * (fold + 1) // (k + 1)) & ~train
        moment = int(time[test].min())
        name, notes = f"time-folds:{k} part {fold} of {k}", [f"The judged part begins at {_utc(moment)}."]
        yield cut(name, data, train, test, at=moment, notes=notes, keep_catalogue=keep_catalogue)


@checked
def unknown_users(
    data: Dataset, share: Share = 0.2, given: Amount = 0.5, seed: Seed = 0, *, keep_catalogue: bool = False
) -> Split:
    """A random share of the users is out of train; the first part of their history is told, the rest judged.

    Parameters
    ----------
    data
        The log.
    share
        Share of the users (rounded down, one at least) to judge, in (0, 1).
    given
        What is told of a history: its first events by number (an integer) or share (a float in [0, 1),
        rounded down). Users with no event beyond it are not judged.
    seed
        Seed of ``numpy.random.default_rng``.
    keep_catalogue
        Keep items without a train event in the id map of train; otherwise told events of such are left out.

    Raises
    ------
    ParameterError
        A value out of range.
    DataError
        Where nothing is left to learn from or to judge.
    """
    lengths = np.diff(data.offsets)
    chosen = _drawn(np.flatnonzero(lengths), data.n_users, share, seed)
    told = np.minimum(given, lengths) if isinstance(given, int) else _floor(_exact(given), lengths)
    first = _first(data, np.where(chosen, told, lengths))
    out = chosen[data.user]
    notes = [
        f"Random users out of train: {int(chosen.sum()):,}. The first events of each ({given}) are told."
    ]
    return cut(
        f"unknown-users:{share}:given={given}:seed={seed}",
        data,
        ~out,
        ~first,
        told=out & first,
        notes=notes,
        keep_catalogue=keep_catalogue,
    )


@checked
def unknown_items(data: Dataset, share: Share = 0.1, seed: Seed = 0) -> Split:
    """A random share of the items has no train event but stays in the catalogue; their events are judged.

    Parameters
    ----------
    data
        The log.
    share
        Share of the items that have events (rounded down, one at least) to judge, in (0, 1).
    seed
        Seed of ``numpy.random.default_rng``.

    Raises
    ------
    ParameterError
        A value out of range.
    DataError
        Where nothing is left to learn from.
    """
    chosen = _drawn(np.flatnonzero(data.item_counts()), data.n_items, share, seed)
    notes = [f"Random items that train knows but has no event of: {int(chosen.sum()):,}."]
    if data.item_features is None:
        notes.append("The log has no item table, so no model can know these items.")
    return cut(
        f"unknown-items:{share}:seed={seed}", data, ~chosen[data.item], notes=notes, keep_catalogue=True
    )


#: Name -> way of splitting, for the command line and experiments: see ``split_by_name.py``.
SPLITTERS: Mapping[str, Callable[..., Split | Iterator[Split]]] = {
    "user-time": user_time,
    "global-time": global_time,
    "leave-last-out": leave_last_out,
    "random": random_holdout,
    "k-fold": k_fold,
    "time-folds": time_folds,
    "unknown-users": unknown_users,
    "unknown-items": unknown_items,
}


def _exact(share: float) -> Fraction:
    """The number that was written: 0.2 is one fifth, where the nearest float is a little more."""
    return Fraction(str(share)).limit_denominator(10**9)


def _floor(share: Fraction, counts: IntArray) -> IntArray:
    """(n,) int64 floor(share * counts), without a rounding error."""
    return counts.astype(np.int64) * share.numerator // share.denominator


def _first(data: Dataset, kept: IntArray) -> BoolArray:
    """(m,) whether an event is among the first ``kept`` (n_users,) of its user."""
    lengths = np.diff(data.offsets)
    runs = np.column_stack([kept, lengths - kept]).ravel()
    return np.repeat(np.tile([True, False], len(lengths)), runs)


def _earliest(data: Dataset, time: IntArray, count: int) -> BoolArray:
    """(m,) whether an event is among the first ``count`` of the log; ties in file order. No full sort."""
    if count >= len(time):
        return np.ones(len(time), dtype=np.bool_)
    border = np.partition(time, count)[count]
    mask: BoolArray = time < border
    tied = np.flatnonzero(time == border)
    mask[tied[np.argsort(data.row[tied], kind="stable")[: count - int(mask.sum())]]] = True
    return mask


def _in_file_order(data: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """(m,) ``values``, given in the order of the file, in the order of ``data``."""
    placed = np.empty_like(values)
    placed[np.argsort(data.row, kind="stable")] = values
    return placed


def _drawn(among: IntArray, size: int, share: float, seed: int) -> BoolArray:
    """(size,) mask of a random share (rounded down, one at least) of the indices ``among``."""
    count = max(1, int(_floor(_exact(share), np.array([len(among)]))[0]))
    mask = np.zeros(size, dtype=np.bool_)
    mask[np.random.default_rng(seed).permutation(among)[:count]] = True
    return mask


def _ties(data: Dataset, kept: IntArray) -> str:
    """How many users are cut between events of one second, after their first ``kept`` (n_users,)."""
    lengths = np.diff(data.offsets)
    border = (data.offsets[:-1] + kept)[(kept > 0) & (kept < lengths)]
    time = _times(data, "a cut in time")
    tied = int((time[border - 1] == time[border]).sum())
    return (
        f"{percent(tied, len(border))} of the cut histories are cut between events of the same second: "
        "the order of the file decides between ties."
    )


def _times(data: Dataset, way: str) -> IntArray:
    if data.time is None:
        raise DataError(f"{way!r} needs times. {data.name} has none: add a timestamp column or use 'random'.")
    return data.time


def _enough(data: Dataset, wanted: int) -> None:
    if len(data) < wanted:
        raise DataError(f"This way of splitting needs at least {wanted} events. {data.name} has {len(data)}.")


def _utc(moment: int) -> str:
    """A moment for people; Unix seconds beyond the calendar stay a number."""
    try:
        return f"{datetime.fromtimestamp(moment, tz=UTC):%Y-%m-%d %H:%M:%S} UTC ({moment})"
    except (OverflowError, ValueError, OSError):
        return f"Unix second {moment}"

"""What a user did: the bundle's part and the events after it, as the arrays that a model is asked with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from recsmith.data.dataset import Dataset
from recsmith.errors import DataError
from recsmith.serving.events import Event, digest
from recsmith.serving.settings import DISLIKE, Signal
from recsmith.serving.store import Store
from recsmith.types import BoolArray, FloatArray, IntArray, Queries

Index: TypeAlias = Callable[[Sequence[str]], IntArray]
"""From item ids (n,) to int32 indices, -1 for an id that is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A user's events in the store, and whether what the bundle has of him counts."""

    version: int = 0  #: ``seq`` of the newest change of the user; 0 for one without events
    events: tuple[Event, ...] = ()  #: the newest, oldest first
    erased: bool = False
    older: tuple[Event, ...] = ()  #: of those before them the latest of each item and type, oldest first
    made: dict[Hashable, Any] = field(default_factory=dict)  #: kept arrays, by what they are of


_NOTHING = Seen()


class Histories:
    """Events of the users who came lately, read from the store when they are wanted; for one thread at a time."""

    def __init__(self, store: Store, users: int, events: int) -> None:
        """``users`` are kept, with the newest ``events`` of each, and a word for each item of those before."""
        self._store, self._users, self._events = store, users, events
        self._kept: OrderedDict[str, Seen] = OrderedDict()
        self.erased: Mapping[str, int] = store.erased()  #: tombstones, by the ``digest`` of a user's id

    def get(self, users: Sequence[str]) -> list[Seen]:
        """What each user did; one question to the store for all who are not in memory."""
        keys = [digest(user) for user in users]
        missing = {key: user for key, user in zip(keys, users, strict=True) if key not in self._kept}
        if missing:
            found = self._store.history(list(missing.values()), self._events)
            for key, user in missing.items():
                events = found.get(user, [])
                older = self._store.older(user, events[0]) if len(events) >= self._events else []
                self._kept[key] = self._seen(key, events, older)
        out = [self._kept[key] for key in keys]
        for key in keys:
            self._kept.move_to_end(key)
        while len(self._kept) > self._users:
            self._kept.popitem(last=False)
        return out

    def peek(self, user: str) -> Seen | None:
        """What a user did, where that is in memory."""
        return self._kept.get(digest(user))

    def recall(self, user: str) -> Seen:
        """What a user did, where that is in memory; otherwise only whether the bundle's part counts."""
        key = digest(user)
        return self._kept.get(key) or self._seen(key, [])

    def forget(self, keys: Iterable[str] | None = None) -> None:
        """Read users anew when they come again, by the ``digest`` of their ids; None: all."""
        if keys is None:
            self._kept.clear()
        else:
            for key in keys:
                self._kept.pop(key, None)

    def _seen(self, key: str, events: Sequence[Event], older: Sequence[Event] = ()) -> Seen:
        erased = key in self.erased
        if not events and not erased:
            return _NOTHING
        return Seen(max((e.seq for e in events), default=0), tuple(events), erased, tuple(older))


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One request's evidence. The index of an item may be behind those of the bundle, but in ``items``."""

    user: int  #: index, -1 where the model does not know the user or must not
    items: IntArray  #: (m,) int32, oldest first
    values: FloatArray | None  #: (m,) float32 on the rating scale
    weights: FloatArray | None  #: (m,) float32
    times: IntArray | None  #: (m,) int64
    hidden: IntArray  #: (h,) int32 items that the user does not want
    seen: IntArray  #: (s,) int32 items that the user has had, beside ``items``: older, or not known to the model
    as_trained: bool  #: it is what the model was fitted on


class Reader:
    """Turns what users did into the evidence of one bundle."""

    def __init__(self, data: Dataset, signals: Mapping[str, Signal]) -> None:
        self.data, self.signals = data, signals
        self.scale = data.rating_scale or (1.0, 5.0)

    def read(self, users: IntArray, seen: Sequence[Seen], key: Hashable, index: Index) -> list[History]:
        """The evidence of users.

        Parameters
        ----------
        users
            (n,) index of each user, -1 where they are not known.
        key
            What is made of a user's events is kept under it.
        index
            From item ids to indices: the bundle's, or of a catalogue that goes on behind it.
        """
        out = []
        for user, what in zip(users.tolist(), seen, strict=True):
            made = what.made.get(key) if what.events else None
            if made is None:
                made = self._history(-1 if what.erased else user, what, index)
                if what.events:
                    what.made.clear()
                    what.made[key] = made
            out.append(made)
        return out

    def read_before(self, users: IntArray, seen: Sequence[Seen], at: IntArray) -> list[History]:
        """The evidence at past moments ``at`` (n,), Unix seconds: of the bundle's log only events before them.

        ``seen`` holds events before these moments alone. A history that is cut is not what the model was fitted on.

        Raises
        ------
        DataError
            The bundle's log has no times.
        """
        if self.data.time is None:
            raise DataError(
                f"The bundle's log {self.data.name!r} has no times, so which of its events came before a past answer "
                "is not known. Fit the bundle on a log with times."
            )
        rows = zip(users.tolist(), seen, at.tolist(), strict=True)
        index = self.data.items.index
        return [
            self._history(-1 if what.erased else user, what, index, moment) for user, what, moment in rows
        ]

    def session(self, history: History, items: Sequence[str], now: int, index: Index) -> History:
        """``history`` and views of ``items`` (raw ids, oldest first) at ``now`` (Unix seconds) that were not stored.

        Unknown ids say nothing.
        """
        events = [Event("", "", item, "view", None, now, None, 0) for item in items]
        return self._joined(history, (), events, index) if events else history

    def _history(self, user: int, what: Seen, index: Index, before: int | None = None) -> History:
        """What the bundle's log has of a user, up to a moment where one is given, and then the user's events."""
        data = self.data
        low, end = (int(data.offsets[user]), int(data.offsets[user + 1])) if user >= 0 else (0, 0)
        high = end
        if before is not None and data.time is not None:
            high = low + int(np.searchsorted(data.time[low:end], before, side="left"))
        trained = History(
            user=user,
            items=data.item[low:high],
            values=None if data.value is None else data.value[low:high],
            weights=None if data.weight is None else data.weight[low:high],
            times=None if data.time is None else data.time[low:high],
            hidden=data.item[:0],
            seen=data.item[:0],
            as_trained=user >= 0 and high == end,
        )
        return self._joined(trained, what.older, what.events, index) if what.events else trained

    def _joined(
        self, before: History, older: Sequence[Event], events: Sequence[Event], index: Index
    ) -> History:
        """``before`` and then ``events``; what a user came to dislike is no part of it any more.

        An event that ``before`` holds already, since the bundle was trained after it, counts once. ``older`` events
        and those of items that the bundle does not know say what not to recommend, and are no part of the history.
        """
        items = index([e.item_id for e in (*older, *events)])
        signalled = [
            (e, number >= len(older), item)
            for number, (e, item) in enumerate(zip((*older, *events), items.tolist(), strict=True))
            if e.event_type in self.signals and item >= 0
        ]
        if not signalled:
            return before
        known = [e for e, _, _ in signalled]
        items = np.array([item for _, _, item in signalled], dtype=np.int32)
        read = np.array([new for _, new, _ in signalled]) & (items < self.data.n_items)
        times = np.array([e.timestamp for e in known], dtype=np.int64)
        signals = [self.signals[e.event_type] for e in known]
        places = np.array([self._place(e, s) for e, s in zip(known, signals, strict=True)])
        weights = np.array([s.weight for s in signals], dtype=np.float32)
        last = {int(item): place for item, place in zip(items, places, strict=True)}
        disliked = np.array([item for item, place in last.items() if place < DISLIKE], dtype=np.int32)
        wanted = (weights > 0) & (places >= DISLIKE) & ~np.isin(items, disliked)
        new = wanted & read & ~_among(items, times, before)
        kept = ~np.isin(before.items, disliked)
        hides = np.array([s.hides for s in signals]) & ~wanted & ~np.isin(items, items[wanted])
        low, high = self.scale
        return History(
            user=before.user,
            items=np.concatenate([before.items[kept], items[new]]),
            values=_and_then(before.values, kept, (low + places * (high - low))[new], np.float32),
            weights=_and_then(before.weights, kept, weights[new], np.float32),
            times=_and_then(before.times, kept, times[new], np.int64),
            hidden=np.union1d(before.hidden, np.union1d(items[hides], disliked)).astype(np.int32),
            seen=np.union1d(before.seen, items[wanted & ~read]).astype(np.int32),
            as_trained=before.as_trained and bool(kept.all()) and not new.any(),
        )

    def _place(self, event: Event, signal: Signal) -> float:
        """Where an event stands on the rating scale, 0 to 1."""
        if event.value is None or event.event_type != "rating":
            return signal.rating
        low, high = self.scale
        return float(np.clip((event.value - low) / (high - low), 0, 1))


def queries(histories: Sequence[History]) -> Queries:
    """One question for all: columns that a history lacks are missing for all of its bundle."""
    first = histories[0]
    offsets = np.zeros(len(histories) + 1, dtype=np.int64)
    np.cumsum([len(h.items) for h in histories], out=offsets[1:])
    columns = {
        name: None if getattr(first, name) is None else np.concatenate([getattr(h, name) for h in histories])
        for name in ("items", "values", "weights", "times")
    }
    return Queries(
        users=np.array([h.user for h in histories], dtype=np.int32),
        offsets=offsets,
        as_trained=np.array([h.as_trained for h in histories]),
        **columns,  # type: ignore[arg-type]
    )


def _among(items: IntArray, times: IntArray, history: History) -> BoolArray:
    """(n,) whether a history holds an event with this item at this time; never, where it has no times."""
    if history.times is None or not len(history.items):
        return np.zeros(len(items), dtype=np.bool_)
    held = set(zip(history.items.tolist(), history.times.tolist(), strict=True))
    return np.array([pair in held for pair in zip(items.tolist(), times.tolist(), strict=True)])


def _and_then(before: Any, kept: Any, after: Any, dtype: type) -> Any:
    return None if before is None else np.concatenate([before[kept], after.astype(dtype)])

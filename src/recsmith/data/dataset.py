"""Dataset: a log as sorted columns of indices. Frozen; cut by index; what every model is fitted on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
from scipy import sparse

from recsmith.data.ids import IdMap
from recsmith.data.order import by_user_and_time
from recsmith.data.schema import Log
from recsmith.errors import DataError, ParameterError
from recsmith.types import BoolArray, FloatArray, IntArray, Queries, Shape, check_range, ragged_slices

Matrix: TypeAlias = "sparse.csr_array[Any]"
EntryValue: TypeAlias = Literal["ones", "weight", "value"]
_MOST_EVENT_NAMES = 127  # what an int8 code can name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Who did what, when: int32 indices sorted by (user, time, order in the file).

    All columns have ``m`` rows; user ``u`` owns the rows ``offsets[u]:offsets[u + 1]``.
    """

    users: IdMap
    items: IdMap
    user: IntArray  #: (m,) int32
    item: IntArray  #: (m,) int32
    row: IntArray  #: (m,) int64 position in the log as it was read, 0-based
    value: FloatArray | None = None  #: (m,) float32 ratings on the data's scale
    weight: FloatArray | None = None  #: (m,) float32 confidence of the event
    time: IntArray | None = None  #: (m,) int64 Unix seconds
    event: IntArray | None = None  #: (m,) int8 code into ``event_names``
    event_names: tuple[str, ...] = ()
    user_features: pl.DataFrame | None = None  #: n_users rows in index order
    item_features: pl.DataFrame | None = None  #: n_items rows in index order
    rating_scale: tuple[float, float] | None = None
    name: str = "log"
    notes: tuple[str, ...] = ()  #: what was done to the log before this, in words
    offsets: IntArray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    @classmethod
    def from_log(cls, log: Log, *, keep_catalogue: bool = True) -> Dataset:
        """Map the ids of a log to indices and sort it.

        ``keep_catalogue`` makes the items of the log's item table known even where nobody touched them.

        Raises
        ------
        DataError
            Where the log is empty, an id or a time is missing, a rating is infinite, or a weight is not a
            number >= 0.
        """
        frame = log.interactions
        if frame.is_empty():
            raise DataError(f"{log.origin or log.name} holds no interaction. Wanted at least one row.")
        for column in ("user_id", "item_id", "timestamp"):
            if column in frame.columns and (missing := frame[column].null_count()):
                raise DataError(
                    f"{log.origin or log.name}: {missing} of {len(frame)} rows have no {column}. Drop them: "
                    "recsmith data validate FILE --repair nulls=drop --out NEW, or "
                    "recsmith.data.quality.repair(log, nulls='drop')."
                )
        catalogue = log.items["item_id"] if keep_catalogue and log.items is not None else None
        users = IdMap.of(frame["user_id"], kind="user")
        items = IdMap.of(frame["item_id"], catalogue, kind="item")
        return cls.build(
            users=users,
            items=items,
            user=users.index(frame["user_id"]),
            item=items.index(frame["item_id"]),
            value=_column(frame, "rating", np.float32),
            weight=_column(frame, "weight", np.float32),
            time=_column(frame, "timestamp", np.int64),
            events=frame["event"] if "event" in frame.columns else None,
            user_features=_aligned(log.users, users, "user_id"),
            item_features=_aligned(log.items, items, "item_id"),
            rating_scale=log.rating_scale,
            name=log.name,
        )

    @classmethod
    def build(
        cls,
        *,
        users: IdMap,
        items: IdMap,
        user: IntArray,
        item: IntArray,
        row: IntArray | None = None,
        value: FloatArray | None = None,
        weight: FloatArray | None = None,
        time: IntArray | None = None,
        events: pl.Series | None = None,
        **rest: Any,
    ) -> Dataset:
        """Sort unsorted columns by (user, time, order given) and set the offsets.

        Raises
        ------
        ParameterError
            An index out of range.
        DataError
            A rating that is infinite, a weight that is not a number >= 0, or more kinds of events than 127.
        """
        check_range("Dataset", "user", user, len(users))
        check_range("Dataset", "item", item, len(items))
        _check_ratings(value)
        _check_weights(weight)
        order, offsets = by_user_and_time(user, time, len(users))
        if events is not None:
            codes, names = _event_codes(events)
            rest |= {"event": codes[order], "event_names": names}
        return cls(
            users=users,
            items=items,
            user=np.asarray(user, dtype=np.int32)[order],
            item=np.asarray(item, dtype=np.int32)[order],
            row=order if row is None else np.asarray(row)[order],
            value=None if value is None else value[order],
            weight=None if weight is None else weight[order],
            time=None if time is None else time[order],
            offsets=offsets,
            **rest,
        )

    def __len__(self) -> int:
        return len(self.user)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}: {self.n_users:,} users, {self.n_items:,} items, {len(self):,} events"
            f"{', timed' if self.time is not None else ''}{', rated' if self.value is not None else ''})"
        )

    @property
    def n_users(self) -> int:
        """Number of user indices."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of item indices, items of the catalogue that nobody touched included."""
        return len(self.items)

    @property
    def shape(self) -> Shape:
        """The size that costs depend on."""
        return Shape(self.n_users, self.n_items, len(self))

    def take(self, rows: IntArray | BoolArray, note: str = "") -> Dataset:
        """The events ``rows`` (indices or a mask) with the same id maps; their order is kept.

        Raises
        ------
        ParameterError
            An index out of range, or a mask of another length.
        """
        if rows.dtype == np.bool_ and len(rows) != len(self):
            raise ParameterError.of("take", "rows", f"a mask of length {len(self)}", f"length {len(rows)}")
        kept: IntArray = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.sort(rows)
        check_range("take", "rows", kept, len(self))
        user = self.user[kept]
        return replace(
            self,
            user=user,
            item=self.item[kept],
            row=self.row[kept],
            value=None if self.value is None else self.value[kept],
            weight=None if self.weight is None else self.weight[kept],
            time=None if self.time is None else self.time[kept],
            event=None if self.event is None else self.event[kept],
            offsets=np.searchsorted(user, np.arange(self.n_users + 1)).astype(np.int64),
            notes=(*self.notes, note) if note else self.notes,
        )

    def compact(self, *, keep_items: BoolArray | None = None) -> Dataset:
        """The same events with id maps of only the users and items that occur.

        ``keep_items`` (n_items,) marks further items to keep: a catalogue.
        """
        has_item = np.zeros(self.n_items, dtype=np.bool_)
        has_item[self.item] = True
        if keep_items is not None:
            has_item |= keep_items
        has_user = np.diff(self.offsets) > 0
        new_user = np.cumsum(has_user, dtype=np.int32) - 1
        new_item = np.cumsum(has_item, dtype=np.int32) - 1
        return replace(
            self,
            users=IdMap(self.users.ids.filter(pl.Series(has_user)), "user"),
            items=IdMap(self.items.ids.filter(pl.Series(has_item)), "item"),
            user=new_user[self.user],
            item=new_item[self.item],
            offsets=self.offsets[np.append(np.flatnonzero(has_user), self.n_users)],
            user_features=None
            if self.user_features is None
            else self.user_features.filter(pl.Series(has_user)),
            item_features=None
            if self.item_features is None
            else self.item_features.filter(pl.Series(has_item)),
        )

    def matrix(self, entries: EntryValue = "weight") -> Matrix:
        """(n_users, n_items) float32 CSR, sorted indices, one entry for each pair that occurs.

        Parameters
        ----------
        entries
            ``"ones"``: 1 for each pair. ``"weight"``: the sum of the pair's weights, 1 per event where the log
            has none. ``"value"``: the pair's latest rating.

        Raises
        ------
        DataError
            Where ``"value"`` is asked of a log without ratings.
        """
        shape = (self.n_users, self.n_items)
        if entries != "value":
            weight = (
                np.ones(len(self), dtype=np.float32)
                if entries == "ones" or self.weight is None
                else self.weight
            )
            pairs = sparse.csr_array((weight.copy(), self.item.copy(), self.offsets.copy()), shape=shape)
            pairs.sum_duplicates()
            if entries == "ones":
                pairs.data[:] = 1
            return pairs
        last = self.latest()
        indptr = np.searchsorted(self.user[last], np.arange(self.n_users + 1)).astype(np.int64)
        return sparse.csr_array((self.ratings()[last], self.item[last], indptr), shape=shape)

    def latest(self) -> IntArray:
        """(pairs,) int64 the last event of each pair of a user and an item, sorted by user and item."""
        key = self.user.astype(np.int64) * self.n_items + self.item
        order = np.argsort(key, kind="stable")
        last: IntArray = order[np.diff(key[order], append=-1) != 0]
        return last

    def ratings(self) -> FloatArray:
        """(m,) the ratings, or an error that says that the log has none."""
        if self.value is None:
            raise DataError(
                f"{self.name} has no ratings. Models that predict ratings need a 'rating' column."
            )
        return self.value

    def item_counts(self) -> IntArray:
        """(n_items,) number of events of each item."""
        return np.bincount(self.item, minlength=self.n_items)

    def queries(self, users: IntArray | None = None, *, as_trained: bool = True) -> Queries:
        """The requests of ``users`` (indices, -1 = not known; None = all), each with the whole history here.

        Raises
        ------
        ParameterError
            An index out of range.
        """
        who = np.arange(self.n_users, dtype=np.int32) if users is None else np.asarray(users, dtype=np.int32)
        check_range("queries", "users", who[who != -1], self.n_users)
        bounds, rows = self._histories(who)
        return Queries(
            users=who,
            offsets=bounds,
            items=self.item[rows],
            values=None if self.value is None else self.value[rows],
            weights=None if self.weight is None else self.weight[rows],
            times=None if self.time is None else self.time[rows],
            as_trained=np.full(len(who), as_trained) & (who >= 0),
        )

    def _histories(self, who: IntArray) -> tuple[IntArray, IntArray | slice]:
        """Bounds and rows of users' events; of users who stand side by side a slice, so that nothing is copied."""
        if len(who) and who[0] >= 0 and (np.diff(who) == 1).all():
            bounds = self.offsets[who[0] : who[-1] + 2]
            return bounds - bounds[0], slice(int(bounds[0]), int(bounds[-1]))
        starts = self.offsets[np.maximum(who, 0)]
        stops = self.offsets[np.minimum(who + 1, self.n_users)]  # user -1 stops where user 0 starts
        return ragged_slices(starts, stops - starts)

    def fingerprint(self) -> str:
        """SHA-256 of ids and columns: equal for equal logs, on any machine."""
        digest = hashlib.sha256(repr(self.event_names).encode())
        for ids in (self.users, self.items):
            digest.update(f"{len(ids)} {'text' if ids.is_text else 'integers'}".encode())
            digest.update((ids.ids.str.len_bytes() if ids.is_text else ids.ids).to_numpy().tobytes())
            digest.update("".join(ids.ids.to_list()).encode() if ids.is_text else b"")
        for column in (self.user, self.item, self.value, self.weight, self.time, self.event):
            digest.update(b"-" if column is None else np.ascontiguousarray(column).data)
        return digest.hexdigest()

    def last_time(self) -> int | None:
        """Unix seconds of the newest event."""
        return None if self.time is None or not len(self) else int(self.time.max())


def rows_of(features: pl.DataFrame | None, indices: IntArray) -> pl.DataFrame | None:
    """The rows ``indices`` of a feature table; a row of nulls for -1."""
    if features is None:
        return None
    at = pl.Series(indices)
    return features.select(pl.all().gather(at.set(at < 0, None)))


def _check_ratings(value: FloatArray | None) -> None:
    """A missing rating is one that is not known; an infinite one is a slip."""
    if value is not None and (bad := np.isinf(value)).any():
        raise DataError(
            f"{bad.sum()} of {len(value)} ratings are infinite, or too large for 32 bits. "
            "Correct them, or drop these rows: 'recsmith data validate' says which."
        )


def _check_weights(weight: FloatArray | None) -> None:
    if weight is not None and (bad := ~(np.isfinite(weight) & (weight >= 0))).any():
        raise DataError(
            f"{bad.sum()} of {len(weight)} weights are missing, infinite or below 0, the first is "
            f"{weight[bad.argmax()]:g}. Give weights >= 0, or drop these rows: 'recsmith data validate' says which."
        )


def _event_codes(events: pl.Series) -> tuple[IntArray, tuple[str, ...]]:
    """(m,) int8 codes into the names, -1 where an event has none."""
    names = tuple(str(n) for n in events.drop_nulls().unique().sort())
    if len(names) > _MOST_EVENT_NAMES:
        raise DataError(
            f"The event column holds {len(names)} kinds of events; {_MOST_EVENT_NAMES} are the most. "
            "Leave the column out if it names something else."
        )
    codes = {n: i for i, n in enumerate(names)}
    return events.replace_strict(codes, default=-1, return_dtype=pl.Int8).to_numpy(), names


def _column(frame: pl.DataFrame, name: str, dtype: Any) -> Any:
    return frame[name].to_numpy().astype(dtype, copy=False) if name in frame.columns else None


def _aligned(features: pl.DataFrame | None, ids: IdMap, key: str) -> pl.DataFrame | None:
    """Feature rows in index order, null where an id has none."""
    if features is None:
        return None
    base = pl.DataFrame({key: ids.ids})
    if base[key].dtype != features[key].dtype:
        try:
            features = features.with_columns(pl.col(key).cast(base[key].dtype))
        except pl.exceptions.PolarsError:
            raise DataError(
                f"The {key} of the {ids.kind} table is {features[key].dtype} and that of the log is "
                f"{base[key].dtype}. Cast one of them."
            ) from None
    return base.join(
        features.unique(key, keep="first", maintain_order=True), on=key, how="left", maintain_order="left"
    )

"""Catalogue: the items that a list may hold, their metadata, and whether they can be had. Frozen.

The bundle's items lie in one layer, a frame. Items that were written since lie in further layers, the newest last,
each more than twice as long as the next: a few new ones cost little beside millions, and no question looks at more
than a handful of layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsmith.data.dataset import Dataset
from recsmith.errors import ConflictError
from recsmith.serving.columns import Column, parts_of, plain
from recsmith.serving.events import Item, ItemState
from recsmith.serving.filters import Filter
from recsmith.types import BoolArray, FloatArray, IntArray, check_range

Metadata: TypeAlias = Mapping[str, Any]
"""JSON values by field. Shared, so not to be changed."""


class Upsert(NamedTuple):
    """What was written of an item."""

    metadata: Metadata
    available: bool
    state: ItemState = "merged"


Upserts: TypeAlias = Mapping[str, Upsert]
"""What was written, by item id."""

_T = TypeVar("_T", bound=np.generic)
_MASKS_KEPT = 64  # filters of a layer whose masks are kept, at most; each takes a byte an item
_MASK_BYTES = 64 << 20  # ... and what they take at most, but for a single one
_ROWS_KEPT = 65_536  # items of the bundle whose metadata is kept as Python has it


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items by index: those of a bundle's ``Dataset`` first, then those that it does not know.

    ``Catalogue.of`` makes one. An index never changes its item, in whatever follows from it by ``with_upserts``.
    """

    data: Dataset  #: of the bundle
    n_items: int  #: known to the bundle or not
    available: (
        BoolArray  #: (n_items,) what can be had; the bundle's items can, unless somebody wrote otherwise
    )
    deleted: BoolArray  #: (n_items,) what is in no list, and found by no id
    fields: frozenset[str]  #: of the metadata of any item
    _bundle: _Bundle = field(repr=False)
    _written: tuple[_Written, ...] = field(default=(), repr=False)  #: the newest last
    _moments: dict[str, FloatArray] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, data: Dataset, upserts: Upserts | None = None) -> Self:
        """The items of a bundle's log and those that were written since.

        Parameters
        ----------
        data
            The log with its items and their features, where there are any. Features that JSON has no form for are
            left out.
        upserts
            What was written, by item id. The metadata is laid over the bundle's, field by field, and null removes a
            field; of a replaced item it is all that there is.
        """
        bundle = _Bundle(data)
        everything = np.ones(data.n_items, dtype=np.bool_)
        fields = frozenset(bundle.frame.columns)
        return cls(data, data.n_items, everything, ~everything, fields, bundle).with_upserts(upserts or {})

    def with_upserts(self, changed: Upserts) -> Self:
        """The catalogue after some items were written. The cost is that of the items written, on average.

        What was written before of the same items is forgotten; the bundle's part of them is not.
        """
        if not changed:
            return self
        upserts = [Upsert(*one) for one in changed.values()]
        at = self.index_with_deleted(list(changed)).astype(np.int64)
        new = at < 0
        at[new] = np.arange(self.n_items, self.n_items + new.sum())
        available = np.append(self.available, np.ones(new.sum(), dtype=np.bool_))
        available[at] = [one.available for one in upserts]
        deleted = np.append(self.deleted, np.zeros(new.sum(), dtype=np.bool_))
        deleted[at] = [one.state == "deleted" for one in upserts]
        entries = {
            index: _Entry(item, _filled({**(known if one.state == "merged" else {}), **one.metadata}))
            for index, known, item, one in zip(
                at.tolist(), self._bundle.rows_of(at), changed, upserts, strict=True
            )
        }
        return replace(
            self,
            n_items=len(available),
            available=available,
            deleted=deleted,
            fields=self.fields.union(*(entry.metadata for entry in entries.values())),
            _written=_merged((*self._written, _Written(entries))),
        )

    @property
    def n_known(self) -> int:
        """Number of items of the bundle: the indices below it."""
        return self.data.n_items

    def index(self, ids: Sequence[str]) -> IntArray:
        """(n,) int32 index of each id, -1 where nobody knows it. Text finds the integer that it spells."""
        found = self.index_with_deleted(ids)
        found[(found >= 0) & self.deleted[found]] = -1
        return found

    def index_with_deleted(self, ids: Sequence[str]) -> IntArray:
        """``index``, where a deleted item has one, too: an item that comes back has the one that it had."""
        found = self.data.items.index(ids)
        for place in np.flatnonzero(found < 0).tolist():
            for layer in self._written:
                found[place] = layer.indices.get(ids[place], int(found[place]))
        return found

    def raw(self, indices: IntArray) -> list[str]:
        """The ids of items as text.

        Raises
        ------
        ParameterError
            An index out of range.
        """
        check_range("Catalogue", "indices", indices, self.n_items)
        known = np.where(indices < self.n_known, indices, -1)
        texts = self.data.items.raw(known).cast(pl.String).to_list()
        return [
            self._entry(int(index)).id if text is None else text  # type: ignore[union-attr]
            for index, text in zip(indices, texts, strict=True)
        ]

    def metadata(self, index: int) -> Metadata:
        """What is known of an item, without nulls.

        Raises
        ------
        ParameterError
            An index out of range.
        """
        check_range("Catalogue", "index", np.array([index]), self.n_items)
        entry = self._entry(index)
        return self._bundle.metadata(index) if entry is None else entry.metadata

    def check_field(self, name: str) -> None:
        """Raise ``ConflictError`` with the nearest name where no item has the field."""
        if name not in self.fields:
            raise ConflictError.unknown("field of items", name, self.fields)

    def mask(self, chosen: Filter) -> BoolArray:
        """(n_items,) the items that pass a filter; not to be written to.

        Raises
        ------
        ParameterError
            The filter looks at a field that no item has.
        """
        for name in sorted(chosen.fields):
            self.check_field(name)
        return self._joined(lambda layer: layer.mask(chosen))

    def moments(self, name: str) -> FloatArray:
        """(n_items,) float64 Unix seconds of a field with dates, years or seconds; NaN where there is none.

        Raises
        ------
        ParameterError
            A field that no item has.
        """
        self.check_field(name)
        if name not in self._moments:
            self._moments[name] = self._joined(lambda layer: layer.column(name).moments)
        return self._moments[name]

    def values(self, name: str, index: int) -> tuple[str, ...]:
        """The distinct values of an item's field as text: several for ``Action|Comedy`` or a list.

        Raises
        ------
        ParameterError
            A field that no item has.
        """
        self.check_field(name)
        entry = self._entry(index)
        return self._bundle.values(name, index) if entry is None else parts_of(entry.metadata.get(name))

    def having(self, name: str, values: Sequence[str]) -> BoolArray:
        """(n_items,) items with one of some values, as ``values`` gives them, in a field."""
        return self._joined(lambda layer: layer.column(name).equal(values))

    def labelled(self, text: str) -> BoolArray:
        """(n_items,) items whose title, or id where they have none, holds ``text``, in capitals or not."""
        found = self._joined(lambda layer: layer.column("title").contains(text))
        untitled = np.flatnonzero(~self._joined(lambda layer: layer.column("title").exists()))
        if len(untitled):
            ids = pl.Series(self.raw(untitled), dtype=pl.String).str.to_lowercase()
            found[untitled] = ids.str.contains(text.lower(), literal=True).to_numpy()
        return found & ~self.deleted

    def _entry(self, index: int) -> _Entry | None:
        """What was last written of an item."""
        return next((e for layer in reversed(self._written) if (e := layer.entries.get(index))), None)

    def _joined(self, part: Callable[[_Layer], NDArray[_T]]) -> NDArray[_T]:
        """What ``part`` says of each item: the newest layer that has the item counts."""
        known = part(self._bundle)
        if not self._written:
            return known
        out = np.empty(self.n_items, dtype=known.dtype)
        out[: self.n_known] = known
        for layer in self._written:
            out[layer.rows] = part(layer)
        return out


def upserts(items: Iterable[Item]) -> Upserts:
    """What was written of items, by id."""
    return {item.item_id: Upsert(dict(item.metadata), item.available, item.state) for item in items}


@dataclass(frozen=True, slots=True)
class _Entry:
    """An item as it was last written."""

    id: str
    metadata: Metadata  #: complete: with what the bundle knows


class _Layer(ABC):
    """Items with metadata: what a filter is applied to. It holds no reference to itself, so it goes when unused."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._columns: dict[str, Column] = {}
        self._masks: dict[Filter, BoolArray] = {}

    def __len__(self) -> int:
        return self._size

    def column(self, name: str) -> Column:
        """The values of a field."""
        if (found := self._columns.get(name)) is None:
            found = self._columns[name] = self._column(name)
        return found

    def mask(self, chosen: Filter) -> BoolArray:
        """(size,) the items that pass, not to be written to."""
        if (found := self._masks.get(chosen)) is None:
            found = chosen.mask(self)
            found.setflags(write=False)
            if len(self._masks) >= max(1, min(_MASKS_KEPT, _MASK_BYTES // max(len(self), 1))):
                self._masks.clear()
            self._masks[chosen] = found
        return found

    @abstractmethod
    def _column(self, name: str) -> Column: ...


class _Bundle(_Layer):
    """The items of the bundle."""

    def __init__(self, data: Dataset) -> None:
        super().__init__(data.n_items)
        features = pl.DataFrame() if data.item_features is None else data.item_features
        series = [plain(column) for column in features.drop("item_id", strict=False).get_columns()]
        self.frame = pl.DataFrame([column for column in series if column is not None])
        self.metadata = lru_cache(maxsize=_ROWS_KEPT)(partial(_metadata, self.frame))
        self.values = lru_cache(maxsize=_ROWS_KEPT)(partial(_values, self.frame))

    def _column(self, name: str) -> Column:
        if name not in self.frame.columns:
            return Column.of_values([None] * len(self))
        return Column.of_series(self.frame[name])

    def rows_of(self, indices: IntArray) -> list[dict[str, Any]]:
        """The metadata of items; nothing for an index that is not in the bundle."""
        if not self.frame.width:
            return [{} for _ in indices]
        at = pl.Series(indices, dtype=pl.Int64)
        return self.frame.select(pl.all().gather(at.set(at >= len(self), None))).to_dicts()


class _Written(_Layer):
    """Items that were written after the bundle was made."""

    def __init__(self, entries: Mapping[int, _Entry]) -> None:
        super().__init__(len(entries))
        self.entries = entries
        self.indices = {entry.id: index for index, entry in entries.items()}
        self.rows = np.fromiter(entries, dtype=np.int64, count=len(entries))

    def _column(self, name: str) -> Column:
        return Column.of_values([entry.metadata.get(name) for entry in self.entries.values()])


def _metadata(frame: pl.DataFrame, index: int) -> Metadata:
    return _filled(frame.row(index, named=True)) if frame.width else {}


def _values(frame: pl.DataFrame, name: str, index: int) -> tuple[str, ...]:
    value = frame[name][index] if name in frame.columns else None
    return parts_of(value.to_list() if isinstance(value, pl.Series) else value)


def _merged(layers: tuple[_Written, ...]) -> tuple[_Written, ...]:
    """The same, each layer more than twice as long as the next; a newer entry replaces an older one."""
    while len(layers) > 1 and len(layers[-2]) <= 2 * len(layers[-1]):
        layers = (*layers[:-2], _Written({**layers[-2].entries, **layers[-1].entries}))
    return layers


def _filled(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}

"""IdMap: raw ids to int32 indices and back. Models only ever see the indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from recsmith.errors import DataError, UnknownIdError
from recsmith.types import IntArray

_SPARSEST = 8  # numbers in the range of integer ids, for each id, up to which a table is made of them
_AT_ONCE = 1 << 22  # ids looked up at a time
_FEW = 512  # ids that are looked up one by one: a service asks for one user at a time, many times a second


class IdMap:
    """A frozen, one-to-one map between raw ids (text or integers) and indices ``0 .. len - 1``.

    Ids come back as they came: text as text, integers as integers. Indices follow the sorted order
    of the ids, so that the same set of ids always gives the same indices.

    Parameters
    ----------
    ids
        Distinct ids in index order, as a polars Series of text or integers.
    kind
        What the ids name, for messages: ``"user"`` or ``"item"``.

    Raises
    ------
    DataError
        Where an id is null, repeated, or neither text nor an integer below 2**63.
    """

    __slots__ = ("_numbers", "_order", "_sorted", "_spelled", "ids", "kind")

    def __init__(self, ids: pl.Series, kind: str = "id") -> None:
        if ids.null_count():
            raise DataError(
                f"{ids.null_count()} {kind} ids are missing. Drop those rows first (quality.repair)."
            )
        self.ids = _typed(ids, kind)
        self.kind = kind
        if self.ids.n_unique() != len(self.ids):
            raise DataError(f"The {kind} ids of an IdMap must be distinct.")
        self._order = None if self.ids.is_sorted() else self.ids.arg_sort()
        self._sorted = self.ids if self._order is None else self.ids.gather(self._order)
        self._numbers: IntArray | None = None
        self._spelled: tuple[bytes, IntArray] | None = None

    @classmethod
    def of(cls, *columns: pl.Series | None, kind: str = "id") -> IdMap:
        """The sorted distinct ids of some columns (None is passed over); types must agree."""
        parts = [_typed(c.drop_nulls(), kind) for c in columns if c is not None]
        texts = [c.dtype == pl.String for c in parts]
        if any(texts) and not all(texts):
            kinds = ", ".join(str(c.dtype) for c in parts)
            raise DataError(
                f"{kind} ids are text in one table and integers in another ({kinds}). Cast one of them."
            )
        merged = pl.concat(parts) if parts else pl.Series("id", [], pl.Int64)
        return cls(merged.unique().sort(), kind)

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and self.ids.equals(other.ids)

    def __hash__(self) -> int:
        return hash((len(self.ids), self.is_text))

    def __repr__(self) -> str:
        return f"IdMap({len(self)} {self.kind} ids, {'text' if self.is_text else 'integers'})"

    @property
    def is_text(self) -> bool:
        """Whether the ids are text."""
        return self.ids.dtype == pl.String

    def index(self, ids: Iterable[Any]) -> IntArray:
        """(n,) int32 index of each id, -1 where it is not known.

        Over HTTP and on a command line an id is always text, so text that spells an integer finds an
        integer id, and an integer finds the text that spells it. ``007`` does not spell 7.

        Raises
        ------
        DataError
            Where an id is neither text nor an integer.
        """
        if isinstance(ids, list | tuple) and len(ids) <= _FEW and all(type(i) in (str, int) for i in ids):
            return np.array([self._find(i) for i in ids], dtype=np.int32)
        column = id_series(ids)
        if column.dtype == pl.Null or not len(self):
            return np.full(len(column), -1, dtype=np.int32)
        if self.is_text:
            column = column.cast(pl.String)
        elif column.dtype == pl.String:
            numbers = column.cast(pl.Int64, strict=False)
            column = numbers.set(numbers.cast(pl.String) != column, None)
        else:
            column = column.cast(pl.Int64, strict=False)
        if (direct := self._looked_up(column)) is not None:
            return direct
        at = self._sorted.search_sorted(column).clip(upper_bound=len(self) - 1)
        known = (self._sorted.gather(at) == column).fill_null(False).to_numpy()
        index = at.to_numpy() if self._order is None else self._order.gather(at).to_numpy()
        return np.where(known, index.astype(np.int32), -1)

    def _find(self, raw: str | int) -> int:
        """``index`` of one id, by bisection."""
        n = len(self)
        if self.is_text:
            wanted = str(raw).encode("utf-8", "surrogatepass")
            at = self._bisect(wanted)
            found = at < n and self._spelling(at) == wanted
        else:
            number = raw if isinstance(raw, int) else _spelled_number(raw)
            if number is None or not -(2**63) <= number < 2**63:
                return -1
            if self._numbers is None:
                self._numbers = self._sorted.to_numpy()
            at = int(self._numbers.searchsorted(number))
            found = at < n and int(self._numbers[at]) == number
        if not found:
            return -1
        return at if self._order is None else int(self._order[at])

    def _bisect(self, wanted: bytes) -> int:
        """Number of ids before ``wanted``; the order of texts is that of their bytes in UTF-8."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._spelling(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low

    def _spelling(self, place: int) -> bytes:
        """The bytes of the text id at a place of the sorted ones; all are laid side by side at the first call."""
        if self._spelled is None:
            ends: IntArray = np.zeros(len(self) + 1, dtype=np.int64)
            np.cumsum(self._sorted.str.len_bytes().to_numpy(), out=ends[1:])
            self._spelled = "".join(self._sorted.to_list()).encode(), ends
        letters, ends = self._spelled
        return letters[ends[place] : ends[place + 1]]

    def _looked_up(self, column: pl.Series) -> IntArray | None:
        """``index`` of many integers from a table, where there are about as many ids as numbers in their range."""
        if self.is_text or column.null_count() or len(column) < len(self):
            return None
        low, high = int(self._sorted[0]), int(self._sorted[-1])
        if high - low >= _SPARSEST * len(self):
            return None
        table = np.full(high - low + 2, -1, dtype=np.int32)  # the last place is that of all others
        table[self.ids.to_numpy() - low] = np.arange(len(self), dtype=np.int32)
        values, out = column.to_numpy(), np.empty(len(column), dtype=np.int32)
        for start in range(0, len(values), _AT_ONCE):
            part = values[start : start + _AT_ONCE]
            at = np.where((part >= low) & (part <= high), part - low, high - low + 1)
            out[start : start + _AT_ONCE] = table[at]
        return out

    def require(self, ids: Sequence[Any]) -> IntArray:
        """Like ``index``, but an id that is not known raises ``UnknownIdError``."""
        found = self.index(ids)
        if (found < 0).any():
            missing = [i for i, f in zip(ids, found, strict=True) if f < 0]
            example = ", ".join(repr(i) for i in self.ids.head(3))
            raise UnknownIdError(
                f"{len(missing)} {self.kind} id(s) are not in the training log or its catalogue, the first is "
                f"{missing[0]!r}. Known ids look like {example}."
            )
        return found

    def raw(self, indices: IntArray) -> pl.Series:
        """Raw ids of indices; an index of -1 gives null."""
        wanted = pl.Series("index", np.asarray(indices, dtype=np.int64))
        return self.ids.gather(wanted.set(wanted < 0, None))


def _spelled_number(text: str) -> int | None:
    """The integer that a text spells; ``007`` and ``+7`` spell none."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if str(number) == text else None


def id_series(ids: Iterable[Any], name: str = "id") -> pl.Series:
    """Ids as a Series of text or integers; a mix of the two becomes text.

    Raises
    ------
    DataError
        Where an id is neither text nor an integer.
    """
    if isinstance(ids, pl.Series):
        column = ids.alias(name)
    else:
        values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        if any(isinstance(v, str) for v in values):
            values = [None if v is None else str(v) for v in values]
        try:
            column = pl.Series(name, values)
        except (TypeError, OverflowError) as error:
            raise DataError(f"Ids must be text or integers. {str(error).splitlines()[0]}.") from None
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if not (column.dtype in (pl.String, pl.Null) or column.dtype.is_integer()):
        raise DataError(f"Ids must be text or integers. Got {column.dtype} instead.")
    return column


def _typed(ids: pl.Series, kind: str) -> pl.Series:
    """The column as text or Int64 under the name ``id``."""
    if ids.dtype == pl.String:
        return ids.alias("id")
    if not ids.dtype.is_integer() and not (ids.dtype == pl.Null and not len(ids)):
        raise DataError(
            f"{kind} ids must be text or integers. Got {ids.dtype} instead; cast the column first."
        )
    try:
        return ids.cast(pl.Int64).alias("id")
    except pl.exceptions.InvalidOperationError:
        raise DataError(f"{kind} ids hold integers beyond 2**63 - 1. Cast the column to text.") from None

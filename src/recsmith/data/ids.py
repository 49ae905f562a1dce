"""IdMap: raw ids to int32 indices and back. Models only ever see the indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from recsmith.errors import DataError, UnknownIdError
from recsmith.types import IntArray


class IdMap:
    """A frozen, one-to-one map between raw ids (text or integers) and indices ``0 .. len - 1``.

    Ids come back as they came: text as text, integers as integers. Indices follow the sorted order
    of the ids, so that the same set of ids always gives the same indices.

    Parameters
    ----------
    ids
        Distinct ids in index order, as a polars Series of type String or Int64.
    kind
        What the ids name, for messages: ``"user"`` or ``"item"``.

    Raises
    ------
    DataError
        Where an id is null, repeated, or neither text nor an integer.
    """

    __slots__ = ("_frame", "ids", "kind")

    def __init__(self, ids: pl.Series, kind: str = "id") -> None:
        if not (ids.dtype == pl.String or ids.dtype.is_integer()):
            raise DataError(
                f"{kind} ids must be text or integers. Got {ids.dtype} instead; cast the column first."
            )
        if ids.null_count():
            raise DataError(
                f"{ids.null_count()} {kind} ids are missing. Drop those rows first (quality.repair)."
            )
        self.ids = ids.alias("id") if ids.dtype == pl.String else ids.cast(pl.Int64).alias("id")
        self.kind = kind
        self._frame = pl.DataFrame({"id": self.ids, "index": np.arange(len(ids), dtype=np.int32)})
        if self.ids.n_unique() != len(self.ids):
            raise DataError(f"The {kind} ids of an IdMap must be distinct.")

    @classmethod
    def of(cls, *columns: pl.Series | None, kind: str = "id") -> IdMap:
        """The sorted distinct ids of some columns (None is passed over); types must agree."""
        parts = [c.drop_nulls() for c in columns if c is not None]
        texts = [c.dtype == pl.String for c in parts]
        if any(texts) and not all(texts):
            kinds = ", ".join(str(c.dtype) for c in parts)
            raise DataError(
                f"{kind} ids are text in one table and integers in another ({kinds}). Cast one of them."
            )
        parts = [c if t else c.cast(pl.Int64) for c, t in zip(parts, texts, strict=True)]
        merged = pl.concat([c.alias("id") for c in parts]) if parts else pl.Series("id", [], pl.Int64)
        return cls(merged.unique().sort(), kind)

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and self.ids.equals(other.ids)

    def __hash__(self) -> int:
        return hash((len(self.ids), self.kind))

    def __repr__(self) -> str:
        return f"IdMap({len(self)} {self.kind} ids, {'text' if self.is_text else 'integers'})"

    @property
    def is_text(self) -> bool:
        """Whether the ids are text."""
        return self.ids.dtype == pl.String

    def index(self, ids: Iterable[Any]) -> IntArray:
        """(n,) int32 index of each id, -1 where it is not known.

        Over HTTP and on a command line an id is always text, so text that spells an integer finds an
        integer id, and an integer finds the text that spells it.
        """
        column = ids if isinstance(ids, pl.Series) else pl.Series("id", _plain(ids))
        if column.dtype == pl.Null:
            return np.full(len(column), -1, dtype=np.int32)
        if self.is_text != (column.dtype == pl.String):
            column = column.cast(pl.String) if self.is_text else column.cast(pl.Int64, strict=False)
        elif not self.is_text:
            column = column.cast(pl.Int64, strict=False)
        found = column.alias("id").to_frame().join(self._frame, on="id", how="left", maintain_order="left")
        return np.asarray(found["index"].fill_null(-1).to_numpy(), dtype=np.int32)

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
        return (
            self.ids.gather(wanted.set(wanted < 0, None))
            if len(self)
            else pl.Series("id", [None] * len(wanted))
        )


def _plain(ids: Iterable[Any]) -> list[Any]:
    """Python values of one type: a mix of text and integers becomes text."""
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    if any(isinstance(v, str) for v in values):
        return [None if v is None else str(v) for v in values]
    return values

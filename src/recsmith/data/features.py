"""Tables of users and items as sparse features: encoders that are fitted on train only.

``FeatureEncoder.fit(table)`` looks at each column and decides what it is; ``transform`` makes a CSR matrix of it, for
these rows or later ones. What a later row holds that was not there at the fit, or does not hold at all, has no entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import polars as pl
from scipy import sparse

from recsmith.errors import DataError, ParameterError
from recsmith.types import FloatArray

Kind: TypeAlias = Literal["category", "list", "code", "number"]

_MOST_CATEGORIES = 100  # of a column of text or codes
_FEW_NUMBERS = 25  # different whole numbers up to here are categories
_CODE_SHARE = 0.9  # of the texts of a column of codes have the same length


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEncoder:
    """How one column becomes features.

    ``category``: one feature a value. ``list``: one feature a value, a row has several, the squares of a row sum to 1.
    ``code``: one feature for the first characters of a text (a postal code). ``number``: one feature a bin.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()  #: values as text, sorted
    prefix: int = 0  #: characters of a code that count
    edges: tuple[float, ...] = ()  #: inner bounds of the bins, rising

    @classmethod
    def fit(cls, column: pl.Series, *, min_count: int, bins: int) -> Self | None:
        """The encoder of a column; None where it tells rows apart one by one, or not at all."""
        kind = _kind(column)
        if kind is None:
            return None
        if kind == "number":
            edges = _edges(column, bins)
            return cls(name=column.name, kind=kind, edges=edges) if edges else None
        texts = _texts(column)
        values = texts.explode() if kind == "list" else texts
        prefix = 0
        if kind == "category" and values.n_unique() > _MOST_CATEGORIES:
            prefix = _prefix(values.drop_nulls())
            kind, values = "code", values.str.slice(0, prefix)
        counts = values.drop_nulls().value_counts(name="n")
        kept = counts.filter(pl.col("n") >= min_count)[values.name].sort().to_list()
        if (
            len(kept) < 1
            or len(kept) > _MOST_CATEGORIES * (10 if kind == "list" else 1)
            or (kind == "code" and not prefix)
        ):
            return None
        if kind != "list" and len(kept) == 1 and counts["n"].max() == len(column):
            return None
        return cls(name=column.name, kind=kind, categories=tuple(kept), prefix=prefix)

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.edges) + 1 if self.kind == "number" else len(self.categories)

    @property
    def names(self) -> list[str]:
        """What each feature says, in words."""
        if self.kind != "number":
            return [f"{self.name}={c}{'...' if self.prefix else ''}" for c in self.categories]
        bounds = ["", *(f"{e:g}" for e in self.edges), ""]
        return [f"{self.name} {low}..{high}" for low, high in pairwise(bounds)]

    def entries(self, column: pl.Series) -> tuple[Any, Any, FloatArray]:
        """Rows, features and float32 values of the entries of a column."""
        if self.kind == "number":
            numbers = _numbers(column)
            rows = np.flatnonzero(np.isfinite(numbers))
            features = np.searchsorted(np.asarray(self.edges), numbers[rows], side="right")
            return rows, features, np.ones(len(rows), dtype=np.float32)
        texts = _texts(column)
        frame = pl.DataFrame({"row": np.arange(len(texts)), "value": texts})
        if self.kind == "list":
            frame = frame.explode("value")
        if self.prefix:
            frame = frame.with_columns(pl.col("value").str.slice(0, self.prefix))
        known = pl.DataFrame({"value": self.categories, "feature": np.arange(len(self.categories))})
        frame = (
            frame.drop_nulls()
            .unique(maintain_order=True)
            .join(known, on="value", how="inner", maintain_order="left")
        )
        rows = frame["row"].to_numpy()
        counts = np.bincount(rows, minlength=len(texts))
        return rows, frame["feature"].to_numpy(), (counts[rows] ** -0.5).astype(np.float32)


@dataclass(frozen=True, slots=True)
class FeatureEncoder:
    """Encoders of the columns of a table, side by side."""

    columns: tuple[ColumnEncoder, ...]

    @classmethod
    def fit(
        cls, table: pl.DataFrame, *, columns: Sequence[str] | None = None, min_count: int = 2, bins: int = 10
    ) -> Self:
        """Learn what the columns hold.

        Text, booleans and whole numbers of few values become categories; lists of text several categories at once;
        text of many values whose lengths agree (postal codes) its first characters; numbers and dates bins of like
        counts. A column that tells rows apart one by one, such as a title, is left out, unless it is named.

        Parameters
        ----------
        table
            Rows of users or items that are known when the model is fitted.
        columns
            Which to use; None: all that say something.
        min_count
            Rows that a category must occur in, >= 1.
        bins
            Bins of a number, >= 2.

        Raises
        ------
        ParameterError
            A column that the table does not have, or a number out of range.
        DataError
            A column that was named and says nothing.
        """
        if min_count < 1 or bins < 2:
            raise ParameterError.of("FeatureEncoder", "min_count, bins", ">= 1 and >= 2", (min_count, bins))
        for name in columns or ():
            if name not in table.columns:
                raise ParameterError.unknown("column", name, table.columns)
        found = []
        for name in table.columns if columns is None else columns:
            encoder = ColumnEncoder.fit(table[name], min_count=min_count, bins=bins)
            if encoder is not None:
                found.append(encoder)
            elif columns is not None:
                raise DataError(f"The column {name!r} holds nothing that rows have in common. Leave it out.")
        return cls(tuple(found))

    @property
    def width(self) -> int:
        """Number of features."""
        return sum(column.width for column in self.columns)

    @property
    def names(self) -> list[str]:
        """What each feature says, in words."""
        return [name for column in self.columns for name in column.names]

    def parts(self) -> list[slice]:
        """The features of each column."""
        bounds = np.cumsum([0, *(column.width for column in self.columns)]).tolist()
        return [slice(low, high) for low, high in pairwise(bounds)]

    def transform(self, table: pl.DataFrame) -> Any:
        """(rows, width) float32 CSR; a null, an unseen value and a column that lacks have no entry."""
        none = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        rows, features, values = [none[0]], [none[1]], [none[2]]
        for column, part in zip(self.columns, self.parts(), strict=True):
            if column.name in table.columns:
                own = column.entries(table[column.name])
                rows.append(own[0])
                features.append(own[1] + part.start)
                values.append(own[2])
        where = np.concatenate(rows), np.concatenate(features)
        return sparse.csr_array(
            (np.concatenate(values), where), shape=(len(table), self.width), dtype=np.float32
        )

    def state(self) -> list[dict[str, Any]]:
        """JSON values that ``restore`` takes."""
        return [
            {name: _plain(getattr(column, name)) for name in ColumnEncoder.__slots__}
            for column in self.columns
        ]

    @classmethod
    def restore(cls, state: Iterable[Mapping[str, Any]]) -> Self:
        """The encoder that ``state`` is of."""
        columns = [{k: tuple(v) if isinstance(v, list) else v for k, v in column.items()} for column in state]
        return cls(tuple(ColumnEncoder(**column) for column in columns))  # type: ignore[arg-type]


def _kind(column: pl.Series) -> Kind | None:
    """What a column is; None for one that cannot be used."""
    dtype = column.dtype
    if dtype.is_temporal() and dtype != pl.Duration:
        return "number"
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        return "list" if inner == pl.String or (inner is not None and inner.is_integer()) else None
    if dtype in (pl.String, pl.Boolean) or isinstance(dtype, pl.Categorical | pl.Enum):
        return "category"
    if dtype.is_integer():
        return "category" if column.n_unique() <= _FEW_NUMBERS else "number"
    return "number" if dtype.is_numeric() else None


def _texts(column: pl.Series) -> pl.Series:
    """The column as text, or as lists of text."""
    if isinstance(column.dtype, pl.List | pl.Array):
        return column.cast(pl.List(pl.String))
    return column.cast(pl.String)


def _numbers(column: pl.Series) -> FloatArray:
    """(n,) float64, NaN where there is none; a date counts in days, a moment in its own unit."""
    whole = column.to_physical() if column.dtype.is_temporal() else column
    numbers: FloatArray = whole.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    return numbers


def _edges(column: pl.Series, bins: int) -> tuple[float, ...]:
    """Inner bounds of bins with about as many rows each; fewer where values repeat."""
    numbers = _numbers(column)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return ()
    inner = np.unique(np.quantile(numbers, np.arange(1, bins) / bins))
    return tuple(float(e) for e in inner if numbers.min() < e <= numbers.max())


def _prefix(values: pl.Series) -> int:
    """Characters at the front of a column of codes that leave at most 100 values; 0 where it is not one of codes."""
    lengths = values.str.len_chars()
    common = lengths.mode().min()
    if not len(values) or not isinstance(common, int) or (lengths == common).mean() < _CODE_SHARE:  # type: ignore[operator]
        return 0
    if values.str.contains(r"\s").mean() > 1 - _CODE_SHARE:  # type: ignore[operator]
        return 0
    fits = [n for n in range(1, common) if values.str.slice(0, n).n_unique() <= _MOST_CATEGORIES]
    return max(fits, default=0)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

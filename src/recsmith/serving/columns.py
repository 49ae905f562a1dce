"""Column: the values of one metadata field of many items, ready to be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import polars as pl

from recsmith.types import BoolArray, FloatArray, IntArray

SEPARATOR = "|"  #: between the values of a field that holds several in one text: ``Action|Comedy``
_FIRST_SECONDS = 10_000  # a smaller number is a year
_ISO_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%#z")


class Column:
    """Pairs of a row and a value. A row without a value has no pair; a row with several values has several.

    Text with ``|`` in it counts as the whole and as each of its parts.

    Parameters
    ----------
    size
        Number of rows.
    rows
        (m,) the row of each value, rising.
    values
        (m,) text or numbers, without nulls.
    """

    def __init__(self, size: int, rows: IntArray, values: pl.Series) -> None:
        self.size = size
        self.rows = rows
        self.values = values
        if values.dtype == pl.String and values.str.contains(SEPARATOR, literal=True).any():
            self._add_parts()

    @classmethod
    def of_series(cls, series: pl.Series) -> Self:
        """A column of text, numbers, truth values or lists of these, as ``plain`` makes them."""
        frame = pl.DataFrame({"row": np.arange(len(series)), "value": series})
        if isinstance(series.dtype, pl.List):
            frame = frame.explode("value")
        frame = frame.drop_nulls("value")
        values = frame["value"]
        values = values.cast(pl.String) if values.dtype == pl.Boolean else values
        return cls(len(series), frame["row"].to_numpy(), values)

    @classmethod
    def of_values(cls, values: Sequence[Any]) -> Self:
        """A column of JSON values; an object within counts as no value."""
        pairs = [(row, text) for row, value in enumerate(values) for text in texts_of(value)]
        rows = np.fromiter((row for row, _ in pairs), dtype=np.int64, count=len(pairs))
        return cls(len(values), rows, pl.Series([text for _, text in pairs], dtype=pl.String))

    def _add_parts(self) -> None:
        pairs = pl.DataFrame({"row": self.rows, "value": self.values})
        several = pairs.filter(pl.col("value").str.contains(SEPARATOR, literal=True))
        parts = several.with_columns(pl.col("value").str.split(SEPARATOR)).explode("value")
        parts = parts.with_columns(pl.col("value").str.strip_chars()).filter(pl.col("value") != "")
        both = pl.concat([pairs, parts]).sort("row", maintain_order=True)
        self.rows, self.values = both["row"].to_numpy(), both["value"]

    @cached_property
    def texts(self) -> pl.Series:
        """(m,) the values as text."""
        return self.values.cast(pl.String)

    @cached_property
    def _lowercase(self) -> pl.Series:
        return self.texts.str.to_lowercase()

    @cached_property
    def numbers(self) -> FloatArray:
        """(m,) float64, NaN for text that spells no number."""
        numbers = self.values.cast(pl.Float64, strict=False)
        return numbers.to_numpy().astype(np.float64, copy=False)

    @cached_property
    def moments(self) -> FloatArray:
        """(size,) float64 Unix seconds of each row's first value, NaN where there is none.

        A number below 10,000 is a year and means its beginning; any other is Unix seconds. Text is an ISO 8601
        date, UTC where it says no offset.
        """
        numbers = self.numbers
        years = (numbers >= 1) & (numbers < _FIRST_SECONDS)
        begins = np.where(years, numbers, 1970).astype(np.int64) - 1970
        seconds = np.where(
            years, begins.astype("datetime64[Y]").astype("datetime64[s]").astype(np.int64), numbers
        )
        seconds[~np.isfinite(seconds)] = np.nan
        if self.values.dtype == pl.String:
            seconds = np.where(np.isnan(seconds), _iso_seconds(self.values), seconds)
        out = np.full(self.size, np.nan)
        out[self.rows[::-1]] = seconds[::-1]
        return out

    def equal(self, wanted: Sequence[str | float]) -> BoolArray:
        """(size,) rows with a value that is one of ``wanted``: text as written, numbers by what they are worth."""
        hits = np.zeros(len(self.rows), dtype=np.bool_)
        if texts := [value for value in wanted if isinstance(value, str)]:
            hits |= self.texts.is_in(texts).to_numpy()
        if numbers := [value for value in wanted if not isinstance(value, str)]:
            hits |= np.isin(self.numbers, numbers)
        return self._rows_of(hits)

    def contains(self, text: str) -> BoolArray:
        """(size,) rows with a value that ``text`` stands in, in capitals or not."""
        hits = self._lowercase.str.contains(text.lower(), literal=True)
        return self._rows_of(hits.to_numpy())

    def compare(self, operator: Callable[[FloatArray, float], BoolArray], number: float) -> BoolArray:
        """(size,) rows with a number for which ``operator(value, number)`` holds."""
        return self._rows_of(operator(self.numbers, number))

    def exists(self) -> BoolArray:
        """(size,) rows with a value."""
        return self._rows_of(np.ones(len(self.rows), dtype=np.bool_))

    @cached_property
    def _one_each(self) -> bool:
        """Whether every row has a value, and no row two."""
        return len(self.rows) == self.size and bool((np.diff(self.rows) == 1).all())

    def _rows_of(self, hits: BoolArray) -> BoolArray:
        if self._one_each:
            return hits
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[self.rows[hits]] = True
        return mask


def plain(series: pl.Series) -> pl.Series | None:
    """The series as JSON has it: text, numbers, truth values, dates as ISO text, lists; None for other types.

    A number that is not finite becomes null. A float32 becomes the shortest float64 that rounds to it.
    """
    dtype = series.dtype
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        kept = inner == pl.String or (isinstance(inner, pl.DataType) and inner.is_integer())
        return series.cast(pl.List(inner if kept else pl.String))
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return series.cast(pl.String)
    if isinstance(dtype, pl.Date):
        return series.dt.to_string("%Y-%m-%d")
    if isinstance(dtype, pl.Datetime):
        utc = (
            series.dt.replace_time_zone("UTC")
            if dtype.time_zone is None
            else series.dt.convert_time_zone("UTC")
        )
        return utc.dt.to_string("%Y-%m-%dT%H:%M:%S%:z")
    if dtype.is_float() or dtype.is_decimal():
        numbers = series.cast(pl.String).cast(pl.Float64) if dtype == pl.Float32 else series.cast(pl.Float64)
        return numbers.set(~numbers.is_finite(), None)
    return series if dtype in (pl.String, pl.Boolean) or dtype.is_integer() else None


def texts_of(value: Any) -> list[str]:
    """A JSON value, or each value of a list, as text; null and objects are none."""
    if isinstance(value, list | tuple):
        return [text for part in value for text in texts_of(part)]
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, int | float):
        return [repr(value)]
    return [value] if isinstance(value, str) else []


def parts_of(value: Any) -> tuple[str, ...]:
    """The distinct values of a field as text, text with ``|`` in it taken apart."""
    parts = (part.strip() for text in texts_of(value) for part in text.split(SEPARATOR))
    return tuple(dict.fromkeys(part for part in parts if part))


def _iso_seconds(texts: pl.Series) -> FloatArray:
    """(m,) float64 Unix seconds of ISO 8601 text, NaN for other text."""
    spelled = pl.col("text").str.replace(" ", "T", literal=True).str.replace(r"[Zz]$", "+00:00")
    parsed = [
        spelled.str.to_datetime(
            form, strict=False, time_unit="us", time_zone="UTC" if form.endswith("z") else None
        ).dt.epoch("s")
        for form in _ISO_FORMATS
    ]
    seconds = texts.alias("text").to_frame().select(pl.coalesce(parsed).cast(pl.Float64)).to_series()
    return seconds.to_numpy().astype(np.float64)

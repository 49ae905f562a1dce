"""A frame with a row per user, checked, as arrays by variant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from recsmith.data.sources.files import read_table
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.experiments.contrast import Arm
from recsmith.evaluation.experiments.result import EVERYBODY
from recsmith.evaluation.significance import Sample
from recsmith.types import BoolArray, FloatArray, IntArray

Kind = Literal["mean", "proportion", "ratio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What is judged, by the names of columns with a sum for each user.

    ``Metric.mean("value")``, ``Metric.proportion("bought")``, ``Metric.ratio("clicks", "slots")``.
    """

    column: str
    per: str | None = None  #: column below the line of a ratio, >= 0
    kind: Kind = "mean"
    before: str | None = None  #: covariate from before the experiment, for CUPED
    before_per: str | None = None  #: column below the covariate's line
    smaller_is_better: bool = False

    def __post_init__(self) -> None:
        for name, wanted, good in (
            (
                "per",
                "given for a ratio, and for nothing else",
                (self.kind == "ratio") == (self.per is not None),
            ),
            (
                "before",
                "left out for a proportion; as a mean it may have one",
                self.kind != "proportion" or self.before is None,
            ),
            ("before_per", "given beside 'before' only", self.before is not None or self.before_per is None),
        ):
            if not good:
                raise ParameterError.of(f"the metric {self.column!r}", name, wanted, getattr(self, name))

    @classmethod
    def mean(cls, column: str, *, before: str | None = None, smaller_is_better: bool = False) -> Self:
        """The mean of a column over users."""
        return cls(column=column, before=before, smaller_is_better=smaller_is_better)

    @classmethod
    def proportion(cls, column: str, *, smaller_is_better: bool = False) -> Self:
        """The share of users with a 1 in a column of 0 and 1."""
        return cls(column=column, kind="proportion", smaller_is_better=smaller_is_better)

    @classmethod
    def ratio(
        cls,
        column: str,
        per: str,
        *,
        before: str | None = None,
        before_per: str | None = None,
        smaller_is_better: bool = False,
    ) -> Self:
        """The sum of a column over the sum of another."""
        rest: dict[str, Any] = {"before": before, "before_per": before_per}
        return cls(column=column, per=per, kind="ratio", smaller_is_better=smaller_is_better, **rest)

    @property
    def name(self) -> str:
        """``clicks/slots``."""
        return self.column if self.per is None else f"{self.column}/{self.per}"

    @property
    def columns(self) -> list[str]:
        """Those that it reads."""
        return [name for name in (self.column, self.per, self.before, self.before_per) if name is not None]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The users of one variant, by one metric: arrays of (n,) float64."""

    total: FloatArray
    count: FloatArray | None
    before: FloatArray | None
    before_count: FloatArray | None

    def take(self, rows: BoolArray) -> Self:
        """Some of the users."""
        columns = (self.count, self.before, self.before_count)
        return type(self)(self.total[rows], *(None if c is None else c[rows] for c in columns))

    def joined(self, other: Self) -> Self:
        """These users, then those of another group."""
        rest = [
            None if mine is None or theirs is None else np.concatenate([mine, theirs])
            for mine, theirs in (
                (self.count, other.count),
                (self.before, other.before),
                (self.before_count, other.before_count),
            )
        ]
        return type(self)(np.concatenate([self.total, other.total]), *rest)

    def arm(self) -> Arm:
        """Figures and variances."""
        return Arm.of(self.total, self.count, self.before, self.before_count)

    def samples(self) -> list[Sample]:
        """The metric, and its covariate, for the bootstrap."""
        ones = np.ones_like(self.total)
        pairs = [(self.total, self.count), (self.before, self.before_count)]
        return [Sample(t, ones if c is None else c) for t, c in pairs if t is not None]


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The users of an experiment."""

    frame: pl.DataFrame
    names: tuple[str, ...]  #: of the variants, the control first
    codes: IntArray  #: (n,) int32, variant of each user
    segments: tuple[str, ...]
    segment: IntArray | None  #: (n,) int32, segment of each user

    @classmethod
    def read(
        cls,
        frame: Any,
        metrics: Sequence[Metric],
        *,
        control: str,
        variant: str,
        unit: str | None,
        segment: str | None,
    ) -> Self:
        """Check a frame of users; see ``analyze`` for what it must be.

        Raises
        ------
        DataError
            Columns that are missing or hold what they must not, users that stand in it twice, groups too small.
        ParameterError
            A control that is no variant.
        """
        table = read_table(frame)
        named = [name for name in (variant, unit, segment) if name is not None]
        _check_columns(table, named)
        for column in named:
            if count := table[column].null_count():
                raise DataError(
                    f"Column {column!r} is empty in {count:,} rows. Fill them or leave these users out."
                )
        table = table.with_columns(pl.col(variant).cast(pl.String))
        if unit is not None:
            _check_once(table, unit, variant)
        names = _variants(table[variant], control)
        codes = _codes(table[variant], names)
        if segment is None:
            return cls(numbers(table, metrics), names, codes, (), None)
        texts = table[segment].cast(pl.String)
        values = texts.unique().sort().to_list()
        segments = tuple(f"{segment}={value}" for value in values)
        return cls(numbers(table, metrics), names, codes, segments, _codes(texts, values))

    @property
    def counts(self) -> dict[str, int]:
        """Users of each variant."""
        return {name: int((self.codes == code).sum()) for code, name in enumerate(self.names)}

    def parts(self) -> Iterator[tuple[str, BoolArray]]:
        """Everybody, then each segment: its name, and (n,) who is in it."""
        yield EVERYBODY, np.ones(len(self.codes), dtype=np.bool_)
        for code, name in enumerate(self.segments):
            yield name, np.asarray(self.segment) == code

    def groups(self, metric: Metric, part: BoolArray) -> list[Group]:
        """The users of ``part`` by variant."""
        masks = [part & (self.codes == code) for code in range(len(self.names))]
        whole = group_of(self.frame, metric)
        return [whole.take(mask) for mask in masks]


def group_of(frame: pl.DataFrame, metric: Metric) -> Group:
    """All users of a frame that ``numbers`` made."""
    per, before, before_per = (
        None if name is None else frame[name].to_numpy()
        for name in (metric.per, metric.before, metric.before_per)
    )
    return Group(frame[metric.column].to_numpy(), per, before, before_per)


def numbers(table: pl.DataFrame, metrics: Sequence[Metric]) -> pl.DataFrame:
    """The metrics' columns as float64.

    Raises
    ------
    DataError
        A column that is missing or holds what it must not.
    """
    used = list(dict.fromkeys(name for metric in metrics for name in metric.columns))
    _check_columns(table, used)
    below = {name for metric in metrics for name in (metric.per, metric.before_per) if name is not None}
    binary = {metric.column for metric in metrics if metric.kind == "proportion"}
    out = {}
    for name in used:
        series = table[name]
        if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
            raise DataError(f"Column {name!r} must hold numbers. It holds {series.dtype}.")
        values = series.cast(pl.Float64).to_numpy()
        _refuse(~np.isfinite(values), values, name, "numbers that are finite; fill what is missing")
        if name in below:
            _refuse(values < 0, values, name, ">= 0, as it stands below the line of a ratio")
        if name in binary:
            _refuse((values != 0) & (values != 1), values, name, "0 or 1, as it is a proportion")
        out[name] = values
    return pl.DataFrame(out)


def _check_columns(table: pl.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.columns:
            known = ", ".join(table.columns)
            raise DataError(f"There is no column {name!r} in the frame of users. Its columns: {known}.")


def _check_once(table: pl.DataFrame, unit: str, variant: str) -> None:
    """Each user has one row."""
    twice = table.group_by(unit).agg(rows=pl.len(), variants=pl.col(variant).n_unique())
    paired = int((twice["variants"] > 1).sum())
    if paired:
        raise DataError(
            f"{paired:,} users stand in more than one variant. Users who saw two variants must be left out. "
            "If two models answered the same users offline, that is no A/B test but a paired comparison: "
            "use recsmith.evaluation.compare, or 'recsmith compare'."
        )
    repeated = int((twice["rows"] > 1).sum())
    if repeated:
        raise DataError(f"{repeated:,} users have more than one row. Sum the columns of each user first.")


def _variants(column: pl.Series, control: str) -> tuple[str, ...]:
    names = column.unique().sort().to_list()
    if control not in names:
        raise ParameterError.unknown("variant", control, names)
    if len(names) < 2:
        raise DataError(f"An experiment has two variants or more. This frame has only {control!r}.")
    for name, count in column.value_counts().iter_rows():
        if count < 2:
            raise DataError(
                f"The variant {name!r} has a single user, and wants two at least to say how much they vary."
            )
    return (control, *(name for name in names if name != control))


def _codes(column: pl.Series, names: Sequence[str]) -> IntArray:
    """(n,) places in ``names``."""
    return column.replace_strict(list(names), list(range(len(names))), return_dtype=pl.Int32).to_numpy()


def _refuse(bad: BoolArray, values: FloatArray, name: str, wanted: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"Column {name!r} must be {wanted}. {int(bad.sum()):,} rows are not; "
            f"the first is row {row + 1}: {values[row]:g}."
        )

"""What a policy did and what came of it: the data of every off-policy estimate, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from recsmith.errors import DataError, ParameterError
from recsmith.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedBandit:
    """``n`` rounds of a contextual bandit: in each, one action was taken and its reward seen.

    A list of several slots is a round for each slot, with its ``position``.

    Raises
    ------
    DataError
        Columns of different lengths, no round, a reward or context that is not finite, a propensity outside (0, 1],
        an action or position out of range. The message names the first wrong row, counted from 1.
    """

    action: IntArray  #: (n,) what was shown, ``0 .. n_actions - 1``
    reward: FloatArray  #: (n,) float64 what it earned
    propensity: FloatArray  #: (n,) float64 in (0, 1]: probability with which the logging policy chose it
    n_actions: int
    context: FloatArray | None = None  #: (n, d) float64 features of the round
    position: IntArray | None = (
        None  #: (n,) slot of a list, ``0 .. n_positions - 1``; None where there is one
    )
    n_positions: int = 1
    unit: IntArray | None = (
        None  #: (n,) rounds of one number (a user, a list) are drawn together by the bootstrap
    )

    def __post_init__(self) -> None:
        for read, names in (
            (_floats, ("reward", "propensity", "context")),
            (_integers, ("action", "position", "unit")),
        ):
            for name in names:
                if getattr(self, name) is not None:
                    object.__setattr__(self, name, read(name, getattr(self, name)))
        self._check_lengths()
        check_finite("reward", self.reward)
        if self.context is not None:
            check_finite("context", self.context)
        check_propensities(self.propensity)
        check_indices("action", self.action, self.n_actions)
        if self.position is not None:
            check_indices("position", self.position, self.n_positions)
        elif self.n_positions != 1:
            raise ParameterError.of(
                "LoggedBandit", "position", f"given for {self.n_positions} positions", None
            )

    def _check_lengths(self) -> None:
        n = len(self.action)
        if n == 0:
            raise DataError("The log holds no round. Wanted at least one row with an action and its reward.")
        for name in ("reward", "propensity", "context", "position", "unit"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise DataError(f"The log has {n} actions, but {name} has {len(column)} rows.")
        if self.context is not None and self.context.ndim != 2:
            raise DataError(f"context must have rows and columns. Its shape is {self.context.shape}.")

    def __len__(self) -> int:
        return len(self.action)

    @property
    def positions(self) -> IntArray:
        """(n,) int64 slot of each round, 0 where there is only one."""
        return np.zeros(len(self), dtype=np.int64) if self.position is None else self.position

    @property
    def units(self) -> IntArray | None:
        """(n,) int64 units by number from 0; None where every round is one."""
        return None if self.unit is None else np.unique(self.unit, return_inverse=True)[1]

    def take(self, rows: IntArray) -> LoggedBandit:
        """The rounds ``rows``, in that order; one that is there twice counts twice."""
        columns = ("action", "reward", "propensity", "context", "position", "unit")
        kept: Any = {n: None if getattr(self, n) is None else getattr(self, n)[rows] for n in columns}
        return replace(self, **kept)

    @classmethod
    def from_frame(
        cls,
        frame: pl.DataFrame,
        *,
        n_actions: int,
        features: Sequence[str] = (),
        position: str | None = None,
        n_positions: int = 1,
        unit: IntArray | None = None,
    ) -> LoggedBandit:
        """A log out of the columns ``action, reward, propensity`` and those that are named.

        Parameters
        ----------
        frame
            ``action`` and the column ``position`` hold indices from 0.
        features
            Numeric columns that are the context.

        Raises
        ------
        DataError
            A column is missing, has empty values or is not numeric; and as the class says.
        """
        wanted = ["action", "reward", "propensity", *([position] if position else []), *features]
        numbers = {name: _column(frame, name) for name in wanted}
        context = np.column_stack([numbers[name] for name in features]) if features else None
        return cls(
            action=numbers["action"],
            reward=numbers["reward"],
            propensity=numbers["propensity"],
            n_actions=n_actions,
            context=context,
            position=numbers[position] if position else None,
            n_positions=n_positions,
            unit=unit,
        )


def check_finite(name: str, values: FloatArray) -> None:
    """Raise ``DataError`` with the first row, counted from 1, that holds NaN or an infinity."""
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.argmax(wrong.reshape(len(values), -1).any(axis=1)))
        raise DataError(
            f"{name} must be finite. Row {row + 1} has {values[row]}. Leave such rows out, or fill them."
        )


def check_propensities(values: FloatArray, name: str = "propensity") -> None:
    """Raise ``DataError`` with the first row, counted from 1, that is not a probability above zero."""
    wrong = ~((values > 0) & (values <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{name} must be in (0, 1]: the probability with which the logging policy chose what it showed. "
            f"Row {row + 1} has {values[row]} ({int(wrong.sum())} such rows)."
        )


def check_indices(name: str, values: IntArray, size: int) -> None:
    """Raise ``DataError`` with the first row, counted from 1, that is not in ``0 .. size - 1``."""
    if size < 1:
        raise ParameterError.of("LoggedBandit", f"n_{name}s", ">= 1", size)
    wrong = (values < 0) | (values >= size)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{name} must be in 0 .. {size - 1}. Row {row + 1} has {values[row]}.")


def _floats(name: str, values: Any) -> FloatArray:
    try:
        return np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} must hold numbers. Got {np.asarray(values).dtype} instead.") from None


def _integers(name: str, values: Any) -> IntArray:
    given = np.asarray(values)
    if given.ndim != 1:
        raise DataError(f"{name} must have one dimension. Its shape is {given.shape}.")
    whole = given.dtype.kind in "iub" or (given.dtype.kind == "f" and np.array_equal(given, np.floor(given)))
    if given.size and not whole:
        raise DataError(f"{name} must hold whole numbers. Got {given.dtype} instead.")
    return np.ascontiguousarray(given, dtype=np.int64)


def _column(frame: pl.DataFrame, name: str) -> Any:
    if name not in frame.columns:
        raise DataError(f"The log has no column {name!r}. It has: {', '.join(frame.columns)}.")
    column = frame[name]
    if column.null_count():
        row = int(column.is_null().arg_max() or 0)
        raise DataError(f"{name}: row {row + 1} is empty. Wanted a value in every row.")
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise DataError(f"{name} must hold numbers. Its type is {column.dtype}.")
    return column.to_numpy()

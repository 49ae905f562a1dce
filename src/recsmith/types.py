"""Array aliases and ``Queries``, the one form in which a model is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as _replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recsmith.errors import ParameterError

IntArray: TypeAlias = NDArray[np.integer[Any]]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]


def ragged_rows(offsets: IntArray) -> IntArray:
    """(m,) row number of each element of a ragged array with bounds ``offsets`` (n + 1,)."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def ragged_take(offsets: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Bounds and element positions of ``rows`` (>= 0) cut out of a ragged array.

    Returns ``(new_offsets (len(rows) + 1,), positions (m',))``, both int64. The cost is that of what is cut.
    """
    starts = offsets[rows]
    return ragged_slices(starts, offsets[np.asarray(rows) + 1] - starts)


def ragged_slices(starts: IntArray, lengths: IntArray) -> tuple[IntArray, IntArray]:
    """Bounds and element positions of the runs ``starts[r] : starts[r] + lengths[r]``, one after the other.

    Returns ``(offsets (n + 1,), positions (m,))``, both int64.
    """
    bounds = np.zeros(len(starts) + 1, dtype=np.int64)
    np.cumsum(lengths, out=bounds[1:])
    positions = np.arange(bounds[-1])
    positions += np.repeat(starts - bounds[:-1], lengths)
    return bounds, positions


def check_range(owner: str, name: str, indices: IntArray, size: int) -> None:
    """Raise ``ParameterError`` where an index is not in ``0 .. size - 1``: compiled loops do not look."""
    if len(indices) and (indices.min() < 0 or indices.max() >= size):
        wrong = indices[(indices < 0) | (indices >= size)][0]
        raise ParameterError.of(owner, name, f"indices in 0 .. {size - 1}", int(wrong))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Queries:
    """``n`` requests as ragged arrays. Known, changed and unknown users are one case.

    Row ``r`` owns the events ``offsets[r]:offsets[r + 1]`` of the four event arrays.
    """

    users: IntArray  #: (n,) int32 user index, -1 = not known to the model
    offsets: IntArray  #: (n + 1,) int64 row bounds into the event arrays
    items: IntArray  #: (m,) int32 history as item indices, oldest first; an item may repeat
    values: FloatArray | None = None  #: (m,) float32 ratings on the data's scale; None for implicit logs
    weights: FloatArray | None = None  #: (m,) float32 confidence of each event; recency multiplies here only
    times: IntArray | None = None  #: (m,) int64 Unix seconds
    at: IntArray | None = None  #: (n,) int64 Unix seconds, the moment of the question
    context: FloatArray | None = None  #: (n, d) float32 features of the user or the moment
    as_trained: BoolArray | None = None  #: (n,) the history is what the model was fitted on

    def __post_init__(self) -> None:
        bounds, n, m = self.offsets, len(self.users), len(self.items)
        if len(bounds) != n + 1 or bounds[0] != 0 or bounds[-1] != m or (np.diff(bounds) < 0).any():
            raise ParameterError.of("Queries", "offsets", f"{n + 1} rising bounds from 0 to {m}", bounds)
        for wanted, names in ((m, ("values", "weights", "times")), (n, ("at", "context", "as_trained"))):
            for name in names:
                array = getattr(self, name)
                if array is not None and len(array) != wanted:
                    raise ParameterError.of("Queries", name, f"of length {wanted}", f"length {len(array)}")

    def __len__(self) -> int:
        return len(self.users)

    @property
    def rows(self) -> IntArray:
        """(m,) the request that each event belongs to."""
        return ragged_rows(self.offsets)

    @property
    def lengths(self) -> IntArray:
        """(n,) number of events of each request."""
        return np.diff(self.offsets)

    def take(self, rows: IntArray | slice) -> Queries:
        """The requests ``rows`` (indices or a slice), in that order."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._cut(start, max(start, stop))
            rows = np.arange(start, stop, step)
        bounds, positions = ragged_take(self.offsets, rows)
        return Queries(
            users=self.users[rows],
            offsets=bounds,
            items=self.items[positions],
            values=None if self.values is None else self.values[positions],
            weights=None if self.weights is None else self.weights[positions],
            times=None if self.times is None else self.times[positions],
            at=None if self.at is None else self.at[rows],
            context=None if self.context is None else self.context[rows],
            as_trained=None if self.as_trained is None else self.as_trained[rows],
        )

    def _cut(self, start: int, stop: int) -> Queries:
        """Rows ``start:stop`` as views: what the blocks of ``recommend`` are made of."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        return Queries(
            users=self.users[start:stop],
            offsets=self.offsets[start : stop + 1] - low,
            items=self.items[low:high],
            values=None if self.values is None else self.values[low:high],
            weights=None if self.weights is None else self.weights[low:high],
            times=None if self.times is None else self.times[low:high],
            at=None if self.at is None else self.at[start:stop],
            context=None if self.context is None else self.context[start:stop],
            as_trained=None if self.as_trained is None else self.as_trained[start:stop],
        )

    def keep(self, events: BoolArray, items: IntArray) -> Queries:
        """The same requests with the events that ``events`` (m,) marks; ``items`` (m,) stand in place of the items."""
        offsets = np.zeros(len(self) + 1, dtype=np.int64)
        np.cumsum(np.bincount(self.rows[events], minlength=len(self)), out=offsets[1:])
        columns = {name: getattr(self, name) for name in ("values", "weights", "times")}
        kept = {name: None if column is None else column[events] for name, column in columns.items()}
        return self.replace(offsets=offsets, items=items[events], **kept)

    def replace(self, **changes: Any) -> Queries:
        """A copy with some fields changed."""
        return _replace(self, **changes)

    def event_weights(self) -> FloatArray:
        """(m,) float32 weight of each event: ``weights``, or ones where the log has none."""
        if self.weights is None:
            return np.ones(len(self.items), dtype=np.float32)
        return np.asarray(self.weights, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Ratings that a model expects, on the data's scale."""

    mean: FloatArray  #: (p,) float32
    std: FloatArray | None = None  #: (p,) float32 predictive standard deviation, where the model has one


@dataclass(frozen=True, slots=True)
class Cost:
    """What a piece of work will need, for ``--dry-run``."""

    gemm: float = 0.0  #: floating-point operations inside matrix products and factorizations
    gather: float = 0.0  #: floating-point operations on scattered rows (sparse work)
    bytes: float = 0.0  #: peak bytes of arrays beyond the data itself
    moved: float = 0.0  #: bytes that passes over a log write: loading, sorting, cutting

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.gemm + other.gemm,
            self.gather + other.gather,
            max(self.bytes, other.bytes),
            self.moved + other.moved,
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a log, which is all that a cost depends on."""

    n_users: int
    n_items: int
    n_events: int


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Everything a fitted model knows: named arrays and JSON values, nested for models made of models."""

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, State] = field(default_factory=dict)

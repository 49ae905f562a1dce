"""What the graph filters share: a history is a signal on the items, and a filter of the graph makes scores of it.

With ``R`` the log, degrees divided out (``spectral.normalized``), ``S = R'R`` and ``V`` its leading eigenvectors, all
of them are::

    score = D^after ( sum_k local[k] S^k D^-before + sum_k ideal[k] S^k D^ideal_after V V' D^-ideal_before ) x

where x is the history over the square root of its weight and ``D`` the degrees of the items. Signals pass through
``S`` as ``R'(R x)``, a panel of queries at once, so neither an item-to-item matrix nor all scores are ever held.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Self, TypeVar

import numpy as np
from numpy.polynomial import Polynomial
from pydantic import Field

from recsmith import parallel
from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset, Matrix
from recsmith.kernels import njit
from recsmith.models.base import BaseModel, generator
from recsmith.models.graph.spectral import DEGREE, ROUNDS, Graph, leading, negative_power, normalized
from recsmith.protocols import Monitor
from recsmith.types import BoolArray, Cost, FloatArray, IntArray, Queries, Shape, check_range, ragged_take

_PANEL = 1 << 22  # numbers in a panel: 16 MB, whatever the number of items
_WIDTH = 64  # queries in a panel at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A filter as the numbers of the formula above."""

    local: tuple[float, ...]  #: coefficient of S^k, k = 0, 1, ...
    ideal: tuple[float, ...] = ()  #: coefficient of S^k behind the ideal low pass
    before: float = 0.0  #: exponent of the degrees that the history is divided by
    after: float = 0.0  #: exponent of the degrees that the scores are multiplied with
    ideal_before: float = 0.0  #: as ``before``, for the ideal low pass
    ideal_after: float = 0.0  #: as ``after``, for the ideal low pass alone


def decay(time: float, order: int, steps: int = 1) -> Polynomial:
    """What ``exp(-time S)`` becomes under ``steps`` explicit Runge-Kutta steps of ``order`` stages (1 to 4).

    Order 1 is Euler's method, 4 the classical one: the Taylor polynomial of one step, to the power of the steps.
    """
    step = time / steps
    taylor = [1.0]
    for k in range(1, order + 1):
        taylor.append(-taylor[-1] * step / k)
    return Polynomial(taylor) ** steps


class FilterConfig(Config):
    """Parameters that the graph filters share."""

    rank: Annotated[int, Search(32, 1024, log=True)] = Field(default=256, ge=0)
    """Eigenvectors that the ideal low pass lets through, >= 0; at most as many as there are."""
    ideal_weight: Annotated[float, Search(0.0, 1.0)] = Field(default=0.3, ge=0)
    """Weight of the ideal low pass beside the filter of the neighbourhood, >= 0."""


F = TypeVar("F", bound=FilterConfig)


class SpectralModel(BaseModel[F]):
    """A ``Response`` on the graph of a log. A subclass says which."""

    learned = ("by_user_", "by_item_", "degrees_", "vectors_")
    by_user_: Matrix  #: (n_users, n_items) CSR float32, the normalized log R
    by_item_: Matrix  #: (n_items, n_users) CSR float32, its transpose
    degrees_: FloatArray  #: (n_items,) float64 weight of each item in the log
    vectors_: FloatArray  #: (n_items, rank or less) float32 leading eigenvectors of S

    @abstractmethod
    def response(self) -> Response:
        """The filter that the parameters stand for."""

    def normalization(self) -> tuple[float, float]:
        """Exponents of the users' and the items' degrees that the log is divided by."""
        return 0.5, 0.5

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Normalize the log and find its eigenvectors, from a random start that ``rng`` gives."""
        log = data.matrix("weight")
        users, items = self.normalization()
        graph = normalized(log, users, items)
        self.degrees_ = np.asarray(log.sum(axis=0, dtype=np.float64))
        rank = self.config.rank if self.config.ideal_weight else 0
        vectors, scale = np.zeros((data.n_items, 0), dtype=np.float32), 1.0
        if rank or (users, items) != (0.5, 0.5):
            values, vectors = leading(graph, max(rank, 1), generator(rng), monitor)
            scale = float(values[0]) if len(values) else 1.0
        self.vectors_ = np.ascontiguousarray(vectors[:, :rank])
        self.by_user_, self.by_item_ = graph.by_user, graph.by_item
        for matrix in (self.by_user_, self.by_item_):
            matrix.data /= np.float32(np.sqrt(scale))  # the largest eigenvalue of S is 1
        return self

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) or (n, len(items)) float32: the filtered history.

        NaN without a history, and for an item without an event in the log.

        Raises
        ------
        ParameterError
            An index out of range.
        """
        self.check_fitted()
        n_items = len(self.degrees_)
        check_range("score", "queries.items", queries.items, n_items)
        columns = np.arange(n_items) if items is None else np.asarray(items, dtype=np.int64)
        check_range("score", "items", columns, n_items)
        strengths, known = _strengths(queries)
        out = np.empty((len(queries), len(columns)), dtype=np.float32)

        def panel(rows: slice) -> None:
            part = slice(queries.offsets[rows.start], queries.offsets[rows.stop])
            bounds = queries.offsets[rows.start : rows.stop + 1] - queries.offsets[rows.start]
            scores = self._filtered(bounds, queries.items[part], strengths[part])
            out[rows] = (scores if items is None else scores[columns]).T

        parallel.run(panel, parallel.blocks(len(queries), self._width()))
        out[~known] = np.nan
        out[:, self.degrees_[columns] == 0] = np.nan
        return out

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32: the scores of a history of that item alone."""
        n = len(items)
        alone = Queries(
            users=np.full(n, -1, dtype=np.int32), offsets=np.arange(n + 1), items=np.asarray(items)
        )
        return self.score(alone)

    def contributions(self, queries: Queries, rows: IntArray, items: IntArray) -> FloatArray:
        """What each history event adds: its strength times the filter between the two items."""
        self.check_fitted()
        check_range("contributions", "queries.items", queries.items, len(self.degrees_))
        check_range("contributions", "items", items, len(self.degrees_))
        bounds, positions = ragged_take(queries.offsets, rows)
        targets, target = np.unique(items, return_inverse=True)
        target = np.repeat(target, np.diff(bounds))
        out = _strengths(queries)[0][positions]
        for part in parallel.blocks(len(targets), self._width()):
            here = np.flatnonzero((target >= part.start) & (target < part.stop))
            weights = self._transposed(targets[part])
            out[here] *= weights[queries.items[positions[here]], target[here] - part.start]
        return out

    def cost(self, shape: Shape) -> Cost:
        """Products of the log with the block of vectors, and three dense products with it, in every round."""
        block = 1.125 * min(self.config.rank, shape.n_items) + (16 if self.config.rank else 0)
        nodes = shape.n_items + shape.n_users
        return Cost(
            gemm=ROUNDS * (4.0 * nodes * block**2 + 30.0 * block**3),
            gather=ROUNDS * (DEGREE + 1) * 4.0 * shape.n_events * block + 100.0 * shape.n_events,
            bytes=4.0 * block * (4 * shape.n_items + shape.n_users) + 50.0 * shape.n_events + 16 * block**2,
        )

    def _width(self) -> int:
        """Queries in a panel."""
        return int(np.clip(_PANEL // max(len(self.degrees_), 1), 1, _WIDTH))

    def _power(self, exponent: float) -> FloatArray:
        """(n_items,) float32 degrees to a power, 0 for an item without an event."""
        return negative_power(self.degrees_, -exponent).astype(np.float32)

    def _filtered(self, bounds: IntArray, items: IntArray, strengths: FloatArray) -> FloatArray:
        """(n_items, width) float32 scores of a panel of histories."""
        how, width = self.response(), len(bounds) - 1
        local = np.zeros((len(self.degrees_), width), dtype=np.float32)
        _spread(bounds, items, strengths * self._power(-how.before)[items], local)
        ideal = None
        if how.ideal and self.vectors_.shape[1]:
            amounts = np.zeros((width, self.vectors_.shape[1]), dtype=np.float32)
            _project(bounds, items, strengths * self._power(-how.ideal_before)[items], self.vectors_, amounts)
            ideal = self.vectors_ @ amounts.T
            ideal *= self._power(how.ideal_after)[:, None]
        scores = self._polynomial([(how.local, local), (how.ideal, ideal)])
        scores *= self._power(how.after)[:, None]
        return scores

    def _transposed(self, items: IntArray) -> FloatArray:
        """(n_items, width) float32: what a unit of each item adds to the score of ``items``, a column each."""
        how = self.response()
        target = np.zeros((len(self.degrees_), len(items)), dtype=np.float32)
        target[items, np.arange(len(items))] = self._power(how.after)[items]
        out = self._polynomial([(how.local, target)]) * self._power(-how.before)[:, None]
        if how.ideal and self.vectors_.shape[1]:
            signals = self._polynomial([(how.ideal, target)]) * self._power(how.ideal_after)[:, None]
            low = self.vectors_ @ (self.vectors_.T @ signals)
            out += low * self._power(-how.ideal_before)[:, None]
        return out

    def _polynomial(self, terms: list[tuple[tuple[float, ...], FloatArray | None]]) -> FloatArray:
        """Sum of ``coefficients[k] S^k signals`` over the terms, by Horner's rule for all at once."""
        graph = Graph(self.by_user_, self.by_item_)
        given = [(coefficients, signals) for coefficients, signals in terms if signals is not None]
        total = np.zeros_like(given[0][1])
        for k in reversed(range(max(len(coefficients) for coefficients, _ in given))):
            total = graph.smooth(total) if total.any() else total
            for coefficients, signals in given:
                if k < len(coefficients) and coefficients[k]:
                    total += np.float32(coefficients[k]) * signals
        return total


def _strengths(queries: Queries) -> tuple[FloatArray, BoolArray]:
    """(m,) float32 weight of each event over the root of its history's, and (n,) bool which have any."""
    weights = queries.event_weights().astype(np.float64)
    sums: FloatArray = np.zeros(len(queries))
    np.add.at(sums, queries.rows, weights)
    return (weights * negative_power(sums, 0.5)[queries.rows]).astype(np.float32), sums > 0


@njit(cache=True, nogil=True)
def _spread(bounds, items, strengths, out):  # type: ignore[no-untyped-def]
    """Add each event to its item's row, in the column of its query."""
    for q in range(len(bounds) - 1):
        for e in range(bounds[q], bounds[q + 1]):
            out[items[e], q] += strengths[e]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _project(bounds, items, strengths, vectors, out):  # type: ignore[no-untyped-def]
    """(width, rank) how much of each eigenvector is in each history."""
    for q in range(len(bounds) - 1):
        row = out[q]
        for e in range(bounds[q], bounds[q + 1]):
            strength, source = strengths[e], vectors[items[e]]
            for f in range(row.shape[0]):
                row[f] += strength * source[f]

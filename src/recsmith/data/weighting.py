"""How much a history and its events count: confidence, repeats, recency, and from how many events on. For every model.

It is applied in two places and nowhere else: to the log before ``fit`` and to the history of a query
before ``score``. It is kept in the bundle, so evaluation, the service, batch and streams agree.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset
from recsmith.data.order import pair_totals
from recsmith.errors import DataError
from recsmith.types import FloatArray, IntArray, Queries

SECONDS_PER_DAY = 86_400


class Weighting(Config):
    """Parameters of the weight of an event.

    With half-life h and age a, an event counts ``0.5 ** (a / h)`` as much as one of now. The age is the
    number of later events in the same history, or the days before the question.
    """

    confidence: Annotated[Literal["ones", "log", "raw"], Search(needs="weights")] = "ones"
    """``ones``: an item of the history counts once, however often it occurs. ``raw``: the weights (or the
    number of events) are added up. ``log``: log(1 + that sum)."""
    half_life: Annotated[float | None, Search(2, 400, log=True, needs="times")] = Field(default=None, gt=0)
    """Half-life of an event when scoring; None: age does not matter."""
    half_life_unit: Literal["events", "days"] = "events"
    """Unit of the age. A history without times, such as one typed in by hand, is aged by its events."""
    min_events: int = Field(default=0, ge=0)
    """Events from which on a history counts. A model is told nothing of a shorter one, so the fallback answers where
    the model needs a history. Models are trained on all histories."""

    def log(self, data: Dataset) -> Dataset:
        """The log as models learn from it: one weighted event per pair would lose order, so events stay.

        ``ones`` and ``log`` are per pair; each of a pair's events carries its share.

        Raises
        ------
        DataError
            A half-life in days of a log without timestamps.
        """
        if self.half_life is not None and self.half_life_unit == "days" and data.time is None:
            raise DataError(
                f"A half_life in days needs timestamps, and {data.name} has none. "
                "Use half_life_unit='events', or leave half_life out."
            )
        if self.confidence == "raw":
            return data
        if self.confidence == "ones":
            shares = pair_totals(data.offsets, data.item, None, data.n_items)
            if (shares == 1).all():  # no pair occurs twice
                return data if data.weight is None else replace(data, weight=None)
            return replace(data, weight=np.divide(1.0, shares, out=shares).astype(np.float32))
        total = pair_totals(data.offsets, data.item, data.weight, data.n_items)
        share = np.divide(np.log1p(total), total, out=np.zeros_like(total), where=total > 0)
        if data.weight is not None:
            share *= data.weight
        return replace(data, weight=share.astype(np.float32))

    def queries(self, queries: Queries) -> Queries:
        """The requests with each item of a history once, at its latest event, weighted by all of the above."""
        queries = self._long_enough(queries)
        weights = None if self.confidence == "ones" else queries.event_weights()
        decay = None if self.half_life is None else self._decay(queries)
        row, item = queries.rows, queries.items
        order = _by_item(row, item, len(queries))
        same = (np.diff(row[order], prepend=-1) == 0) & (np.diff(item[order], prepend=-1) == 0)
        if weights is None and decay is None and not same.any():
            return queries.replace(weights=None)
        first = np.flatnonzero(~same)
        last = order[np.append(first[1:], len(order)) - 1] if len(order) else order
        pooled = np.ones(len(first), dtype=np.float32)
        if len(first) and weights is not None:
            weighted = weights if decay is None else weights * decay
            pooled = np.add.reduceat(weighted[order], first)
            pooled = np.log1p(pooled) if self.confidence == "log" else pooled
        elif len(first) and decay is not None:
            pooled = np.maximum.reduceat(decay[order], first)
        in_time = np.argsort(last, kind="stable")
        kept = last[in_time]
        offsets = np.zeros(len(queries) + 1, dtype=np.int64)
        np.cumsum(np.bincount(row[kept], minlength=len(queries)), out=offsets[1:])
        return queries.replace(
            offsets=offsets,
            items=item[kept],
            values=None if queries.values is None else queries.values[kept],
            weights=pooled[in_time].astype(np.float32),
            times=None if queries.times is None else queries.times[kept],
            as_trained=queries.as_trained if self.half_life is None else None,
        )

    def _long_enough(self, queries: Queries) -> Queries:
        """The requests without the events, and the trained vectors, of those that have too few."""
        short = queries.lengths < self.min_events
        if not short.any():
            return queries
        counts = queries.keep(~short[queries.rows], queries.items)
        known = None if queries.as_trained is None else queries.as_trained & ~short
        return counts.replace(users=np.where(short, -1, queries.users).astype(np.int32), as_trained=known)

    def _decay(self, queries: Queries) -> FloatArray:
        """(m,) float32 in (0, 1], the factor of age."""
        row = queries.rows
        age: IntArray | FloatArray
        if self.half_life_unit == "events" or queries.times is None:
            age = queries.offsets[1:][row] - 1 - np.arange(len(row))
        else:
            newest = queries.at
            if newest is None:
                newest = np.full(len(queries), np.iinfo(np.int64).min)
                np.maximum.at(newest, row, queries.times)
            age = np.maximum(newest[row] - queries.times, 0) / SECONDS_PER_DAY
        return np.asarray(np.exp2(-age / np.float64(self.half_life)), dtype=np.float32)


def _by_item(row: IntArray, item: IntArray, n: int) -> IntArray:
    """(m,) what ``np.lexsort((item, row))`` gives: row, item and place as one number sort several times faster."""
    m = len(row)
    span = int(item.max()) + 1 if m else 1
    if not m or item.min() < 0 or n * span * m >= 2**62:
        return np.lexsort((item, row))
    packed = (row * span + item) * m + np.arange(m)
    packed.sort()
    return packed % m

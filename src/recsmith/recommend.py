"""The one path of a recommendation: weigh the history, score, hide what was seen, top-k, fall back.

Evaluation, the command line, the service, batch and streams all call ``Pipeline.recommend``; a test holds
that they give the same lists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from typing_extensions import Self

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.data.weighting import Weighting
from recsmith.errors import NotFittedError, ParameterError
from recsmith.protocols import Embedder, Monitor, Recommender
from recsmith.topk import TopKBlock
from recsmith.types import FloatArray, IntArray, Queries

Ragged: TypeAlias = tuple[IntArray, IntArray]
"""Bounds (n + 1,) and values (m,)."""

SOURCES = ("model", "fallback")
DEFAULT_MEMORY_MB = 512
_QUERY_BLOCK = 512  # rows and columns of one fused product: the scores stay in the cache
_ITEM_BLOCK = 1024
_MAX_CONCURRENT = 8  # score blocks that may be in memory at once


@dataclass(frozen=True, slots=True, eq=False)
class TopK:
    """Ranked lists of ``n`` requests, best first. A slot that could not be filled has item -1."""

    items: IntArray  #: (n, k) int32 item indices
    scores: FloatArray  #: (n, k) float32, NaN in empty slots; comparable within one source only
    sources: IntArray  #: (n, k) int8 index into ``SOURCES``, -1 in empty slots
    available: IntArray  #: (n,) items that were left after seen and excluded ones were removed

    def reason(self, row: int) -> str | None:
        """Why a list is shorter than asked; None where it is full."""
        wanted, got = self.items.shape[1], int((self.items[row] >= 0).sum())
        if got == wanted:
            return None
        if got == self.available[row]:
            return f"{got} of {wanted}: only {got} items are left once seen and excluded ones are removed."
        return f"{got} of {wanted}: the model has no evidence for more, and no fallback is set."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pipeline:
    """A model with everything that decides its lists."""

    model: Recommender
    fallback: Recommender | None = None  #: answers where the model has no evidence
    weighting: Weighting = Weighting()
    memory_mb: int = DEFAULT_MEMORY_MB  #: bound on scores in memory at once
    n_items: int = 0  #: 0 until fitted

    def fit(self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None) -> Self:
        """Fit model and fallback on the weighted log. Returns the pipeline that can recommend."""
        weighted = self.weighting.log(data)
        self.model.fit(weighted, rng=rng, monitor=monitor)
        if self.fallback is not None:
            self.fallback.fit(weighted, rng=rng)
        return replace(self, n_items=data.n_items)

    def recommend(
        self,
        queries: Queries,
        k: int = 10,
        *,
        filter_seen: bool = True,
        include: IntArray | None = None,
        exclude: Ragged | IntArray | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> TopK:
        """The ``k`` best items of each request.

        Parameters
        ----------
        queries
            (n,) requests; see ``Queries``. Items of the history are the seen ones.
        k
            Length of the lists, >= 1.
        filter_seen
            Leave out the items of the history.
        include
            Distinct item indices that alone may be recommended; None for all.
        exclude
            Item indices left out of all lists, or a ragged pair (bounds, items) with a row per request.
        progress
            Called with (requests done, requests in all).

        Raises
        ------
        ParameterError
            ``k`` < 1, or an index out of range.
        NotFittedError
            Before ``fit``.
        """
        self._check(k, include)
        n = len(queries)
        columns = self.n_items if include is None else len(include)
        result = TopK(
            np.full((n, k), -1, dtype=np.int32),
            np.full((n, k), np.nan, dtype=np.float32),
            np.full((n, k), -1, dtype=np.int8),
            np.zeros(n, dtype=np.int32),
        )
        include = None if include is None else np.sort(np.asarray(include, dtype=np.int32))
        by_product = isinstance(self.model, Embedder)
        table = _item_table(self.model, include) if isinstance(self.model, Embedder) else None
        done = 0

        def block(rows: slice) -> None:
            nonlocal done
            part = queries.take(rows)
            hidden = _hidden(part, filter_seen, _cut(exclude, rows), include, self.n_items)
            weighted = self.weighting.queries(part)
            best = TopKBlock(len(part), k)
            if table is not None:
                _fused(self.model, weighted, table, hidden, best)
            else:
                _scored(self.model, weighted, include, hidden, best)
            _store(result, rows, best, include)
            result.available[rows] = columns - np.diff(hidden[0])
            short = np.flatnonzero((best.items[:, -1] < 0) & (result.available[rows] > 0))
            if self.fallback is not None and len(short):
                self._fall_back(result, rows.start + short, queries, filter_seen, exclude, include)
            done += len(part)
            if progress is not None:
                progress(done, n)

        size = _QUERY_BLOCK if by_product else self._rows_in_memory(columns)
        tasks = parallel.blocks(n, size)
        parallel.run(block, tasks, width=_MAX_CONCURRENT)
        return result

    def _check(self, k: int, include: IntArray | None) -> None:
        if self.n_items == 0:
            raise NotFittedError("This pipeline is not fitted. Call fit(data) and use what it returns.")
        if k < 1:
            raise ParameterError.of("recommend", "k", ">= 1", k)
        if include is not None and len(include) and (np.min(include) < 0 or np.max(include) >= self.n_items):
            raise ParameterError.of("recommend", "include", f"item indices in 0 .. {self.n_items - 1}", include)

    def _rows_in_memory(self, columns: int) -> int:
        """Rows of scores per block: the model's own copy counts too, and ``_MAX_CONCURRENT`` blocks live at once."""
        row = 2 * 4 * max(columns, 1)
        return int(np.clip(self.memory_mb * 2**20 // (row * _MAX_CONCURRENT), 1, 256))

    def _fall_back(
        self,
        result: TopK,
        rows: IntArray,
        queries: Queries,
        filter_seen: bool,
        exclude: Ragged | IntArray | None,
        include: IntArray | None,
    ) -> None:
        """Fill the empty slots of ``rows`` from the fallback, behind what the model gave."""
        k = result.items.shape[1]
        for part_rows in (rows[s] for s in parallel.blocks(len(rows), self._rows_in_memory(self.n_items))):
            part = queries.take(part_rows)
            chosen = result.items[part_rows]
            extra = _join(_cut(exclude, part_rows), _ragged_of(chosen), len(part))
            hidden = _hidden(part, filter_seen, extra, include, self.n_items)
            best = TopKBlock(len(part), k)
            _scored(self.fallback, self.weighting.queries(part), include, hidden, best)
            filler = best.items if include is None else _through(best.items, include)
            items = np.concatenate([chosen, filler], axis=1)
            order = np.argsort(items < 0, axis=1, kind="stable")[:, :k]
            scores = np.concatenate([result.scores[part_rows], best.scores], axis=1)
            sources = np.concatenate([result.sources[part_rows], np.ones_like(filler, dtype=np.int8)], axis=1)
            picked = np.take_along_axis(items, order, axis=1)
            result.items[part_rows] = picked
            result.scores[part_rows] = np.where(picked < 0, np.nan, np.take_along_axis(scores, order, axis=1))
            result.sources[part_rows] = np.where(picked < 0, -1, np.take_along_axis(sources, order, axis=1))


def _item_table(model: Embedder, include: IntArray | None) -> FloatArray:
    table = model.embed_items()
    return table if include is None else table[include]


def _fused(model: object, queries: Queries, table: FloatArray, hidden: Ragged, best: TopKBlock) -> None:
    """Product and top-k chunk by chunk: no score leaves the cache."""
    embedded = model.embed_queries(queries)  # type: ignore[attr-defined]
    buffer = np.empty(len(queries) * _ITEM_BLOCK, dtype=np.float32)
    for columns in parallel.blocks(len(table), _ITEM_BLOCK):
        width = columns.stop - columns.start
        chunk = buffer[: len(queries) * width].reshape(len(queries), width)
        np.matmul(embedded, table[columns].T, out=chunk)
        best.update(chunk, columns.start, *hidden)


def _scored(model: Recommender | None, queries: Queries, include: IntArray | None, hidden: Ragged, best: TopKBlock) -> None:
    if model is not None:
        scores = np.require(model.score(queries, include), dtype=np.float32, requirements=["C", "W"])
        best.update(scores, 0, *hidden)


def _store(result: TopK, rows: slice, best: TopKBlock, include: IntArray | None) -> None:
    items = best.items if include is None else _through(best.items, include)
    empty = items < 0
    result.items[rows] = items
    result.scores[rows] = np.where(empty, np.nan, best.scores)
    result.sources[rows] = np.where(empty, -1, 0)


def _through(columns: IntArray, include: IntArray) -> IntArray:
    """Item indices of columns of an included subset; -1 stays."""
    if not len(include):
        return columns
    return np.where(columns < 0, -1, include[columns]).astype(np.int32)


def _cut(exclude: Ragged | IntArray | None, rows: slice | IntArray) -> Ragged | IntArray | None:
    """The rows' part of a ragged ``exclude``; an exclude for all passes through."""
    if not isinstance(exclude, tuple):
        return exclude
    bounds, values = exclude
    index = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
    lengths = np.diff(bounds)[index]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return offsets, values[np.arange(offsets[-1]) + np.repeat(np.asarray(bounds)[index] - offsets[:-1], lengths)]


def _ragged_of(lists: IntArray) -> Ragged:
    """The filled slots of padded lists."""
    filled = lists >= 0
    return np.concatenate([[0], np.cumsum(filled.sum(axis=1))]), lists[filled]


def _join(first: Ragged | IntArray | None, second: Ragged, n: int) -> Ragged:
    """One ragged array with both one's values in each row."""
    rows, values = _spread(first, n)
    more_rows, more_values = _spread(second, n)
    rows, values = np.concatenate([rows, more_rows]), np.concatenate([values, more_values])
    order = np.argsort(rows, kind="stable")
    return np.searchsorted(rows[order], np.arange(n + 1)), values[order]


def _spread(exclude: Ragged | IntArray | None, n: int) -> Ragged:
    """(row, item) pairs of an exclude of any form."""
    if exclude is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)
    if isinstance(exclude, tuple):
        return np.repeat(np.arange(n), np.diff(exclude[0])), exclude[1]
    return np.repeat(np.arange(n), len(exclude)), np.tile(exclude, n)


def _hidden(
    queries: Queries, filter_seen: bool, exclude: Ragged | IntArray | None, include: IntArray | None, n_items: int
) -> Ragged:
    """Columns that must not appear, sorted and distinct in each row."""
    n = len(queries)
    rows, items = _spread(exclude, n)
    if filter_seen:
        rows, items = np.concatenate([rows, queries.rows]), np.concatenate([items, queries.items])
    if include is not None and len(include):
        at = np.minimum(np.searchsorted(include, items), len(include) - 1)
        known = include[at] == items
        rows, items = rows[known], at[known]
    else:
        known = (items >= 0) & (items < n_items)
        rows, items = rows[known], items[known]
    keys = np.unique(rows.astype(np.int64) * n_items + items)
    rows, items = np.divmod(keys, n_items)
    return np.searchsorted(rows, np.arange(n + 1)), items.astype(np.int32)

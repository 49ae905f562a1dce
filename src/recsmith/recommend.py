"""The one path of a recommendation: weigh the history, score, hide what was seen, top-k, fall back.

Evaluation, the command line, the service, batch and streams all call ``Pipeline.recommend``; a test holds
that they give the same lists.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from recsmith import parallel
from recsmith.ann import INDEX_FROM, ItemIndex
from recsmith.data.dataset import Dataset
from recsmith.data.weighting import Weighting
from recsmith.errors import DataError, NotFittedError, ParameterError
from recsmith.protocols import Embedder, Monitor, Recommender, UserEncoder
from recsmith.scan import ByLength
from recsmith.topk import LONG, TopKBlock
from recsmith.types import FloatArray, IntArray, Queries, State, check_range, ragged_rows, ragged_take

if TYPE_CHECKING:
    import polars as pl

Ragged: TypeAlias = tuple[IntArray, IntArray]
"""Bounds (n + 1,) and values (m,)."""

SOURCES = ("model", "fallback")
DEFAULT_MEMORY_MB = 512
_QUERY_BLOCK = 512  # rows and columns of one fused product: the scores stay in the cache
_ITEM_BLOCK = 1024
SCAN_FROM = 4096  # items from which on they are looked at in the order of their length
_MAX_CONCURRENT = 8  # score blocks that may be in memory at once
_fallback_blocks = threading.BoundedSemaphore(_MAX_CONCURRENT)


@dataclass(frozen=True, slots=True, eq=False)
class TopK:
    """Ranked lists of ``n`` requests, best first. A slot that could not be filled has item -1."""

    items: IntArray  #: (n, k) int32 item indices
    scores: FloatArray  #: (n, k) float32, NaN in empty slots; comparable within one source only
    sources: IntArray  #: (n, k) int8 index into ``SOURCES``, -1 in empty slots
    available: IntArray  #: (n,) items that were left after seen and excluded ones were removed

    @classmethod
    def empty(cls, n: int, k: int) -> TopK:
        """``n`` lists of ``k`` empty slots."""
        return cls(
            np.full((n, k), -1, dtype=np.int32),
            np.full((n, k), np.nan, dtype=np.float32),
            np.full((n, k), -1, dtype=np.int8),
            np.zeros(n, dtype=np.int32),
        )

    def reason(self, row: int) -> str | None:
        """Why a list is shorter than asked; None where it is full."""
        wanted, got = self.items.shape[1], int((self.items[row] >= 0).sum())
        if got == wanted:
            return None
        if got == self.available[row]:
            return f"{got} of {wanted}: nothing else is left once seen and excluded items are removed."
        return f"{got} of {wanted}: the model has no evidence for more, and no fallback gave any."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pipeline:
    """A model with everything that decides its lists."""

    model: Recommender
    fallback: Recommender | None = None  #: answers where the model has no evidence
    weighting: Weighting = field(default_factory=Weighting)
    memory_mb: int = DEFAULT_MEMORY_MB  #: bound on scores in memory at once
    index: bool = False  #: approximate lists from an index of the items, where that is faster (extra ``ann``)
    n_items: int = 0  #: 0 until fitted
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False)  #: made of the model, once

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Fit model and fallback on the weighted log. Returns the pipeline that can recommend.

        Raises
        ------
        DataError
            A log without events, or one that model or weighting cannot learn from.
        """
        if not len(data):
            raise DataError(f"{data.name} holds no event to learn from. Wanted at least one.")
        weighted = self.weighting.log(data)
        self.model.fit(weighted, rng=rng, monitor=monitor)
        if self.fallback is not None:
            self.fallback.fit(weighted, rng=rng)
        return replace(self, n_items=data.n_items)

    def informed(self, queries: Queries, features: pl.DataFrame | None) -> Queries:
        """The requests with the users' ``features`` (n rows) as context, where the model knows users by these."""
        if features is None or queries.context is not None or not isinstance(self.model, UserEncoder):
            return queries
        return queries.replace(context=self.model.encode_users(features))

    def recommend(
        self,
        queries: Queries,
        k: int = 10,
        *,
        filter_seen: bool = True,
        include: IntArray | None = None,
        exclude: IntArray | None = None,
        exclude_each: Ragged | None = None,
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
            Item indices that alone may be recommended; None for all.
        exclude
            Item indices left out of all lists. An index that is no item hides nothing.
        exclude_each
            Bounds (n + 1,) and item indices left out of the list of each request.
        progress
            Called with (requests done, requests in all), by one thread at a time.

        Raises
        ------
        ParameterError
            ``k`` < 1, an index of a history or of ``include`` out of range, or bounds that do not fit.
        NotFittedError
            Before ``fit``.
        """
        self._check(queries, k)
        n = len(queries)
        candidates = _Candidates.of(self.n_items, include, exclude)
        hidden_by = _Hidden(
            candidates, filter_seen, None if exclude_each is None else _checked(exclude_each, n)
        )
        result = TopK.empty(n, k)
        fused = isinstance(self.model, Embedder) and k <= LONG
        table = self._item_table(candidates.include) if fused else None
        done, counting = 0, threading.Lock()

        def block(rows: slice) -> None:
            nonlocal done
            part = queries.take(rows)
            hidden = hidden_by.rows(part, np.arange(rows.start, rows.stop))
            weighted = self.weighting.queries(part)
            best = TopKBlock(len(part), k)
            if table is not None:
                _fused(self.model, weighted, table, candidates, hidden, best)
            else:
                _scored(self.model, weighted, candidates, hidden, best)
            _store(result, rows, best, candidates)
            result.available[rows] = candidates.count - np.diff(hidden[0])
            short = np.flatnonzero((best.items[:, -1] < 0) & (result.available[rows] > 0))
            if self.fallback is not None and len(short):
                self._fall_back(result, rows.start + short, queries, hidden_by)
            with counting:
                done += len(part)
                if progress is not None:
                    progress(done, n)

        size = self._rows_in_memory(candidates.width) if table is None else _QUERY_BLOCK
        parallel.run(block, parallel.blocks(n, size), width=_MAX_CONCURRENT if table is None else None)
        return result

    def _item_table(self, include: IntArray | None) -> FloatArray | ByLength | ItemIndex:
        """The item vectors that lists are made of; where they are many, in an order or an index that looks at few."""
        table: FloatArray = self.model.embed_items()  # type: ignore[attr-defined]
        if include is not None:
            return table[include]
        if len(table) < SCAN_FROM:
            return table
        kept = self._kept.get("scan")
        if kept is None or kept.source is not table:
            kept = self._kept["scan"] = ByLength.of(table)
        return self.item_index(kept) if self.index and len(table) >= INDEX_FROM and not kept.steep else kept

    def item_index(self, scan: ByLength) -> ItemIndex:
        """The index of the item vectors, made once for each fit.

        Raises
        ------
        MissingExtraError
            faiss is not installed.
        """
        kept = self._kept.get("index")
        if kept is None or kept.scan.source is not scan.source:
            kept = self._kept["index"] = ItemIndex.of(scan)
        return kept

    def index_state(self) -> State | None:
        """The index for a bundle; None where lists are made without one."""
        table = self._item_table(None) if self.index and isinstance(self.model, Embedder) else None
        return table.state() if isinstance(table, ItemIndex) else None

    def restore_index(self, state: State) -> None:
        """Take back what ``index_state`` gave for the same model; raises as ``ItemIndex.restore``."""
        scan = ByLength.of(self.model.embed_items())  # type: ignore[attr-defined]
        self._kept.update(scan=scan, index=ItemIndex.restore(scan, state))

    def _check(self, queries: Queries, k: int) -> None:
        if not isinstance(self.model, Recommender):
            raise ParameterError(
                f"{type(self.model).__name__} predicts ratings and orders no items. Choose another model."
            )
        if self.n_items == 0:
            raise NotFittedError("This pipeline is not fitted. Call fit(data) and use what it returns.")
        if not isinstance(k, int | np.integer) or k < 1:
            raise ParameterError.of("recommend", "k", "a whole number >= 1", k)
        if self.memory_mb < 1:
            raise ParameterError.of("Pipeline", "memory_mb", ">= 1", self.memory_mb)
        check_range("recommend", "queries.items", queries.items, self.n_items)

    def _rows_in_memory(self, columns: int) -> int:
        """Rows of scores per block: the model's own copy counts too, and ``_MAX_CONCURRENT`` blocks live at once."""
        row = 2 * 4 * max(columns, 1)
        return int(np.clip(self.memory_mb * 2**20 // (row * _MAX_CONCURRENT), 1, 256))

    def _fall_back(self, result: TopK, rows: IntArray, queries: Queries, hidden_by: _Hidden) -> None:
        """Fill the empty slots of ``rows`` from the fallback, behind what the model gave."""
        k = result.items.shape[1]
        candidates = hidden_by.candidates
        for part_rows in (
            rows[s] for s in parallel.blocks(len(rows), self._rows_in_memory(candidates.width))
        ):
            part = queries.take(part_rows)
            chosen = result.items[part_rows]
            hidden = hidden_by.rows(part, part_rows, chosen)
            best = TopKBlock(len(part), k)
            with _fallback_blocks:
                _scored(self.fallback, self.weighting.queries(part), candidates, hidden, best)
            filler = candidates.items(best.items)
            items = np.concatenate([chosen, filler], axis=1)
            order = np.argsort(items < 0, axis=1, kind="stable")[:, :k]
            scores = np.concatenate([result.scores[part_rows], best.scores], axis=1)
            sources = np.concatenate([result.sources[part_rows], np.ones_like(filler, dtype=np.int8)], axis=1)
            picked = np.take_along_axis(items, order, axis=1)
            result.items[part_rows] = picked
            result.scores[part_rows] = np.where(picked < 0, np.nan, np.take_along_axis(scores, order, axis=1))
            result.sources[part_rows] = np.where(picked < 0, -1, np.take_along_axis(sources, order, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """The items that may appear in a list, as columns of the scores."""

    n_items: int
    include: IntArray | None  #: (width,) int32 item of each column, sorted and distinct; None: all items
    barred: IntArray  #: sorted, distinct columns that appear in no list

    @classmethod
    def of(cls, n_items: int, include: IntArray | None, exclude: IntArray | None) -> _Candidates:
        """What ``include`` allows without what ``exclude`` takes away from all."""
        gone = np.unique(_indices("exclude", () if exclude is None else exclude))
        gone = gone[(gone >= 0) & (gone < n_items)]
        if include is None:
            return cls(n_items, None, gone)
        allowed = np.unique(_indices("include", include))
        check_range("recommend", "include", allowed, n_items)
        return cls(n_items, np.setdiff1d(allowed, gone, assume_unique=True).astype(np.int32), gone[:0])

    @property
    def width(self) -> int:
        """Columns of scores."""
        return self.n_items if self.include is None else len(self.include)

    @property
    def count(self) -> int:
        """Items that may appear."""
        return self.width - len(self.barred)

    def columns(self, items: IntArray) -> IntArray:
        """Column of each item, -1 where it may not appear."""
        if self.include is None:
            known = (items >= 0) & (items < self.n_items)
            if len(self.barred):
                known &= ~np.isin(items, self.barred)
            return np.where(known, items, -1)
        if not len(self.include):
            return np.full(len(items), -1)
        at = np.minimum(np.searchsorted(self.include, items), len(self.include) - 1)
        return np.where(self.include[at] == items, at, -1)

    def items(self, columns: IntArray) -> IntArray:
        """Item of each column; -1 stays."""
        if self.include is None or not len(self.include):
            return columns
        return np.where(columns < 0, -1, self.include[columns]).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class _Hidden:
    """What each request must not get on top of what nobody gets."""

    candidates: _Candidates
    filter_seen: bool
    exclude: Ragged | None  #: a row per request

    def rows(self, part: Queries, rows: IntArray, chosen: IntArray | None = None) -> Ragged:
        """Columns hidden from the requests ``rows``, which ``part`` holds; sorted and distinct in each row.

        ``chosen`` (len(rows), k) are items that their lists have already.
        """
        pairs: list[Ragged] = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
        if self.filter_seen:
            pairs.append((part.rows, part.items))
        if self.exclude is not None:
            bounds, positions = ragged_take(self.exclude[0], rows)
            pairs.append((ragged_rows(bounds), self.exclude[1][positions]))
        if chosen is not None:
            pairs.append((np.nonzero(chosen >= 0)[0], chosen[chosen >= 0]))
        row, items = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
        columns = self.candidates.columns(items)
        width = max(self.candidates.width, 1)
        keys = np.sort((row * width + columns)[columns >= 0])
        keys = keys[np.diff(keys, prepend=-1) != 0]
        return np.searchsorted(keys, np.arange(len(part) + 1) * width), (keys % width).astype(np.int32)


def _indices(name: str, values: Any) -> IntArray:
    """A flat array of whole numbers, or an error: a mask would be taken for the items 0 and 1."""
    array = np.asarray(values)
    if array.ndim == 1 and not len(array):
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        got = f"{array.dtype} of shape {array.shape}"
        raise ParameterError.of("recommend", name, "a flat array of item indices (integers)", got)
    return array.astype(np.int64)


def _checked(exclude: Ragged, n: int) -> Ragged:
    """A ragged ``exclude`` whose bounds fit ``n`` requests."""
    bounds, items = _indices("exclude_each", exclude[0]), _indices("exclude_each", exclude[1])
    if len(bounds) != n + 1 or bounds[0] != 0 or bounds[-1] != len(items) or (np.diff(bounds) < 0).any():
        raise ParameterError.of(
            "recommend", "exclude_each", f"(bounds, items) with {n + 1} rising bounds", exclude
        )
    return bounds, items


def _fused(
    model: object,
    queries: Queries,
    table: FloatArray | ByLength | ItemIndex,
    candidates: _Candidates,
    hidden: Ragged,
    best: TopKBlock,
) -> None:
    """Product and top-k chunk by chunk: no score leaves the cache."""
    embedded = model.embed_queries(queries)  # type: ignore[attr-defined]
    if isinstance(table, ByLength | ItemIndex):
        table.best(embedded, candidates.barred, *hidden, best.items, best.scores)
        return
    buffer = np.empty(len(queries) * _ITEM_BLOCK, dtype=np.float32)
    for columns in parallel.blocks(len(table), _ITEM_BLOCK):
        width = columns.stop - columns.start
        chunk = buffer[: len(queries) * width].reshape(len(queries), width)
        np.matmul(embedded, table[columns].T, out=chunk)
        _offer(chunk, columns.start, candidates, hidden, best)


def _scored(
    model: Recommender | None, queries: Queries, candidates: _Candidates, hidden: Ragged, best: TopKBlock
) -> None:
    if model is not None:
        scores = model.score(queries, candidates.include)
        scores = np.require(scores, dtype=np.float32, requirements=["C", "W"])
        _offer(scores, 0, candidates, hidden, best)


def _offer(scores: FloatArray, first: int, candidates: _Candidates, hidden: Ragged, best: TopKBlock) -> None:
    """Columns ``first ...`` without those that are barred or hidden."""
    low, high = np.searchsorted(candidates.barred, [first, first + scores.shape[1]])
    scores[:, candidates.barred[low:high] - first] = -np.inf
    best.update(scores, first, *hidden)


def _store(result: TopK, rows: slice, best: TopKBlock, candidates: _Candidates) -> None:
    items = candidates.items(best.items)
    empty = items < 0
    result.items[rows] = items
    result.scores[rows] = np.where(empty, np.nan, best.scores)
    result.sources[rows] = np.where(empty, -1, 0)

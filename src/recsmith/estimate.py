"""Time and memory before the work: sizes of the log times the rates of this machine."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from recsmith import parallel
from recsmith.models.history import linear_scores
from recsmith.protocols import Embedder, Model
from recsmith.recommend import SCAN_FROM
from recsmith.resources import available_mb, resident_mb
from recsmith.types import Cost, Queries, Shape

_COLUMN = 1 << 20  # numbers of the column that calibration brings into another order
_EVENT, _ID = 24.0, 16.0  # bytes of an event (user, item, row, time) and of an id
_LOAD_PEAK, _LOAD_MOVED = 40.0, 500.0  # bytes an event: the table, its indices and their order; measured
_SPLIT_PEAK, _SPLIT_MOVED = 60.0, 300.0
_LIST_MOVED = 100.0  # bytes for each item of a list: to raw ids and to a file
_HISTORY_MOVED = 100.0  # bytes for each event of a history: weighed and hidden


@dataclass(frozen=True, slots=True)
class Rates:
    """What this machine does in a second, all threads together."""

    gemm: float  #: float32 operations inside matrix products
    gather: float  #: float32 operations on scattered rows
    move: float  #: bytes of a column brought into another order


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a piece of work will need."""

    seconds: float
    memory_mb: float  #: peak resident memory of the process, what it holds now included
    available_mb: float | None  #: what the machine has left; None where it cannot be asked

    @property
    def fits(self) -> bool:
        """Whether the memory is there."""
        return self.available_mb is None or self.memory_mb - (resident_mb() or 0.0) <= self.available_mb

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, with ``fits``."""
        return {**asdict(self), "fits": self.fits}


@cache
def calibrate() -> Rates:
    """Measure the rates in about a third of a second."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((512, 256), dtype=np.float32)

    def products(_: int) -> None:
        for _ in range(16):
            a @ a.T

    products(0)
    tasks = range(2 * min(parallel.n_threads(), parallel.cores()))
    gemm_seconds = _seconds(lambda: parallel.run(products, tasks))
    gemm = len(tasks) * 16 * 2.0 * 512 * 512 * 256 / gemm_seconds

    rows, width, events = 8192, 1024, 64 * 256
    table = rng.standard_normal((rows, width), dtype=np.float32)
    queries = Queries(
        users=np.full(256, -1, dtype=np.int32),
        offsets=np.arange(257, dtype=np.int64) * (events // 256),
        items=rng.integers(rows, size=events).astype(np.int32),
    )
    linear_scores(queries, table)
    gather = 2.0 * events * width / _seconds(lambda: linear_scores(queries, table))

    column = rng.integers(2**40, size=_COLUMN)
    order = rng.permutation(_COLUMN)
    move = column.nbytes / _seconds(lambda: column[order])
    return Rates(gemm, gather, move)


def of_cost(cost: Cost, held: float = 0.0) -> Estimate:
    """Seconds and memory of a cost on this machine.

    ``held`` are bytes that the process will hold by then and does not yet: a log that is still to be read.
    """
    rates = calibrate()
    seconds = cost.gemm / rates.gemm + cost.gather / rates.gather + cost.moved / rates.move
    return Estimate(seconds, (resident_mb() or 0.0) + (held + cost.bytes) / 2**20, available_mb())


def of_fit(model: Model, shape: Shape, held: float = 0.0) -> Estimate:
    """A fit on a log of that size; ``held`` as in ``of_cost``."""
    return of_cost(model.cost(shape), held)


def log_bytes(shape: Shape) -> float:
    """Bytes of a log of that size with times, once it is read."""
    return _EVENT * shape.n_events + _ID * (shape.n_users + shape.n_items)


def load_cost(shape: Shape) -> Cost:
    """Reading a log of integer ids and times from a Parquet file, and bringing it into order.

    The table that is read, its indices and their order are in memory beside the log that comes of it, which
    ``bytes`` counts too: before, there was none.
    """
    return Cost(bytes=log_bytes(shape) + _LOAD_PEAK * shape.n_events, moved=_LOAD_MOVED * shape.n_events)


def split_cost(shape: Shape) -> Cost:
    """Cutting a log in two and asking about every user; the whole log stays where it is."""
    return Cost(bytes=_SPLIT_PEAK * shape.n_events, moved=_SPLIT_MOVED * shape.n_events)


def recommend_cost(model: object, shape: Shape, n_queries: int, k: int, memory_mb: int) -> Cost:
    """Lists of ``k`` for ``n_queries`` users of a log of that size, results included."""
    history = shape.n_events / max(shape.n_users, 1) * n_queries
    results = n_queries * k * 9.0
    moved = _LIST_MOVED * n_queries * k + _HISTORY_MOVED * history
    if isinstance(model, Embedder):
        width = getattr(getattr(model, "config", None), "embedding_size", 64)
        blocks = parallel.n_threads() * 4.0 * 512 * 1024
        share = getattr(model, "scan_share", 1.0) if shape.n_items >= SCAN_FROM else 1.0
        looked = share * n_queries * shape.n_items
        return Cost(
            gemm=(2.0 * width + 1.0) * looked, gather=10.0 * history, bytes=results + blocks, moved=moved
        )
    scores = min(memory_mb * 2.0**20, 8.0 * n_queries * shape.n_items)
    return Cost(gather=2.0 * history * shape.n_items, bytes=results + scores, moved=moved)


def _seconds(work: Any) -> float:
    """The better of two runs: the machine is shared."""
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best

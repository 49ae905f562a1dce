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
from recsmith.resources import available_mb, resident_mb
from recsmith.types import Cost, Queries, Shape


@dataclass(frozen=True, slots=True)
class Rates:
    """What this machine does in a second, all threads together."""

    gemm: float  #: float32 operations inside matrix products
    gather: float  #: float32 operations on scattered rows


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
    """Measure the rates in about a quarter of a second."""
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
    return Rates(gemm, gather)


def of_cost(cost: Cost) -> Estimate:
    """Seconds and memory of a cost on this machine."""
    rates = calibrate()
    seconds = cost.gemm / rates.gemm + cost.gather / rates.gather
    return Estimate(seconds, (resident_mb() or 0.0) + cost.bytes / 2**20, available_mb())


def of_fit(model: Model, shape: Shape) -> Estimate:
    """A fit on a log of that size."""
    return of_cost(model.cost(shape))


def recommend_cost(model: object, shape: Shape, n_queries: int, k: int, memory_mb: int) -> Cost:
    """Lists of ``k`` for ``n_queries`` users of a log of that size, results included."""
    results = n_queries * k * 9.0
    history = shape.n_events / max(shape.n_users, 1) * n_queries
    if isinstance(model, Embedder):
        width = getattr(getattr(model, "config", None), "embedding_size", 64)
        blocks = parallel.n_threads() * 4.0 * 512 * 1024
        scan = 1.0 * n_queries * shape.n_items
        return Cost(
            gemm=2.0 * n_queries * shape.n_items * width + scan, gather=10.0 * history, bytes=results + blocks
        )
    scores = min(memory_mb * 2.0**20, 8.0 * n_queries * shape.n_items)
    return Cost(gather=2.0 * history * shape.n_items, bytes=results + scores)


def _seconds(work: Any) -> float:
    """The better of two runs: the machine is shared."""
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best

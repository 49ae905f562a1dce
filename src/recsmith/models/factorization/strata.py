"""A grid of users by items whose blocks can be learned side by side, with the same digits for any number of threads.

R. Gemulla et al., "Large-Scale Matrix Factorization with Distributed Stochastic Gradient Descent", KDD 2011. Users and
items are dealt into a grid of fixed size. Blocks that share neither row nor column touch different vectors: a
stratum of them is a round of ``parallel.run``.
"""

from __future__ import annotations

import numpy as np

from recsmith.types import IntArray

_BLOCK_EVENTS = 5_000  # events that make a block worth the handing out
_MOST = 16


def grid_size(n_events: int) -> int:
    """Rows (and columns) of the grid, 1 to 16: a function of the log alone."""
    return int(np.clip(np.sqrt(n_events / _BLOCK_EVENTS), 1, _MOST))


def dealt(counts: IntArray, grid: int) -> tuple[IntArray, IntArray]:
    """Part of the grid of each user or item, and its place when those of a part lie side by side.

    They are dealt out by falling number of ratings, so that blocks are of like size. Side by side, because two
    threads that write into one cache line wait for each other.
    """
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    part = rank % grid
    place = np.empty(len(counts), dtype=np.int32)
    place[np.argsort(part, kind="stable")] = np.arange(len(counts))
    return part, place


def blocks(block: IntArray, grid: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Random order of the events within blocks of the grid, and the (grid^2 + 1,) bounds of the blocks."""
    order = rng.permutation(len(block))
    order = order[np.argsort(block[order], kind="stable")]
    return order, np.searchsorted(block[order], np.arange(grid * grid + 1))


def stratum(shift: int, grid: int) -> list[int]:
    """The blocks of one round: row ``r`` meets column ``(r + shift) % grid``."""
    return [row * grid + (row + shift) % grid for row in range(grid)]

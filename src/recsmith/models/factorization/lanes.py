"""Lanes: users learned side by side, each lane on a copy of what all users share; the copies are averaged.

For models in which a user touches every vector of his history at once, so that no grid keeps users apart (see
``strata.py``). R. McDonald, K. Hall and G. Mann, "Distributed Training Strategies for the Structured Perceptron", NAACL
2010: iterative parameter mixing. The number of lanes is fixed by the log, so threads change no digit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.kernels import njit
from recsmith.types import FloatArray, IntArray

_LANE_EVENTS = 20_000  # ratings that make a lane worth a copy
_MOST = 8
_ROWS = 2048  # items averaged by one task


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """Users dealt to lanes of like size."""

    users: list[IntArray]  #: users with ratings of each lane
    shares: FloatArray  #: (n_lanes, n_items) float32 share of an item's ratings that each lane holds

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Deal out the users of ``data`` by falling number of ratings."""
        counts = np.diff(data.offsets)
        n = int(np.clip(len(data) // _LANE_EVENTS, 1, _MOST))
        order = np.argsort(-counts, kind="stable")
        order = order[: np.count_nonzero(counts)]
        lane = np.zeros(data.n_users, dtype=np.int64)
        lane[order] = np.arange(len(order)) % n
        shares = np.zeros((n, data.n_items))
        np.add.at(shares, (lane[data.user], data.item), 1)
        shares /= np.maximum(shares.sum(axis=0), 1)
        return cls([np.sort(order[i::n]).astype(np.int32) for i in range(n)], shares.astype(np.float32))

    def run(
        self,
        learn: Callable[[IntArray, Sequence[FloatArray]], float],
        shared: Sequence[FloatArray],
        rng: np.random.Generator,
    ) -> float:
        """``learn(users in random order, a lane's copies of shared)`` in every lane; then ``shared`` is their mean.

        An item's row of ``shared`` is weighted by the lane's share of its ratings; that of an item without any is 0.
        Returns the sum of what ``learn`` returned.
        """
        orders = [rng.permutation(users) for users in self.users]
        if len(orders) == 1:
            return learn(orders[0], shared)
        copies = [[array.copy() for array in shared] for _ in orders]
        total = sum(parallel.run(lambda lane: learn(orders[lane], copies[lane]), range(len(orders))), 0.0)
        for k, array in enumerate(shared):
            flat = array.reshape(len(array), -1)
            parts = [lane[k].reshape(flat.shape) for lane in copies]

            def mean(rows: slice, flat: Any = flat, parts: Any = parts) -> None:
                for lane, part in enumerate(parts):
                    _add(flat, part, self.shares[lane], lane == 0, rows.start, rows.stop)

            parallel.run(mean, parallel.blocks(len(array), _ROWS))
        return total


@njit(cache=True, nogil=True)
def _add(total, part, share, first, start, stop):  # type: ignore[no-untyped-def]
    """``total[i]`` is, or where this is not the first lane gains, ``share[i] part[i]``."""
    for i in range(start, stop):
        for f in range(total.shape[1]):
            total[i, f] = share[i] * part[i, f] + (np.float32(0) if first else total[i, f])

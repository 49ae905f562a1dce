"""Policies that know of an item how often it was shown and what it brought, whoever was asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsmith.models.bandits.policy import BasePolicy, C
from recsmith.types import FloatArray, IntArray, Queries


class ArmMeans(BasePolicy[C]):
    """Counts and sums of rewards of each item."""

    learned = ("counts_", "sums_")
    counts_: IntArray  #: (n_items,) int64 rewards of each item
    sums_: FloatArray  #: (n_items,) float64 their sum

    def forget(self) -> None:
        """Go back to no rewards."""
        self.counts_, self.sums_ = np.zeros(0, dtype=np.int64), np.zeros(0)

    def seen(self, items: IntArray) -> tuple[IntArray, FloatArray]:
        """Counts and sums of items, of the shape of ``items``; 0 for those that never had a reward."""
        known = (items >= 0) & (items < len(self.counts_))
        if not known.any():
            return np.zeros(items.shape, dtype=np.int64), np.zeros(items.shape)
        at = np.where(known, items, 0)
        return np.where(known, self.counts_[at], 0), np.where(known, self.sums_[at], 0.0)

    def _learn(self, queries: Queries, rows: IntArray, items: IntArray, rewards: FloatArray) -> None:
        more = int(items.max()) + 1 - len(self.counts_)
        if more > 0:
            self.counts_ = np.pad(self.counts_, (0, more))
            self.sums_ = np.pad(self.sums_, (0, more))
        np.add.at(self.counts_, items, 1)
        np.add.at(self.sums_, items, rewards)

    def _check_state(self, arrays: dict[str, Any]) -> None:
        counts, sums = arrays["counts_"], arrays["sums_"]
        if (
            counts.ndim != 1
            or counts.shape != sums.shape
            or (counts < 0).any()
            or not np.isfinite(sums).all()
        ):
            raise ValueError("counts_ and sums_ of a policy must be flat, of one length, >= 0 and finite")

"""Random lists: the floor of every table."""

from __future__ import annotations

from typing import Self

import numpy as np

from recsmith.config import Config
from recsmith.data.dataset import Dataset
from recsmith.models.base import BaseModel, generator
from recsmith.protocols import Evidence, Monitor
from recsmith.types import FloatArray, IntArray, Queries


class RandomConfig(Config):
    """Random has no parameters; the seed is that of ``fit``."""


class Random(BaseModel[RandomConfig]):
    """Scores uniform in [0, 1), fixed by seed, user and item: the same question has the same answer."""

    config_class = RandomConfig
    learned = ("key_", "n_items_")
    needs = Evidence.NOTHING
    key_: int
    n_items_: int

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Draw the key of the scores from ``rng``."""
        self.key_ = int(generator(rng).integers(2**62))
        self.n_items_ = data.n_items
        return self

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) float32."""
        self.check_fitted()
        columns = np.arange(self.n_items_) if items is None else items
        user = _mix(queries.users.astype(np.uint64) + np.uint64(self.key_))
        item = _mix(columns.astype(np.uint64))
        out = np.empty((len(user), len(item)), dtype=np.float32)
        for row, key in zip(out, user, strict=True):  # a row at a time: the 64-bit cells stay small
            row[:] = (_mix(key ^ item) >> np.uint64(40)) / np.float32(2**24)
        return out


def _mix(x: IntArray) -> IntArray:
    """SplitMix64's finalizer (Steele et al., OOPSLA 2014): spreads 64 bits evenly."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

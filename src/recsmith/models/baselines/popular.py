"""The most popular items, of all time or with older events counting less. The fallback of every other model."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field

from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset
from recsmith.data.weighting import SECONDS_PER_DAY
from recsmith.errors import DataError
from recsmith.models.base import BaseModel
from recsmith.protocols import Evidence, Monitor
from recsmith.types import FloatArray, IntArray, Queries


class PopularConfig(Config):
    """Parameters of Popular."""

    half_life: Annotated[float | None, Search(1, 2_000, log=True, needs="times")] = Field(default=None, gt=0)
    """Days before the end of the log after which an event counts half; None counts all events alike."""


class Popular(BaseModel[PopularConfig]):
    """Score = the sum of the item's event weights, each times ``0.5 ** (age in days / half_life)``."""

    config_class = PopularConfig
    learned = ("counts_",)
    needs = Evidence.NOTHING
    counts_: FloatArray  #: (n_items,) float32

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Count; ``rng`` is not used.

        Raises
        ------
        DataError
            Where ``half_life`` is set and the log has no timestamps.
        """
        weights = None if data.weight is None else data.weight.astype(np.float64)
        if self.config.half_life is not None:
            if data.time is None:
                raise DataError(
                    f"Popular with a half_life needs timestamps, and {data.name} has none. Leave half_life out."
                )
            age = (data.time.max() - data.time) / SECONDS_PER_DAY
            decay = np.exp2(-age / self.config.half_life)
            weights = decay if weights is None else weights * decay
        self.counts_ = np.bincount(data.item, weights=weights, minlength=data.n_items).astype(np.float32)
        return self

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) float32, the same row for everybody."""
        self.check_fitted()
        counts = self.counts_ if items is None else self.counts_[items]
        return np.tile(counts, (len(queries), 1))

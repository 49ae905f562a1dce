"""SLIM: sparse item-to-item weights by elastic net, one regression for each item.

X. Ning and G. Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011, equations 4 and 5, and
section IV-C for fsSLIM. With w[j] = 0 and w >= 0, column j of the weights is::

    argmin_w  1/2 |x_j - X w|^2 + reg / 2 |w|^2 + l1 |w|_1
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field

from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset
from recsmith.models.item_weights import ItemWeights
from recsmith.models.linear.regressions import Regressions
from recsmith.protocols import Monitor
from recsmith.types import Cost, Shape


class SLIMConfig(Config):
    """Parameters of SLIM.

    scikit-learn's ElasticNet divides by the number of users: there ``reg`` is ``n_users alpha (1 - l1_ratio)`` and
    ``l1`` is ``n_users alpha l1_ratio``.
    """

    reg: Annotated[float, Search(1, 3_000, log=True)] = Field(default=100.0, ge=0)
    """L2 penalty on the weights, >= 0; grows with the log."""
    l1: Annotated[float, Search(0.001, 30, log=True)] = Field(default=0.1, ge=0)
    """L1 penalty, >= 0: the larger, the fewer weights are not 0."""
    non_negative: bool = True
    """Whether weights must be >= 0. If not, each item is weighed against all unless ``candidates`` are chosen: far
    slower, and far more weights."""
    candidates: int | None = Field(default=None, ge=1)
    """fsSLIM: only so many items, those of the largest cosine, may have a weight for an item; None: all may."""
    neighbors: Annotated[int | None, Search(20, 1_000, log=True)] = Field(default=None, ge=1)
    """Weights kept for an item, the largest in absolute value; None: all."""
    epochs: int = Field(default=100, ge=1)
    """Passes over the weights of an item at most."""
    tolerance: float = Field(default=1e-2, gt=0, lt=1)
    """A regression ends when no weight changes by more than this share of the largest."""


class SLIM(ItemWeights[SLIMConfig]):
    """Item-to-item weights that rebuild the log, few of them and, by default, none below 0."""

    config_class = SLIMConfig

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Solve one regression for each item; ``rng`` is not used.

        Where ``monitor`` stops it, nothing recommends the items that are left.
        """
        self.weights_ = self._regressions().solve(data, monitor)
        return self

    def cost(self, shape: Shape) -> Cost:
        """About ten passes over the events of each item's candidates, and their weights."""
        met, visited = self._regressions().visited(shape)
        kept = met if self.config.neighbors is None else min(met, shape.n_items * self.config.neighbors)
        return Cost(gather=10.0 * visited, bytes=24.0 * kept + 32.0 * shape.n_events)

    def _regressions(self) -> Regressions:
        c = self.config
        return Regressions(
            reg=c.reg,
            l1=c.l1,
            non_negative=c.non_negative,
            candidates=c.candidates,
            kept=c.neighbors,
            epochs=c.epochs,
            tolerance=c.tolerance,
        )

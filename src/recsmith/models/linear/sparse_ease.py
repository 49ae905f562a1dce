"""EASE where the dense inverse does not fit: each item is explained by its nearest items alone.

H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019: column j of EASE's weights is the ridge
regression of item j on all other items. Here it is the same regression on the ``neighbors`` items of the largest
cosine::

    argmin_w  |x_j - X w|^2 + sum_i (reg + dropout / (1 - dropout) |x_i|^2) w[i]^2

with w[i] = 0 for j itself and for all that are not its neighbours. The second part of the penalty is that of H. Steck,
"Autoencoders that don't overfit towards the Identity", NeurIPS 2020: what dropping a share of the events from X would
do on average.

That is the sub-matrix idea of H. Steck, "Markov Random Fields for Collaborative Filtering", NeurIPS 2019, section 3,
with a sub-matrix of its own for each item; with all items and no dropout it is EASE. It took the place of a sparse
approximate inverse (M. Spisak et al., "Scalable Approximate NonSymmetric Autoencoder", RecSys 2023):
docs/decisions/0008.
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


class SparseEASEConfig(Config):
    """Parameters of SparseEASE."""

    reg: Annotated[float, Search(10, 10_000, log=True)] = Field(default=100.0, gt=0)
    """L2 penalty on the item-to-item weights, > 0; grows with the log."""
    dropout: Annotated[float, Search(0, 0.9)] = Field(default=0.5, ge=0, lt=1)
    """Share of the events that a regression may not rely on, 0 to 1: the more of it, the less popular items explain."""
    neighbors: Annotated[int, Search(30, 1_000, log=True)] = Field(default=200, ge=1)
    """Items that may have a weight for an item."""
    epochs: int = Field(default=100, ge=1)
    """Passes over the weights of an item at most."""
    tolerance: float = Field(default=1e-2, gt=0, lt=1)
    """A regression ends when no weight changes by more than this share of the largest."""


class SparseEASE(ItemWeights[SparseEASEConfig]):
    """EASE with ``neighbors`` weights for each item, of either sign; memory grows with n_items, not its square."""

    config_class = SparseEASEConfig

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Find the neighbours, then solve one regression for each item; ``rng`` is not used.

        Where ``monitor`` stops it, nothing recommends the items that are left.
        """
        self.weights_ = self._regressions().solve(data, monitor)
        return self

    def cost(self, shape: Shape) -> Cost:
        """The search for neighbours, and about ten passes over their events."""
        met, visited = self._regressions().visited(shape)
        pairs = 3.0 * shape.n_events**2 / max(shape.n_users, 1)
        return Cost(gather=20.0 * pairs + 10.0 * visited, bytes=40.0 * met + 32.0 * shape.n_events)

    def _regressions(self) -> Regressions:
        c = self.config
        return Regressions(
            reg=c.reg, dropout=c.dropout, candidates=c.neighbors, epochs=c.epochs, tolerance=c.tolerance
        )

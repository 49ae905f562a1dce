"""RP3beta: random walks of three steps, popular ends held back.

C. Cooper et al., "Random Walks in Recommender Systems: Exact Computation and Simulations", WWW 2014 companion: a walk
item -> user -> item whose transition probabilities take the power alpha (P3alpha). B. Paudel et al., "Updatable,
Accurate, Diverse, and Scalable Recommendations for Interactive Applications", TiiS 2017, equation 3: its result divided
by the popularity of the item where it ends, to the power beta. With x the log and d its row and column sums::

    W[i, j] = sum over users u of (x[u, i] / d[i])^alpha (x[u, j] / d[u])^alpha / d[j]^beta,    score = x W

The first of the three steps, from the user to an item of the history, is the score's. Each row of W keeps its largest
weights, is scaled to the sum 1, and then each column keeps its largest: the implementation of M. Ferrari Dacrema et
al., "Are We Really Making Much Progress?", RecSys 2019, that published figures come from. Both cuts help.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset
from recsmith.models.item_weights import ItemWeights
from recsmith.models.neighbors.similarity import Matrix, SimilarityConfig, nearest, row_lengths, strongest
from recsmith.protocols import Monitor
from recsmith.types import Cost, Shape

_SUM = SimilarityConfig(similarity="cosine", weighting="none")  # sum of products over what is divided by


class RP3betaConfig(Config):
    """Parameters of RP3beta."""

    neighbors: Annotated[int, Search(20, 1_000, log=True)] = Field(default=300, ge=1)
    """Items that each item leads to and, of those, items that lead to each: the largest weights stay."""
    alpha: Annotated[float, Search(0.1, 1.5)] = Field(default=0.6, ge=0)
    """Power of each transition probability, >= 0: below 1 active users and popular items of the history gain."""
    beta: Annotated[float, Search(0, 1)] = Field(default=0.3, ge=0)
    """Power of the popularity that a weight is divided by, >= 0; 0 is P3alpha."""
    normalize: Annotated[bool, Search()] = True
    """Whether the weights of the items that one leads to add up to 1, before the second cut."""


class RP3beta(ItemWeights[RP3betaConfig]):
    """Items at the end of short walks from the history.

    P3alpha is ``RP3beta(beta=0)``. Memory is 8 bytes for each item and neighbour, and never n_items^2.
    """

    config_class = RP3betaConfig

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Walk from every item; ``rng`` is not used."""
        c = self.config
        x = data.matrix("weight")
        popularity = np.bincount(x.indices, weights=x.data, minlength=data.n_items)
        to_user = _probabilities(sparse.csr_array(x.T), c.alpha)
        to_item = _probabilities(x, c.alpha)
        held_back = np.maximum(popularity, np.finfo(np.float32).tiny) ** c.beta
        weights = nearest(to_user, to_item, held_back, _SUM, c.neighbors, np.arange(data.n_items))
        scale = row_lengths(to_user, _SUM)  # by which nearest has divided
        if c.normalize:
            scale = 1 / np.maximum(weights.sum(axis=1, dtype=np.float64), np.finfo(np.float32).tiny)
        weights.data *= np.repeat(scale, np.diff(weights.indptr)).astype(np.float32)
        self.weights_ = sparse.csr_array(strongest(sparse.csr_array(weights.T), c.neighbors).T)
        return self

    def cost(self, shape: Shape) -> Cost:
        """Work for each two events of one user and for each two items that meet, as item kNN's."""
        pairs = 3.0 * shape.n_events**2 / max(shape.n_users, 1)
        met = min(pairs, float(shape.n_items) ** 2)
        kept = min(float(self.config.neighbors), met / max(shape.n_items, 1)) * shape.n_items
        return Cost(gather=20.0 * pairs + 100.0 * met, bytes=16.0 * kept + 32.0 * shape.n_events)


def _probabilities(x: Matrix, alpha: float) -> Matrix:
    """``x`` with each row divided by its sum, to the power alpha."""
    rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
    values = x.data.astype(np.float64)
    values /= np.bincount(rows, weights=values, minlength=x.shape[0])[rows]
    return sparse.csr_array(((values**alpha).astype(np.float32), x.indices, x.indptr), shape=x.shape)

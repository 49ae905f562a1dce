"""UserKNN: what the users most like this one took, or how they rated it.

P. Resnick et al., "GroupLens: an open architecture for collaborative filtering of netnews", CSCW 1994;
J. Herlocker et al., "An algorithmic framework for performing collaborative filtering", SIGIR 1999.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from recsmith import parallel
from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.models.baselines.rating_baseline import clipped, history_ratings
from recsmith.models.history import linear_scores
from recsmith.models.neighbors.rating import NeighborModel, mean_deviation
from recsmith.models.neighbors.similarity import (
    Matrix,
    SimilarityConfig,
    column_weights,
    histories,
    nearest,
    row_lengths,
    weighted,
)
from recsmith.protocols import Monitor
from recsmith.types import Cost, FloatArray, IntArray, Prediction, Queries, Shape

_PAIRS = 1 << 23  # similarities held at once while predicting: 64 MB


class UserKNNConfig(SimilarityConfig):
    """Parameters of UserKNN."""

    amplification: Annotated[float, Search(0.5, 4)] = Field(default=2.0, gt=0)
    neighbors: Annotated[int, Search(10, 1_000, log=True)] = Field(default=150, ge=1)
    """Most similar users that vote: of all users in a recommendation, of an item's raters in a predicted rating."""


class UserKNN(NeighborModel[UserKNNConfig]):
    """Neighbours of users.

    No user-to-user matrix exists: the history of a query is compared with every user of the log when it is
    asked, in one pass over the users that share an item with it. So a known user, a changed one and a new one
    are one computation; a user of the log is never a neighbour of himself.

    The defaults suit lists. Chosen on validation data of MovieLens-100K, ratings are best with a similarity that
    reads how items were rated: ``UserKNN(similarity="pearson_baseline", shrinkage=100, amplification=1, neighbors=40,
    damping=0.3)``.
    """

    config_class = UserKNNConfig
    learned = ("index_", "lengths_", "columns_", "mean_length_", "item_mean_", "weights_", "deviations_")
    index_: Matrix  #: (n_items, n_users) CSR, what is compared, transposed
    lengths_: FloatArray  #: (n_users,) float64, see ``row_lengths``
    columns_: FloatArray  #: (n_items,) float64, see ``column_weights``
    mean_length_: float  #: mean sum of weights of a user
    item_mean_: FloatArray  #: (n_items,) float64 mean rating, 0 without one; for the adjusted cosine
    weights_: Matrix  #: (n_users, n_items) CSR weights of the log
    deviations_: Matrix  #: (n_items, n_users) CSR rating minus baseline; empty for a log without ratings

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Index the log; ``rng`` is not used.

        Raises
        ------
        DataError
            Where the similarity compares ratings and the log has none.
        """
        self._learn_baseline(data)
        self.weights_ = data.matrix("weight")
        self.columns_ = column_weights(self.weights_, self.config)
        self.mean_length_ = max(float(self.weights_.data.sum(dtype=np.float64)) / data.n_users, 1e-12)
        self.deviations_ = self._deviations(data)
        self.item_mean_ = _item_means(data)
        compares_ratings = self.config.compares_ratings
        rows = self._compared(data.queries()) if compares_ratings else self._weighted(self.weights_)
        self.lengths_ = row_lengths(rows, self.config)
        self.index_ = sparse.csr_array(rows.T)
        return self

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) float32: the summed similarity of the neighbours that have the item.

        NaN without a history, and for an item that no neighbour has.

        Raises
        ------
        DataError
            Where the similarity compares ratings and the histories have none.
        """
        self.check_fitted()
        near = self._nearest(queries, self.config.neighbors)
        votes = Queries(users=queries.users, offsets=near.indptr, items=near.indices, weights=near.data)
        return linear_scores(votes, self.weights_, items)

    def predict(self, queries: Queries, rows: IntArray, items: IntArray) -> Prediction:
        """Ratings of the pairs, within the rating scale; without a neighbour who rated it is the baseline.

        Raises
        ------
        DataError
            Where the log or the histories have no ratings.
        """
        baseline = self.baseline()
        mean = baseline.expected(baseline.user_bias(queries)[rows], items)
        asked, lists = np.unique(rows, return_inverse=True)
        n_users = len(self.lengths_)
        for part in parallel.blocks(len(asked), max(1, _PAIRS // max(n_users, 1))):
            near = self._nearest(queries.take(asked[part]), n_users)
            here = np.flatnonzero((lists >= part.start) & (lists < part.stop))
            mean[here] += mean_deviation(
                near,
                lists[here] - part.start,
                self.deviations_,
                items[here],
                self.config.neighbors,
                self.config.damping,
            )
        return clipped(mean, baseline.scale_)

    def cost(self, shape: Shape) -> Cost:
        """Sorting the log is all of the fit; each query then costs as many steps as its items have events."""
        return Cost(gather=5_000.0 * shape.n_events, bytes=100.0 * shape.n_events)

    def _nearest(self, queries: Queries, k: int) -> Matrix:
        """(n, n_users) the ``k`` users most like each query."""
        return nearest(self._compared(queries), self.index_, self.lengths_, self.config, k, queries.users)

    def _compared(self, queries: Queries) -> Matrix:
        """(n, n_items) the rows that are compared."""
        if not self.config.compares_ratings:
            return self._weighted(histories(queries, len(self.columns_)))
        values = history_ratings(queries)
        if self.config.similarity == "adjusted_cosine":
            values -= self.item_mean_[queries.items]
        elif self.config.similarity == "pearson_baseline":
            values = self._deviation(queries)
        return histories(queries, len(self.columns_), values)

    def _weighted(self, rows: Matrix) -> Matrix:
        """Histories with the entries of the chosen weighting."""
        return weighted(rows, self.columns_, self.mean_length_, self.config)

    def _deviations(self, data: Dataset) -> Matrix:
        """(n_items, n_users) CSR rating minus baseline; empty for a log without ratings."""
        if self.baseline_ is None:
            return sparse.csr_array((data.n_items, data.n_users), dtype=np.float32)
        queries = data.queries()
        return sparse.csr_array(histories(queries, data.n_items, self._deviation(queries)).T)

    def _deviation(self, queries: Queries) -> FloatArray:
        """(m,) float64 rating of each event minus its baseline."""
        baseline = self.baseline()
        return history_ratings(queries) - baseline.expected(
            baseline.user_bias(queries)[queries.rows], queries.items
        )


def _item_means(data: Dataset) -> FloatArray:
    """(n_items,) float64 mean rating of each item, 0 without one."""
    if data.value is None:
        return np.zeros(data.n_items)
    rated = np.flatnonzero(~np.isnan(data.value))
    sums = np.bincount(data.item[rated], weights=data.value[rated], minlength=data.n_items)
    return np.asarray(sums / np.maximum(np.bincount(data.item[rated], minlength=data.n_items), 1))

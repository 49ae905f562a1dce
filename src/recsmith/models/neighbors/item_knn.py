"""ItemKNN: items are recommended, and rated, like the items most similar to them.

B. Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001; M. Deshpande and
G. Karypis, "Item-based top-N recommendation algorithms", TOIS 2004; Y. Koren, "Factor in the Neighbors", TKDD 2010.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.models.baselines.rating_baseline import clipped, history_ratings, rated
from recsmith.models.history import dense_rows, linear_contributions, linear_scores
from recsmith.models.neighbors.rating import NeighborModel, mean_deviation
from recsmith.models.neighbors.similarity import (
    Matrix,
    Places,
    SimilarityConfig,
    column_weights,
    histories,
    nearest,
    row_lengths,
    strongest,
    weighted,
)
from recsmith.protocols import Monitor
from recsmith.types import Cost, FloatArray, IntArray, Prediction, Queries, Shape


class ItemKNNConfig(SimilarityConfig):
    """Parameters of ItemKNN."""

    shrinkage: Annotated[float, Search(0.1, 500, log=True)] = Field(default=5.0, ge=0)
    neighbors: Annotated[int, Search(10, 1_000, log=True, use="lists")] = Field(default=200, ge=1)
    """Most similar items of each item that vote for it in a recommendation."""
    rating_neighbors: Annotated[int, Search(5, 200, log=True, use="ratings")] = Field(default=30, ge=1)
    """Most similar items, of those that the user has rated, that make a predicted rating."""
    max_neighbors: int = Field(default=500, ge=1)
    """Most similar items kept for each item to find the rated ones among; a log without ratings keeps fewer."""
    pair_half_life: Annotated[float | None, Search(2, 500, log=True, use="lists", needs="times")] = Field(
        default=None, gt=0
    )
    """Places in a history after which a pair of events counts half, > 0; None: all count alike. The cosine alone
    reads it."""
    backward: Annotated[float, Search(0, 1, use="lists", needs="times")] = Field(default=1.0, ge=0, le=1)
    """What a pair counts, 0 to 1, for the vote of an item for one that came before it. The cosine alone reads it."""

    @property
    def ordered(self) -> bool:
        """Whether the place of an event in its history matters."""
        return self.similarity == "cosine" and (self.pair_half_life is not None or self.backward != 1)


class ItemKNN(NeighborModel[ItemKNNConfig]):
    """Neighbours of items.

    One similarity and one matrix serve both uses, with different numbers of neighbours: in a list an item is
    judged by its ``neighbors`` best, rated or not; in a predicted rating by the best that this user has rated,
    so many more are kept. Memory is at most 16 bytes per item and neighbour kept, and never n_items^2.

    The defaults suit lists. Chosen on validation data of MovieLens-100K, ratings are best with
    ``ItemKNN(similarity="jaccard", shrinkage=0, amplification=2)``; that beats the similarities that read how items
    were rated. Koren's recipe, known as KNNBaseline from Surprise, is ``ItemKNN(similarity="pearson_baseline",
    shrinkage=100, rating_neighbors=40, damping=0, reg_user=15, reg_item=10)``.
    """

    config_class = ItemKNNConfig
    learned = ("neighbors_", "votes_")
    neighbors_: Matrix  #: (n_items, n_items) CSR, row i: similarity of the items most like i, > 0
    votes_: Matrix  #: (n_items, n_items) CSR, row j: the items that have j among their best ``neighbors``

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Find the neighbours; ``rng`` is not used.

        Raises
        ------
        DataError
            Where the similarity compares ratings and the log has none.
        """
        self._learn_baseline(data)
        rows = self._compared(data)
        index = sparse.csr_array(rows.T)
        lengths = row_lengths(rows, self.config)
        k = self.config.neighbors
        kept = k if self.baseline_ is None else max(k, self.config.max_neighbors)
        places = self._places(data) if self.config.ordered else None
        self.neighbors_ = nearest(rows, index, lengths, self.config, kept, np.arange(data.n_items), places)
        self.votes_ = sparse.csr_array(strongest(self.neighbors_, k).T)
        return self

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) float32: the summed similarity of each item to the weighted history.

        NaN without a history, and for an item whose neighbours are not in it.
        """
        self.check_fitted()
        return linear_scores(queries, self.votes_, items)

    def predict(self, queries: Queries, rows: IntArray, items: IntArray) -> Prediction:
        """Ratings of the pairs, within the rating scale; without a rated neighbour it is the baseline.

        Raises
        ------
        DataError
            Where the log or the histories have no ratings.
        """
        baseline = self.baseline()
        bias = baseline.user_bias(queries)
        deviation = history_ratings(queries) - baseline.expected(bias[queries.rows], queries.items)
        deviations = histories(queries, self.neighbors_.shape[0], deviation)
        shift = mean_deviation(
            self.neighbors_, items, deviations, rows, self.config.rating_neighbors, self.config.damping
        )
        return clipped(baseline.expected(bias[rows], items) + shift, baseline.scale_)

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32 similarity of each item's neighbours, NaN elsewhere."""
        self.check_fitted()
        return dense_rows(self.neighbors_, items)

    def contributions(self, queries: Queries, rows: IntArray, items: IntArray) -> FloatArray:
        """Similarity times event weight: they add up to the score."""
        self.check_fitted()
        return linear_contributions(queries, self.votes_, rows, items)

    def cost(self, shape: Shape) -> Cost:
        """Work for each two events of one user (three times the mean, as activity is uneven) and each two items met.

        Scattered sums of a pair take as long as 20 streamed operations, and choosing the best as 500 a candidate.
        """
        pairs = 3.0 * shape.n_events**2 / max(shape.n_users, 1)
        met = min(pairs, float(shape.n_items) ** 2)
        kept = min(max(self.config.neighbors, self.config.max_neighbors), shape.n_items) * shape.n_items
        return Cost(gather=20.0 * pairs + 500.0 * met, bytes=16.0 * (kept + 2.0 * shape.n_events))

    def _places(self, data: Dataset) -> Places:
        """The place of each pair's latest event in its history, in the order of the entries of both matrices."""
        last = data.latest()
        place = (last - data.offsets[data.user[last]]).astype(np.int32)
        by_item = np.argsort(data.item[last], kind="stable")
        return Places(place[by_item], place, self.config.pair_half_life, self.config.backward)

    def _compared(self, data: Dataset) -> Matrix:
        """(n_items, n_users) the rows that are compared."""
        if not self.config.compares_ratings:
            rows = sparse.csr_array(data.matrix("weight").T)
            mean_length = max(float(rows.data.sum(dtype=np.float64)) / data.n_items, 1e-12)
            return weighted(rows, column_weights(rows, self.config), mean_length, self.config)
        queries = rated(data).queries()
        values = history_ratings(queries)
        if self.config.similarity == "adjusted_cosine":
            counts = np.maximum(queries.lengths, 1)
            values -= (np.bincount(queries.rows, weights=values, minlength=len(queries)) / counts)[
                queries.rows
            ]
        elif self.config.similarity == "pearson_baseline":
            baseline = self.baseline()
            values -= baseline.expected(baseline.user_bias(queries)[queries.rows], queries.items)
        return sparse.csr_array(histories(queries, data.n_items, values).T)

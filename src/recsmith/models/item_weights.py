"""What models have in common that learn nothing but sparse item-to-item weights."""

from __future__ import annotations

from recsmith.models.base import BaseModel, C
from recsmith.models.history import dense_rows, linear_contributions, linear_scores
from recsmith.models.neighbors.similarity import Matrix
from recsmith.types import FloatArray, IntArray, Queries


class ItemWeights(BaseModel[C]):
    """Scores that are the history times ``weights_``; a subclass says how they are learned."""

    learned = ("weights_",)
    weights_: (
        Matrix  #: (n_items, n_items) float32 CSR, [i, j]: what item i of a history adds to the score of j
    )

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items or len(items)) float32: the weighted history times the weights.

        NaN without a history, and for an item for which no item of it has a weight.
        """
        self.check_fitted()
        return linear_scores(queries, self.weights_, items)

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32: what each item adds to every other, NaN where it has no weight."""
        self.check_fitted()
        return dense_rows(self.weights_, items)

    def contributions(self, queries: Queries, rows: IntArray, items: IntArray) -> FloatArray:
        """Weight times event weight: they add up to the score exactly."""
        self.check_fitted()
        return linear_contributions(queries, self.weights_, rows, items)

"""EASE: a linear item-to-item model in closed form.

H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, equation 8:
``P = (X'X + reg I)^-1``, ``B = I - P diag(1 / diag P)``, ``score = x B``.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field

from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset
from recsmith.errors import ParameterError
from recsmith.models.base import BaseModel
from recsmith.models.history import linear_contributions, linear_scores
from recsmith.models.linear.spd import gram, inverse
from recsmith.protocols import Monitor
from recsmith.types import Cost, FloatArray, IntArray, Queries, Shape


class EASEConfig(Config):
    """Parameters of EASE."""

    reg: Annotated[float, Search(10, 10_000, log=True)] = Field(default=300.0, gt=0)
    """L2 penalty on the item-to-item weights, > 0; grows with the log (100 to 1,000 for MovieLens)."""


class EASE(BaseModel[EASEConfig]):
    """Item-to-item weights that best rebuild the log, with a zero diagonal."""

    config_class = EASEConfig
    learned = ("weights_",)
    weights_: FloatArray  #: (n_items, n_items) float32

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Learn the weights; ``rng`` is not used.

        Raises
        ------
        ParameterError
            A ``reg`` so small that the inverse does not exist in float64.
        """
        lower = gram(data.matrix("weight"))
        np.fill_diagonal(lower, lower.diagonal() + self.config.reg)
        try:
            p = inverse(lower)
        except np.linalg.LinAlgError:
            raise ParameterError.of(
                "EASE", "reg", "larger: items that always occur together need it", self.config.reg
            ) from None
        p /= -p.diagonal()
        weights = p.astype(np.float32)
        np.fill_diagonal(weights, 0.0)
        weights[:, data.item_counts() == 0] = np.nan  # nothing is known of them
        self.weights_ = weights
        return self

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) float32: the history times the weights.

        NaN without a history, and for an item without an event in the log.
        """
        self.check_fitted()
        return linear_scores(queries, self.weights_, items)

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32: the weight of each item for every other."""
        self.check_fitted()
        return self.weights_[items]

    def contributions(self, queries: Queries, rows: IntArray, items: IntArray) -> FloatArray:
        """Weight times event weight: they add up to the score exactly."""
        self.check_fitted()
        return linear_contributions(queries, self.weights_, rows, items)

    def cost(self, shape: Shape) -> Cost:
        """n_items^3 for the inverse, which float64 makes twice as dear; two dense n_items^2 matrices in float64.

        The Gram matrix: pairs of one user's events, twice as many as for equal activity, at random places.
        """
        n = float(shape.n_items)
        pairs = 2.0 * shape.n_events**2 / max(shape.n_users, 1)
        return Cost(gemm=2 * n**3, gather=15.0 * pairs, bytes=20 * n**2)

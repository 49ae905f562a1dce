"""EASE: a linear item-to-item model in closed form, with or without a sense of order.

H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, equation 8:
``P = (X'X + reg I)^-1``, ``B = I - P diag(1 / diag P)``, ``score = x B``.

With ``pair_half_life`` or ``backward`` the history before a moment predicts what comes after it, as in M. Choi et al.,
"Session-aware Linear Item-Item Models for Session-based Recommendation", WWW 2021. Of the two co-occurrence matrices of
``cooccurrence.py``, ``P = (together + reg I)^-1`` and ``B = P after - P diag(diag(P after) / diag P)``: least squares
with a zero diagonal again, and Steck's formula where both matrices are X'X.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field

from recsmith import parallel
from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset
from recsmith.errors import ParameterError
from recsmith.models.base import BaseModel
from recsmith.models.history import linear_contributions, linear_scores
from recsmith.models.linear.cooccurrence import cooccurrence
from recsmith.models.linear.spd import gram, inverse
from recsmith.protocols import Monitor
from recsmith.types import Cost, FloatArray, IntArray, Queries, Shape

_ROWS = 256  # rows of a product made by one task


class EASEConfig(Config):
    """Parameters of EASE."""

    reg: Annotated[float, Search(10, 10_000, log=True)] = Field(default=300.0, gt=0)
    """L2 penalty on the item-to-item weights, > 0; grows with the log (100 to 1,000 for MovieLens)."""
    pair_half_life: Annotated[float | None, Search(2, 500, log=True, needs="times")] = Field(
        default=None, gt=0
    )
    """Places in a history after which a pair of events counts half, > 0; None: all pairs count alike."""
    backward: Annotated[float, Search(0, 1, needs="times")] = Field(default=1.0, ge=0, le=1)
    """What a pair counts, 0 to 1, for the weight of an item on one that came before it. Below 1 order matters."""

    @property
    def ordered(self) -> bool:
        """Whether the place of an event in its history matters."""
        return self.pair_half_life is not None or self.backward != 1


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
        c = self.config
        if c.ordered:
            together, after = cooccurrence(data, c.pair_half_life, c.backward)
        else:
            together = after = gram(data.matrix("weight"))
        np.fill_diagonal(together, together.diagonal() + c.reg)
        try:
            p = inverse(together)
        except np.linalg.LinAlgError:
            raise ParameterError.of(
                "EASE", "reg", "larger: items that always occur together need it", self.config.reg
            ) from None
        weights = _least_squares(p, None if after is together else after)
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

        The Gram matrix: pairs of one user's events, twice as many as for equal activity, at random places. Order makes
        it two such matrices, of all pairs instead of half, and a product of 2 n_items^3.
        """
        n = float(shape.n_items)
        pairs = 2.0 * shape.n_events**2 / max(shape.n_users, 1)
        if self.config.ordered:
            return Cost(gemm=6 * n**3, gather=60.0 * pairs, bytes=32 * n**2)
        return Cost(gemm=2 * n**3, gather=15.0 * pairs, bytes=20 * n**2)


def _least_squares(p: FloatArray, after: FloatArray | None) -> FloatArray:
    """(n, n) float32 ``P after - P diag(diag(P after) / diag P)``; ``after`` None is the inverse of P less reg.

    ``p`` is overwritten. The diagonal is whatever rounding leaves of 0.
    """
    if after is None:
        p /= -p.diagonal()
        return p.astype(np.float32)
    weights = np.empty(p.shape, dtype=np.float32)
    shift = np.einsum("ij,ji->i", p, after) / p.diagonal()

    def block(rows: slice) -> None:
        weights[rows] = p[rows] @ after - p[rows] * shift

    parallel.run(block, parallel.blocks(len(p), _ROWS))
    return weights

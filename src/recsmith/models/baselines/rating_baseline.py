"""RatingBaseline: the mean rating, corrected for how kind the user is and how good the item is.

Y. Koren, "Factor in the Neighbors: Scalable and Accurate Collaborative Filtering", TKDD 4(1), 2010, equation 3:
``b_ui = mu + b_u + b_i``, the minimum of
``sum (r_ui - mu - b_u - b_i)^2 + reg_user sum b_u^2 + reg_item sum b_i^2``, by alternating least squares.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field

from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset
from recsmith.errors import DataError
from recsmith.models.base import BaseModel
from recsmith.protocols import Evidence, Monitor
from recsmith.types import Cost, FloatArray, IntArray, Prediction, Queries, Shape


class RatingBaselineConfig(Config):
    """Parameters of RatingBaseline."""

    reg_user: Annotated[float, Search(0.5, 30, log=True)] = Field(default=4.0, gt=0)
    """Ratings of average kindness that every user is taken to have given beforehand, > 0."""
    reg_item: Annotated[float, Search(0.5, 30, log=True)] = Field(default=2.0, gt=0)
    """Ratings of average quality that every item is taken to have got beforehand, > 0."""
    epochs: int = Field(default=10, ge=1)
    """Rounds of (item biases, user biases)."""


class RatingBaseline(BaseModel[RatingBaselineConfig]):
    """Mean plus user bias plus item bias.

    The bias of a user always comes from the history in the query. For the training history that is the last
    half-step of the fit, so a known user, a changed one and a new one are one formula. The model learns
    nothing about order that differs between users, so it predicts ratings and recommends nothing.
    """

    config_class = RatingBaselineConfig
    learned = ("mean_", "item_bias_", "scale_")
    needs = Evidence.NOTHING
    mean_: float  #: mean rating of the log
    item_bias_: FloatArray  #: (n_items,) float64, 0 for an item without ratings
    scale_: list[float]  #: lowest and highest rating that is predicted

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Learn the biases; ``rng`` is not used.

        Raises
        ------
        DataError
            Where the log has no ratings.
        """
        data = rated(data)
        value = data.ratings().astype(np.float64)
        self.scale_ = rating_scale(data)
        self.mean_ = float(value.mean())
        rest = value - self.mean_
        user_bias: FloatArray = np.zeros(data.n_users)
        for _ in range(self.config.epochs):
            self.item_bias_ = _bias(
                data.item, rest - user_bias[data.user], data.n_items, self.config.reg_item
            )
            user_bias = _bias(
                data.user, rest - self.item_bias_[data.item], data.n_users, self.config.reg_user
            )
        return self

    def user_bias(self, queries: Queries) -> FloatArray:
        """(n,) float64 bias of each query's user, from its history; 0 without a rating.

        Raises
        ------
        DataError
            Where the queries have histories without ratings.
        """
        self.check_fitted()
        values = history_ratings(queries)
        keep = np.flatnonzero(~np.isnan(values))
        rest = values[keep] - self.mean_ - self.item_bias_[queries.items[keep]]
        return _bias(queries.rows[keep], rest, len(queries), self.config.reg_user)

    def expected(self, user_bias: FloatArray, items: IntArray) -> FloatArray:
        """(p,) float64 ``mu + b_u + b_i``, not clipped, of users with these biases (p,); item -1 counts 0."""
        return self.mean_ + user_bias + np.where(items >= 0, self.item_bias_[items], 0.0)

    def predict(self, queries: Queries, rows: IntArray, items: IntArray) -> Prediction:
        """Ratings of the pairs, within the rating scale. Item -1 is predicted by the user's bias alone."""
        return clipped(self.expected(self.user_bias(queries)[rows], items), self.scale_)

    def cost(self, shape: Shape) -> Cost:
        """Two scattered sums over the log per round."""
        return Cost(gather=330.0 * self.config.epochs * shape.n_events, bytes=48.0 * shape.n_events)


def rated(data: Dataset) -> Dataset:
    """The events of ``data`` that carry a rating.

    Raises
    ------
    DataError
        Where there is none.
    """
    missing = np.isnan(data.ratings())
    if len(data) == 0 or missing.all():
        raise DataError(
            f"{data.name} has no event with a rating. Models that predict ratings need at least one."
        )
    return data.take(~missing) if missing.any() else data


def history_ratings(queries: Queries) -> FloatArray:
    """(m,) float64 ratings of the histories, the caller's own; NaN where an event has none.

    Raises
    ------
    DataError
        Where there are histories but no ratings at all.
    """
    if queries.values is None:
        if len(queries.items):
            raise DataError(
                "The histories of these queries have no ratings (values). Rating models need them."
            )
        return np.zeros(0)
    return np.array(queries.values, dtype=np.float64)


def rating_scale(data: Dataset) -> list[float]:
    """Lowest and highest rating: the log's scale, or where it names none, what occurs in it."""
    value = data.ratings()
    low, high = data.rating_scale or (value.min(), value.max())
    return [float(low), float(high)]


def clipped(mean: FloatArray, scale: list[float]) -> Prediction:
    """A prediction held within the rating scale."""
    return Prediction(np.clip(mean, scale[0], scale[1]).astype(np.float32))


def _bias(index: IntArray, rest: FloatArray, n: int, reg: float) -> FloatArray:
    """(n,) sum of ``rest`` by ``index``, over the count plus ``reg``: the exact minimum for one side."""
    return np.bincount(index, weights=rest, minlength=n) / (np.bincount(index, minlength=n) + reg)

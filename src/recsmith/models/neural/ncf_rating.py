"""Neural collaborative filtering of ratings: the squared error of a baseline plus GMF, MLP or both.

``r_ui = mu + b_u + b_i + f(p_u, q_i)`` with the ``f`` of ``ncf.py`` (X. He et al., WWW 2017, equations 9, 10 and 12;
their section 3.1.1 names the squared loss for explicit feedback). As there, no user has a vector of his own. The pool
weighs each item by what its rating says beyond the biases, and counts that it was rated at all:
``p_u = |R(u)|^(-1/2) sum over j in R(u) of (r_uj - mu - b_u - b_j) x_j + y_j``, the Asymmetric-SVD of Y. Koren,
"Factorization Meets the Neighborhood", KDD 2008, equation 13. The user's bias is the shrunken mean of what is left of
his ratings. In training the target is part of neither.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data.dataset import Dataset, Matrix
from recsmith.models.baselines.rating_baseline import (
    RatingBaseline,
    clipped,
    history_ratings,
    rated,
    rating_scale,
)
from recsmith.models.neural.ncf import Network
from recsmith.models.neural.pool import by_user, histories, pooled, root_scale
from recsmith.models.torch_model import TorchModel, asking, scores_array
from recsmith.training.config import TrainingConfig
from recsmith.training.loop import Objective
from recsmith.types import FloatArray, IntArray, Prediction, Queries, ragged_rows, ragged_take

_TOGETHER = 32  # ratings of a user that stand side by side in a batch


class NeuMFRatingConfig(TrainingConfig):
    """Parameters of neural collaborative filtering of ratings."""

    form: Literal["gmf", "mlp", "neumf"] = "neumf"
    """The weighted product of the vectors, layers over them, or both."""
    embedding_size: int = Field(default=32, ge=1)
    """Length of a vector, >= 1; ``neumf`` has one for each of its halves."""
    epochs: int = Field(default=12, ge=1)
    """Passes over the ratings at most, >= 1."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Step size of Adam at its largest, > 0."""
    schedule: Literal["constant", "cosine", "restarts"] = "cosine"
    """How the step size goes on: as it is, down to 0 along a cosine, or so again and again, each time twice as long."""
    reg: float = Field(default=3e-4, ge=0)
    """L2: half of this times the squared weights is added to the mean loss, >= 0."""
    hidden: tuple[int, ...] = Field(default=(64, 32), min_length=1)
    """Widths of the hidden layers, each >= 1."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of pooled and hidden activations set to 0 in training, 0 to 1."""
    init_std: float = Field(default=0.01, gt=0)
    """Standard deviation of the vectors to start from, > 0."""
    reg_user: float = Field(default=4.0, gt=0)
    """Ratings of average kindness that every user is taken to have given beforehand, > 0."""
    reg_item: float = Field(default=2.0, gt=0)
    """Ratings of average quality that every item is taken to have got beforehand, > 0."""


class NeuMFRating(TorchModel[NeuMFRatingConfig]):
    """Baseline plus NeuMF, for ratings."""

    config_class = NeuMFRatingConfig
    learned = ("sizes_", "mean_", "item_bias_", "scale_")
    module_: RatingNetwork
    mean_: float  #: mean rating of the log
    item_bias_: FloatArray  #: (n_items,) float64 of the baseline
    scale_: list[float]  #: lowest and highest rating that is predicted
    item_half_: Tensor | None  #: (n_items, width) of the first layer, of the last ``settle``

    def sizes(self, data: Dataset) -> dict[str, Any]:
        """Number of items; the baseline is fitted here, as all else stands on it."""
        c = self.config
        base = RatingBaseline(reg_user=c.reg_user, reg_item=c.reg_item).fit(data)
        self.mean_, self.item_bias_, self.scale_ = base.mean_, base.item_bias_, rating_scale(rated(data))
        return {"n_items": data.n_items}

    def check(self, data: Dataset) -> None:
        """Raise ``DataError`` where the log has no ratings."""
        rated(data)

    def build(self) -> RatingNetwork:
        """Item vectors, the two tables of the pool, and the layers."""
        return RatingNetwork(self.sizes_["n_items"], self.config)

    def objective(self, data: Dataset) -> Objective:
        """Every user's latest rating of every item."""
        return _Ratings(self, data)

    def settle(self) -> None:
        """Keep the item halves of the first layer."""
        with torch.no_grad():
            self.item_half_ = self.module_.item_half() if self.module_.parts[1] else None

    def _users(self, queries: Queries) -> tuple[Tensor, FloatArray]:
        """(n, d) pools and (n,) ``mu + b_u`` of the users."""
        self.check_fitted()
        n_items = self.sizes_["n_items"]
        values = history_ratings(queries)
        known = ~np.isnan(values)
        rest = np.where(known, values - self.mean_ - self.item_bias_[queries.items], 0.0)
        ones, rests = (histories(queries, n_items, np.asarray(e, dtype=np.float32)) for e in (known, rest))
        counts = ones.sum(axis=1)
        bias = rests.sum(axis=1) / (counts + self.config.reg_user)
        pools = self.module_.pools(rests, ones, self.tensor(bias.astype(np.float32)))
        return pools * self.tensor(root_scale(counts))[:, None], self.mean_ + bias

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) or (n, len(items)) float32: the expected rating, not clipped; NaN without a history.

        Raises
        ------
        DataError
            Histories without ratings.
        """
        with asking():
            pools, base = self._users(queries)
            scores = self.module_.all_pairs(
                pools, self.item_half_, None if items is None else self.tensor(items)
            )
            chosen = self.item_bias_ if items is None else self.item_bias_[items]
            scores += self.tensor((base[:, None] + chosen).astype(np.float32))
        return scores_array(scores, queries.lengths == 0)

    def predict(self, queries: Queries, rows: IntArray, items: IntArray) -> Prediction:
        """Ratings of the pairs, within the rating scale; what is not known counts 0.

        Raises
        ------
        DataError
            Histories without ratings.
        """
        with asking():
            pools, base = self._users(queries)
            out = base[rows].astype(np.float32)
            there = np.flatnonzero((items >= 0) & (queries.lengths[rows] > 0))
            if len(there):
                pairs = self.tensor(items[there])[:, None]
                out[there] += self.module_(pools[self.tensor(rows[there])], pairs)[:, 0].cpu().numpy()
            out += np.where(items >= 0, self.item_bias_[items], 0.0).astype(np.float32)
        return clipped(out, self.scale_)


class RatingNetwork(Network):
    """``f`` with a pool that weighs ratings; ``history`` is y, ``residuals`` is x."""

    def __init__(self, n_items: int, config: NeuMFRatingConfig) -> None:
        super().__init__(n_items, config, product=config.form != "mlp", deep=config.form != "gmf")
        self.residuals = nn.Embedding(n_items, sum(self.parts))
        nn.init.normal_(self.residuals.weight, std=config.init_std)

    def pools(self, rests: Matrix, ones: Matrix, bias: Tensor) -> Tensor:
        """(n, d) ``sum of (rest - bias) x + y``, not scaled, of CSR rows of one shape and the users' biases (n,)."""
        x, y = self.residuals.weight, self.history.weight
        return pooled(x, rests) - bias[:, None] * pooled(x, ones) + pooled(y, ones)


class _Ratings(Objective):
    """The squared error of each rating, its user known by his other ratings."""

    def __init__(self, model: NeuMFRating, data: Dataset) -> None:
        self.module, self.device = model.module_, model.device
        ratings: Matrix = rated(data).matrix("value")
        self.items, self.bounds = ratings.indices, ratings.indptr
        self.users = ragged_rows(self.bounds)
        self.rests = (ratings.data - model.mean_ - model.item_bias_[self.items]).astype(np.float32)
        others = np.diff(self.bounds)[self.users] - 1
        total = np.bincount(self.users, self.rests, minlength=data.n_users)[self.users]
        self.bias = ((total - self.rests) / (others + model.config.reg_user)).astype(np.float32)
        self.scale = root_scale(others)
        self.n_examples, self.n_items = len(self.items), data.n_items

    def order(self, batch_size: int, rng: np.random.Generator) -> list[IntArray]:
        """Batches in which some ratings of a user stand side by side."""
        return by_user(self.bounds, _TOGETHER, batch_size, rng)

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        items, rest, bias, scale = (
            torch.from_numpy(a[rows]).to(self.device) for a in (self.items, self.rests, self.bias, self.scale)
        )
        pools = self._without_target(rows, items, rest, bias) * scale[:, None]
        said = bias + self.module(pools, items[:, None])[:, 0]
        return functional.mse_loss(said, rest, reduction="sum"), len(rows)

    def _without_target(self, rows: IntArray, items: Tensor, rest: Tensor, bias: Tensor) -> Tensor:
        """(r, d) sums over the other ratings of each rating's user."""
        users, place = np.unique(self.users[rows], return_inverse=True)
        bounds, at = ragged_take(self.bounds, users)
        shape = (len(users), self.n_items)
        rests = sparse.csr_array((self.rests[at], self.items[at], bounds), shape=shape)
        ones = sparse.csr_array((np.ones(len(at), dtype=np.float32), self.items[at], bounds), shape=shape)
        x, y = self.module.residuals, self.module.history
        where = torch.from_numpy(place).to(self.device)
        weighed = pooled(x.weight, rests).index_select(0, where) - rest[:, None] * x(items)
        counted = pooled(x.weight, ones).index_select(0, where) - x(items)
        rated_at_all = pooled(y.weight, ones).index_select(0, where) - y(items)
        left: Tensor = weighed - bias[:, None] * counted + rated_at_all
        return left

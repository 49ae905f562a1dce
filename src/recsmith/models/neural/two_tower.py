"""Two towers: one makes a vector of a user, the other of an item; the score is their product.

X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019: both vectors
are normalized and the product is divided by a temperature (section 3.1); the loss is the softmax over the items of the
batch, each logit less ``log q_j`` (equations 3 to 5), where q is the item's share of the examples: popular items are
in a batch more often. Here q is counted once, as the log does not grow while it is learned from.

Two things differ from the paper, for the sake of those of whom little is known. The vector is ``x / sqrt(1 + |x|^2)``:
its length is near 1 where x is long, and near 0 where there is little to say, while a length of exactly 1 would make
an opinion of noise. And the score has ``log q`` added to it, which the correction takes off again in training. So
somebody of whom nothing is known gets what is popular, and all that is learned is what a user, an item, or a feature
differ by.

The user's tower reads the pool of his history (``pool.py``) and the features of his row in the user table
(``Queries.context``, as ``encode_users`` makes it). So whoever has either gets a list of his own: somebody without an
event, too. The item's tower reads a vector of its own and the item's features; an item that came after training has
the features alone (``extend_items``). In training each is now and then left out, and the history in part, so that the
others learn to do alone.
"""

from __future__ import annotations

import copy
from typing import Annotated, Any, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Search
from recsmith.data.dataset import Dataset, Matrix
from recsmith.data.features import FeatureEncoder
from recsmith.errors import DataError, ParameterError
from recsmith.models.layers import Dropout
from recsmith.models.neural.pool import Pools, by_user, histories, pooled, root_scale
from recsmith.models.torch_model import ProductModel, asking, scores_array
from recsmith.training.config import TrainingConfig
from recsmith.training.loop import Objective
from recsmith.types import FloatArray, IntArray, Queries

_INIT_STD = 0.02
_ITEMS = 1 << 15  # items whose features are spread out at once
_TOGETHER = 4  # examples of a user that stand side by side: they are each other's negatives, too


class TwoTowerConfig(TrainingConfig):
    """Parameters of the two towers."""

    embedding_size: int = Field(default=64, ge=1)
    """Length of all vectors, >= 1."""
    hidden: int = Field(default=128, ge=0)
    """Width of the hidden layer of a tower; 0: none."""
    batch_size: int = Field(default=256, ge=2)
    """Pairs of a step, >= 2; each is compared with the items of the others."""
    epochs: int = Field(default=30, ge=1)
    """Passes over the pairs at most, >= 1."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Step size of Adam at its largest, > 0."""
    temperature: Annotated[float, Search(0.03, 0.5, log=True)] = Field(default=0.1, gt=0)
    """What the cosine of two vectors is divided by, > 0."""
    features: bool = True
    """Look at the tables of users and items, where the log has them."""
    min_count: int = Field(default=2, ge=1)
    """Users, or items, that must share a feature for it to be looked at, >= 1."""
    drop_history: float = Field(default=0.3, ge=0, lt=1)
    """Mean share of a user's history that is left out in an epoch, 0 to 1; it is drawn for each user."""
    drop_context: float = Field(default=0.1, ge=0, lt=1)
    """Share of examples whose user features are left out, 0 to 1."""
    drop_item: float = Field(default=0.1, ge=0, lt=1)
    """Share of examples whose item is known by its features alone in training, where it has some, 0 to 1."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of activations set to 0 in training, 0 to 1."""


class TwoTower(ProductModel[TwoTowerConfig]):
    """A tower of users and one of items."""

    config_class = TwoTowerConfig
    learned = ("sizes_", "item_features_")
    module_: _Towers
    item_features_: Matrix  #: (n_items, width) float32 CSR of encoded features
    items_: FloatArray  #: (n_items, d + 1) float32 vectors over the temperature and ``log q``, of the last ``settle``

    def sizes(self, data: Dataset) -> dict[str, Any]:
        """Number of items, and how tables become features, learned from train alone."""
        encoders = {}
        for key, table in (("user", data.user_features), ("item", data.item_features)):
            encoder = FeatureEncoder(())
            if table is not None and self.config.features:
                encoder = FeatureEncoder.fit(
                    table.drop(f"{key}_id", strict=False), min_count=self.config.min_count
                )
            encoders[key] = encoder
        self.item_features_ = _rows(encoders["item"], data.item_features, data.n_items)
        return {
            "n_items": data.n_items,
            "n_trained": data.n_items,
            **{f"{key}_encoder": encoder.state() for key, encoder in encoders.items()},
        }

    def build(self) -> _Towers:
        """Both towers."""
        widths = self._encoder("user").width, self._encoder("item").width
        return _Towers(self.sizes_["n_trained"], widths, self.config)

    def objective(self, data: Dataset) -> Objective:
        """Each pair against the items of its batch."""
        return _InBatch(self, data)

    def encode_users(self, features: pl.DataFrame) -> FloatArray:
        """(n, width) float32 encoded rows of a user table, for ``Queries.context``; zeros where nothing is known."""
        self.check_fitted()
        encoded = self._encoder("user").transform(features)
        return np.asarray(encoded.toarray(), dtype=np.float32)

    def settle(self) -> None:
        """Keep the item vectors as an array: ``recommend`` multiplies with them."""
        table, n = self.module_.items.weight.detach(), self.sizes_["n_items"]
        own = functional.pad(table, (0, 0, 0, n - len(table)))  # later items have no vector of their own
        log_q = self.module_.log_q
        log_q = functional.pad(log_q, (0, n - len(table)), value=float(log_q.mean()))
        self.items_ = np.empty((n, self.config.embedding_size + 1), dtype=np.float32)
        self.items_[:, -1] = log_q.cpu().numpy()
        with torch.no_grad():
            for start in range(0, n, _ITEMS):
                rows = slice(start, start + _ITEMS)
                features = self.tensor(self.item_features_[rows].toarray())
                vectors = self.module_.of_item(own[rows], features) / self.config.temperature
                self.items_[rows, :-1] = vectors.cpu().numpy()

    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, d + 1) float32, a vector shorter than 1 and a 1; NaN where there is neither a history nor a context.

        Raises
        ------
        ParameterError
            A context of another width than ``encode_users`` gives.
        """
        self.check_fitted()
        width = self.module_.user_width
        context = queries.context
        if context is not None and context.shape[1] != width:
            wanted = f"(n, {width}) as encode_users gives it"
            raise ParameterError.of("score", "queries.context", wanted, context.shape)
        if context is None:
            context = np.zeros((len(queries), width), dtype=np.float32)
        matrix = self._trained_part(histories(queries, self.sizes_["n_items"]))
        with asking():
            scale = self.tensor(root_scale(matrix.sum(axis=1)))
            pools = pooled(self.module_.history.weight, matrix) * scale[:, None]
            vectors = self.module_.of_user(pools, self.tensor(context.astype(np.float32)))
        vectors = functional.pad(vectors, (0, 1), value=1.0)
        return scores_array(vectors, (np.diff(matrix.indptr) == 0) & ~context.any(axis=1))

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32 cosine of the item vectors."""
        self.check_fitted()
        vectors = self.once("vectors", self.items_, lambda: self.items_[:, :-1])
        return self.cosines(vectors, items)

    def extend_items(self, features: pl.DataFrame) -> Self:
        """A new model that knows more items, by their features alone; their indices are appended.

        In a history such an item is passed over.

        Raises
        ------
        DataError
            The log had no item features.
        """
        self.check_fitted()
        if not self._encoder("item").width:
            raise DataError("This model knows no features of items. Fit it on a log with an item table.")
        new = copy.copy(self)
        rows = self._encoder("item").transform(features)
        new.sizes_ = {**self.sizes_, "n_items": self.sizes_["n_items"] + len(features)}
        new.item_features_ = sparse.csr_array(sparse.vstack([self.item_features_, rows], format="csr"))
        new.settle()
        return new

    def _encoder(self, key: str) -> FeatureEncoder:
        return FeatureEncoder.restore(self.sizes_[f"{key}_encoder"])

    def _trained_part(self, matrix: Matrix) -> Matrix:
        """Histories without items that came after training."""
        n = self.sizes_["n_trained"]
        return matrix if matrix.shape[1] == n else sparse.csr_array(matrix[:, :n])


def _rows(encoder: FeatureEncoder, table: pl.DataFrame | None, n: int) -> Matrix:
    """(n, width) float32 CSR of a table; no entry where there is none."""
    if table is None or not encoder.width:
        return sparse.csr_array((n, 0), dtype=np.float32)
    matrix: Matrix = encoder.transform(table)
    return matrix


class _Towers(nn.Module):
    log_q: Tensor  #: (n_items,) log of each item's share of the examples

    def __init__(self, n_items: int, widths: tuple[int, int], config: TwoTowerConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.user_width = widths[0]
        self.items, self.history = nn.Embedding(n_items, size), nn.Embedding(n_items, size)
        for table in (self.items, self.history):
            nn.init.normal_(table.weight, std=_INIT_STD)
        self.register_buffer("log_q", torch.zeros(n_items))
        self.of_user, self.of_item = _Tower(widths[0], config), _Tower(widths[1], config)


class _Tower(nn.Module):
    """A vector plus what the features add to it, through a hidden layer beside a straight way."""

    def __init__(self, width: int, config: TwoTowerConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.features = nn.Linear(width, size, bias=False) if width else None
        if self.features is not None:
            nn.init.zeros_(self.features.weight)
        self.deep = (
            nn.Sequential(
                Dropout(config.dropout),
                nn.Linear(size, config.hidden, bias=False),
                nn.ReLU(),
                nn.Linear(config.hidden, size, bias=False),
            )
            if config.hidden
            else None
        )

    def forward(self, own: Tensor, features: Tensor) -> Tensor:
        x = own if self.features is None else own + self.features(features)
        if self.deep is not None:
            x = x + self.deep(x)
        return x / (1 + x.square().sum(dim=1, keepdim=True)).sqrt()


class _InBatch(Objective):
    """The softmax of each pair's item among those of the batch, corrected for how often these are in one."""

    def __init__(self, model: TwoTower, data: Dataset) -> None:
        self.module, self.config, self.device = model.module_, model.config, model.device
        self.pools = Pools(data)
        self.n_examples = len(self.pools)
        counts = np.bincount(self.pools.items, minlength=data.n_items)
        log_q = np.log(np.maximum(counts, 1) / self.n_examples).astype(np.float32)
        self.module.log_q.copy_(torch.from_numpy(log_q))
        self.item_features = model.item_features_
        self.user_features = _rows(model._encoder("user"), data.user_features, data.n_users)
        self.rng = np.random.default_rng(0)
        self.told = self.pools.matrix.data, self.pools.scale

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """What is left out is drawn from the epoch's generator."""
        self.rng = rng
        self.told = self.pools.thinned(self.config.drop_history, rng)

    def order(self, batch_size: int, rng: np.random.Generator) -> list[IntArray]:
        """Batches of many users: an item of the same user is a poor negative."""
        return by_user(self.pools.matrix.indptr, _TOGETHER, batch_size, rng)

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        items, users = self.pools.items[rows], self.pools.users[rows]
        pools = self.pools.without_target(self.module.history.weight, rows, *self.told)
        context = self._tensor(self.user_features[users].toarray())
        features = self._tensor(self.item_features[items].toarray())
        if self.module.user_width:
            context = context * (self._draws(len(rows)) >= self.config.drop_context)
        which = self._tensor(items.astype(np.int64))
        own = self.module.items(which)
        if features.shape[1]:
            own = own * (self._draws(len(rows)) >= self.config.drop_item)
        asked, offered = self.module.of_user(pools, context), self.module.of_item(own, features)
        logits = (
            asked @ offered.T / self.config.temperature
        )  # the score's log q and the correction's cancel out
        again = items[:, None] == items
        np.fill_diagonal(again, False)
        logits = logits.masked_fill(self._tensor(again), float("-inf"))
        target = torch.arange(len(rows), device=self.device)
        return functional.cross_entropy(logits, target, reduction="sum"), len(rows)

    def _draws(self, n: int) -> Tensor:
        """(n, 1) float64 draws from 0 to 1."""
        return self._tensor(self.rng.random((n, 1)))

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self.device)

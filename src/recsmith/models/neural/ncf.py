"""Neural collaborative filtering: GMF, MLP and NeuMF, which is both side by side.

X. He et al., "Neural Collaborative Filtering", WWW 2017: ``GMF = h' (p * q)`` (equation 9), ``MLP = w' relu(W2 relu(W1
[p; q] + b1) + b2)`` (equation 10), and NeuMF their sum, each with vectors of its own (equation 12), learned by binary
cross-entropy against drawn items (equation 7), or by the softmax of the positive among them.

There is no user table. The paper's users are one-hot codes, so that a user of tomorrow, or one who clicked a second
ago, has no vector. Here the user's vector is pooled from the items of his history (``pool.py``), for known and unknown
users alike, so that every score follows the history in the query; in training a target is left out of its own pool.
The first layer is split, ``W1 [p; q] = Wu p + Wi q``, so that each half is computed once for a user and once for an
item and not for each of their pairs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data.dataset import Dataset
from recsmith.models.layers import Dropout
from recsmith.models.losses import bce, sampled_softmax
from recsmith.models.neural.pool import PairsAgainstDrawn, check_negatives, histories, pooled, root_scale
from recsmith.models.torch_model import TorchModel, asking, scores_array
from recsmith.training.curriculum import NegativesConfig
from recsmith.training.loop import Objective
from recsmith.types import FloatArray, IntArray, Queries, check_range

_PAIRS = 1 << 14  # pairs of a user and an item that pass through the layers at once


class NCFConfig(NegativesConfig):
    """Parameters of neural collaborative filtering."""

    embedding_size: int = Field(default=64, ge=1)
    """Length of a vector, >= 1; NeuMF has one for each of its halves."""
    batch_size: int = Field(default=256, ge=1)
    """Positives of a step, >= 1; each brings ``n_negatives`` more examples."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Step size of Adam at its largest, > 0."""
    loss: Literal["bce", "softmax"] = "softmax"
    """Each example by itself, or the positive among its negatives."""
    hidden: tuple[int, ...] = Field(default=(128, 64), min_length=1)
    """Widths of the hidden layers of the MLP, each >= 1."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of pooled and hidden activations set to 0 in training, 0 to 1."""
    init_std: float = Field(default=0.05, gt=0)
    """Standard deviation of the vectors to start from, > 0."""


class NeuMF(TorchModel[NCFConfig]):
    """GMF and MLP side by side."""

    config_class = NCFConfig
    product: ClassVar[bool] = True  #: has the product of GMF
    deep: ClassVar[bool] = True  #: has the layers of MLP
    module_: Network
    vectors_: FloatArray  #: (n_items, d) float32 item vectors, of the last ``settle``
    item_half_: Tensor | None  #: (n_items, width) ``Wi q`` of all items, of the last ``settle``

    def sizes(self, data: Dataset) -> dict[str, Any]:
        """Number of items."""
        return {"n_items": data.n_items}

    def check(self, data: Dataset) -> None:
        """Raise ``DataError`` where every user took every item."""
        check_negatives(data)

    def build(self) -> Network:
        """Item vectors, history vectors, and the layers."""
        return Network(self.sizes_["n_items"], self.config, product=self.product, deep=self.deep)

    def objective(self, data: Dataset) -> Objective:
        """Each pair of a user and an item that he took, with drawn ones."""
        return _Pairs(self, data)

    def settle(self) -> None:
        """Keep the item vectors, and their halves of the first layer."""
        self.vectors_ = self.module_.items.weight.detach().cpu().numpy()
        with torch.no_grad():
            self.item_half_ = self.module_.item_half() if self.deep else None

    def user_vectors(self, queries: Queries) -> Tensor:
        """(n, d) pools of the histories."""
        matrix = histories(queries, self.sizes_["n_items"])
        scale = root_scale(matrix.sum(axis=1))
        return pooled(self.module_.history.weight, matrix) * self.tensor(scale)[:, None]

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) or (n, len(items)) float32 logits; NaN where the history is empty."""
        self.check_fitted()
        if items is not None:
            check_range("score", "items", items, self.sizes_["n_items"])
        with asking():
            scores = self.module_.all_pairs(
                self.user_vectors(queries), self.item_half_, None if items is None else self.tensor(items)
            )
        return scores_array(scores, queries.lengths == 0)

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32 cosine of the item vectors."""
        self.check_fitted()
        return self.cosines(self.vectors_, items)


class MLP(NeuMF):
    """Layers over the pooled and the item vector."""

    product = False


class GMF(NeuMF):
    """The weighted product of the pooled and the item vector."""

    deep = False
    items_: FloatArray  #: (n_items, embedding_size + 1) float32, of the last ``settle``

    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, embedding_size + 1) float32 ``[h * p, 1]``; NaN where the history is empty."""
        self.check_fitted()
        with asking():
            vectors = self.user_vectors(queries) * self.module_.weights
        return scores_array(functional.pad(vectors, (0, 1), value=1.0), queries.lengths == 0)

    def embed_items(self) -> FloatArray:
        """(n_items, embedding_size + 1) float32 ``[q, bias]``."""
        self.check_fitted()
        return self.items_

    def settle(self) -> None:
        """Keep the item vectors as an array: ``recommend`` multiplies with them."""
        super().settle()
        parts = (self.module_.items.weight, self.module_.bias.weight)
        self.items_ = np.hstack([part.detach().cpu().numpy() for part in parts])


class Layered(Protocol):
    """What the layers are made from."""

    embedding_size: int
    hidden: tuple[int, ...]
    dropout: float
    init_std: float


class Network(nn.Module):
    """The score of pairs, from the pool of the user and the number of the item."""

    def __init__(self, n_items: int, config: Layered, *, product: bool, deep: bool) -> None:
        super().__init__()
        size, widths = config.embedding_size, config.hidden
        self.parts = [size * product, size * deep]
        self.items = nn.Embedding(n_items, sum(self.parts))
        self.history = nn.Embedding(n_items, sum(self.parts))
        self.bias = nn.Embedding(n_items, 1)
        for table in (self.items, self.history):
            nn.init.normal_(table.weight, std=config.init_std)
        nn.init.zeros_(self.bias.weight)
        self.drop = Dropout(config.dropout)
        if product:
            self.weights = nn.Parameter(torch.ones(size))
        if deep:
            self.from_user = nn.Linear(size, widths[0])
            self.from_item = nn.Linear(size, widths[0], bias=False)
            self.hidden = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])
            self.out = nn.Linear(widths[-1], 1, bias=False)

    def item_half(self) -> Tensor:
        """(n_items, width) of all items."""
        half: Tensor = self.from_item(self.items.weight[:, self.parts[0] :])
        return half

    def forward(self, pools: Tensor, items: Tensor) -> Tensor:
        """(r, m) scores of the items (r, m) int64 for the pools (r, d)."""
        of_user, of_item = self.drop(pools).split(self.parts, -1), self.items(items).split(self.parts, -1)
        scores: Tensor = self.bias(items).squeeze(-1)
        size, deep = self.parts
        if size:
            scores = scores + torch.bmm(of_item[0], (of_user[0] * self.weights)[:, :, None]).squeeze(-1)
        if deep:
            halves = self.from_item(of_item[1])
            scores = scores + self.layers(self.from_user(of_user[1])[:, None] + halves)
        return scores

    def layers(self, x: Tensor) -> Tensor:
        """(...) from the first layer's sums (..., width)."""
        x = self.drop(functional.relu(x))
        for layer in self.hidden:
            x = self.drop(functional.relu(layer(x)))
        out: Tensor = self.out(x).squeeze(-1)
        return out

    def all_pairs(self, pools: Tensor, item_half: Tensor | None, items: Tensor | None) -> Tensor:
        """(n, n_items) or (n, len(items)) scores of the pools (n, d) with items, in bounded blocks."""
        size, table, bias = self.parts[0], self.items.weight, self.bias.weight[:, 0]
        if items is not None:
            table, bias = table[items], bias[items]
            item_half = None if item_half is None else item_half[items]
        if size:
            scores = torch.addmm(bias, pools[:, :size] * self.weights, table[:, :size].T)
        else:
            scores = bias.expand(len(pools), -1).clone()
        if item_half is not None:
            user_half = self.from_user(pools[:, size:])
            columns = max(1, min(len(item_half), _PAIRS))
            rows = max(1, _PAIRS // columns)
            for r in range(0, len(pools), rows):
                for c in range(0, len(item_half), columns):
                    sums = user_half[r : r + rows, None] + item_half[c : c + columns]
                    scores[r : r + rows, c : c + columns] += self.layers(sums)
        return scores


class _Pairs(PairsAgainstDrawn):
    """Binary cross-entropy of each example, or the softmax of the positive among its negatives."""

    def __init__(self, model: NeuMF, data: Dataset) -> None:
        super().__init__(data, model.config, model.device)
        self.module, self.config = model.module_, model.config

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        pairs = self.pairs[rows]
        pools = self.pools.without_target(self.module.history.weight, pairs)
        scores = self.module(pools, self.offered(pairs, pools, self.module))
        if self.config.loss == "softmax":
            return sampled_softmax(scores[:, 0], scores[:, 1:]), len(rows)
        return bce(scores[:, 0], scores[:, 1:]), scores.numel()

"""LightGCN: vectors of users and items, averaged over the graph of who took what, and nothing else.

X. He, K. Deng, X. Wang, Y. Li, Y. Zhang and M. Wang, "LightGCN: Simplifying and Powering Graph Convolution Network for
Recommendation", SIGIR 2020. With ``R = D_u^-1/2 X D_i^-1/2`` a layer is ``U' = R I`` and ``I' = R' U``, and the result
is the mean of the layers 0 to K (section 3.1). The loss is BPR with an L2 penalty on the vectors of layer 0 that a
batch touches (section 3.3). With ``candidates`` > 1 the other item of a pair is the one that scores highest of several
random ones: W. Zhang et al., "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling", SIGIR 2013.
As the mean of the layers is a symmetric linear map of layer 0, its gradient is the same map, applied to the gradient of
the result.

A user's own vector is one part in K + 1; the others are sums over the history, which any history has. For a user that
the model does not know, or whose history has changed, the own vector is estimated from those sums, by the ridge
regression that fits the users of the log best.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.data.negatives import NegativeSampler
from recsmith.errors import DataError
from recsmith.models.graph.spectral import Graph, negative_power, normalized, product
from recsmith.models.losses import bpr, sampled_softmax
from recsmith.models.torch_model import ProductModel
from recsmith.protocols import Monitor
from recsmith.training.config import TrainingConfig
from recsmith.training.loop import Objective
from recsmith.types import Cost, FloatArray, IntArray, Queries, Shape, check_range, ragged_rows

_RIDGE = 1e-3  # of the mean square of what the own vector is estimated from


class LightGCNConfig(TrainingConfig):
    """Parameters of LightGCN."""

    epochs: int = Field(default=100, ge=1)
    """Passes over the pairs at most, >= 1."""
    batch_size: int = Field(default=2048, ge=1)
    """Pairs of a step, >= 1."""
    learning_rate: Annotated[float, Search(5e-4, 2e-2, log=True)] = Field(default=5e-3, gt=0)
    """Step size of Adam at its largest, > 0."""
    reg: Annotated[float, Search(1e-6, 1e-2, log=True)] = Field(default=1e-4, ge=0)
    """L2: half of this times the squared vectors of a pair, as they are before the layers, >= 0."""
    embedding_size: Annotated[int, Search(32, 256, log=True)] = Field(default=64, ge=1)
    """Length of a user or item vector, >= 1."""
    layers: Annotated[int, Search(1, 4)] = Field(default=3, ge=1)
    """Layers K beyond the vectors themselves, >= 1."""
    loss: Annotated[Literal["bpr", "sampled"], Search()] = "bpr"
    """Against one item that the user did not take, or as a softmax among ``negatives`` items."""
    negatives: int = Field(default=256, ge=1)
    """Random items that all pairs of a step are compared with, where the loss is the softmax, >= 1."""
    candidates: Annotated[int, Search(1, 16, log=True)] = Field(default=1, ge=1, le=1000)
    """Items drawn for each pair, 1 to 1000, of which BPR takes the one that scores highest."""
    init_std: float = Field(default=0.1, gt=0)
    """Standard deviation of the vectors at the start, > 0."""


class LightGCN(ProductModel[LightGCNConfig]):
    """Light graph convolution."""

    config_class = LightGCNConfig
    learned = ("sizes_", "items_", "inputs_", "own_")
    items_: FloatArray  #: (n_items, embedding_size) float32 mean of the item layers; NaN for an item without an event
    inputs_: FloatArray  #: (n_items, embedding_size) float32 what an event adds to a user: layers 0 to K - 1 by degree
    own_: FloatArray  #: (embedding_size, embedding_size) float32 from the sum of a history to the user's own vector
    _layers: Layers  # of the log, while the model is fitted

    def sizes(self, data: Dataset) -> dict[str, Any]:
        """Numbers of users and items."""
        return {"n_users": data.n_users, "n_items": data.n_items}

    def check(self, data: Dataset) -> None:
        """Raise ``DataError`` for a log in which no user left out an item, or no event counts."""
        taken = np.diff(data.matrix("weight").indptr)
        if not ((taken > 0) & (taken < data.n_items)).any():
            raise DataError(
                f"{data.name}: LightGCN learns from what a user took and what he did not, and here nobody has both."
            )

    def build(self) -> nn.Module:
        """Vectors of layer 0."""
        return _Vectors(self.sizes_["n_users"], self.sizes_["n_items"], self.config)

    def objective(self, data: Dataset) -> Objective:
        """Pairs of a user and an item, beside items that he did not take."""
        table = data.matrix("weight")
        degrees = np.asarray(table.sum(axis=0, dtype=np.float64))
        self._layers = Layers(normalized(table, 0.5, 0.5), self.config.layers, degrees)
        return _Pairs(self, data)

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Draw the vectors anew and train them; errors as ``TorchModel.fit``."""
        try:
            super().fit(data, rng=rng, monitor=monitor)
        finally:
            self.__dict__.pop("_layers", None)
        return self

    @torch.no_grad()
    def settle(self) -> None:
        """Go through the layers and keep what answers are made of; a model from disk has it already."""
        if not hasattr(self, "_layers"):
            return
        users, items = (self.module_.get_parameter(f"{side}.weight").cpu() for side in ("users", "items"))
        parts, depth = self.config.layers + 1, self.config.layers
        _, below = self._layers.total(users, items, depth - 1)
        summed, above = self._layers.total(users, items, depth)
        known = self._layers.degrees > 0
        self.items_ = np.where(known[:, None], above.numpy() / parts, np.float32(np.nan))
        scale = negative_power(self._layers.degrees, 0.5)[:, None] / parts
        self.inputs_ = np.ascontiguousarray(below.numpy() * scale, dtype=np.float32)
        self.own_ = _ridge(summed.numpy() / parts - users.numpy() / parts, users.numpy() / parts)

    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, embedding_size) float32; a row of NaN where no item of the history has an event in the log."""
        self.check_fitted()
        check_range("score", "queries.items", queries.items, len(self.inputs_))
        out = self._summed(queries)
        nothing = ~out.any(axis=1)
        own = out @ self.own_
        if queries.as_trained is not None:
            trained = queries.as_trained & (queries.users >= 0)
            table = self.module_.get_parameter("users.weight").detach()
            own[trained] = table[self.tensor(queries.users[trained])].cpu().numpy() / (self.config.layers + 1)
        out += own
        out[nothing] = np.nan
        return out

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32 cosine of the item vectors; NaN for items without an event."""
        self.check_fitted()
        return self.cosines(self.items_, items)

    def cost(self, shape: Shape) -> Cost:
        """The layers, forward and backward, at each step."""
        c, vectors = self.config, float(shape.n_users + shape.n_items) * self.config.embedding_size
        steps = c.epochs * -(-shape.n_events // c.batch_size)
        layers = 8.0 * c.layers * shape.n_events * c.embedding_size
        return Cost(gather=steps * (layers + 12 * vectors), bytes=40 * vectors + 60.0 * shape.n_events + 3e8)

    def _summed(self, queries: Queries) -> FloatArray:
        """(n, embedding_size) float32 sum of the history's inputs, over the root of its weight."""
        weights, rows = queries.event_weights(), queries.rows
        degrees = np.bincount(rows, weights.astype(np.float64), len(queries)).astype(np.float64)
        scaled = (weights * negative_power(degrees, 0.5)[rows]).astype(np.float32)
        history = sparse.csr_array(
            (scaled, queries.items, queries.offsets), shape=(len(queries), len(self.inputs_))
        )
        return product(history, self.inputs_)


class Layers:
    """The layers of a graph, in which items weigh ``degrees`` (n_items,)."""

    def __init__(self, graph: Graph, depth: int, degrees: FloatArray) -> None:
        self.graph, self.depth, self.degrees = graph, depth, degrees
        self.elsewhere: dict[tuple[torch.device, int], tuple[Tensor, ...]] = {}

    def total(self, users: Tensor, items: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Sum of the layers 0 to ``depth`` of (n_users, d) and (n_items, d) vectors, by Horner's rule."""
        all_users, all_items = users, items
        for _ in range(depth):
            all_users, all_items = (
                users + self._product(0, all_items),
                items + self._product(1, all_users),
            )
        return all_users, all_items

    def _product(self, side: int, panel: Tensor) -> Tensor:
        """R (side 0) or its transpose (side 1) times a panel; on the CPU by the cores of ``recsmith.parallel``."""
        matrix = (self.graph.by_user, self.graph.by_item)[side]
        if panel.device.type == "cpu":
            return torch.from_numpy(product(matrix, panel.contiguous().numpy()))
        if (panel.device, side) not in self.elsewhere:
            parts = (matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64), matrix.data)
            self.elsewhere[panel.device, side] = tuple(torch.from_numpy(p).to(panel.device) for p in parts)
        items, bounds, values = self.elsewhere[panel.device, side]
        return functional.embedding_bag(
            items, panel, bounds, mode="sum", per_sample_weights=values, include_last_offset=True
        )


class MeanOfLayers(torch.autograd.Function):
    """The mean of the layers 0 to K; its gradient is the same mean of the gradient."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, layers: Layers) -> tuple[Tensor, Tensor]:
        """(n_users, d) and (n_items, d)."""
        ctx.layers = layers
        all_users, all_items = layers.total(users, items, layers.depth)
        return all_users / (layers.depth + 1), all_items / (layers.depth + 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """The same map."""
        users, items = ctx.layers.total(*gradients, ctx.layers.depth)
        return users / (ctx.layers.depth + 1), items / (ctx.layers.depth + 1), None


class _Pairs(Objective):
    """What a user took should score above what he did not."""

    regularizes = True

    def __init__(self, model: LightGCN, data: Dataset) -> None:
        self.module, self.config, self.layers = model.module_, model.config, model._layers
        self.device, self.sampler = model.device, NegativeSampler.of(data)
        taken = self.sampler.positives
        rows = ragged_rows(taken.indptr)
        kept = np.diff(taken.indptr)[rows] < data.n_items  # who took everything teaches nothing
        self.user, self.item, self.n_items = rows[kept], taken.indices[kept], data.n_items
        self.n_examples = len(self.user)
        self.begin(0, np.random.default_rng(0))

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """What is drawn comes from the epoch's generator; for BPR from the epoch's seed and the pair's number."""
        self.rng, self.seed = rng, int(rng.integers(2**62))

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        own_users, own_items = map(self.module.get_parameter, ("users.weight", "items.weight"))
        users, items = MeanOfLayers.apply(own_users, own_items, self.layers)  # type: ignore[no-untyped-call]
        u, i = self._on_device(self.user[rows]), self._on_device(self.item[rows])
        mine = functional.embedding(u, users)
        right = (mine * functional.embedding(i, items)).sum(1)
        if self.config.loss == "bpr":
            j = self._hardest(rows, mine.detach(), items.detach())
            missed = bpr(right, (mine * functional.embedding(j, items)).sum(1))
        else:
            j = self._on_device(self.rng.integers(self.n_items, size=self.config.negatives))
            wrong = mine @ functional.embedding(j, items).T
            missed = sampled_softmax(right, wrong.masked_fill(j == i[:, None], float("-inf")))
        touched = (functional.embedding(u, own_users), functional.embedding(torch.cat([i, j]), own_items))
        squares = touched[0].square().sum() + touched[1].square().sum()
        return missed + 0.5 * self.config.reg * squares, len(rows)

    def _hardest(self, rows: IntArray, mine: Tensor, items: Tensor) -> Tensor:
        """(len(rows),) int64 the item that scores highest of some that the user of each pair did not take."""
        drawn = self._on_device(self.sampler.draw(self.config.candidates, self.seed, self.user[rows], rows))
        if drawn.shape[1] == 1:
            return drawn[:, 0]
        scores = (functional.embedding(drawn, items) @ mine[:, :, None])[:, :, 0]
        return drawn.gather(1, scores.argmax(1, keepdim=True))[:, 0]

    def _on_device(self, indices: IntArray) -> Tensor:
        return torch.from_numpy(indices.astype(np.int64)).to(self.device)


class _Vectors(nn.Module):
    def __init__(self, n_users: int, n_items: int, config: LightGCNConfig) -> None:
        super().__init__()
        self.users = nn.Embedding(n_users, config.embedding_size)
        self.items = nn.Embedding(n_items, config.embedding_size)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=config.init_std)


def _ridge(x: FloatArray, y: FloatArray) -> FloatArray:
    """(d, d) float32 M with the least ``|x M - y|^2 + ridge |M|^2`` over the rows of ``x`` that are not 0."""
    some = x.any(axis=1)
    a, b = x[some].astype(np.float64), y[some].astype(np.float64)
    gram = a.T @ a
    ridge = _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
    return np.linalg.solve(gram + ridge * np.eye(len(gram)), a.T @ b).astype(np.float32)

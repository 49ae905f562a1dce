"""GC-MC: ratings as edges of a graph, over which users and items tell one another who they are.

R. van den Berg, T. N. Kipf and M. Welling, "Graph Convolutional Matrix Completion", arXiv:1706.02263, 2017. Each item
sends a message to those who rated it, another for each level of the rating, and users to items likewise; with ordinal
weight sharing the message of a level is that of the level below plus a part of its own (section 2.8). A node is made of
the sum of its messages and a dense layer (sections 2.3 and 2.7). The decoder is a softmax over the levels of bilinear
forms with shared bases, and the expected level is the prediction (sections 2.4 and 2.8). Weights are averaged over the
steps (section 5).

Beyond the paper: the ratings that a step predicts send no message in it; the dense layer and the softmax also see the
node's shares of the levels, drawn towards those of all ratings; the loss is cross-entropy plus squared error.

A user is made of the messages of the items that he rated, so any history with ratings will do.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.models.baselines.rating_baseline import history_ratings, rated, rating_scale
from recsmith.models.torch_model import TorchModel, asking
from recsmith.protocols import Monitor
from recsmith.training.config import TrainingConfig
from recsmith.training.loop import Objective
from recsmith.types import Cost, FloatArray, IntArray, Prediction, Queries, Shape, check_range

_MOST_LEVELS = 20  # of ratings; more are drawn together
_LEAST_STEPS = 5  # of an epoch: a step predicts a fifth of the ratings at most, and the others send messages
_NUMBERS = 1 << 22  # of logits at once
_LEAST_ROWS = 4  # of a product: with fewer, another kernel adds in another order


class GCMCConfig(TrainingConfig):
    """Parameters of GC-MC."""

    epochs: int = Field(default=50, ge=1)
    """Passes over the ratings at most, >= 1."""
    batch_size: int = Field(default=4096, ge=1)
    """Ratings that a step predicts, >= 1; at most a fifth of all."""
    learning_rate: Annotated[float, Search(1e-3, 1e-2, log=True)] = Field(default=5e-3, gt=0)
    """Step size of Adam at its largest, > 0."""
    reg: Annotated[float, Search(1e-4, 3e-3, log=True)] = Field(default=7e-4, ge=0)
    """L2: half of this times the squared weights is added to the mean loss, >= 0."""
    embedding_size: Annotated[int, Search(32, 128, log=True)] = Field(default=64, ge=1)
    """Length of a message, and of what a node is made into, >= 1."""
    bases: int = Field(default=2, ge=1)
    """Bilinear forms that the levels share, >= 1."""
    dropout: Annotated[float, Search(0.1, 0.6)] = Field(default=0.3, ge=0, lt=1)
    """Share of the numbers of a node that are set to 0 in training, 0 to 1."""
    node_dropout: Annotated[float, Search(0.0, 0.4)] = Field(default=0.0, ge=0, lt=1)
    """Share of the nodes that send no message at a step, 0 to 1."""
    prior: Annotated[float, Search(1, 10, log=True)] = Field(default=2.0, gt=0)
    """Ratings of average level that a node is taken to have beforehand, > 0."""
    averaging: float = Field(default=0.98, ge=0, lt=1)
    """What an average of the weights keeps of itself at a step, 0 to 1."""


class GCMC(TorchModel[GCMCConfig]):
    """Graph convolution for ratings."""

    config_class = GCMCConfig
    learned = ("sizes_", "items_")
    items_: FloatArray  #: (n_items + 1, embedding_size + levels) float32 nodes and logarithms of shares; last: unknown
    _log: Dataset  # while the model is fitted

    def sizes(self, data: Dataset) -> dict[str, Any]:
        """Numbers of users and items, the levels with their shares, and the scale."""
        value = rated(data).ratings()
        levels = np.unique(value)
        if len(levels) > _MOST_LEVELS:
            levels = np.unique(np.quantile(value, (np.arange(_MOST_LEVELS) + 0.5) / _MOST_LEVELS))
        counts = np.bincount(nearest(levels, value), minlength=len(levels)) + 1e-3
        return {
            "n_users": data.n_users,
            "n_items": data.n_items,
            "levels": [float(level) for level in levels],
            "shares": [float(share) for share in counts / counts.sum()],
            "scale": rating_scale(data),
        }

    def check(self, data: Dataset) -> None:
        """Raise ``DataError`` for a log without ratings."""
        rated(data)

    def build(self) -> nn.Module:
        """The averaged weights, which answer."""
        module = nn.Module()
        module.average = _Network(self.sizes_, self.config).requires_grad_(False)
        module.register_buffer("steps", torch.zeros(1, dtype=torch.int64))
        return module

    def objective(self, data: Dataset) -> Objective:
        """Ratings, each predicted from messages of others; the weights that are taught stand beside their average."""
        data = rated(data)
        self._log = data.take(data.latest())
        self.module_.live = copy.deepcopy(self.module_.average).requires_grad_(True)
        return _Ratings(self, self._log)

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Draw the weights anew and train them; errors as ``TorchModel.fit``."""
        try:
            super().fit(data, rng=rng, monitor=monitor)
        finally:
            self.__dict__.pop("_log", None)
        del self.module_.live
        return self

    @torch.no_grad()
    def settle(self) -> None:
        """Make the items' nodes; a model from disk has them already."""
        self.module_.get_submodule("average").eval()
        if not hasattr(self, "_log"):
            return
        levels = nearest(np.array(self.sizes_["levels"]), self._log.ratings())
        inbox = Inbox.of(self._log.item, self._log.user, levels, self.sizes_["n_items"] + 1, self.device)
        side: _Side = self.module_.average.items  # type: ignore[assignment, union-attr]
        self.items_ = torch.cat(side(inbox, inbox.everything()), 1).cpu().numpy()

    def predict(self, queries: Queries, rows: IntArray, items: IntArray) -> Prediction:
        """Ratings of the pairs with their standard deviations; without a history, or of item -1, of an average one.

        Raises
        ------
        DataError
            The histories have no ratings.
        """
        self.check_fitted()
        check_range("predict", "items", items[items != -1], len(self.items_) - 1)
        out = np.empty((2, len(rows)), dtype=np.float32)
        with asking():
            torch.set_num_threads(1)  # the digits of a product depend on their number
            users, table = self._users(queries), self.tensor(self.items_)
            levels = self.tensor(np.array(self.sizes_["levels"], dtype=np.float32))
            size = max(1, _NUMBERS // (len(levels) + self.items_.shape[1]))
            for start in range(0, len(rows), size):
                part = slice(start, start + size)
                left, right = self.tensor(rows[part]), self.tensor(items[part])
                logits = self.module_.average.pairs(users[left], table[right])  # type: ignore[operator, union-attr]
                shares = torch.softmax(logits, 1)
                mean = shares @ levels
                spread = (shares @ levels.square() - mean.square()).clamp_min(0).sqrt()
                out[:, part] = torch.stack([mean, spread]).cpu().numpy()
        return Prediction(np.clip(out[0], *self.sizes_["scale"]).astype(np.float32), out[1])

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) or (n, len(items)) float32 expected ratings; NaN without a history.

        Raises
        ------
        DataError
            The histories have no ratings.
        """
        self.check_fitted()
        columns = self.items_[:-1] if items is None else self.items_[:-1][items]
        out = np.full((len(queries), len(columns)), np.nan, dtype=np.float32)
        with asking():
            torch.set_num_threads(1)  # the digits of a product depend on their number
            users, table = self._users(queries), self.tensor(columns)
            levels = self.tensor(np.array(self.sizes_["levels"], dtype=np.float32))
            size = max(1, _NUMBERS // max(1, len(columns) * len(levels)))
            for start in range(0, len(out), size):
                part = slice(start, start + size)
                logits = self.module_.average.all_pairs(users[part], table)  # type: ignore[operator, union-attr]
                out[part] = (torch.softmax(logits, 2) @ levels).cpu().numpy()
        out[queries.lengths == 0] = np.nan
        return out

    def cost(self, shape: Shape) -> Cost:
        """Messages of all ratings, forward and backward, at each step."""
        c = self.config
        steps = c.epochs * max(_LEAST_STEPS, shape.n_events // c.batch_size)
        tables = 5.0 * (shape.n_users + shape.n_items) * c.embedding_size
        gather = steps * (12.0 * shape.n_events * c.embedding_size + 20 * tables)
        gemm = 12.0 * steps * (shape.n_users + shape.n_items + c.bases * c.batch_size) * c.embedding_size**2
        return Cost(gemm=gemm, gather=gather, bytes=60 * tables + 100.0 * shape.n_events + 3e8)

    def _users(self, queries: Queries) -> Tensor:
        """(n, embedding_size + levels) nodes and logarithms of shares, of the histories."""
        check_range("predict", "queries.items", queries.items, len(self.items_) - 1)
        value = history_ratings(queries)
        kept = np.flatnonzero(~np.isnan(value))
        levels = nearest(np.array(self.sizes_["levels"]), value[kept])
        n = max(len(queries), _LEAST_ROWS)
        inbox = Inbox.of(queries.rows[kept], queries.items[kept], levels, n, self.device)
        side: _Side = self.module_.average.users  # type: ignore[assignment, union-attr]
        return torch.cat(side(inbox, inbox.everything()), 1)[: len(queries)]


def nearest(levels: FloatArray, value: FloatArray) -> IntArray:
    """(m,) int64 number of the level that each value is nearest to; ``levels`` rise."""
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, value, side="right").astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Inbox:
    """Who gets a message from whom, and of which level."""

    receivers: Tensor  #: (m,) int64, rising
    senders: Tensor  #: (m,) int64
    levels: Tensor  #: (m,) int64
    offsets: Tensor  #: (n,) int64 where the messages of each receiver start
    order: Tensor  #: (m,) int64 place of each message in the log

    @classmethod
    def of(
        cls, receivers: IntArray, senders: IntArray, levels: IntArray, n: int, device: torch.device
    ) -> Inbox:
        """Sort messages by receiver, of which there are ``n``."""
        order = np.argsort(receivers, kind="stable")
        sizes = np.bincount(receivers, minlength=n)
        arrays = (receivers[order], senders[order], levels[order], np.cumsum(sizes) - sizes, order)
        return cls(*(torch.from_numpy(np.asarray(a, dtype=np.int64)).to(device) for a in arrays))

    def everything(self) -> Tensor:
        """(m,) weights with which every message counts."""
        return torch.ones(len(self.order), device=self.order.device)


class _Ratings(Objective):
    """Predict some ratings from the messages of the others."""

    def __init__(self, model: GCMC, log: Dataset) -> None:
        self.module, self.config, self.device = model.module_, model.config, model.device
        sizes = model.sizes_
        levels = nearest(np.array(sizes["levels"]), log.ratings())
        self.to_users = Inbox.of(log.user, log.item, levels, sizes["n_users"], self.device)
        self.to_items = Inbox.of(log.item, log.user, levels, sizes["n_items"], self.device)
        self.user, self.item, self.level = (
            torch.from_numpy(np.asarray(a, dtype=np.int64)).to(self.device)
            for a in (log.user, log.item, levels)
        )
        self.levels = torch.tensor(sizes["levels"], dtype=torch.float32, device=self.device)
        self.n_examples = len(log)

    def order(self, batch_size: int, rng: np.random.Generator) -> list[IntArray]:
        """The batches of an epoch."""
        return super().order(min(batch_size, -(-self.n_examples // _LEAST_STEPS)), rng)

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        self._average()
        asked = torch.from_numpy(rows).to(self.device)
        sent = torch.ones(self.n_examples, device=self.device)
        sent[asked] = 0
        network: _Network = self.module.get_submodule("live")  # type: ignore[assignment]
        users = torch.cat(network.users(self.to_users, self._sent(self.to_users, sent)), 1)
        items = torch.cat(network.items(self.to_items, self._sent(self.to_items, sent)), 1)
        left, right = (
            functional.embedding(index[asked], nodes)
            for index, nodes in ((self.user, users), (self.item, items))
        )
        logits, wanted = network.pairs(left, right), self.level[asked]
        missed = torch.softmax(logits, 1) @ self.levels - self.levels[wanted]
        return functional.cross_entropy(logits, wanted, reduction="sum") + missed.square().sum(), len(rows)

    def _sent(self, inbox: Inbox, sent: Tensor) -> Tensor:
        """(m,) weights of messages: 0 for those of ratings that are asked for and of nodes that are dropped."""
        weights, share = sent[inbox.order], self.config.node_dropout
        if not share:
            return weights
        speaks = torch.rand(int(inbox.senders.max()) + 1, device=self.device) >= share
        return weights * speaks[inbox.senders] / (1 - share)

    @torch.no_grad()
    def _average(self) -> None:
        """Draw the average towards the weights, faster at first."""
        live, average = (self.module.get_submodule(name) for name in ("live", "average"))
        steps: Tensor = self.module.get_buffer("steps").add_(1)
        kept = torch.clamp((1 + steps) / (10 + steps), max=self.config.averaging)
        for now, before in zip(live.parameters(), average.parameters(), strict=True):
            before.lerp_(now, 1 - kept)


class _Side(nn.Module):
    """Receivers of one kind, made of messages of the other."""

    def __init__(self, n_senders: int, shares: Tensor, config: GCMCConfig) -> None:
        super().__init__()
        size, n_levels = config.embedding_size, len(shares)
        self.parts = nn.Parameter(torch.randn(n_senders, n_levels, size) * 0.05)
        self.dense = nn.Linear(size + n_levels + 1, size)
        self.shares, self.n_levels = shares, n_levels
        self.prior, self.dropout = config.prior, config.dropout

    def forward(self, inbox: Inbox, weights: Tensor) -> tuple[Tensor, Tensor]:
        """(n, size) nodes and (n, levels) logarithms of their shares of the levels."""
        n, shares = len(inbox.offsets), self.shares.to(weights.device)
        messages = self.parts.cumsum(1).view(-1, self.parts.shape[2])
        at = inbox.senders * self.n_levels + inbox.levels
        total = functional.embedding_bag(at, messages, inbox.offsets, mode="sum", per_sample_weights=weights)
        counts = weights.new_zeros(n * self.n_levels)
        counts = counts.index_add_(0, inbox.receivers * self.n_levels + inbox.levels, weights).view(n, -1)
        degree = counts.sum(1, keepdim=True)
        hidden = torch.tanh(total / degree.clamp_min(1).sqrt())
        hidden = functional.dropout(hidden, self.dropout, self.training)
        logs = torch.log((counts + self.prior * shares) / (degree + self.prior))
        seen = torch.cat([hidden, logs - logs.mean(1, keepdim=True), torch.log1p(degree)], 1)
        return functional.dropout(self.dense(seen), self.dropout, self.training), logs


class _Network(nn.Module):
    def __init__(self, sizes: dict[str, Any], config: GCMCConfig) -> None:
        super().__init__()
        shares = torch.tensor(sizes["shares"], dtype=torch.float32)
        self.users = _Side(sizes["n_items"], shares, config)
        self.items = _Side(sizes["n_users"], shares, config)
        self.size = size = config.embedding_size
        self.forms = nn.Parameter(torch.randn(config.bases, size, size) / size)
        self.mix = nn.Parameter(torch.randn(len(shares), config.bases) * 0.5)
        self.belief = nn.Parameter(torch.ones(2))  # in the shares of user and item
        self.bias = nn.Parameter(-shares.log())

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """(p, levels) logits of pairs of rows: each a node and logarithms of shares."""
        left, right = users[:, : self.size], items[:, : self.size]
        forms = torch.stack([((left @ form) * right).sum(1) for form in self.forms], 1)
        believed = self.belief[0] * users[:, self.size :] + self.belief[1] * items[:, self.size :]
        return forms @ self.mix.T + believed + self.bias

    def all_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """(n, m, levels) logits of every user with every item."""
        left, right = users[:, : self.size], items[:, : self.size]
        forms = torch.stack([(left @ form) @ right.T for form in self.forms], 2)
        believed = self.belief[0] * users[:, None, self.size :] + self.belief[1] * items[None, :, self.size :]
        return forms @ self.mix.T + believed + self.bias

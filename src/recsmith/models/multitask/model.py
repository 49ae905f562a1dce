"""Several tasks on one pair of a user and an item: a shared bottom, or a mixture of experts for each task.

J. Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD 2018:
``y_t = h_t(f(x))`` with one ``f`` for all tasks (equation 1), and MMoE, ``y_t = h_t(sum over e of g_t(x)_e f_e(x))``
with ``g_t(x) = softmax(W_t x)`` (equations 5 to 7). x is the pool of the user's history (``neural/pool.py``; ratings
weigh in a table of their own), the item's vector, and their product, which each task reads directly, too.

The losses are added up with fixed weights, or by how uncertain each task is: A. Kendall, Y. Gal and R. Cipolla,
"Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018, equations 7 and 10: ``exp(-s_t) L_t + s_t / 2``,
half as much of a squared error, with s learned.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data.dataset import Dataset
from recsmith.errors import DataError, ParameterError
from recsmith.models.baselines.rating_baseline import RatingBaseline, clipped, rating_scale
from recsmith.models.layers import Dropout
from recsmith.models.multitask.tasks import RATING, labels, task_names
from recsmith.models.neural.pool import PairsAgainstDrawn, check_negatives, histories, pooled, root_scale
from recsmith.models.torch_model import TorchModel, asking, scores_array
from recsmith.training.curriculum import NegativesConfig
from recsmith.training.loop import Objective
from recsmith.types import FloatArray, IntArray, Prediction, Queries, check_range

_PAIRS = 1 << 13  # pairs of a user and an item that pass through the layers at once


class SharedBottomConfig(NegativesConfig):
    """Parameters of a model of several tasks."""

    tasks: tuple[str, ...] | None = None
    """Kinds of events, ``rating``, ``liked``, ``watched``; None: all that the log has."""
    answer: str | None = None
    """The task that orders lists; None: the one with the fewest examples that is not ``rating``."""
    liked: float = 4.0
    """Rating from which an item is liked."""
    weighting: Literal["fixed", "uncertainty"] = "fixed"
    """How losses are added up: by ``weights``, or by what is learned of their uncertainty."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Weight of a task's loss where it is not 1, >= 0."""
    embedding_size: int = Field(default=32, ge=1)
    """Length of a vector, >= 1."""
    hidden: int = Field(default=64, ge=1)
    """Width of the bottom, or of each expert, >= 1."""
    tower: int = Field(default=32, ge=1)
    """Width of the layer that a task has for itself, >= 1."""
    epochs: int = Field(default=30, ge=1)
    """Passes over the pairs at most, >= 1."""
    learning_rate: float = Field(default=5e-3, gt=0)
    """Step size of Adam at its largest, > 0."""
    reg: float = Field(default=1e-5, ge=0)
    """L2: half of this times the squared weights is added to the mean loss, >= 0."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of pooled and hidden activations set to 0 in training, 0 to 1."""


class MMoEConfig(SharedBottomConfig):
    """Parameters of a mixture of experts."""

    experts: int = Field(default=4, ge=1)
    """Experts that all tasks choose from, >= 1."""
    hidden: int = Field(default=32, ge=1)
    """Width of each expert, >= 1."""


class SharedBottom(TorchModel[SharedBottomConfig]):
    """One bottom under all tasks."""

    config_class: ClassVar[type[SharedBottomConfig]] = SharedBottomConfig
    learned = ("sizes_", "item_mean_")
    module_: _Network
    item_mean_: FloatArray  #: (n_items,) float32 what an item's ratings are compared with; 0 without ratings

    def sizes(self, data: Dataset) -> dict[str, Any]:
        """Numbers of items and experts, and the tasks."""
        tasks = task_names(data, self.config.tasks)
        for name in (*self.config.weights, *([self.config.answer] if self.config.answer else [])):
            if name not in tasks:
                raise ParameterError.unknown("task", name, tasks)
        pairs = data.matrix("ones")
        found = labels(data, tasks, self.config.liked, pairs.indptr, pairs.indices)
        counts = np.where([name == RATING for name in tasks], np.inf, (found > 0).sum(axis=0))
        scale, mean = None, 0.0
        self.item_mean_ = np.zeros(data.n_items, dtype=np.float32)
        if data.value is not None and not np.isnan(data.value).all():
            base = RatingBaseline().fit(data)
            scale, mean = rating_scale(data), base.mean_
            self.item_mean_ = (base.mean_ + base.item_bias_).astype(np.float32)
        answer = self.config.answer or tasks[int(counts.argmin())]
        return {
            "n_items": data.n_items, "tasks": tasks, "answer": answer, "scale": scale, "mean": float(mean)
        }  # fmt: skip

    def check(self, data: Dataset) -> None:
        """Raise ``DataError`` where every user took every item."""
        check_negatives(data)

    def build(self) -> _Network:
        """Vectors, bottom and towers."""
        rated = self.sizes_["scale"] is not None
        network = _Network(self.sizes_["n_items"], len(self.sizes_["tasks"]), self.config, rated=rated)
        if RATING in self.sizes_["tasks"]:
            network.begin_at_zero(self.sizes_["tasks"].index(RATING))
        return network

    def objective(self, data: Dataset) -> Objective:
        """Each pair with drawn items, for every task that it is an example of."""
        return _Tasks(self, data)

    def answering(self, task: str) -> Self:
        """The same model with the lists of another of its tasks; the weights are shared.

        Raises
        ------
        ParameterError
            A task that it did not learn.
        """
        self.check_fitted()
        if task not in self.sizes_["tasks"]:
            raise ParameterError.unknown("task", task, self.sizes_["tasks"])
        other = copy.copy(self)
        other.sizes_ = {**self.sizes_, "answer": task}
        return other

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) or (n, len(items)) float32 of the task that answers; NaN where the history is empty."""
        self.check_fitted()
        chosen = np.arange(self.sizes_["n_items"]) if items is None else items
        check_range("score", "items", chosen, self.sizes_["n_items"])
        task = self.sizes_["tasks"].index(self.sizes_["answer"])
        columns = max(1, min(len(chosen), _PAIRS))
        rows = max(1, _PAIRS // columns)
        with asking():
            pools, wanted = self._pools(queries), self.tensor(chosen)
            scores = pools.new_empty(len(pools), len(chosen))
            for r in range(0, len(pools), rows):
                for c in range(0, len(chosen), columns):
                    part = wanted[None, c : c + columns]
                    scores[r : r + rows, c : c + columns] = self.module_(pools[r : r + rows], part, task)
        return scores_array(scores, queries.lengths == 0)

    def predict(self, queries: Queries, rows: IntArray, items: IntArray) -> Prediction:
        """Ratings of the pairs, within the rating scale; the log's mean, or the item's, where nothing more is known.

        Raises
        ------
        DataError
            The model did not learn the task ``rating``.
        """
        self.check_fitted()
        if RATING not in self.sizes_["tasks"]:
            raise DataError("This model did not learn the task 'rating', so it predicts no ratings.")
        known = items >= 0
        mean = np.where(known, self.item_mean_[items], self.sizes_["mean"]).astype(np.float32)
        there = np.flatnonzero(known & (queries.lengths[rows] > 0))
        if len(there):
            with asking():
                pools = self._pools(queries)[self.tensor(rows[there])]
                task = self.sizes_["tasks"].index(RATING)
                mean[there] += (
                    self.module_(pools, self.tensor(items[there])[:, None], task)[:, 0].cpu().numpy()
                )
        return clipped(mean, self.sizes_["scale"])

    def _pools(self, queries: Queries) -> Tensor:
        matrix = histories(queries, self.sizes_["n_items"])
        pools = pooled(self.module_.history.weight, matrix)
        if self.module_.residuals is not None and queries.values is not None:
            rest = _rests(queries.values, self.item_mean_[queries.items])
            pools = pools + pooled(
                self.module_.residuals.weight, histories(queries, self.sizes_["n_items"], rest)
            )
        return pools * self.tensor(root_scale(matrix.sum(axis=1)))[:, None]


class MMoE(SharedBottom):
    """A mixture of experts for each task."""

    config_class = MMoEConfig


def _rests(values: FloatArray, means: FloatArray) -> FloatArray:
    """float32 ratings less the item's mean; 0 where there is none."""
    rests: FloatArray = np.nan_to_num(values - means).astype(np.float32)
    return rests


class _Network(nn.Module):
    """Scores of pairs for every task; with ``experts`` an MMoE."""

    def __init__(self, n_items: int, n_tasks: int, config: SharedBottomConfig, *, rated: bool) -> None:
        super().__init__()
        size = config.embedding_size
        self.experts = config.experts if isinstance(config, MMoEConfig) else 1
        wide = self.experts * config.hidden
        self.items, self.history = nn.Embedding(n_items, size), nn.Embedding(n_items, size)
        self.residuals = nn.Embedding(n_items, size) if rated else None
        for table in (self.items, self.history, self.residuals):
            if table is not None:
                nn.init.normal_(table.weight, std=0.05)
        self.bias = nn.Embedding(n_items, n_tasks)
        nn.init.zeros_(self.bias.weight)
        self.from_user, self.from_item = nn.Linear(size, wide), nn.Linear(size, wide, bias=False)
        self.from_product = nn.Linear(size, wide, bias=False)
        self.direct = nn.Parameter(torch.ones(n_tasks, size))
        gates = n_tasks if self.experts > 1 else 0
        self.user_gates = nn.ModuleList([nn.Linear(size, self.experts) for _ in range(gates)])
        self.item_gates = nn.ModuleList([nn.Linear(size, self.experts, bias=False) for _ in range(gates)])
        self.towers = nn.ModuleList(
            [nn.Sequential(nn.Linear(config.hidden, config.tower), nn.ReLU(), nn.Linear(config.tower, 1))
             for _ in range(n_tasks)]
        )  # fmt: skip
        self.log_variance = nn.Parameter(torch.zeros(n_tasks))
        self.drop = Dropout(config.dropout)

    @torch.no_grad()
    def begin_at_zero(self, task: int) -> None:
        """Let a task say 0 of all pairs until it has learned: a rating begins at the item's mean."""
        last: nn.Linear = self.towers[task][-1]  # type: ignore[index]
        for parameter in (last.weight, last.bias, self.direct[task]):
            parameter.zero_()

    def forward(self, pools: Tensor, items: Tensor, task: int | None = None) -> Tensor:
        """(r, m, tasks) scores of the items (r, m), or (1, m) for all, for the pools (r, d); (r, m) of one task."""
        pools, vectors = self.drop(pools), self.items(items)
        product = pools[:, None] * vectors
        first = self.from_user(pools)[:, None] + self.from_item(vectors) + self.from_product(product)
        shared = self.drop(functional.relu(first))
        experts = shared.view(*shared.shape[:2], self.experts, -1)
        tasks = range(len(self.towers)) if task is None else [task]
        direct = functional.linear(product, self.direct[list(tasks)]) + self.bias(items)[..., list(tasks)]
        deep = torch.cat([self.towers[t](self._mixed(experts, pools, vectors, t)) for t in tasks], dim=-1)
        scores: Tensor = direct + deep
        return scores if task is None else scores[..., 0]

    def _mixed(self, experts: Tensor, pools: Tensor, vectors: Tensor, task: int) -> Tensor:
        """(r, m, width) what a task reads of the experts (r, m, e, width)."""
        if self.experts == 1:
            return experts[:, :, 0]
        gate = torch.softmax(self.user_gates[task](pools)[:, None] + self.item_gates[task](vectors), dim=-1)
        return (experts * gate[..., None]).sum(dim=2)


class _Tasks(PairsAgainstDrawn):
    """Binary cross-entropy against drawn items of each task, the squared error of ratings, weighed and added up."""

    def __init__(self, model: SharedBottom, data: Dataset) -> None:
        self.module, self.config = model.module_, model.config
        self.tasks: list[str] = model.sizes_["tasks"]
        table = data.matrix("ones")
        self.labels = labels(data, self.tasks, model.config.liked, table.indptr, table.indices)
        labelled = np.asarray(np.isfinite(self.labels).any(axis=1))
        super().__init__(data, model.config, model.device, labelled)
        means = model.item_mean_[self.pools.items]
        if RATING in self.tasks:
            self.labels[:, self.tasks.index(RATING)] -= means
        rated = self.module.residuals is not None
        self.rests = _rests(data.matrix("value").data, means) if rated else None
        self.weights: Mapping[str, float] = model.config.weights

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        pairs = self.pairs[rows]
        pools = self.pools.without_target(self.module.history.weight, pairs)
        if self.module.residuals is not None:
            pools = pools + self.pools.without_target(self.module.residuals.weight, pairs, self.rests)
        items = self.offered(pairs, pools, lambda *asked: self.module(*asked).sum(dim=-1))
        scores = self.module(pools, items)
        wanted = torch.from_numpy(self.labels[pairs]).to(self.device)
        losses = [self._task(scores[..., t], wanted[:, t], name) for t, name in enumerate(self.tasks)]
        return torch.stack(losses).sum(), len(rows)

    def _task(self, scores: Tensor, wanted: Tensor, name: str) -> Tensor:
        """Weighed sum over the pairs that are examples of a task, of scores (r, 1 + negatives) and labels (r,)."""
        there = torch.isfinite(wanted).nonzero()[:, 0]
        scores, wanted = scores.index_select(0, there), wanted.index_select(0, there)
        if name == RATING:
            loss = functional.mse_loss(scores[:, 0], wanted, reduction="sum")
        else:
            own = functional.binary_cross_entropy_with_logits(scores[:, 0], wanted, reduction="sum")
            loss = (own + functional.softplus(scores[:, 1:]).sum()) / scores.shape[1]
        loss = loss * self.weights.get(name, 1.0)
        if self.config.weighting == "fixed":
            return loss
        s = self.module.log_variance[self.tasks.index(name)]
        return loss * torch.exp(-s) * (0.5 if name == RATING else 1.0) + len(wanted) * s / 2

"""What models of the next item share: windows of histories to learn from, and asking with the latest events."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.data.dataset import Dataset
from recsmith.data.sequences import latest, pad, windows
from recsmith.errors import DataError
from recsmith.models.torch_model import ProductModel, asking
from recsmith.training.config import TrainingConfig
from recsmith.training.loop import Objective
from recsmith.types import Cost, FloatArray, IntArray, Queries, Shape, check_range

_MIX = 16  # batches among which windows are sorted by length


class NextItemConfig(TrainingConfig):
    """Parameters of a model of the next item."""

    batch_size: int = Field(default=256, ge=1)
    """Windows of mean length of a step, >= 1: a step of shorter ones has more of them."""
    embedding_size: int = Field(default=64, ge=1)
    """Length of an item vector, >= 1."""
    max_length: int = Field(default=50, ge=1)
    """Latest events of a history that are read, >= 1; older ones are left out."""
    windows: Literal["latest", "all"] = "latest"
    """What of a longer history is learned from: its latest ``max_length`` events, or all of it, piece by piece."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of activations set to 0 in training, 0 to 1."""


C = TypeVar("C", bound=NextItemConfig)


class NextItemModel(ProductModel[C]):
    """Scores are the product of a vector for the history, oldest event first, and the item vectors.

    A subclass's module has ``items`` (an ``nn.Embedding`` of n_items rows) and maps (n, length) int64 items and
    (n,) lengths to (n, length, d) vectors, of which number t has read events 0 to t.
    """

    weighs_history = True  # what counts is the order

    def sizes(self, data: Dataset) -> dict[str, Any]:
        """Number of items."""
        return {"n_items": data.n_items}

    def check(self, data: Dataset) -> None:
        """A log in which nobody has two events has no next item.

        Raises
        ------
        DataError
            Nobody has two events.
        """
        if np.diff(data.offsets).max(initial=0) < 2:
            raise DataError(
                f"{data.name}: no user has two events, so there is no next item to learn from. {type(self).__name__} "
                "needs histories; without them use 'popular'."
            )

    @abstractmethod
    def objective(self, data: Dataset) -> Windows:
        """Windows of the histories, and the loss of some of them."""

    @abstractmethod
    def work(self, n_items: int) -> float:
        """Multiplications that an event of a window takes, in the layers and with the items it is compared with."""

    def cost(self, shape: Shape) -> Cost:
        """All epochs, a way back being twice as dear as the way there; weights, gradients, both moments, the best."""
        config = self.config
        read = shape.n_events if config.windows == "all" else shape.n_users * config.max_length
        gemm = 6.0 * config.epochs * min(read, shape.n_events) * self.work(shape.n_items)
        return Cost(gemm=gemm, bytes=28.0 * config.embedding_size * shape.n_items + 3e8)

    def settle(self) -> None:
        """Keep the item vectors as an array: ``recommend`` multiplies with them."""
        self.items_ = self.item_table().detach().cpu().numpy().copy()

    def item_table(self) -> Tensor:
        """(n_items, d) item vectors that the history's vector is multiplied with."""
        items: nn.Embedding = self.module_.items  # type: ignore[assignment]
        return items.weight[: self.sizes_["n_items"]]

    @property
    def read(self) -> int:
        """Latest events of a history that are read."""
        return self.config.max_length

    def history_vectors(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(n, d) vectors of the padded histories ``items`` (n, length), each with ``lengths`` (n,) >= 1 events."""
        vectors = self.module_(items, lengths)
        last: Tensor = vectors[torch.arange(len(items), device=items.device), lengths - 1]
        return last

    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, d) float32; a row of NaN where the history is empty."""
        self.check_fitted()
        check_range("score", "queries.items", queries.items, len(self.items_))
        starts, lengths = latest(queries.offsets, self.read)
        out = np.full((len(queries), self.items_.shape[1]), np.nan, dtype=np.float32)
        there = np.flatnonzero(lengths)
        if len(there):
            with asking():
                rows = self.tensor(pad(queries.items, starts[there], lengths[there])).clamp_min(0)
                out[there] = self.history_vectors(rows, self.tensor(lengths[there])).float().cpu().numpy()
        return out

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32 cosine of the item vectors."""
        self.check_fitted()
        return self.cosines(self.items_, items)


class Windows(Objective):
    """Pieces of up to ``length`` events of the histories with two or more."""

    def __init__(self, data: Dataset, config: NextItemConfig, device: torch.device, length: int) -> None:
        cut = windows if config.windows == "all" else latest
        starts, lengths = cut(data.offsets, length)
        kept = np.flatnonzero(lengths >= 2)
        self.starts, self.lengths = starts[kept], lengths[kept]
        self.items, self.device = data.item, device
        self.n_examples = len(kept)
        self.rng = np.random.default_rng(0)

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """What is drawn comes from the epoch's generator."""
        self.rng = rng

    def order(self, batch_size: int, rng: np.random.Generator) -> list[IntArray]:
        """Batches of windows of like length, in any order."""
        return like_lengths(self.lengths, batch_size, rng)

    def rows(self, chosen: IntArray) -> tuple[Tensor, Tensor]:
        """(n, longest) int64 padded items and (n,) int64 lengths of windows."""
        padded = pad(self.items, self.starts[chosen], self.lengths[chosen])
        return (
            torch.from_numpy(padded).long().to(self.device),
            torch.from_numpy(self.lengths[chosen]).to(self.device),
        )

    def after_each(self, module: nn.Module, chosen: IntArray) -> tuple[Tensor, Tensor]:
        """(m, d) vectors after each event of windows but the last, and (m,) int64 the items that came next."""
        items, lengths = self.rows(chosen)
        targets = items[:, 1:]
        there = targets >= 0
        return module(items[:, :-1].clamp_min(0), lengths - 1)[there], targets[there]


def like_lengths(lengths: IntArray, batch_size: int, rng: np.random.Generator) -> list[IntArray]:
    """Batches of windows of like length, which have about as many events as ``batch_size`` windows of mean length.

    So there is little padding, and an event counts the same in every step: in batches of equally many windows those of
    short ones would be small, and their events count many times as much as those of long ones.
    """
    wanted = batch_size * lengths.mean()
    shuffled = rng.permutation(len(lengths))
    batches = []
    for start in range(0, len(shuffled), _MIX * batch_size):
        some = shuffled[start : start + _MIX * batch_size]
        some = some[np.argsort(lengths[some], kind="stable")]
        before = np.cumsum(lengths[some]) - lengths[some]
        pieces = max(1, round(lengths[some].sum() / wanted))
        number = (before * pieces) // lengths[some].sum()
        batches += np.split(some, np.flatnonzero(np.diff(number)) + 1)
    return [batches[b] for b in rng.permutation(len(batches))]

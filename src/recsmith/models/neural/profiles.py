"""What autoencoders of whole histories share: users as batches of sparse rows, and asking with any history.

A network reads a history as a bag of items and ends in a linear layer with a row for each item. So the scores are
the product of the vector before that layer and the rows of the layer.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Search
from recsmith.data.dataset import Dataset, Matrix
from recsmith.errors import DataError
from recsmith.models.layers import Dropout
from recsmith.models.torch_model import ProductModel, asking
from recsmith.training.config import TrainingConfig
from recsmith.training.loop import Objective
from recsmith.types import Cost, FloatArray, IntArray, Queries, Shape, check_range, ragged_take

_LEAST_ROWS = 4  # of a product: with fewer, another kernel adds in another order


class ProfileConfig(TrainingConfig):
    """Parameters of an autoencoder of histories."""

    epochs: int = Field(default=50, ge=1)
    """Passes over the users at most, >= 1."""
    batch_size: int = Field(default=128, ge=1)
    """Users of a step, >= 1."""
    hidden_size: Annotated[int, Search(200, 800, log=True)] = Field(default=600, ge=1)
    """Width of the hidden layers, >= 1."""
    latent_size: Annotated[int, Search(50, 400, log=True)] = Field(default=200, ge=1)
    """Length of the code of a history, >= 1."""
    dropout: Annotated[float, Search(0.2, 0.8)] = Field(default=0.5, ge=0, lt=1)
    """Share of a history that is hidden from the network at each step, 0 to 1."""


C = TypeVar("C", bound=ProfileConfig)


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """Histories as sparse rows, each item once."""

    offsets: Tensor  #: (n,) int64 where each row starts
    rows: Tensor  #: (m,) int64 the row of each entry
    items: Tensor  #: (m,) int64
    weights: Tensor  #: (m,) float32 how often, or how much, the item was taken
    unit: Tensor  #: (m,) float32 ``weights`` divided by the length of the row's vector

    @classmethod
    def of(cls, indptr: IntArray, items: IntArray, weights: FloatArray, device: torch.device) -> Profiles:
        """Rows with bounds ``indptr`` (n + 1,), of items that differ within a row."""
        rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        lengths = np.sqrt(np.bincount(rows, np.square(weights, dtype=np.float64), len(indptr) - 1))
        unit = (weights / np.maximum(lengths, 1e-12)[rows]).astype(np.float32)
        whole = (torch.from_numpy(a.astype(np.int64)).to(device) for a in (indptr[:-1], rows, items))
        return cls(*whole, *(torch.from_numpy(a).to(device) for a in (weights, unit)))

    def dense(self, n_items: int) -> Tensor:
        """(n, n_items) float32 ``weights`` in their places."""
        out = self.weights.new_zeros(len(self.offsets), n_items)
        out[self.rows, self.items] = self.weights
        return out


class ProfileModel(ProductModel[C]):
    """A subclass's module has ``out``, the linear layer to the items, and ``before_out``: profiles to its input."""

    items_: FloatArray  #: (n_items, width + 1) float32 rows of the last layer and its biases, of the last ``settle``

    def sizes(self, data: Dataset) -> dict[str, Any]:
        """Number of items."""
        return {"n_items": data.n_items}

    def check(self, data: Dataset) -> None:
        """Raise ``DataError`` for a log without an event that counts."""
        if not data.matrix("weight").data.any():
            raise DataError(
                f"{data.name} has no event that counts. {type(self).__name__} needs at least one."
            )

    @abstractmethod
    def objective(self, data: Dataset) -> Users:
        """The histories of the log, and the loss of some of them."""

    def settle(self) -> None:
        """Keep the last layer as an array: ``recommend`` multiplies with it."""
        out: nn.Linear = self.module_.out  # type: ignore[assignment]
        self.items_ = torch.cat([out.weight, out.bias[:, None]], 1).detach().cpu().numpy()

    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, width + 1) float32 what the last layer reads, and 1; a row of NaN where the history is empty."""
        self.check_fitted()
        n_items = self.sizes_["n_items"]
        check_range("score", "queries.items", queries.items, n_items)
        out = np.full((len(queries), self.items_.shape[1]), np.nan, dtype=np.float32)
        there = np.flatnonzero(queries.lengths)
        if len(there):
            with asking():
                torch.set_num_threads(1)  # the digits of a product depend on their number
                profiles = self._profiles(queries.take(there), n_items)
                read = self.module_.before_out(profiles)[: len(there)]  # type: ignore[operator]
                out[there, :-1] = read.float().cpu().numpy()
            out[there, -1] = 1
        return out

    def cost(self, shape: Shape) -> Cost:
        """The last layer, forward and twice as much backward, for each user and epoch."""
        c = self.config
        weights = float(c.hidden_size) * (2 * shape.n_items + 4 * c.latent_size)
        gemm = 6.0 * c.epochs * shape.n_users * c.hidden_size * (shape.n_items + 4.0 * c.latent_size)
        scattered = 4.0 * c.epochs * shape.n_events * c.hidden_size
        batch = 24.0 * c.batch_size * shape.n_items
        return Cost(gemm=gemm, gather=scattered, bytes=20 * weights + batch + 24.0 * shape.n_events + 3e8)

    def _profiles(self, queries: Queries, n_items: int) -> Profiles:
        """The histories as rows; empty rows behind them where they are few."""
        missing = max(0, _LEAST_ROWS - len(queries))
        offsets = np.pad(queries.offsets, (0, missing), mode="edge")
        events = (queries.event_weights(), queries.items, offsets)
        table = sparse.csr_array(events, shape=(len(offsets) - 1, n_items), copy=True)
        table.sum_duplicates()
        return Profiles.of(table.indptr, table.indices, table.data, self.device)


class Users(Objective):
    """The users of a log with their rows."""

    def __init__(self, data: Dataset, device: torch.device) -> None:
        self.table: Matrix = data.matrix("weight")
        self.users = np.flatnonzero(np.diff(self.table.indptr))
        self.n_examples, self.device = len(self.users), device

    def profiles(self, chosen: IntArray) -> Profiles:
        """Rows of users, by their numbers among those who have one."""
        bounds, positions = ragged_take(self.table.indptr, self.users[chosen])
        return Profiles.of(bounds, self.table.indices[positions], self.table.data[positions], self.device)


class Bag(nn.Module):
    """A linear layer that reads sparse rows: the work is that of the entries, not of all items."""

    def __init__(self, n_items: int, width: int, dropout: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_items, width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.drop = Dropout(dropout)
        nn.init.xavier_normal_(self.weight)

    def forward(self, profiles: Profiles) -> Tensor:
        """(n, width) of rows of length 1, some of their entries hidden in training."""
        total = functional.embedding_bag(
            profiles.items,
            self.weight,
            profiles.offsets,
            mode="sum",
            per_sample_weights=self.drop(profiles.unit),
        )
        return total + self.bias


def multinomial(logits: Tensor, counts: Tensor) -> Tensor:
    """Sum of ``-sum_i counts_i log softmax(logits)_i``, both (n, n_items): Liang et al., WWW 2018, section 2.1."""
    return (counts.sum(1) * torch.logsumexp(logits, 1)).sum() - (counts * logits).sum()


def drawn(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A draw from the normal distribution, through which gradients go."""
    return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)

"""GRU4Rec: a recurrent network reads the history and ranks what comes next.

B. Hidasi, A. Karatzoglou, L. Baltrunas and D. Tikk, "Session-based Recommendations with Recurrent Neural Networks",
ICLR 2016; losses and sampling of B. Hidasi and A. Karatzoglou, "Recurrent Neural Networks with Top-k Gains for
Session-based Recommendations", CIKM 2018, in the form that the first author gives them now (B. Hidasi and A. T. Czapp,
"The Effect of Third Party Implementations on Reproducibility", RecSys 2023): negatives are targets of the same batch
and further items drawn in proportion to ``count ** sample_alpha``; a logit of cross-entropy is lowered by ``log_q``
times the logarithm of how often its item is drawn; BPR-max (equations 10 and 11) weighs the negatives by their softmax.
What is not as there: a batch holds windows of users, all steps of which are learned at once, the targets of the batch
that serve as negatives are a sample, and an item has no bias, so that a score is a product of two vectors.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.models.layers import Dropout
from recsmith.models.losses import sampled_softmax, softmax_over_items
from recsmith.models.sequential.next_item import NextItemConfig, NextItemModel, Windows
from recsmith.types import IntArray

_TINY = 1e-24


class GRU4RecConfig(NextItemConfig):
    """Parameters of GRU4Rec; its state has the length of an item vector."""

    layers: Annotated[int, Search(1, 2)] = Field(default=1, ge=1)
    """Recurrent layers, >= 1."""
    shared: bool = True
    """Whether the items that are read and those that are ranked have the same vectors (constrained embedding)."""
    loss: Literal["softmax", "cross-entropy", "bpr-max"] = "softmax"
    """Over all items, or over negatives."""
    in_batch: int = Field(default=128, ge=0)
    """Negatives that are targets of the same batch, >= 0, where the loss is not over all items."""
    negatives: int = Field(default=512, ge=1)
    """Negatives that are drawn, >= 1, where the loss is not over all items."""
    sample_alpha: Annotated[float, Search(0.0, 1.0)] = Field(default=0.5, ge=0, le=1)
    """Power of an item's number of events that it is drawn in proportion to, 0 (evenly) to 1."""
    log_q: float = Field(default=1.0, ge=0)
    """How much of the logarithm of its frequency is taken off a logit of cross-entropy, >= 0."""
    score_reg: float = Field(default=1.0, ge=0)
    """Penalty of BPR-max on the squared scores of the negatives, >= 0."""


class GRU4Rec(NextItemModel[GRU4RecConfig]):
    """Gated recurrent units over the history."""

    config_class = GRU4RecConfig

    def build(self) -> nn.Module:
        """Item vectors and the recurrent layers."""
        return _Network(self.sizes_["n_items"], self.config)

    def objective(self, data: Dataset) -> Windows:
        """Windows one event longer than what is read: the last is only a target."""
        return _NextItem(self, data)

    def work(self, n_items: int) -> float:
        """Three gates of two products in each layer, and the items that are compared."""
        c = self.config
        compared = n_items if c.loss == "softmax" else c.in_batch + c.negatives + 1
        return c.embedding_size * (6.0 * c.layers * c.embedding_size + compared)

    def item_table(self) -> Tensor:
        """The vectors of the items that are ranked."""
        table: Tensor = self.module_.table()  # type: ignore[operator]
        return table


class _NextItem(Windows):
    """After each event of a window the next item is to be told."""

    def __init__(self, model: GRU4Rec, data: Dataset) -> None:
        super().__init__(data, model.config, model.device, model.config.max_length + 1)
        self.module, self.config = model.module_, model.config
        counts = np.maximum(data.item_counts(), 1).astype(np.float64)
        drawn = counts**model.config.sample_alpha
        self.cumulative = np.cumsum(drawn) / drawn.sum()
        self.log_counts = model.tensor(np.log(counts / counts.sum()).astype(np.float32))
        self.log_drawn = model.tensor(np.log(drawn / drawn.sum()).astype(np.float32))

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        vectors, right = self.after_each(self.module, rows)
        table: Tensor = self.module.table()  # type: ignore[operator]
        if self.config.loss == "softmax":
            return softmax_over_items(vectors, table, right), len(right)
        others, often = self._others(right)
        positive = (vectors * table[right]).sum(1)
        negative = (vectors @ table[others].T).masked_fill(others == right[:, None], float("-inf"))
        if self.config.loss == "bpr-max":
            return bpr_max(positive, negative, self.config.score_reg), len(right)
        correction = self.config.log_q
        return sampled_softmax(
            positive, negative, correction * self.log_counts[right], correction * often
        ), len(right)

    def _others(self, right: Tensor) -> tuple[Tensor, Tensor]:
        """Items that the targets are compared with, and the logarithm of how often each is drawn."""
        within = right[
            torch.from_numpy(self.rng.integers(len(right), size=self.config.in_batch)).to(right.device)
        ]
        places = np.searchsorted(self.cumulative, self.rng.random(self.config.negatives), side="right")
        drawn = torch.from_numpy(np.minimum(places, len(self.cumulative) - 1)).to(right.device)
        return torch.cat([within, drawn]), torch.cat([self.log_counts[within], self.log_drawn[drawn]])


def bpr_max(positive: Tensor, negatives: Tensor, score_reg: float) -> Tensor:
    """Sum of ``-log sum_j s_j sigmoid(positive - negative_j) + score_reg sum_j s_j negative_j^2``, s the softmax.

    Hidasi and Karatzoglou, CIKM 2018, equation 11. (rows,) and (rows, k) logits; -inf where one does not count.
    """
    shares = torch.softmax(negatives, 1)
    finite = negatives.masked_fill(shares == 0, 0.0)
    won = (shares * torch.sigmoid(positive[:, None] - finite)).sum(1)
    return (-torch.log(won + _TINY) + score_reg * (shares * finite**2).sum(1)).sum()


class _Network(nn.Module):
    def __init__(self, n_items: int, config: GRU4RecConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.items = nn.Embedding(n_items, size)
        self.ranked = None if config.shared else nn.Embedding(n_items, size)
        for table in (self.items, self.ranked):
            if table is not None:
                nn.init.normal_(table.weight, std=size**-0.5)
        between = config.dropout if config.layers > 1 else 0.0
        self.recurrent = nn.GRU(size, size, config.layers, batch_first=True, dropout=between)
        self.drop = Dropout(config.dropout)

    def table(self) -> Tensor:
        """(n_items, d) vectors of the items that are ranked."""
        return self.items.weight if self.ranked is None else self.ranked.weight

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(n, length, d) states after each event; what stands behind the last one does not count."""
        states, _ = self.recurrent(self.drop(self.items(items)))
        out: Tensor = self.drop(states)
        return out

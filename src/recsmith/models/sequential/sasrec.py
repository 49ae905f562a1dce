"""SASRec: self-attention over the history, each event looking at those before it.

W.-C. Kang and J. McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, equations 2 to 7. As in their code,
item vectors are read times sqrt(d), and normalization stands before attention and feed-forward. The output uses the
vectors of the input, and the loss is the softmax over all items, which is where it is at its best: A. Klenitskiy and A.
Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys 2023. With ``loss`` "sampled" or
"gbce" the softmax, or the calibrated binary cross-entropy of gSASRec (Petrov and Macdonald, RecSys 2023), is over
``negatives`` random items.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.models.layers import AttentionBlock, Dropout, attention_work, divides
from recsmith.models.losses import gbce, sampled_softmax, softmax_over_items
from recsmith.models.sequential.next_item import NextItemConfig, NextItemModel, Windows
from recsmith.types import IntArray

_INIT_STD = 0.02


class SASRecConfig(NextItemConfig):
    """Parameters of SASRec."""

    blocks: Annotated[int, Search(1, 3)] = Field(default=2, ge=1)
    """Layers of attention and feed-forward, >= 1."""
    heads: int = Field(default=1, ge=1)
    """Attention heads, a divisor of ``embedding_size``."""
    feed_forward: int = Field(default=4, ge=1)
    """Width of the feed-forward layer, as a multiple of ``embedding_size``, >= 1."""
    loss: Literal["softmax", "sampled", "gbce"] = "softmax"
    """Over all items, or over ``negatives`` of them."""
    negatives: int = Field(default=256, ge=1)
    """Random items that a batch is compared with, where the loss is not over all, >= 1."""
    calibration: float = Field(default=0.75, ge=0, le=1)
    """t of gBCE: 0 is binary cross-entropy, 1 has the probabilities of the softmax."""

    _heads_fit = field_validator("heads")(divides)


class SASRec(NextItemModel[SASRecConfig]):
    """Self-attentive sequential recommendation."""

    config_class = SASRecConfig

    def build(self) -> nn.Module:
        """Item and position vectors, and the layers."""
        return _Network(self.sizes_["n_items"], self.config)

    def objective(self, data: Dataset) -> Windows:
        """Windows one event longer than what is read: the last is only a target."""
        return _NextItem(self, data)

    def work(self, n_items: int) -> float:
        """The blocks, and the items of the softmax."""
        c = self.config
        compared = n_items if c.loss == "softmax" else c.negatives + 1
        block = attention_work(c.embedding_size, c.feed_forward * c.embedding_size, c.max_length)
        return c.blocks * block + c.embedding_size * compared


class _NextItem(Windows):
    """At each place of a window the next item is to be told."""

    def __init__(self, model: SASRec, data: Dataset) -> None:
        super().__init__(data, model.config, model.device, model.config.max_length + 1)
        self.module, self.config, self.n_items = model.module_, model.config, data.n_items

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        vectors, right = self.after_each(self.module, rows)
        table = self.module.items.weight  # type: ignore[union-attr]
        if self.config.loss == "softmax":
            return softmax_over_items(vectors, table, right), len(right)  # type: ignore[arg-type]
        drawn = torch.from_numpy(self.rng.integers(self.n_items, size=self.config.negatives)).to(right.device)
        positive = (vectors * table[right]).sum(1)  # type: ignore[index]
        negative = vectors @ table[drawn].T  # type: ignore[index]
        negative = negative.masked_fill(drawn == right[:, None], float("-inf"))
        if self.config.loss == "sampled":
            return sampled_softmax(positive, negative), len(right)
        return gbce(positive, negative, self.n_items, self.config.calibration), len(right)


class _Network(nn.Module):
    def __init__(self, n_items: int, config: SASRecConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.items = nn.Embedding(n_items, size)
        self.places = nn.Embedding(config.max_length, size)
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=_INIT_STD)
        self.blocks = nn.ModuleList(
            [
                AttentionBlock(size, config.heads, config.feed_forward * size, config.dropout, causal=True)
                for _ in range(config.blocks)
            ]
        )
        self.norm = nn.LayerNorm(size)
        self.drop = Dropout(config.dropout)
        self.max_length, self.scale = config.max_length, size**0.5

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(n, length, d): the latest event of every row is at the last place, whatever the row's length."""
        place = torch.arange(items.shape[1], device=items.device) + (self.max_length - lengths[:, None])
        x = self.drop(self.items(items) * self.scale + self.places(place.clamp_max(self.max_length - 1)))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

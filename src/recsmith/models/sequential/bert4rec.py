"""BERT4Rec: fill the gaps of a history, looking both ways; what comes next is a gap at its end.

F. Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer", CIKM
2019: the Cloze task of section 3.6 in training, ``-sum over masked t of log P(s_t | s with gaps)`` (equation 8), and a
mask behind the history when asked. In a tenth of the windows of an epoch only the last event is masked, as in their
code, since that is the question to come. Normalization stands before attention and feed-forward; there is no bias for
each item, so that a score is a product of two vectors.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.models.layers import AttentionBlock, Dropout, attention_work, divides
from recsmith.models.losses import softmax_over_items
from recsmith.models.sequential.next_item import NextItemConfig, NextItemModel, Windows
from recsmith.types import IntArray

_INIT_STD = 0.02
_LAST_ONLY = 0.1  # of the windows


class BERT4RecConfig(NextItemConfig):
    """Parameters of BERT4Rec."""

    max_length: int = Field(default=50, ge=2)
    """Places of a window, >= 2; when asked, the mask takes one of them."""
    blocks: Annotated[int, Search(1, 3)] = Field(default=2, ge=1)
    """Layers of attention and feed-forward, >= 1."""
    heads: int = Field(default=2, ge=1)
    """Attention heads, a divisor of ``embedding_size``."""
    feed_forward: int = Field(default=4, ge=1)
    """Width of the feed-forward layer, as a multiple of ``embedding_size``, >= 1."""
    mask_share: Annotated[float, Search(0.1, 0.6)] = Field(default=0.3, gt=0, lt=1)
    """Share of the events that are masked, 0 to 1; at least one of each window."""

    _heads_fit = field_validator("heads")(divides)


class BERT4Rec(NextItemModel[BERT4RecConfig]):
    """Bidirectional self-attention over a masked history."""

    config_class = BERT4RecConfig

    def build(self) -> nn.Module:
        """Vectors of items, mask and places, and the layers."""
        return _Network(self.sizes_["n_items"], self.config)

    def objective(self, data: Dataset) -> Windows:
        """Windows with gaps."""
        return _Cloze(self, data)

    def work(self, n_items: int) -> float:
        """The blocks, and at the gaps the items of the softmax."""
        c = self.config
        block = attention_work(c.embedding_size, c.feed_forward * c.embedding_size, c.max_length)
        return c.blocks * block + c.embedding_size * (c.embedding_size + c.mask_share * n_items)

    @property
    def read(self) -> int:
        """One place is for the mask."""
        return self.config.max_length - 1

    def history_vectors(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(n, d) vectors of the masks behind the histories."""
        behind = functional.pad(items, (0, 1)).scatter(1, lengths[:, None], self.sizes_["n_items"])
        return super().history_vectors(behind, lengths + 1)


class _Cloze(Windows):
    """The items that stood at the masked places are to be told."""

    def __init__(self, model: BERT4Rec, data: Dataset) -> None:
        super().__init__(data, model.config, model.device, model.config.max_length)
        self.module, self.share, self.mask = model.module_, model.config.mask_share, data.n_items

    def loss(self, rows: IntArray) -> tuple[Tensor, float]:
        items, lengths = self.rows(rows)
        gaps = self._gaps(self.lengths[rows], items.shape[1]).to(items.device)
        vectors = self.module(items.clamp_min(0).masked_fill(gaps, self.mask), lengths)[gaps]
        table = self.module.items.weight[: self.mask]  # type: ignore[union-attr, index]
        return softmax_over_items(vectors, table, items[gaps]), len(vectors)

    def _gaps(self, lengths: IntArray, width: int) -> Tensor:
        """(n, width) bool: random events; of some windows only the last one; at least one of each."""
        draws = self.rng.random((len(lengths), width), dtype=np.float32)
        draws[np.arange(width) >= lengths[:, None]] = 1
        gaps = draws < self.share
        gaps[np.arange(len(lengths)), draws.argmin(1)] = True
        last = np.flatnonzero(self.rng.random(len(lengths)) < _LAST_ONLY)
        gaps[last] = np.arange(width) == lengths[last, None] - 1
        return torch.from_numpy(gaps)


class _Network(nn.Module):
    def __init__(self, n_items: int, config: BERT4RecConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.items = nn.Embedding(n_items + 1, size)  # the last one is the mask
        self.places = nn.Embedding(config.max_length, size)
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=_INIT_STD)
        wide = config.feed_forward * size
        self.blocks = nn.ModuleList(
            [
                AttentionBlock(size, config.heads, wide, config.dropout, causal=False)
                for _ in range(config.blocks)
            ]
        )
        self.norm, self.head, self.out = nn.LayerNorm(size), nn.Linear(size, size), nn.LayerNorm(size)
        self.drop = Dropout(config.dropout)
        self.max_length, self.scale = config.max_length, size**0.5

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(n, length, d): the latest event of every row is at the last place, whatever the row's length."""
        step = torch.arange(items.shape[1], device=items.device)
        there = step < lengths[:, None]
        place = (step + self.max_length - lengths[:, None]).clamp_max(self.max_length - 1)
        x = self.drop(self.items(items) * self.scale + self.places(place))
        for block in self.blocks:
            x = block(x, there)
        out: Tensor = self.out(functional.gelu(self.head(self.norm(x))))
        return out

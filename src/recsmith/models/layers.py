"""Layers of two models or more."""

from __future__ import annotations

import torch
from pydantic import ValidationInfo
from torch import Tensor, nn
from torch.nn import functional

_ANY = -(2**63)


class Dropout(nn.Module):
    """Sets a share of the activations to 0 in training and scales the others up, so that the mean stays.

    On the CPU one 64-bit draw decides on eight activations, which is several times as fast as a draw for each; the
    share is then the nearest multiple of 1/256.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.limit = round(256 * share)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        if not self.training or not self.share:
            return x
        if x.device.type != "cpu" or not 0 < self.limit < 256:
            return functional.dropout(x, self.share)
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(_ANY, None).view(torch.uint8)
        kept = draws[: x.numel()].view(x.shape) >= self.limit
        return x * kept.to(x.dtype).mul_(256 / (256 - self.limit))


class AttentionBlock(nn.Module):
    """Self-attention and feed-forward, each behind a normalization and beside a path around it.

    A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3, with the normalization first.

    Parameters
    ----------
    size
        Width d of the vectors, a multiple of ``heads``.
    heads
        Attention heads.
    wide
        Width of the feed-forward layer.
    dropout
        Share of its activations, and of what a layer adds, that is set to 0 in training.
    causal
        Each place sees itself and those before it; otherwise all.
    """

    def __init__(self, size: int, heads: int, wide: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.before_attention, self.before_feed = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attend, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.widen, self.narrow = nn.Linear(size, wide), nn.Linear(wide, size)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """(n, length, d) of (n, length, d); ``there`` (n, length) bool: the places that may be looked at."""
        n, length, size = x.shape
        parts = (
            self.attend(self.before_attention(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        mask = None if there is None else there[:, None, None, :]
        seen = functional.scaled_dot_product_attention(
            parts[0], parts[1], parts[2], attn_mask=mask, is_causal=self.causal
        )
        x = x + self.drop(self.out(seen.transpose(1, 2).reshape(n, length, size)))
        feed = functional.gelu(self.widen(self.before_feed(x)))
        out: Tensor = x + self.drop(self.narrow(self.drop(feed)))
        return out


def attention_work(size: int, wide: int, length: int) -> float:
    """Multiplications of a place in an ``AttentionBlock`` that looks at ``length`` places."""
    return float(size) * (4 * size + 2 * wide + 2 * length)


def divides(heads: int, info: ValidationInfo) -> int:
    """Check, for a config, that the number of attention heads divides ``embedding_size``."""
    size = info.data.get("embedding_size", heads)
    if size % heads:
        raise ValueError(f"a divisor of embedding_size ({size})")
    return heads

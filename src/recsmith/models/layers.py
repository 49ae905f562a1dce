"""Layers of two models or more."""

from __future__ import annotations

import torch
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

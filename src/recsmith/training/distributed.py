"""Several processes, started by ``torchrun``, that train one model.

Each takes its part of every batch, and the gradients are added up. So the loss is that of one process with the same
batch, up to the order of sums and to dropout, which each process draws for itself.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from recsmith.types import IntArray


@dataclass(frozen=True, slots=True)
class World:
    """This process among the others."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> World:
        """The world that ``torchrun`` has made (variables ``RANK``, ``WORLD_SIZE``), or one of a single process."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size < 2 or not distributed.is_available():
            return cls()
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(_leave)
        return cls(distributed.get_rank(), distributed.get_world_size())

    def part(self, batch: IntArray) -> IntArray:
        """This process's examples of a batch."""
        n = len(batch)
        return batch[n * self.rank // self.size : n * (self.rank + 1) // self.size]

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def add_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Make each gradient the sum over all processes, in one message."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.total(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, summed in zip(
            gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(summed.view_as(gradient))

    def from_first(self, value: float) -> float:
        """What the first process has, on all of them."""
        if self.size == 1:
            return value
        message = torch.tensor([value], dtype=torch.float64, device=self._device())
        distributed.broadcast(message, 0)
        return float(message.item())

    @staticmethod
    def _device() -> torch.device:
        on_cuda = distributed.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")


def _leave() -> None:
    """Wait for the others at the end, so that nobody loses a partner in the middle of a message."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()

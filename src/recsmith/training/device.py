"""Where tensors live, and the surroundings in which a training gives the same digits for a seed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from recsmith import parallel
from recsmith.errors import ParameterError


def place(wish: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    ParameterError
        cuda is asked for and there is none.
    """
    if wish == "cpu" or (wish == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ParameterError.of(
            "training",
            "device",
            "'auto' or 'cpu' on this machine: PyTorch finds no cuda device here (a CPU build, no driver, or "
            "CUDA_VISIBLE_DEVICES is empty)",
            wish,
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Same seed, device and number of threads, same digits; what the caller had set is put back afterwards."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    fills: Any = torch.utils.deterministic  # of fresh memory, which costs time and which nothing here reads
    was = torch.are_deterministic_algorithms_enabled(), fills.fill_uninitialized_memory
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        fills.fill_uninitialized_memory = False
        torch.set_num_threads(parallel.n_threads())
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was[0])
            fills.fill_uninitialized_memory = was[1]
            torch.set_num_threads(threads)

"""A log whose next item is known."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import build

from recsmith.data.dataset import Dataset


def ring(n_items: int) -> Dataset:
    """Items in a ring; 60 users begin anywhere and go on to the next one."""
    rng = np.random.default_rng(1)
    users, items, times = [], [], []
    for u in range(60):
        start, n = int(rng.integers(n_items)), int(rng.integers(3, 9))
        users += [u] * n
        items += [(start + k) % n_items for k in range(n)]
        times += list(range(n))
    return build(users, items, times=times)


@pytest.fixture(scope="session")
def cycle() -> Dataset:
    """A ring of 12 items."""
    return ring(12)

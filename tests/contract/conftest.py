"""A rated log of the kind that real ones are, small enough for every model."""

from __future__ import annotations

import numpy as np
import pytest

from recsmith.data.dataset import Dataset
from tests.conftest import build


@pytest.fixture(scope="session")
def ml_like() -> Dataset:
    """150 users, 60 items in three clusters, long-tailed, 1 to 5 stars, timed."""
    rng = np.random.default_rng(11)
    users, items, ratings = [], [], []
    for u in range(150):
        taste = u % 3
        n = int(rng.integers(6, 20))
        own = (rng.zipf(1.6, size=3 * n) - 1) % 20 * 3 + taste
        other = rng.integers(0, 60, size=3)
        for i in dict.fromkeys([*own[:n].tolist(), *other.tolist()]):
            users.append(u + 1)
            items.append(int(i) + 1)
            ratings.append(int(np.clip(round(3 + (1 if i % 3 == taste else -1) + rng.normal(0, 0.7)), 1, 5)))
    times = 1_000_000_000 + rng.permutation(len(users)) * 3600
    return build(users, items, ratings, times, name="ml-like")

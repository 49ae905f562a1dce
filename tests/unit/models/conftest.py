"""Real ratings with an official split."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from tests.conftest import build


@pytest.fixture(scope="session")
def official_fold(extra_data):
    """(train, queries, rows, items, ratings) of MovieLens-100K's official fold u1."""
    frame = pl.read_parquet(extra_data / "ml-100k" / "ratings.parquet")
    base, test = frame.filter(pl.col("fold") != 1), frame.filter(pl.col("fold") == 1)
    train = build(base["user"], base["item"], base["rating"], base["timestamp"], name="u1")
    asked, rows = np.unique(train.users.index(test["user"]), return_inverse=True)
    return train, train.queries(asked), rows, train.items.index(test["item"]), test["rating"].to_numpy()

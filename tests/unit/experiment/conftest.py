from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsmith.experiment.config import Experiment


def listens(n_users: int = 60, n_items: int = 24, length: int = 10) -> pl.DataFrame:
    """Each user goes round the items from some place, now and then by chance: what comes next can be learned."""
    rng = np.random.default_rng(3)
    rows = []
    for u in range(n_users):
        item = int(rng.integers(n_items))
        for n in range(length):
            rows.append((f"u{u:02d}", f"i{item:02d}", 1 + item % 5, 1_600_000_000 + 3600 * n + u))
            item = (item + 1) % n_items if rng.random() < 0.9 else int(rng.integers(n_items))
    return pl.DataFrame(rows, ["user_id", "item_id", "rating", "timestamp"], orient="row")


@pytest.fixture(scope="session")
def listens_csv(tmp_path_factory) -> Path:
    """That log as a file."""
    file = tmp_path_factory.mktemp("listens") / "listens.csv"
    listens().write_csv(file)
    return file


def sasrec(csv: Path, **changes: Any) -> dict[str, Any]:
    """A small experiment that trains in epochs; ``changes`` replace whole sections."""
    return {
        "name": "small",
        "seed": 3,
        "data": {"source": str(csv)},
        "model": "sasrec",
        "parameters": {
            "epochs": 5,
            "embedding_size": 8,
            "batch_size": 16,
            "max_length": 8,
            "learning_rate": 0.01,
            "blocks": 1,
            "device": "cpu",
        },
        "training": {"validation": "ndcg@10"},
        "evaluation": {"ks": (10,), "resamples": 50},
        "tracking": {"samples": {"users": 2, "k": 3, "every": 2}},
    } | changes


@pytest.fixture
def small(listens_csv) -> Experiment:
    """That experiment."""
    return Experiment(**sasrec(listens_csv))


@pytest.fixture
def quick(listens_csv) -> Experiment:
    """One without epochs."""
    return Experiment(
        name="quick",
        data={"source": str(listens_csv)},
        model="ease",
        parameters={"reg": 5},
        evaluation={"ks": (10,), "resamples": 50},
    )

"""Shared data: a small log with a known answer, and the real ones where they are at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import settings

from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from tests.support.waiting import PATIENCE_S

# Several workers share the cores: a thread of PyTorch that waits must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The first call of a kernel compiles it: no deadline for a single example. The examples are the same everywhere.
settings.register_profile("recsmith", deadline=None, derandomize=True)
settings.load_profile("recsmith")


def build(users, items, ratings=None, times=None, **rest) -> Dataset:
    """A Dataset from raw id lists, in the order of a file."""
    users, items = pl.Series("user_id", users), pl.Series("item_id", items)
    user_map, item_map = IdMap.of(users, kind="user"), IdMap.of(items, kind="item")
    return Dataset.build(
        users=user_map,
        items=item_map,
        user=user_map.index(users),
        item=item_map.index(items),
        value=None if ratings is None else np.asarray(ratings, dtype=np.float32),
        time=None if times is None else np.asarray(times, dtype=np.int64),
        rating_scale=None if ratings is None else (1.0, 5.0),
        **rest,
    )


@pytest.fixture
def checkerboard() -> Dataset:
    """40 users and 12 items: even users took 4 of the 6 even items, odd users 4 of the odd ones.

    What is left of his own colour is the right answer for every user. Rating 5 for the first two items taken,
    4 for the others, and 1 for one item of the other colour by every fourth user.
    """
    rng = np.random.default_rng(7)
    users, items, ratings, times = [], [], [], []
    for u in range(40):
        own = rng.permutation(6)[:4] * 2 + u % 2
        rows = [(int(i), 5 - (n > 1)) for n, i in enumerate(own)]
        for n, (item, rating) in enumerate(rows):
            users.append(f"u{u:02d}")
            items.append(f"i{item:02d}")
            ratings.append(rating)
            times.append(1_000_000_000 + 86_400 * n + u)
    return build(users, items, ratings, times, name="checkerboard")


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


@pytest.fixture(scope="session")
def extra_data() -> Path:
    """The folder of real data sets; skips the test where there is none."""
    folder = os.environ.get("RECSMITH_EXTRA_DATA")
    if not folder:
        pytest.skip("RECSMITH_EXTRA_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def ml_100k(extra_data: Path) -> Dataset:
    """MovieLens-100K in the order of its file."""
    frame = pl.read_parquet(extra_data / "ml-100k" / "ratings.parquet")
    return build(frame["user"], frame["item"], frame["rating"], frame["timestamp"], name="ml-100k")


@pytest.fixture(scope="module")
def browser():
    """Chromium: Playwright's own, or that of the system. It waits for a page as long as any test waits."""
    playwright = pytest.importorskip("playwright.sync_api")
    playwright.expect.set_options(timeout=1000 * PATIENCE_S)
    with playwright.sync_playwright() as play:
        system = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        own = Path(play.chromium.executable_path)
        if not own.exists() and system is None:
            pytest.skip("no Chromium here: 'make browser' installs one")
        with play.chromium.launch(
            executable_path=None if own.exists() else system,
            args=["--no-sandbox"],
            timeout=1000 * PATIENCE_S,
        ) as browser:
            yield browser

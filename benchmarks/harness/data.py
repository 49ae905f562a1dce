"""The data sets as arrays: the same split for every side. They are found through RECSMITH_EXTRA_DATA."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from harness.cell import Arrays


def extra(*parts: str) -> Path:
    """A file among the data sets that cannot be redistributed."""
    return Path(os.environ["RECSMITH_EXTRA_DATA"]).joinpath(*parts)


@cache
def gowalla() -> Arrays:
    """Gowalla as LightGCN's authors cut it: 29,858 users, 40,981 items, 810,128 events."""
    parts = [pl.read_parquet(extra("lightgcn-gowalla", f"{part}.parquet")) for part in ("train", "test")]
    return _split(*((part["user"].to_numpy(), part["item"].to_numpy()) for part in parts))


@cache
def ml1m_lists() -> Arrays:
    """MovieLens-1M, every rating an event; the first of five random folds is the test part."""
    frame = pl.read_parquet(extra("ml-1m", "ratings.parquet"))
    return _random_part(frame, frame["fold"].to_numpy() == 1)


@cache
def ml100k_lists() -> Arrays:
    """MovieLens-100K, every rating an event; a random fifth (seed 0) is the test part."""
    frame = pl.read_parquet(extra("ml-100k", "ratings.parquet"))
    return _random_part(frame, np.random.default_rng(0).random(len(frame)) < 0.2)


@cache
def ml100k_in_time() -> Arrays:
    """MovieLens-100K, every rating an event, each user's events in time; his last tenth is the test part."""
    frame = pl.read_parquet(extra("ml-100k", "ratings.parquet")).sort(
        "user", "timestamp", maintain_order=True
    )
    users, items = _indices(frame["user"]), _indices(frame["item"])
    counts = np.bincount(users)
    place = np.arange(len(users)) - (np.cumsum(counts) - counts)[users]
    test = place >= np.ceil(0.9 * counts[users])
    arrays = _split((users[~test], items[~test]), (users[test], items[test]))
    return {**arrays, "indices": items[~test]}


@cache
def ml100k_folds() -> list[Arrays]:
    """The five official folds u1 to u5 of MovieLens-100K."""
    frame = pl.read_parquet(extra("ml-100k", "ratings.parquet"))
    return [_rated(frame, frame["fold"].to_numpy() == k) for k in range(1, 6)]


@cache
def ml1m_fold() -> list[Arrays]:
    """MovieLens-1M with the first of five random folds as the test part."""
    frame = pl.read_parquet(extra("ml-1m", "ratings.parquet"))
    return [_rated(frame, frame["fold"].to_numpy() == 1)]


@cache
def gowalla_factors() -> Arrays:
    """Gowalla with factors that were trained on it."""
    from recsmith.models.factorization.ials import ImplicitALS

    arrays = gowalla()
    model = ImplicitALS(reg=10, alpha=39).fit(as_dataset(arrays), rng=0)
    return {**arrays, "user_factors": model.user_factors_, "item_factors": model.item_factors_}


@cache
def gowalla_answers() -> Arrays:
    """Lists of 20 for Gowalla's users, and what really happened."""
    from recsmith.models.factorization.ials import ImplicitALS
    from recsmith.recommend import Pipeline

    data = as_dataset(gowalla())
    found = Pipeline(model=ImplicitALS(reg=10, alpha=39)).fit(data, rng=0).recommend(data.queries(), 20)
    return {"items": found.items, **{name: gowalla()[name] for name in ("test_users", "test_items")}}


def as_dataset(arrays: Arrays) -> Any:
    """The log as a recsmith Dataset."""
    from recsmith.data.dataset import Dataset
    from recsmith.data.ids import IdMap

    n_users, n_items = (int(n) for n in arrays["shape"])
    return Dataset.build(
        users=IdMap(pl.Series(np.arange(n_users)), "user"),
        items=IdMap(pl.Series(np.arange(n_items)), "item"),
        user=np.repeat(np.arange(n_users), np.diff(arrays["indptr"])),
        item=arrays["indices"],
    )


def _random_part(frame: pl.DataFrame, test: Any) -> Arrays:
    users, items = _indices(frame["user"]), _indices(frame["item"])
    return _split((users[~test], items[~test]), (users[test], items[test]))


def _split(train: tuple[Any, Any], test: tuple[Any, Any]) -> Arrays:
    """Train as CSR and the test pairs, both sorted by user and item; an item only of the test part is kept."""
    n_users, n_items = (int(max(a.max(), b.max())) + 1 for a, b in zip(train, test, strict=True))
    (users, items), (test_users, test_items) = (
        (part[0][order], part[1][order])
        for part in (train, test)
        for order in [np.lexsort((part[1], part[0]))]
    )
    return {
        "indptr": np.searchsorted(users, np.arange(n_users + 1)).astype(np.int32),
        "indices": items.astype(np.int32),
        "data": np.ones(len(users), dtype=np.float32),
        "shape": np.array([n_users, n_items]),
        "test_users": test_users.astype(np.int32),
        "test_items": test_items.astype(np.int32),
    }


def _rated(frame: pl.DataFrame, test: Any) -> Arrays:
    users, items = _indices(frame["user"]), _indices(frame["item"])
    values = frame["rating"].to_numpy().astype(np.float32)
    return {
        f"{part}_{name}": column[rows]
        for part, rows in (("train", ~test), ("test", test))
        for name, column in (("users", users), ("items", items), ("ratings", values))
    }


def _indices(ids: pl.Series) -> Any:
    """Positions of the ids among the sorted distinct ones."""
    return np.unique(ids.to_numpy(), return_inverse=True)[1].astype(np.int32)

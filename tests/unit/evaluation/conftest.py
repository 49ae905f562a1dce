"""Splits built by hand, so that every figure can be worked out on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.conftest import build

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split, Truth


def make_split(train: Dataset, truth: dict, name: str = "by hand") -> Split:
    """A split of {raw user: [(raw item, rating), ...]}; a user or item outside train has index -1."""
    ids = pl.Series("user_id", list(truth))
    events = [event for user in truth for event in truth[user]]
    items = train.items.index([item for item, _ in events]) if events else np.zeros(0, dtype=np.int32)
    return Split(
        name=name,
        train=train,
        queries=train.queries(train.users.index(ids)),
        user_ids=ids,
        truth=Truth(
            offsets=np.cumsum([0, *(len(truth[user]) for user in truth)]),
            items=items,
            values=np.array([rating for _, rating in events], dtype=np.float32),
        ),
    )


@pytest.fixture
def tiny() -> Split:
    """Five users and five items; popularity a 4, b 3, c 2, d 1, e 1.

    Lists of a most-popular recommender: ann d e - - , bob c d e, new a b c. Cy's only truth was seen.
    """
    train = build(
        ["ann", "ann", "ann", "bob", "bob", "cy", "cy", "cy", "dee", "dee", "eve"],
        ["a", "b", "c", "a", "b", "a", "b", "d", "a", "c", "e"],
        [5, 4, 3, 5, 3, 4, 4, 2, 5, 4, 1],
        range(11),
        name="tiny",
    )
    truth = {
        "ann": [("e", 4), ("a", 5)],  # a was seen: only e is left to be found, at rank 2
        "bob": [("d", 2), ("zzz", 3)],  # d at rank 2; zzz is not in train: a miss
        "cy": [("a", 4)],
        "new": [("b", 5), ("c", 4), ("b", 5)],  # an unknown user; b counts once
    }
    return make_split(train, truth)


@pytest.fixture(scope="session")
def random_split(ml_100k: Dataset) -> Split:
    """MovieLens-100K, each row by itself with probability 0.8 in train, seed 0."""
    chosen = np.random.default_rng(0).random(len(ml_100k)) < 0.8
    train, test = ml_100k.take(chosen[ml_100k.row]), ml_100k.take(~chosen[ml_100k.row])
    train = train.compact()
    users = np.flatnonzero(np.diff(test.offsets))
    ids = ml_100k.users.ids[users]
    return Split(
        name="random 80/20",
        train=train,
        queries=train.queries(train.users.index(ids)),
        user_ids=ids,
        truth=Truth(
            offsets=test.offsets[np.append(users, test.n_users)],
            items=train.items.index(test.items.ids)[test.item],
            values=test.value,
            times=test.time,
        ),
        notes=("seed 0",),
    )


@pytest.fixture
def implicit(tiny: Split) -> Split:
    """The same without ratings."""
    return replace(tiny, train=replace(tiny.train, value=None), truth=replace(tiny.truth, values=None))

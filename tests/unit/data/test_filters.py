"""Known answers of the filters before a split."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsmith.data.dataset import Dataset
from recsmith.data.filters import at_least, k_core
from recsmith.data.ids import IdMap
from recsmith.errors import DataError, ParameterError


def log(pairs: list[str], **rest: object) -> Dataset:
    """Make a log of pairs ``"ua"``: user u, item a."""
    users, items = pl.Series([p[0] for p in pairs]), pl.Series([p[1] for p in pairs])
    user_map, item_map = IdMap.of(users, kind="user"), IdMap.of(items, kind="item")
    return Dataset.build(
        users=user_map, items=item_map, user=user_map.index(users), item=item_map.index(items), **rest
    )


def pairs(data: Dataset) -> list[str]:
    """List the pairs of a log in its order."""
    return [u + i for u, i in zip(data.users.raw(data.user), data.items.raw(data.item), strict=True)]


def test_k_core_goes_on_until_nothing_changes() -> None:
    # Item c has one user left once user 3 is gone, and so takes user 2 with it.
    data = log(["1a", "1b", "4a", "4b", "2a", "2c", "3c"], name="chain")
    core = k_core(data, users=2, items=2)
    assert pairs(core) == ["1a", "1b", "4a", "4b"]
    assert core.users.ids.to_list() == ["1", "4"] and core.items.ids.to_list() == ["a", "b"]
    assert core.offsets.tolist() == [0, 2, 4]
    (note,) = core.notes
    assert note.startswith("k-core (users >= 2, items >= 2 events) was applied before the split")
    assert "in 3 rounds, 3 of 7 events, 2 of 4 users and 1 of 3 items" in note
    assert "not judged" in note


def test_k_core_of_a_core_is_the_same() -> None:
    data = log(["1a", "1b", "4a", "4b"])
    core = k_core(data, 2, 2)
    assert pairs(core) == pairs(data) and "in 0 rounds, 0 of 4 events" in core.notes[0]


def test_k_core_counts_events() -> None:
    assert pairs(k_core(log(["1a", "1a", "2b"]), 2, 2)) == ["1a", "1a"]


def test_k_core_refuses_what_cannot_be() -> None:
    data = log(["1a", "2b"])
    with pytest.raises(DataError, match="No event of log is left at users >= 2, items >= 5"):
        k_core(data, 2)
    with pytest.raises(ParameterError, match="The 'items' parameter of k_core must be >= 1"):
        k_core(data, 2, 0)


def test_at_least_keeps_high_ratings_and_the_catalogue() -> None:
    ratings = np.array([5, 3, np.nan, 4], dtype=np.float32)
    features = pl.DataFrame({"item_id": ["a", "b", "c"], "year": [1, 2, 3]})
    data = log(["1a", "1b", "2a", "3c"], value=ratings)
    high = at_least(data, 4)
    assert pairs(high) == ["1a", "3c"] and high.items.ids.to_list() == ["a", "c"]
    assert high.notes == (
        "Only ratings >= 4 were kept: 2 of 4 events. 1 of 3 users have none and are not judged.",
    )
    known = at_least(log(["1a", "1b", "2a", "3c"], value=ratings, item_features=features), 4)
    assert known.items.ids.to_list() == ["a", "b", "c"]
    assert known.item_features is not None and known.item_features.height == 3


def test_at_least_refuses_what_cannot_be() -> None:
    with pytest.raises(DataError, match=r"No rating of log is >= 6\. The highest is 5: choose less"):
        at_least(log(["1a"], value=np.array([5], dtype=np.float32)), 6)
    with pytest.raises(DataError, match="no ratings"):
        at_least(log(["1a"]), 1)

"""Users who stand in a split twice, under two ids: what one of them does later, the other has shown the model already.

Two ids are taken for one user where they share events of the same item at the same second, five or more and at least
half of what the smaller one has; or where all they have is the same, ten items or more with the same ratings, too many
to be explained by the popularity of the items. A clone whose times and items were both changed is not found. Memory is
some 50 bytes for each event, time that of a sort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from recsmith.data.split import Split, percent
from recsmith.types import BoolArray, FloatArray, IntArray

SHARED = 5  #: events of the same item at the same second
SAME_ITEMS = 10  #: that a whole history must have
_MOST_IDS = 8  # of one event: what more ids share says nothing of two of them
_BITS_BEYOND = (
    20  # beyond those of all pairs of users: of chance alone, one pair in a million logs would be alike
)
_BITS = 22
_SHIFT = np.uint64(64 - _BITS)
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0xD6E8FEB86659FD93))


def clones(split: Split) -> list[str]:
    """One sentence with counts and an example; an empty list where no test user has a second id."""
    people = _People.of(split)
    groups = people.groups()
    size = np.bincount(groups, minlength=len(groups))
    found = people.test_users[size[groups[people.test_users]] > 1]
    if not len(found):
        return []
    first = int(found[0])
    other = int(np.flatnonzero((groups == groups[first]) & (np.arange(len(groups)) != first))[0])
    known, total = _in_train(split, people, groups, size), len(split.truth.items)
    said = (
        f"{len(found):,} of {len(split.queries):,} test users have the same events under another id, such as "
        f"{people.raw(split, first)!r} and {people.raw(split, other)!r}."
    )
    if known:
        said += (
            f" {percent(known, total)} of the test events ({known:,} of {total:,}) stand in train under such an id: a "
            "model may answer from memory."
        )
    return [said]


@dataclass(frozen=True, slots=True, eq=False)
class _People:
    """Everybody's events: the users of train by index, and behind them the test users whom train does not know."""

    count: int
    test_users: IntArray  #: (n,) who stands in each row of the split
    person: IntArray  #: (m,) of each event of train, of given histories and of the truth, in this order
    item: IntArray  #: (m,)
    time: IntArray | None  #: (m,) None where a part has none
    value: FloatArray | None

    @classmethod
    def of(cls, split: Split) -> _People:
        train, queries, truth = split.train, split.queries, split.truth
        test_users = np.where(queries.users >= 0, queries.users, train.n_users + np.arange(len(queries)))
        given, known = (queries.users < 0)[queries.rows], truth.items >= 0

        def joined(of_train: Any, of_queries: Any, of_truth: Any) -> Any:
            parts = (of_train, of_queries if given.any() else of_train, of_truth)
            if any(part is None for part in parts):
                return None
            history = of_queries[given] if given.any() else of_train[:0]
            return np.concatenate([of_train, history, of_truth[known]])

        return cls(
            count=train.n_users + len(queries),
            test_users=test_users,
            person=joined(train.user, test_users[queries.rows], test_users[truth.rows]),
            item=joined(train.item, queries.items, truth.items),
            time=joined(train.time, queries.times, truth.times),
            value=joined(train.value, queries.values, truth.values),
        )

    def groups(self) -> IntArray:
        """(count,) number of the group of ids that are one user."""
        edges = [self._of_whole_histories(), *([] if self.time is None else [self._of_shared_events()])]
        first, second = np.concatenate(edges, axis=1)
        graph = sparse.coo_array(
            (np.ones(len(first), dtype=np.int8), (first, second)), shape=(self.count,) * 2
        )
        return np.asarray(sparse.csgraph.connected_components(graph, directed=False)[1])

    def raw(self, split: Split, person: int) -> Any:
        """The id as it came."""
        n = split.train.n_users
        return split.train.users.ids[person] if person < n else split.user_ids[person - n]

    def _of_whole_histories(self) -> IntArray:
        """(2, e) ids with the same items and ratings, each beside the first of them."""
        size = np.bincount(self.person, minlength=self.count)
        key = (self.item.astype(np.uint64) + np.uint64(1)) * _ODD[0]
        if self.value is not None:
            key ^= self.value.astype(np.float32).view(np.uint32) * _ODD[1]
        key ^= key >> np.uint64(29)
        key *= _ODD[2]
        mark = np.zeros(self.count, dtype=np.uint64)
        np.add.at(mark, self.person, key ^ (key >> np.uint64(32)))
        people = int((size > 0).sum())
        able = np.flatnonzero(
            (size >= SAME_ITEMS) & (self._surprise(people) > 2 * np.log2(people) + _BITS_BEYOND)
        )
        _, group = np.unique(
            np.column_stack([mark[able], size[able].astype(np.uint64)]), axis=0, return_inverse=True
        )
        first = np.full(len(able), len(able))
        np.minimum.at(first, group.ravel(), np.arange(len(able)))
        return np.stack([able[first[group.ravel()]], able])

    def _surprise(self, people: int) -> FloatArray:
        """(count,) bits: how improbable a history is where all ``people`` draw items by their popularity."""
        events = np.bincount(self.item).astype(np.float64)
        bits = np.maximum(np.log2(people / np.maximum(events, 1)), 0)
        return np.asarray(np.bincount(self.person, bits[self.item], minlength=self.count), dtype=np.float64)

    def _of_shared_events(self) -> IntArray:
        """(2, e) pairs of ids that share events of the same item at the same second."""
        key = self.time.astype(np.uint64) * _ODD[0] + self.item.astype(np.uint64) * _ODD[1]  # type: ignore[union-attr]
        shared = self._shared(key)
        size = np.bincount(self.person, minlength=self.count)
        number = np.bincount(self.person[shared], minlength=self.count)
        small = (number >= SHARED) & (2 * number >= size)  # the smaller of a pair
        rows = np.flatnonzero(shared)
        rows = rows[np.isin(key[rows], key[rows[small[self.person[rows]]]])]
        events = pl.DataFrame({"key": key[rows], "id": self.person[rows]}).unique()
        beside = events.filter(pl.Series(small[events["id"].to_numpy()])).join(
            events, on="key", suffix="_other"
        )
        pairs = beside.filter(pl.col("id") != pl.col("id_other")).group_by("id", "id_other").len()
        held = size[pairs["id"].to_numpy()]
        number = pairs["len"].to_numpy()
        kept = (number >= SHARED) & (2 * number >= held)
        return np.asarray(pairs.select("id", "id_other").to_numpy()[kept].T, dtype=np.int64)

    def _shared(self, key: IntArray) -> BoolArray:
        """(m,) whether few events, and more than one, have this key."""
        ordered = np.sort(key)
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        runs = np.diff(np.r_[starts, len(ordered)])
        some = ordered[starts[(runs > 1) & (runs <= _MOST_IDS)]]
        if not len(some):
            return np.zeros(len(key), dtype=np.bool_)
        near = np.zeros(1 << _BITS, dtype=np.bool_)  # few rows are worth a search
        near[some >> _SHIFT] = True
        rows = np.flatnonzero(near[key >> _SHIFT])
        at = np.minimum(np.searchsorted(some, key[rows]), len(some) - 1)
        found = np.zeros(len(key), dtype=np.bool_)
        found[rows] = some[at] == key[rows]
        return found


def _in_train(split: Split, people: _People, groups: IntArray, size: IntArray) -> int:
    """Test events whose item stands in train under another id of the same user."""

    def events(person: IntArray, item: IntArray) -> pl.DataFrame:
        kept = size[groups[person]] > 1
        return pl.DataFrame({"group": groups[person[kept]], "item": item[kept], "person": person[kept]})

    known = split.truth.items >= 0
    test = events(people.test_users[split.truth.rows[known]], split.truth.items[known]).with_row_index("row")
    train = events(split.train.user.astype(np.int64), split.train.item).unique()
    both = test.join(train, on=["group", "item"], suffix="_other").filter(
        pl.col("person") != pl.col("person_other")
    )
    return both["row"].n_unique()

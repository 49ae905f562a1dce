"""What holds for every split of every log."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsmith.data.dataset import Dataset
from recsmith.data.filters import k_core
from recsmith.data.ids import IdMap
from recsmith.data.leakage import leakage
from recsmith.data.split import Split
from recsmith.data.splitters import (
    global_time,
    k_fold,
    leave_last_out,
    random_holdout,
    time_folds,
    unknown_items,
    unknown_users,
    user_time,
)
from recsmith.errors import DataError

SHARES = st.sampled_from([0.1, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.7, 0.9])
QUICK = settings(max_examples=40, deadline=None)


@st.composite
def logs(draw: st.DrawFn) -> Dataset:
    """Draw a small log with ties in time and repeated pairs; the value is the row."""
    rows = draw(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 8)), min_size=4, max_size=40)
    )
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    return Dataset.build(
        users=IdMap(pl.Series([f"u{i}" for i in range(5)]), "user"),
        items=IdMap(pl.Series([f"i{i}" for i in range(6)]), "item"),
        user=user,
        item=item,
        time=time,
        value=np.arange(len(rows), dtype=np.float32),
    )


def judged_rows(split: Split) -> list[int]:
    """List the rows of the file that are test events."""
    assert split.truth.values is not None
    return split.truth.values.astype(int).tolist()


def check(split: Split, data: Dataset) -> None:
    """Hold what is true of any split of one log."""
    train, queries, truth = split.train, split.queries, split.truth
    raw_item = dict(zip(data.row.tolist(), data.items.raw(data.item), strict=True))
    raw_user = dict(zip(data.row.tolist(), data.users.raw(data.user), strict=True))
    assert not set(train.row.tolist()) & set(judged_rows(split))
    assert train.items.raw(train.item).to_list() == [raw_item[r] for r in train.row.tolist()]
    assert train.users.raw(train.user).to_list() == [raw_user[r] for r in train.row.tolist()]
    asked = split.user_ids.gather(truth.rows).to_list()
    assert asked == [raw_user[r] for r in judged_rows(split)]
    for index, row in zip(truth.items.tolist(), judged_rows(split), strict=True):
        known = raw_item[row] in set(train.items.ids)
        assert (train.items.ids[index] == raw_item[row]) if known else index == -1
    assert (np.diff(truth.offsets) > 0).all() and truth.offsets[-1] == len(truth.items)
    assert np.array_equal(train.users.index(split.user_ids), queries.users)
    for r, user in enumerate(queries.users):
        low, high = queries.offsets[r : r + 2]
        if user >= 0:
            own = slice(*train.offsets[user : user + 2])
            assert queries.items[low:high].tolist() == train.item[own].tolist()
        for times in (queries.times[low:high], truth.times[slice(*truth.offsets[r : r + 2])]):
            assert (np.diff(times) >= 0).all()


@QUICK
@given(data=logs(), share=SHARES)
def test_user_time_is_a_prefix_of_exact_size(data: Dataset, share: float) -> None:
    kept = 1 - Fraction(str(share)).limit_denominator(1000)
    sizes = [int(kept * int(n)) for n in np.diff(data.offsets)]
    assume(sum(sizes))
    split = user_time(data, share)
    check(split, data)
    rows = [data.row[low : low + size] for low, size in zip(data.offsets, sizes, strict=False)]
    assert split.train.row.tolist() == np.concatenate(rows).tolist()
    assert len(split.train) + len(split.truth.items) == len(data)


@QUICK
@given(data=logs(), n=st.integers(1, 3))
def test_leave_last_out_judges_n_events_of_each(data: Dataset, n: int) -> None:
    assume((np.diff(data.offsets) > n).any())
    split = leave_last_out(data, n)
    check(split, data)
    assert set(np.diff(split.truth.offsets)) == {n} and split.known.all()
    assert len(split.train) + len(split.truth.items) == len(data)


@QUICK
@given(data=logs(), share=SHARES)
def test_global_time_has_no_train_event_after_a_test_event(data: Dataset, share: float) -> None:
    count = int((1 - Fraction(str(share)).limit_denominator(1000)) * len(data))
    assume(count)
    split = global_time(data, share)
    check(split, data)
    order = np.lexsort((data.row, data.time))
    assert sorted(split.train.row.tolist()) == sorted(data.row[order[:count]].tolist())
    assert sorted(judged_rows(split)) == sorted(data.row[order[count:]].tolist())
    assert not any("later" in text or "newer" in text for text in leakage(split))


@QUICK
@given(data=logs(), k=st.integers(2, 4), seed=st.integers(0, 99))
def test_k_fold_is_a_partition(data: Dataset, k: int, seed: int) -> None:
    splits = list(k_fold(data, k, seed))
    for split in splits:
        check(split, data)
        assert len(split.train) + len(split.truth.items) == len(data)
    rows = [judged_rows(split) for split in splits]
    assert sorted(row for part in rows for row in part) == list(range(len(data)))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


@QUICK
@given(data=logs(), k=st.integers(1, 3))
def test_time_folds_expand_and_follow_one_another(data: Dataset, k: int) -> None:
    seen: set[int] = set()
    for split in time_folds(data, k):
        check(split, data)
        train = set(split.train.row.tolist())
        assert seen <= train
        seen = train | set(judged_rows(split))
    assert len(seen) == len(data)


@QUICK
@given(data=logs(), share=SHARES, seed=st.integers(0, 99))
def test_random_holdout_is_a_partition_for_a_seed(data: Dataset, share: float, seed: int) -> None:
    try:
        split = random_holdout(data, share, seed)
    except DataError:
        assume(False)
    check(split, data)
    assert sorted(split.train.row.tolist() + judged_rows(split)) == list(range(len(data)))
    assert judged_rows(split) == judged_rows(random_holdout(data, share, seed))


@QUICK
@given(data=logs(), share=SHARES, given=st.one_of(st.integers(0, 3), st.sampled_from([0.0, 0.3, 0.5])))
def test_unknown_users_are_out_of_train(data: Dataset, share: float, given: int | float) -> None:
    try:
        split = unknown_users(data, share, given, keep_catalogue=True)
    except DataError:
        assume(False)
    check(split, data)
    assert not split.known.any()
    lengths = np.diff(data.offsets)[data.users.index(split.user_ids)]
    told = np.minimum(given, lengths) if isinstance(given, int) else np.floor(given * lengths + 1e-9)
    assert np.array_equal(split.queries.lengths, told)
    assert np.array_equal(np.diff(split.truth.offsets), lengths - told)


@QUICK
@given(data=logs(), share=SHARES)
def test_unknown_items_have_no_train_event_and_an_index(data: Dataset, share: float) -> None:
    assume(len(np.unique(data.item)) > 1)
    split = unknown_items(data, share)
    check(split, data)
    assert (split.truth.items >= 0).all()
    assert (split.train.item_counts()[split.truth.items] == 0).all()
    assert len(split.train) + len(split.truth.items) == len(data)


@QUICK
@given(data=logs(), users=st.integers(1, 4), items=st.integers(1, 4))
def test_a_k_core_is_one_and_the_largest(data: Dataset, users: int, items: int) -> None:
    pairs = list(zip(data.row.tolist(), data.user.tolist(), data.item.tolist(), strict=True))
    while True:
        left = [
            p
            for p in pairs
            if sum(q[1] == p[1] for q in pairs) >= users and sum(q[2] == p[2] for q in pairs) >= items
        ]
        if left == pairs:
            break
        pairs = left
    assume(pairs)
    assert k_core(data, users, items).row.tolist() == [p[0] for p in pairs]

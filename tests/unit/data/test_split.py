"""Known answers of every way of splitting, by hand and on ML-100K."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.data.split import Split, assemble, fixed, percent, repeats
from recsmith.data.split_by_name import Splitter, parse
from recsmith.data.splitters import (
    SPLITTERS,
    global_time,
    k_fold,
    leave_last_out,
    random_holdout,
    time_folds,
    unknown_items,
    unknown_users,
    user_time,
)
from recsmith.errors import DataError, ParameterError


def log(rows: list[tuple[str, str, int]], **rest: object) -> Dataset:
    """Make a log of (user, item, time) in the order of a file; the rating is the row's number."""
    users, items = (pl.Series([row[c] for row in rows], dtype=pl.String) for c in (0, 1))
    user_map, item_map = IdMap.of(users, kind="user"), IdMap.of(items, kind="item")
    return Dataset.build(
        users=user_map,
        items=item_map,
        user=user_map.index(users),
        item=item_map.index(items),
        time=np.array([row[2] for row in rows], dtype=np.int64),
        value=np.arange(len(rows), dtype=np.float32),
        **rest,
    )


def train_events(split: Split) -> list[tuple[str, str]]:
    """List the (user, item) of the train log in its order."""
    return list(
        zip(split.train.users.raw(split.train.user), split.train.items.raw(split.train.item), strict=True)
    )


def histories(split: Split) -> dict[str, list[str]]:
    """Map each judged user to the items of the question."""
    items = split.train.items.raw(split.queries.items).to_list()
    bounds = split.queries.offsets
    return {u: items[bounds[r] : bounds[r + 1]] for r, u in enumerate(split.user_ids)}


def answers(split: Split) -> dict[str, list[str | None]]:
    """Map each judged user to the true items, None for one that train does not know."""
    items = split.train.items.raw(split.truth.items).to_list()
    bounds = split.truth.offsets
    return {u: items[bounds[r] : bounds[r + 1]] for r, u in enumerate(split.user_ids)}


@pytest.fixture
def small() -> Dataset:
    """Give five events of ann, two of bob and one of cid, out of order in the file."""
    return log(
        [
            ("bob", "x", 60),
            ("ann", "a", 10),
            ("ann", "c", 30),
            ("ann", "b", 20),
            ("ann", "x", 30),
            ("bob", "a", 5),
            ("ann", "d", 50),
            ("cid", "a", 70),
        ]
    )


def test_user_time_takes_the_first_floor_share_and_keeps_the_order_of_the_file(small: Dataset) -> None:
    split = user_time(small, 0.4)
    assert train_events(split) == [("ann", "a"), ("ann", "b"), ("ann", "c"), ("bob", "a")]
    assert histories(split) == {"ann": ["a", "b", "c"], "bob": ["a"], "cid": []}
    assert answers(split) == {"ann": [None, None], "bob": [None], "cid": ["a"]}
    assert split.queries.users.tolist() == [0, 1, -1]
    assert split.known.tolist() == [True, True, False]
    assert split.queries.as_trained is not None and split.queries.as_trained.tolist() == [True, True, False]
    assert split.queries.at is not None and split.queries.at.tolist() == [30, 60, 70]
    assert split.truth.times is not None and split.truth.times.tolist() == [30, 50, 60, 70]
    assert split.truth.values is not None and split.truth.values.tolist() == [4, 6, 0, 7]
    assert split.truth.rows.tolist() == [0, 0, 1, 2]


def test_user_time_says_what_a_reader_must_know(small: Dataset) -> None:
    notes = " ".join(user_time(small, 0.4).notes)
    assert "Judged users: 3 (2 known from train, 1 not), on 4 test events" in notes
    assert "50.0 % of the cut histories are cut between events of the same second" in notes
    assert "75.0 % of the test events are of items unknown to train" in notes
    assert "so few events that train has none of them: 1" in notes


@pytest.mark.parametrize(
    ("share", "n", "kept"),
    [(0.2, 10, 8), (0.2, 5, 4), (0.1, 10, 9), (0.3, 10, 7), (1 / 3, 3, 2), (0.7, 10, 3)],
)
def test_user_time_is_free_of_float_errors(share: float, n: int, kept: int) -> None:
    split = user_time(log([("u", f"i{j}", j) for j in range(n)]), share)
    assert len(split.train) == kept


def test_catalogue_items_are_known_only_where_asked_for(small: Dataset) -> None:
    kept = user_time(small, 0.4, keep_catalogue=True)
    assert answers(kept)["ann"] == ["x", "d"]
    assert kept.train.items == small.items
    assert any("catalogue items without a train event" in note for note in kept.notes)


def test_a_log_without_times_is_in_the_order_of_the_file() -> None:
    users, items = IdMap(pl.Series([1, 2])), IdMap(pl.Series([7, 8, 9]))
    data = Dataset.build(users=users, items=items, user=np.array([1, 0, 1, 1]), item=np.array([2, 1, 0, 1]))
    split = leave_last_out(data)
    assert split.queries.at is None and split.truth.times is None
    assert split.queries.items.tolist() == [2, 0]
    assert split.truth.items.tolist() == [1]
    assert any("no times" in note for note in split.notes)
    for way in (global_time, time_folds):
        with pytest.raises(DataError, match="needs times"):
            list(way(data))


def test_leave_last_out_does_not_judge_short_histories(small: Dataset) -> None:
    split = leave_last_out(small, 2)
    assert answers(split) == {"ann": ["x", None]}
    assert histories(split) == {"ann": ["a", "b", "c"]}
    assert len(split.train) == 6
    assert any("not judged: 2" in note for note in split.notes)


def test_global_time_breaks_ties_in_file_order(small: Dataset) -> None:
    split = global_time(small, 0.5)  # 5 10 20 30(c) | 30(x) 50 60 70
    assert answers(split) == {"ann": [None, None], "bob": [None], "cid": ["a"]}
    assert split.queries.at is not None and split.queries.at.tolist() == [30, 30, 30]
    assert any("Events of that very second in train, by the order of the file: 1" in n for n in split.notes)


@pytest.mark.parametrize("at", [50, "50", "1970-01-01 00:00:50", "1970-01-01T02:00:50+02:00"])
def test_global_time_cuts_at_a_moment(small: Dataset, at: int | str) -> None:
    split = global_time(small, at=at)
    assert answers(split) == {"ann": [None], "bob": ["x"], "cid": ["a"]}
    assert split.queries.at is not None and split.queries.at.tolist() == [50, 50, 50]


def test_global_time_takes_dates() -> None:
    data = log([("u", "a", 86_399), ("u", "b", 86_400)])
    assert answers(global_time(data, at=date(1970, 1, 2))) == {"u": [None]}
    later = log([("u", "a", 0), ("u", "b", 3_600)])
    assert global_time(later, at=datetime(1970, 1, 1, 1)).name == "global-time:at=3600"
    with pytest.raises(DataError, match="no test event"):
        global_time(data, at=date(1971, 1, 1))
    with pytest.raises(DataError, match="no train event"):
        global_time(data, at=0)


def test_random_holdout_draws_over_rows_in_file_order(small: Dataset) -> None:
    train = np.random.default_rng(3).random(len(small)) < 0.5
    split = random_holdout(small, 0.5, seed=3)
    assert split.train.row.tolist() == [r for r in small.row if train[r]]
    assert split.truth.values is not None
    assert split.truth.values.tolist() == [r for r in small.row if not train[r]]


def test_k_fold_judges_every_event_once(small: Dataset) -> None:
    splits = list(k_fold(small, 3, seed=1))
    judged = np.concatenate([s.truth.values for s in splits if s.truth.values is not None])
    assert sorted(judged.tolist()) == list(range(8))
    assert [len(s.train) for s in splits] == [5, 5, 6]
    assert splits[0].name == "k-fold:3:seed=1 part 1 of 3"


def test_time_folds_expand(small: Dataset) -> None:
    first, last = time_folds(small, 2)  # 5 10 | 20 30 30 | 50 60 70, bounds floor(8 / 3), floor(16 / 3)
    assert [len(first.train), len(last.train)] == [2, 5]
    assert [len(first.truth.items), len(last.truth.items)] == [3, 3]
    assert last.queries.at is not None and last.queries.at.tolist() == [50, 50, 50]


def test_unknown_users_are_told_the_first_part() -> None:
    data = log([(u, i, t) for u in "abcdefghij" for t, i in enumerate("vwxyz")])
    split = unknown_users(data, 0.2, given=0.5, seed=5)
    assert len(split.user_ids) == 2
    assert not set(split.user_ids) & set(split.train.users.ids)
    assert list(histories(split).values()) == [["v", "w"]] * 2
    assert list(answers(split).values()) == [["x", "y", "z"]] * 2
    assert split.queries.users.tolist() == [-1, -1]
    assert split.queries.as_trained is not None and not split.queries.as_trained.any()
    assert split.queries.at is not None and split.queries.at.tolist() == [2, 2]
    assert list(histories(unknown_users(data, 0.2, given=4, seed=5)).values()) == [["v", "w", "x", "y"]] * 2
    assert unknown_users(data, 0.2, given=0).queries.items.tolist() == []
    with pytest.raises(DataError, match="no test event"):
        unknown_users(data, 0.2, given=5)


def test_told_events_of_unknown_items_are_left_out() -> None:
    data = log([(u, f"{u}{i}", i) for u in "ab" for i in range(2)])
    split = unknown_users(data, 0.5)
    assert split.queries.items.tolist() == [] and split.queries.offsets.tolist() == [0, 0]
    assert any("1 events of the given histories" in note for note in split.notes)
    assert len(unknown_users(data, 0.5, keep_catalogue=True).queries.items) == 1


def test_unknown_items_stay_in_the_catalogue() -> None:
    features = pl.DataFrame({"item_id": list("vwxyz"), "genre": [1, 2, 3, 4, 5]})
    data = log([(u, i, t) for u in "abc" for t, i in enumerate("vwxyz")], item_features=features)
    split = unknown_items(data, 0.4, seed=2)
    cold = np.flatnonzero(split.train.item_counts() == 0)
    assert len(cold) == 2 and split.train.n_items == 5
    assert set(split.truth.items.tolist()) == set(cold.tolist())
    assert split.train.item_features is not None and split.train.item_features.height == 5
    assert any("100.0 % of the test events are of catalogue items" in note for note in split.notes)


def test_fixed_matches_raw_ids() -> None:
    train = log([("ann", "a", 1), ("bob", "b", 2)])
    test = log([("cid", "b", 8), ("ann", "z", 5), ("ann", "b", 4)])
    split = fixed(train, test)
    assert histories(split) == {"ann": ["a"], "cid": []}
    assert answers(split) == {"ann": ["b", None], "cid": ["b"]}
    assert split.queries.at is not None and split.queries.at.tolist() == [4, 8]


def test_repeated_events_stay_in_the_truth() -> None:
    split = user_time(log([("u", i, t) for t, i in enumerate("abacabab")]), 0.5)
    assert answers(split) == {"u": ["a", "b", "a", "b"]}
    seen, again = repeats(split.queries, split.truth, split.train.n_items)
    assert seen.all() and again.tolist() == [False, False, True, True]
    assert any(
        "100.0 % of the test events are of an item that the user's own history" in n for n in split.notes
    )
    assert any("50.0 % of the test events repeat a pair" in n for n in split.notes)


def test_notes_of_the_log_go_before_and_along(small: Dataset) -> None:
    noted = small.take(np.arange(len(small)), note="Bots were removed.")
    split = user_time(noted)
    assert split.notes[0] == "Bots were removed."
    assert split.train.notes == ("Bots were removed.", "This is the train part of user-time:0.2.")


def test_a_known_user_cannot_be_told_another_history(small: Dataset) -> None:
    with pytest.raises(DataError, match="another history"):
        assemble("mine", small, small, history=small)


def test_an_empty_part_is_an_error(small: Dataset) -> None:
    empty = small.take(np.zeros(0, dtype=np.int64))
    for way in (user_time, random_holdout, leave_last_out, global_time, unknown_users, unknown_items):
        with pytest.raises(DataError):
            way(empty)
    for folds in (k_fold, time_folds):
        with pytest.raises(DataError, match="at least"):
            list(folds(empty))


@pytest.mark.parametrize(
    ("way", "parameters", "message"),
    [
        (user_time, {"share": 0}, r"The 'share' parameter of user_time must be > 0\. Got 0 instead"),
        (user_time, {"share": 1.0}, "must be < 1"),
        (leave_last_out, {"n": 0}, "must be >= 1"),
        (k_fold, {"k": 1}, "must be >= 2"),
        (random_holdout, {"seed": -1}, "must be >= 0"),
        (unknown_users, {"given": 1.0}, "'given' parameter of unknown_users must be a number of events"),
        (unknown_users, {"given": -1}, "Got -1 instead"),
        (global_time, {"at": "yesterday"}, "must be Unix seconds or an ISO date"),
    ],
)
def test_values_out_of_range_are_refused_at_once(small: Dataset, way, parameters, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ParameterError, match=message):
        way(small, **parameters)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("user-time", "user-time"),
        ("user-time:0.3", "user-time:share=0.3"),
        ("USER_TIME : share = 0.3", "user-time:share=0.3"),
        ("random:0.2:seed=3", "random:seed=3"),
        ("k-fold:10", "k-fold:k=10"),
        ("leave-last-out:2", "leave-last-out:n=2"),
        ("global-time:at=1998-03-01", "global-time:at=888710400"),
        ("unknown-users:0.1:5:keep-catalogue=true", "unknown-users:share=0.1:given=5:keep_catalogue=True"),
        ("unknown-users:given=0.5", "unknown-users"),
    ],
)
def test_parse(text: str, canonical: str) -> None:
    splitter = parse(text)
    assert str(splitter) == canonical
    assert parse(canonical) == splitter and hash(parse(canonical)) == hash(splitter)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user-tme", "no way of splitting named 'user-tme'. Did you mean 'user-time'"),
        ("random:sed=3", "no parameter of random named 'sed'. Did you mean 'seed'"),
        ("user-time:7", "The 'share' parameter of user-time must be < 1. Got '7' instead"),
        ("user-time:", "Got 'user-time:' instead"),
        ("user-time:0.1:0.2", "must be like user-time:share=...:keep_catalogue=..."),
        ("user-time:0.1:share=0.2", "each parameter once"),
        ("", "no way of splitting named ''"),
    ],
)
def test_parse_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize("name", SPLITTERS)
def test_every_name_splits_describes_itself_and_names_its_split(name: str) -> None:
    data = log([(f"u{u}", f"i{(u * j) % 7}", u + 3 * j) for u in range(10) for j in range(6)])
    splitter = parse(name)
    splits = splitter.split(data)
    assert len(splits) == (5 if "fold" in name else 1)
    assert splitter.describe().startswith(f"{name} (")
    assert parse(splits[0].name.partition(" ")[0]) == splitter
    inner = Splitter("user-time", {"share": 0.5}).split(splits[-1].train)
    assert len(inner) == 1 and len(inner[0].train) < len(splits[-1].train)


def test_percent_never_rounds_a_little_to_nothing() -> None:
    assert [percent(1, 3), percent(1, 10**6), percent(0, 5)] == ["33.3 %", "less than 0.1 %", "0.0 %"]


@pytest.fixture(scope="module")
def ml_100k() -> Dataset:
    """Give ML-100K in the order of its file."""
    folder = os.environ.get("RECSMITH_EXTRA_DATA")
    if not folder:
        pytest.skip("RECSMITH_EXTRA_DATA does not name a folder with ml-100k/ratings.parquet")
    frame = pl.read_parquet(Path(folder) / "ml-100k" / "ratings.parquet")
    users, items = IdMap.of(frame["user"], kind="user"), IdMap.of(frame["item"], kind="item")
    return Dataset.build(
        users=users,
        items=items,
        user=users.index(frame["user"]),
        item=items.index(frame["item"]),
        value=frame["rating"].to_numpy().astype(np.float32),
        time=frame["timestamp"].to_numpy().astype(np.int64),
        name="ml-100k",
    )


def test_ml_100k_global_time(ml_100k: Dataset) -> None:
    split = global_time(ml_100k)
    assert (len(split.train), len(split.user_ids), int(split.known.sum())) == (80_000, 301, 109)


def test_ml_100k_user_time_matches_a_plain_loop(ml_100k: Dataset) -> None:
    split = user_time(ml_100k)
    frame = pl.DataFrame({"user": ml_100k.user, "time": ml_100k.time, "row": ml_100k.row}).sort(
        "user", "time", "row"
    )
    kept = [g["row"][: len(g) * 8 // 10] for g in frame.partition_by("user", maintain_order=True)]
    assert split.train.row.tolist() == pl.concat(kept).to_list()
    assert len(split.user_ids) == 943


@pytest.mark.parametrize(
    ("way", "precision"), [("random", 0.187), ("user-time", 0.110), ("global-time", 0.327)]
)
def test_ml_100k_popular_has_the_published_precision(ml_100k: Dataset, way: str, precision: float) -> None:
    split = parse(way).split(ml_100k)[0]
    counts = split.train.item_counts().astype(np.float64)
    hits = 0
    for r in range(len(split.user_ids)):
        scores = counts.copy()
        scores[split.queries.items[split.queries.offsets[r] : split.queries.offsets[r + 1]]] = -1
        best = np.argsort(-scores, kind="stable")[:10]
        hits += np.isin(best, split.truth.items[split.truth.offsets[r] : split.truth.offsets[r + 1]]).sum()
    assert hits / len(split.user_ids) / 10 == pytest.approx(precision, abs=0.003)

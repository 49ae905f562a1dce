"""A log as sorted columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.conftest import build

from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.data.schema import Log
from recsmith.errors import DataError, ParameterError


def log(frame: dict, **rest) -> Log:
    return Log(interactions=pl.DataFrame(frame), name="shop", **rest)


@pytest.fixture
def repeated() -> Dataset:
    """Two users; ann took x twice, with ratings 1 then 4."""
    return build(
        ["bob", "ann", "ann", "ann", "bob"],
        ["x", "x", "y", "x", "z"],
        ratings=[5, 4, 2, 1, 3],
        times=[7, 9, 5, 5, 7],
        weight=np.array([1, 2, 3, 0.5, 1], dtype=np.float32),
    )


def pairs(data: Dataset) -> list[tuple]:
    users, items = data.users.raw(data.user), data.items.raw(data.item)
    return list(zip(users.to_list(), items.to_list(), strict=True))


def test_sorted_by_user_time_and_order_in_the_file(repeated):
    assert pairs(repeated) == [("ann", "y"), ("ann", "x"), ("ann", "x"), ("bob", "x"), ("bob", "z")]
    assert repeated.row.tolist() == [2, 3, 1, 0, 4]
    assert repeated.value.tolist() == [2, 1, 4, 5, 3]
    assert repeated.time.tolist() == [5, 5, 9, 7, 7]
    assert repeated.offsets.tolist() == [0, 3, 5]
    assert repeated.user.dtype == repeated.item.dtype == np.int32


def test_without_times_the_order_in_the_file_counts():
    data = build(["b", "a", "b", "a"], [4, 3, 2, 1])
    assert pairs(data) == [("a", 3), ("a", 1), ("b", 4), ("b", 2)]
    assert data.last_time() is None


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        ("ones", [[1, 1, 0], [1, 0, 1]]),
        ("weight", [[2.5, 3, 0], [1, 0, 1]]),
        ("value", [[4, 2, 0], [5, 0, 3]]),
    ],
)
def test_matrix_has_one_entry_for_each_pair(repeated, entries, wanted):
    before = repeated.item.copy(), repeated.weight.copy()
    matrix = repeated.matrix(entries)
    assert matrix.toarray().tolist() == wanted
    assert matrix.nnz == 4
    assert matrix.dtype == np.float32
    assert matrix.has_sorted_indices
    matrix.data[:] = 0
    np.testing.assert_array_equal(repeated.item, before[0])
    np.testing.assert_array_equal(repeated.weight, before[1])


def test_weights_are_counts_where_there_are_none(repeated):
    assert replace(repeated, weight=None).matrix().toarray().tolist() == [[2, 1, 0], [1, 0, 1]]


def test_a_log_without_ratings_says_so():
    with pytest.raises(DataError, match="log has no ratings"):
        build(["a"], ["x"]).matrix("value")


def test_take_by_mask_and_index(repeated):
    mask = repeated.value > 2
    for rows in (mask, np.flatnonzero(mask)[::-1]):
        part = repeated.take(rows, note="good ones")
        assert pairs(part) == [("ann", "x"), ("bob", "x"), ("bob", "z")]
        assert part.offsets.tolist() == [0, 1, 3]
        assert part.row.tolist() == [1, 0, 4]
        assert part.notes == ("good ones",)
        assert part.users == repeated.users
    assert repeated.take(np.array([0])).offsets.tolist() == [0, 1, 1]


@pytest.mark.parametrize("rows", [np.array([-1, 2]), np.array([5]), np.array([True, False])])
def test_take_refuses_what_is_not_there(repeated, rows):
    with pytest.raises(ParameterError, match="'rows' parameter of take"):
        repeated.take(rows)


def test_compact_keeps_what_occurs(repeated):
    features = pl.DataFrame({"item_id": ["x", "y", "z"], "year": [1, 2, 3]})
    people = pl.DataFrame({"user_id": ["ann", "bob"], "age": [30, 40]})
    part = replace(repeated, item_features=features, user_features=people).take(np.array([3, 4])).compact()
    assert part.users.ids.to_list() == ["bob"]
    assert part.items.ids.to_list() == ["x", "z"]
    assert pairs(part) == [("bob", "x"), ("bob", "z")]
    assert part.offsets.tolist() == [0, 2]
    assert part.item_features["year"].to_list() == [1, 3]
    assert part.user_features["age"].to_list() == [40]
    kept = repeated.take(np.array([0])).compact(keep_items=np.array([False, False, True]))
    assert kept.items.ids.to_list() == ["y", "z"]
    assert pairs(kept) == [("ann", "y")]


def test_queries_hold_the_whole_history(repeated):
    queries = repeated.queries(np.array([1, -1, 0, 1]))
    assert queries.users.tolist() == [1, -1, 0, 1]
    assert queries.offsets.tolist() == [0, 2, 2, 5, 7]
    assert queries.items.tolist() == [0, 2, 1, 0, 0, 0, 2]
    assert queries.values.tolist() == [5, 3, 2, 1, 4, 5, 3]
    assert queries.times.tolist() == [7, 7, 5, 5, 9, 7, 7]
    assert queries.as_trained.tolist() == [True, False, True, True]
    assert not repeated.queries(as_trained=False).as_trained.any()
    everybody = repeated.queries()
    assert everybody.offsets.tolist() == [0, 3, 5]
    assert everybody.items.tolist() == repeated.item.tolist()
    assert len(repeated.queries(np.array([], dtype=np.int32))) == 0


@pytest.mark.parametrize("user", [2, -2])
def test_queries_of_a_user_out_of_range_are_refused(repeated, user):
    with pytest.raises(ParameterError, match=r"'users' parameter of queries must be indices in 0 .. 1"):
        repeated.queries(np.array([0, user]))


def test_a_log_that_became_empty_still_answers(repeated):
    nobody = repeated.take(np.zeros(5, dtype=np.bool_)).compact()
    assert nobody.n_users == 0
    assert nobody.queries(np.array([-1, -1])).offsets.tolist() == [0, 0, 0]
    assert nobody.last_time() is None


def test_from_log_maps_and_aligns():
    data = Dataset.from_log(
        log(
            {
                "user_id": ["u2", "u1"],
                "item_id": [20, 10],
                "rating": [4.0, 5.0],
                "timestamp": [2, 1],
                "event": ["view", None],
            },
            users=pl.DataFrame({"user_id": ["u9", "u2"], "age": [9, 2]}),
            items=pl.DataFrame({"item_id": [30, 20], "title": ["thirty", "twenty"]}),
            rating_scale=(1.0, 5.0),
        )
    )
    assert data.items.ids.to_list() == [10, 20, 30]  # 30 is known from the catalogue
    assert data.users.ids.to_list() == ["u1", "u2"]
    assert data.item_features["title"].to_list() == [None, "twenty", "thirty"]
    assert data.user_features["age"].to_list() == [None, 2]
    assert data.event_names == ("view",)
    assert data.event.tolist() == [-1, 0]
    assert data.last_time() == 2
    assert data.item_counts().tolist() == [1, 1, 0]
    assert repr(data) == "Dataset('shop': 2 users, 3 items, 2 events, timed, rated)"


def test_from_log_without_the_catalogue():
    items = pl.DataFrame({"item_id": [30, 20], "title": ["thirty", "twenty"]})
    data = Dataset.from_log(log({"user_id": [1], "item_id": [20]}, items=items), keep_catalogue=False)
    assert data.item_features["title"].to_list() == ["twenty"]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"user_id": pl.Series([], dtype=pl.Int64), "item_id": []}, "holds no interaction"),
        ({"user_id": ["a", None], "item_id": [1, 2]}, "1 of 2 rows have no user_id"),
        ({"user_id": [1, 2], "item_id": [1, None]}, "1 of 2 rows have no item_id"),
        ({"user_id": [1, 2], "item_id": [1, 2], "timestamp": [5, None]}, "1 of 2 rows have no timestamp"),
        ({"user_id": [1.5], "item_id": [1]}, "user ids must be text or integers"),
        ({"user_id": [1, 2], "item_id": [1, 2], "weight": [1.0, None]}, "1 of 2 weights are missing"),
        ({"user_id": [1, 2], "item_id": [1, 2], "weight": [1.0, -2.0]}, "the first is -2"),
        (
            {"user_id": [1, 2], "item_id": [1, 2], "rating": [1.0, float("inf")]},
            "1 of 2 ratings are infinite",
        ),
        ({"user_id": [1] * 128, "item_id": [1] * 128, "event": [f"e{i}" for i in range(128)]}, "128 kinds"),
    ],
)
def test_a_log_that_cannot_be_learned_from_is_refused(frame, words):
    with pytest.raises(DataError, match=words):
        Dataset.from_log(log(frame))


def test_a_table_with_ids_of_another_type_is_refused():
    users = pl.DataFrame({"user_id": ["one"], "age": [3]})
    with pytest.raises(DataError, match="user_id of the user table is String and that of the log is Int64"):
        Dataset.from_log(log({"user_id": [1], "item_id": [2]}, users=users))


@pytest.mark.parametrize("column", ["user", "item"])
def test_build_refuses_an_index_out_of_range(column):
    ids = IdMap.of(pl.Series(["a", "b"]))
    columns = {"user": np.array([0, 1]), "item": np.array([1, 0])}
    columns[column] = np.array([0, -1])
    with pytest.raises(ParameterError, match=f"'{column}' parameter of Dataset"):
        Dataset.build(users=ids, items=ids, **columns)


def test_fingerprint_is_that_of_the_log(repeated):
    same = build(
        ["ann", "ann", "bob", "ann", "bob"],
        ["y", "x", "x", "x", "z"],
        ratings=[2, 1, 5, 4, 3],
        times=[5, 5, 7, 9, 7],
        weight=np.array([3, 0.5, 1, 2, 1], dtype=np.float32),
    )
    assert same.fingerprint() == repeated.fingerprint()
    others = [
        replace(repeated, weight=None),
        replace(repeated, value=repeated.value + 1),
        replace(repeated, time=repeated.time + 1),
        repeated.take(np.arange(4)),
    ]
    assert len({d.fingerprint() for d in [repeated, *others]}) == 5


def test_fingerprint_knows_types_and_where_an_id_ends():
    logs = [
        build([1, 2], [1, 2]),
        build(["1", "2"], ["1", "2"]),
        build(["ab", "ab"], ["c", "d"]),
        build(["a", "a"], ["bc", "d"]),
        build(["a", "a"], ["bcd", "x"]),
        build(["a", "a"], ["c\x1fd", "b"]),
        build(["a", "a"], ["d", "b\x1fc"]),
    ]
    assert len({d.fingerprint() for d in logs}) == len(logs)


def test_features_with_repeated_ids_keep_the_first():
    users = pl.DataFrame({"user_id": [1, 1], "age": [3, 4]})
    data = Dataset.from_log(log({"user_id": [1, 2], "item_id": [2, 2]}, users=users))
    assert data.user_features["age"].to_list() == [3, None]

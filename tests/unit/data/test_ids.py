"""Ids go in and come back as they came."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsmith.data.ids import IdMap, id_series
from recsmith.errors import DataError, UnknownIdError

TEXT = st.text(max_size=4)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@given(st.one_of(st.lists(TEXT, max_size=8), st.lists(INTEGERS, max_size=8)))
def test_round_trip(values):
    ids = IdMap.of(pl.Series(values, dtype=pl.String if values and isinstance(values[0], str) else pl.Int64))
    index = ids.index(values)
    assert index.dtype == np.int32
    assert ids.raw(index).to_list() == values
    assert ids.ids.to_list() == sorted(set(values), key=lambda v: v.encode() if isinstance(v, str) else v)
    assert len(ids) == len(set(values))


@given(st.lists(INTEGERS, unique=True, max_size=8), st.lists(INTEGERS, max_size=8))
def test_unknown_integers_are_minus_one(known, asked):
    index = IdMap(pl.Series(known, dtype=pl.Int64)).index(asked)
    assert index.tolist() == [known.index(a) if a in known else -1 for a in asked]


@given(
    st.lists(st.integers(-9, 9), unique=True, min_size=1, max_size=8),
    st.lists(st.integers(-20, 20) | INTEGERS),
)
def test_many_integers_in_a_narrow_range(known, asked):
    index = IdMap(pl.Series(known, dtype=pl.Int64)).index(pl.Series(asked, dtype=pl.Int64))
    assert index.dtype == np.int32
    assert index.tolist() == [known.index(a) if a in known else -1 for a in asked]


@given(st.lists(TEXT, unique=True, max_size=8), st.lists(TEXT, max_size=8))
def test_unknown_texts_are_minus_one_in_any_order(known, asked):
    index = IdMap(pl.Series(known, dtype=pl.String)).index(asked)
    assert index.tolist() == [known.index(a) if a in known else -1 for a in asked]


def test_text_finds_the_integer_that_it_spells():
    ids = IdMap.of(pl.Series([7, -3, 12]))
    assert ids.index(["7", "-3", "12", "8"]).tolist() == [1, 0, 2, -1]
    assert ids.index(["007", "+7", " 7", "7.0", "1_2", "", "seven", None]).tolist() == [-1] * 8
    assert ids.index([7, "-3", None]).tolist() == [1, 0, -1]


def test_integer_finds_the_text_that_spells_it():
    ids = IdMap.of(pl.Series(["7", "007", "x"]))
    assert ids.index([7]).tolist() == ids.index(["7"]).tolist()
    assert ids.raw(ids.index(["007", "7", "x"])).to_list() == ["007", "7", "x"]


@pytest.mark.parametrize(
    "asked",
    [
        np.array([7, 5, 3]),
        np.array([7, 5, 3], dtype=np.uint64),
        np.array(["7", "5", "3"]),
        np.array([7, 5, "3"], dtype=object),
        pl.Series([7, 5, 3], dtype=pl.UInt8),
        pl.Series(["7", "5", "3"], dtype=pl.Categorical),
        (i for i in (7, 5, 3)),
    ],
)
def test_any_sequence_will_do(asked):
    assert IdMap.of(pl.Series([3, 7])).index(asked).tolist() == [1, -1, 0]


def test_big_integers():
    top = 2**63 - 1
    ids = IdMap.of(pl.Series([top, 0], dtype=pl.Int64))
    assert ids.index([top, str(top)]).tolist() == [1, 1]
    assert ids.index([2**63]).tolist() == [-1]
    assert ids.index([2**70, 0]).tolist() == [-1, 0]
    with pytest.raises(DataError, match=r"beyond 2\*\*63 - 1. Cast the column to text"):
        IdMap.of(pl.Series([2**63], dtype=pl.UInt64))


@pytest.mark.parametrize("column", [[1.0, 2.5], [True, False], [b"a"]])
def test_what_is_no_id_is_refused(column):
    for make in (IdMap, IdMap.of):
        with pytest.raises(DataError, match="must be text or integers"):
            make(pl.Series(column), kind="item")
    with pytest.raises(DataError, match="must be text or integers"):
        IdMap.of(pl.Series([1, 2])).index(column)
    with pytest.raises(DataError, match="must be text or integers"):
        IdMap.of(pl.Series([1, 2])).index(np.array(column))


def test_a_mix_that_has_no_type_is_refused():
    with pytest.raises(DataError, match="must be text or integers"):
        id_series([1, 2.5])


def test_missing_and_repeated_ids_are_refused():
    with pytest.raises(DataError, match="1 user ids are missing"):
        IdMap(pl.Series(["a", None]), "user")
    with pytest.raises(DataError, match="must be distinct"):
        IdMap(pl.Series([1, 1]))


def test_of_joins_columns_of_one_type():
    ids = IdMap.of(pl.Series([3, None, 1]), None, pl.Series([2, 3], dtype=pl.Int16))
    assert ids.ids.to_list() == [1, 2, 3]
    with pytest.raises(DataError, match="text in one table and integers in another"):
        IdMap.of(pl.Series([1]), pl.Series(["1"]))


def test_nothing():
    for ids in (IdMap.of(), IdMap.of(pl.Series([None])), IdMap(pl.Series([], dtype=pl.String))):
        assert len(ids) == 0
        assert ids.index(["a", 1]).tolist() == [-1, -1]
        assert ids.raw(np.array([-1, -1])).to_list() == [None, None]
    assert IdMap.of(pl.Series(["a"])).index([]).shape == (0,)
    assert IdMap.of(pl.Series(["a"])).index([None]).tolist() == [-1]


def test_raw_of_unknown_is_null():
    assert IdMap.of(pl.Series(["a", "b"])).raw(np.array([1, -1, 0])).to_list() == ["b", None, "a"]


def test_require_names_the_first_unknown_and_shows_known_ones():
    ids = IdMap.of(pl.Series(["a", "b"]), kind="item")
    assert ids.require(["b"]).tolist() == [1]
    with pytest.raises(UnknownIdError, match=r"2 item id\(s\).*first is 'zz'. Known ids look like 'a', 'b'"):
        ids.require(["a", "zz", "y"])


def test_equality_and_hash_go_together():
    a, b = IdMap.of(pl.Series([1, 2]), kind="user"), IdMap.of(pl.Series([2, 1]), kind="item")
    assert a == b
    assert hash(a) == hash(b)
    assert a != IdMap.of(pl.Series(["1", "2"]))
    assert a != [1, 2]
    assert repr(a) == "IdMap(2 user ids, integers)"

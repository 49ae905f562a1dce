"""The catalogue: what was written later lies over the bundle, whatever the order and number of writes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import build

from recsmith.errors import ParameterError
from recsmith.serving.catalogue import Catalogue
from recsmith.serving.filters import Filter


def films(text_ids=True):
    """Four films with features of all kinds."""
    ids = ["a", "b", "c", "d"] if text_ids else [1, 2, 3, 4]
    data = build(["u"] * 4, ids)
    features = pl.DataFrame(
        {
            "item_id": ids,
            "title": ["Alpha", "Beta", None, "Delta"],
            "genres": [["Action", "Comedy"], ["Drama"], [], None],
            "tags": ["x|y", "y", None, " x | z "],
            "year": pl.Series([1990, 2001, None, 2010], dtype=pl.Int32),
            "price": pl.Series([4.99, 10.0, float("nan"), None], dtype=pl.Float32),
            "adult": [True, False, None, False],
            "released": [date(1990, 5, 1), None, date(2000, 1, 1), None],
            "seen": [datetime(2020, 1, 1, 12), None, None, None],
            "blob": [b"0"] * 4,
        }
    )
    return replace(data, item_features=features)


def passing(catalogue, where):
    return catalogue.raw(np.flatnonzero(catalogue.mask(Filter.parse(where))))


def test_metadata_is_json_without_nulls():
    catalogue = Catalogue.of(films())
    assert catalogue.metadata(0) == {
        "title": "Alpha",
        "genres": ["Action", "Comedy"],
        "tags": "x|y",
        "year": 1990,
        "price": 4.99,
        "adult": True,
        "released": "1990-05-01",
        "seen": "2020-01-01T12:00:00+00:00",
    }
    assert catalogue.metadata(2) == {"genres": [], "released": "2000-01-01"}
    assert json.dumps([catalogue.metadata(i) for i in range(4)], allow_nan=False)
    assert "blob" not in catalogue.fields


@pytest.mark.parametrize("text_ids", [True, False])
def test_ids_are_text(text_ids):
    known = "b" if text_ids else "2"
    catalogue = Catalogue.of(films(text_ids), {known: ({}, False), "007": ({}, True)})
    assert (catalogue.n_known, catalogue.n_items) == (4, 5)
    assert catalogue.index([known, "007", "nobody", "7"]).tolist() == [1, 4, -1, -1]
    assert catalogue.raw(np.array([4, 1])) == ["007", known]
    assert catalogue.available.tolist() == [True, False, True, True, True]


def test_what_was_written_lies_over_the_bundle():
    catalogue = Catalogue.of(films(), {"a": ({"year": 2024, "title": None, "stock": 3}, True)})
    assert catalogue.metadata(0)["year"] == 2024
    assert catalogue.metadata(0)["price"] == 4.99
    assert "title" not in catalogue.metadata(0)
    assert passing(catalogue, {"year": {"gt": 2005}}) == ["a", "d"]
    assert passing(catalogue, {"title": {"exists": False}}) == ["a", "c"]
    assert passing(catalogue, {"stock": 3}) == ["a"]
    again = catalogue.with_upserts({"a": ({"stock": 4}, True)})
    assert again.metadata(0)["title"] == "Alpha"
    assert again.metadata(0)["stock"] == 4
    assert catalogue.metadata(0)["stock"] == 3


def test_an_item_keeps_its_index():
    first = Catalogue.of(films(), {"new": ({"year": 1}, False)})
    later = first.with_upserts({"b": ({}, True), "newer": ({}, True), "new": ({"year": 2}, True)})
    assert later.index(["new", "newer", "b"]).tolist() == [4, 5, 1]
    assert first.index(["newer"]).tolist() == [-1]
    assert (first.available[4], later.available[4]) == (False, True)
    assert later.with_upserts({}) is later


def test_values_of_a_field():
    catalogue = Catalogue.of(films(), {"e": ({"genres": "War|Drama", "tags": ["y", "y", 3]}, True)})
    values = {name: [catalogue.values(name, i) for i in (4, 0, 2, 3)] for name in ("genres", "tags", "adult")}
    assert values == {
        "genres": [("War", "Drama"), ("Action", "Comedy"), (), ()],
        "tags": [("y", "3"), ("x", "y"), (), ("x", "z")],
        "adult": [(), ("true",), (), ("false",)],
    }


def test_moments_of_dates_years_and_seconds():
    written = {
        "a": ({"year": 1_600_000_000, "released": "2020-01-02T00:00:00+02:00"}, True),
        "e": ({"year": "1971", "released": "2020-01-02 00:00:01Z"}, True),
        "f": ({"year": "soon", "released": 86_400}, True),
    }
    catalogue = Catalogue.of(films(), written)
    day = 86_400
    year = {"2001": 11_323 * day, "2010": 14_610 * day, "1971": 365 * day}
    np.testing.assert_array_equal(
        catalogue.moments("year"),
        [1_600_000_000, year["2001"], np.nan, year["2010"], year["1971"], np.nan],
    )
    np.testing.assert_array_equal(
        catalogue.moments("released"),
        [18_263 * day - 7200, np.nan, 10_957 * day, np.nan, 18_263 * day + 1, day],
    )


def test_a_bundle_without_features():
    bare = Catalogue.of(build(["u"], ["a"]))
    assert bare.metadata(0) == {}
    assert bare.fields == frozenset()
    with pytest.raises(ParameterError, match="no field of items named 'year'"):
        bare.mask(Filter.parse({"year": 1}))
    written = bare.with_upserts({"b": ({"year": 1}, True)})
    assert passing(written, {"year": 1}) == ["b"]
    assert (written.values("year", 0), written.values("year", 1)) == ((), ("1",))


def test_a_field_that_no_item_has():
    catalogue = Catalogue.of(films())
    for ask in (
        lambda: catalogue.mask(Filter.parse({"not": {"genre": "Drama"}})),
        lambda: catalogue.values("genre", 0),
        lambda: catalogue.moments("genre"),
    ):
        with pytest.raises(ParameterError, match=r"no field of items named 'genre'. Did you mean 'genres'"):
            ask()


def test_an_index_out_of_range():
    catalogue = Catalogue.of(films(), {"e": ({}, True)})
    for index in (-1, 5):
        with pytest.raises(ParameterError, match=r"must be indices in 0 .. 4"):
            catalogue.metadata(index)
        with pytest.raises(ParameterError, match=r"must be indices in 0 .. 4"):
            catalogue.raw(np.array([index]))


def test_a_mask_is_made_once_for_each_filter():
    catalogue = Catalogue.of(films())
    mask = catalogue.mask(Filter.parse({"adult": True, "year": 1990}))
    assert catalogue.mask(Filter.parse({"year": 1990, "adult": True})) is mask
    with pytest.raises(ValueError, match="read-only"):
        mask[0] = False


WRITES = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "d", *(f"n{i}" for i in range(12))]),
        st.tuples(
            st.fixed_dictionaries(
                {},
                optional={
                    "year": st.sampled_from([None, 1990, 2001, "2001", 7.5]),
                    "genres": st.sampled_from([None, "Drama", "Drama|War", ["Action"], []]),
                },
            ),
            st.booleans(),
        ),
        max_size=5,
    ),
    max_size=8,
)


@given(WRITES)
def test_many_small_writes_are_one_large_one(writes):
    step = Catalogue.of(films())
    for write in writes:
        step = step.with_upserts(write)
    merged = {}
    for write in writes:
        merged |= write
    whole = Catalogue.of(films(), merged)
    assert step.raw(np.arange(step.n_items)) == whole.raw(np.arange(whole.n_items))
    np.testing.assert_array_equal(step.available, whole.available)
    for i in range(whole.n_items):
        assert step.metadata(i) == whole.metadata(i)
        assert step.values("genres", i) == whole.values("genres", i)
    for where in ({"year": 2001}, {"genres": "Drama"}, {"genres": {"contains": "a"}}, {"year": {"gte": 7.5}}):
        np.testing.assert_array_equal(step.mask(Filter.parse(where)), whole.mask(Filter.parse(where)))
    np.testing.assert_array_equal(step.moments("year"), whole.moments("year"))
    assert step.index(list(merged)).tolist() == whole.index(list(merged)).tolist()

"""The language of filters: what passes, what is refused, and that no bad filter takes long."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsmith.errors import ParameterError
from recsmith.serving.columns import Column, plain
from recsmith.serving.filters import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, Filter

ITEMS = [
    {"title": "War Horse", "genres": ["Drama", "War"], "year": 2011, "adult": False, "made": "2011-12-04"},
    {
        "title": "Alien",
        "genres": "Horror|Sci-Fi",
        "year": 1979,
        "adult": True,
        "made": "1979-05-25T20:00:00Z",
    },
    {"title": "Babe", "genres": ["Comedy"], "year": "1995", "made": "1995-08-04 00:00:00+02:00"},
    {"title": "Untitled | War", "genres": [], "year": None, "price": 4.99},
]


class Items:
    """The metadata above as a table."""

    def __init__(self, items=ITEMS):
        self.items = items

    def __len__(self):
        return len(self.items)

    def column(self, field):
        return Column.of_values([item.get(field) for item in self.items])


def passing(where):
    return np.flatnonzero(Filter.parse(where).mask(Items())).tolist()


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ({}, [0, 1, 2, 3]),
        ({"genres": "Drama"}, [0]),
        ({"genres": "Sci-Fi"}, [1]),
        ({"genres": "Horror|Sci-Fi"}, [1]),
        ({"genres": "sci-fi"}, []),
        ({"title": "Untitled | War"}, [3]),
        ({"title": "War"}, [3]),
        ({"title": "war horse"}, []),
        ({"year": 1995}, [2]),
        ({"year": "1995"}, [2]),
        ({"year": 2011.0}, [0]),
        ({"adult": True}, [1]),
        ({"adult": "true"}, [1]),
        ({"adult": 1}, []),
        ({"genres": "Drama", "year": {"gte": 2012}}, []),
        ({"genres": {"in": ["Comedy", "War"]}}, [0, 2]),
        ({"year": {"in": [1979, "1995"]}}, [1, 2]),
        ({"genres": {"not_in": ["Comedy", "War"]}}, [1, 3]),
        ({"year": {"gt": 1979}}, [0, 2]),
        ({"year": {"gte": 1979, "lt": 2011}}, [1, 2]),
        ({"year": {"lte": "1995-01-01"}}, [1, 2]),
        ({"made": {"gte": "1995-08-03T22:00:00Z"}}, [0, 2]),
        ({"made": {"gt": "1995-08-03T22:00:00Z"}}, [0]),
        ({"made": {"lt": date(1980, 1, 1)}}, [1]),
        ({"made": {"gte": datetime(2011, 12, 4)}}, [0]),
        ({"made": "2011-12-04"}, [0]),
        ({"made": date(2011, 12, 4)}, [0]),
        ({"title": {"contains": "wAr"}}, [0, 3]),
        ({"genres": {"contains": "-fi"}}, [1]),
        ({"title": {"contains": "."}}, []),
        ({"year": {"exists": True}}, [0, 1, 2]),
        ({"genres": {"exists": False}}, [3]),
        ({"nothing": {"exists": False}}, [0, 1, 2, 3]),
        ({"nothing": {"lt": 5}}, []),
        ({"price": 4.99}, [3]),
        ({"any": [{"year": 1979}, {"price": {"lt": 5}}]}, [1, 3]),
        ({"all": [{"genres": "Drama"}, {"genres": "War"}]}, [0]),
        ({"not": {"genres": "Drama"}}, [1, 2, 3]),
        ({"not": {"any": [{"genres": "Drama"}, {"adult": True}]}, "year": {"exists": True}}, [2]),
    ],
)
def test_what_passes(where, wanted):
    assert passing(where) == wanted


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("Drama", "top level of filters must be an object such as .* Got 'Drama' instead"),
        ([], "top level of filters must be an object"),
        (None, "top level of filters must be an object"),
        ({1: 2}, "names are text of at most 1000 characters. Got 1 instead"),
        ({"x" * 1001: 1}, "names are text of at most 1000 characters"),
        ({"year": {"gte ": 1}}, "no operator in filters named 'gte '. Did you mean 'gte'"),
        ({"year": {"$gt": 1}}, r"no operator in filters named '\$gt'. Did you mean 'gt'"),
        ({"year": {}}, "'year' part of filters must be a value, or an object with one of in, not_in"),
        ({"year": None}, "'year' part of filters must be a number, true, false or text"),
        ({"year": [1990]}, "'in' takes a list of these"),
        ({"year": {"in": []}}, "'year.in' part of filters must be a list of 1 to 1000 values"),
        ({"year": {"in": 1990}}, "'year.in' part of filters must be a list"),
        ({"year": {"in": [[1]]}}, "'year.in' part of filters must be a number"),
        ({"year": {"in": [1] * (MAX_VALUES + 1)}}, "must be a list of 1 to 1000 values"),
        (
            {"year": {"gt": "new"}},
            "'year.gt' part of filters must be a number or an ISO 8601 date. Got 'new'",
        ),
        ({"year": {"gt": True}}, "must be a number or an ISO 8601 date"),
        ({"year": {"gt": float("nan")}}, "must be a number or an ISO 8601 date"),
        ({"year": {"gt": float("inf")}}, "must be a number or an ISO 8601 date"),
        ({"year": {"gt": 10**400}}, "must be a number or an ISO 8601 date"),
        ({"year": 10**400}, "must be a number, true, false or text"),
        ({"year": float("nan")}, "must be a number, true, false or text"),
        ({"title": "x" * 1001}, "text of at most 1000 characters"),
        (
            {"title": {"contains": ""}},
            "'title.contains' part of filters must be text of 1 to 1000 characters",
        ),
        ({"title": {"contains": 3}}, "must be text"),
        ({"title": {"exists": 1}}, "'title.exists' part of filters must be true or false. Got 1"),
        ({"any": []}, "'any' part of filters must be a list of filters"),
        ({"any": {"year": 1}}, "'any' part of filters must be a list of filters"),
        ({"any": [{"year": 1}, 5]}, "'any.2' part of filters must be an object"),
        ({"not": [1]}, "'not' part of filters must be an object"),
        ({"any": [{"year": 1}] * (MAX_CONDITIONS + 1)}, "at most 64 conditions"),
    ],
)
def test_what_is_refused(where, message):
    with pytest.raises(ParameterError, match=message):
        Filter.parse(where)


def nested(levels):
    where: dict = {"year": 1}
    for _ in range(levels):
        where = {"not": where}
    return where


def test_depth_has_an_end():
    assert passing(nested(MAX_DEPTH)) == []
    for levels in (MAX_DEPTH + 1, 50_000):
        with pytest.raises(ParameterError, match="at most 8 levels of 'any', 'all' and 'not'"):
            Filter.parse(nested(levels))


def test_a_message_does_not_repeat_a_large_input():
    with pytest.raises(ParameterError) as caught:
        Filter.parse({"y" * 900: {"gt": "x" * 10**6}})
    assert len(str(caught.value)) < 300
    with pytest.raises(ParameterError) as caught:
        Filter.parse({"year": {"x" * 10**6: 1}})
    assert len(str(caught.value)) < 300


def test_equal_filters_are_equal():
    one, two = Filter.parse({"a": 1, "b": {"in": ["x"]}}), Filter.parse({"b": {"in": ("x",)}, "a": 1})
    assert one == two
    assert hash(one) == hash(two)
    assert one.fields == {"a", "b"}
    assert one != Filter.parse({"a": 1})
    assert Filter.parse({"made": date(2020, 1, 1)}) == Filter.parse({"made": "2020-01-01"})


FIELDS = st.sampled_from(["title", "genres", "year", "adult", "made", "price", "any", "not", "all"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            FIELDS | st.sampled_from(["in", "gt", "contains", "exists"]) | st.text(max_size=3), inner
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_a_filter_or_a_clear_error(given_):
    try:
        chosen = Filter.parse(given_)
    except ParameterError:
        return
    assert chosen.mask(Items()).shape == (len(ITEMS),)


LEAVES = st.sampled_from(
    [{"genres": "Drama"}, {"year": {"gte": 1990}}, {"adult": {"exists": False}}, {"title": {"contains": "a"}}]
)


@given(LEAVES, LEAVES)
def test_junctions_are_those_of_logic(a, b):
    left, right = (Filter.parse(w).mask(Items()) for w in (a, b))
    for where, wanted in (
        ({"any": [a, b]}, left | right),
        ({"all": [a, b]}, left & right),
        ({"not": a}, ~left),
        ({"not": {"any": [a, b]}}, ~left & ~right),
    ):
        np.testing.assert_array_equal(Filter.parse(where).mask(Items()), wanted)


class Frame:
    """The columns of a frame as a table."""

    def __init__(self, frame):
        self.columns = {name: Column.of_series(plain(frame[name])) for name in frame.columns}
        self.height = frame.height

    def __len__(self):
        return self.height

    def column(self, field):
        return self.columns[field]


def test_a_frame_and_its_json_values_pass_alike():
    frame = pl.DataFrame(
        {
            "title": pl.Series(["War|Peace", "Peace", None], dtype=pl.Categorical),
            "genres": [["Drama", "War"], None, ["Comedy"]],
            "parts": pl.Series([[1, 2], [3, 3], [2, None]], dtype=pl.Array(pl.Int64, 2)),
            "price": pl.Series([4.99, 0.1, None], dtype=pl.Float32),
            "cost": pl.Series(["1.50", None, "2.25"]).cast(pl.Decimal(10, 2)),
            "adult": [True, None, False],
            "made": [date(1999, 1, 1), date(2001, 1, 1), None],
            "seen": pl.Series([datetime(2020, 1, 1), None, None]).dt.replace_time_zone("Europe/Berlin"),
        }
    )
    values = pl.DataFrame([plain(series) for series in frame.get_columns()]).to_dicts()
    for where in (
        {"title": "Peace"},
        {"genres": {"in": ["War", "Comedy"]}},
        {"parts": 2},
        {"price": {"in": [4.99, 0.1]}},
        {"cost": 1.5},
        {"cost": {"gt": 2}},
        {"adult": False},
        {"made": {"gt": "2000-01-01"}},
        {"seen": {"lt": "2020-01-01"}},
        {"seen": {"exists": False}},
    ):
        chosen = Filter.parse(where)
        mask = chosen.mask(Frame(frame))
        assert mask.any(), where
        np.testing.assert_array_equal(mask, chosen.mask(Items(values)), err_msg=str(where))

"""Columns: aliases, ambiguity, types of ids, ratings and times."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from recsmith.data.schema import Log, canonical, catalogue
from recsmith.errors import DataError, ParameterError

NOON = 1_704_110_400  # 2024-01-01T12:00:00Z


def frame(**columns: list[Any]) -> pl.DataFrame:
    base: dict[str, list[Any]] = {"user_id": [1, 2], "item_id": [7, 8]}
    return pl.DataFrame(base | columns, strict=False)


@pytest.mark.parametrize(
    "user", ["user_id", "userId", "UserId", "USER", "user_id:token", "uid", "customer-id"]
)
@pytest.mark.parametrize(
    "item", ["movieId", "product id", "asin", "artistID", "business_id", "item_id:token"]
)
def test_accepted_names_become_canonical(user: str, item: str) -> None:
    out = canonical(pl.DataFrame({item: [7], "noise": [0], user: [1]}), origin="x")
    assert out.to_dict(as_series=False) == {"user_id": [1], "item_id": [7]}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("stars", "rating"),
        ("overall", "rating"),
        ("plays", "weight"),
        ("behavior", "event"),
        ("unixReviewTime", "timestamp"),
    ],
)
def test_other_columns_have_aliases(header: str, name: str) -> None:
    assert canonical(frame(**{header: [1, 2]}), origin="x").columns == ["user_id", "item_id", name]


def test_dtypes_and_order_are_fixed() -> None:
    out = canonical(frame(event=["a", "b"], timestamp=[1, 2], weight=[1, 2], rating=[3, 4]), origin="x")
    assert dict(out.schema) == {
        "user_id": pl.Int64,
        "item_id": pl.Int64,
        "rating": pl.Float32,
        "weight": pl.Float32,
        "timestamp": pl.Int64,
        "event": pl.String,
    }


def test_two_columns_for_one_name_are_refused_and_can_be_chosen() -> None:
    both = frame(buyer=[5, 6], customer=[3, 4])
    with pytest.raises(DataError, match=r"'user_id' and 'customer'.*columns=.*--column user_id="):
        canonical(both, origin="log.csv")
    out = canonical(both, origin="log.csv", columns={"user_id": "buyer"})
    assert out["user_id"].to_list() == [5, 6]


def test_missing_column_lists_what_was_found_and_what_is_accepted() -> None:
    with pytest.raises(
        DataError, match=r"log.csv has no column for item_id. Found: user_id, thing.*item_id, item"
    ):
        canonical(pl.DataFrame({"user_id": [1], "thing": [2]}), origin="log.csv")


def test_header_that_is_data_is_recognized() -> None:
    with pytest.raises(DataError, match="first line looks like data"):
        canonical(pl.DataFrame({"196": [1], "242": [2]}), origin="u.data")


def test_wrong_choice_of_column_offers_the_nearest() -> None:
    with pytest.raises(DataError, match="Did you mean 'buyer'"):
        canonical(frame(buyer=[1, 2]), origin="x", columns={"user_id": "byer"})
    with pytest.raises(ParameterError, match="Did you mean 'user_id'"):
        canonical(frame(), origin="x", columns={"userid": "user_id"})


def test_ids_stay_as_they_came() -> None:
    text = pl.DataFrame({"user": ["1", "2"], "item": ["07", "8"]})
    assert canonical(text, origin="x").schema == {"user_id": pl.String, "item_id": pl.String}
    untyped = canonical(text, origin="x", typed=False)
    assert untyped["user_id"].to_list() == [1, 2]
    assert untyped["item_id"].to_list() == ["07", "8"]


@pytest.mark.parametrize("odd", ["+1", "-0", "1.0", " 1", "a", "99999999999999999999"])
def test_untyped_ids_that_integers_cannot_hold_stay_text(odd: str) -> None:
    out = canonical(pl.DataFrame({"user": ["3", odd], "item": ["1", "2"]}), origin="x", typed=False)
    assert out["user_id"].to_list() == ["3", odd]


@pytest.mark.parametrize("ids", [[1.0, 2.5], [True, False], [dt.date(2024, 1, 1)] * 2])
def test_ids_of_other_types_are_refused(ids: list[object]) -> None:
    with pytest.raises(DataError, match=r"log.csv: column 'user_id' must hold integers or text"):
        canonical(frame(user_id=ids), origin="log.csv")


def test_text_rating_names_file_column_row_and_value() -> None:
    with pytest.raises(DataError, match=r"log.csv: column 'stars', row 3: 'five' is not a number"):
        canonical(frame(stars=["4", "five"]), origin="log.csv", first_row=2)


def test_numeric_text_is_a_rating_and_missing_stays_null() -> None:
    assert canonical(frame(rating=[" 4.5", None]), origin="x")["rating"].to_list() == [4.5, None]


@pytest.mark.parametrize(
    "value",
    [
        NOON,
        float(NOON) + 0.9,
        str(NOON),
        "2024-01-01T12:00:00Z",
        "2024-01-01 12:00",
        "2024-01-01T14:00:00.25+02:00",
        dt.datetime(2024, 1, 1, 12),
        dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC),
    ],
)
def test_every_way_to_write_a_time_gives_unix_seconds(value: object) -> None:
    assert canonical(frame(time=[value, value]), origin="x")["timestamp"].to_list() == [NOON, NOON]


def test_an_empty_cell_is_a_missing_time() -> None:
    out = canonical(pl.DataFrame({"user": [1] * 3, "item": [2] * 3, "ts": [str(NOON), " ", ""]}), origin="x")
    assert out["timestamp"].to_list() == [NOON, None, None]
    coded = frame(time=pl.Series([str(NOON), ""], dtype=pl.Categorical))
    assert canonical(coded, origin="x")["timestamp"].to_list() == [NOON, None]


@pytest.mark.parametrize("wrong", [1e30, float("inf"), "1" + "0" * 20, 2**63 + 5])
def test_a_time_beyond_64_bits_names_its_row(wrong: object) -> None:
    kind = {str: pl.String, int: pl.UInt64, float: pl.Float64}[type(wrong)]
    times = pl.Series([wrong, type(wrong)(NOON), type(wrong)(NOON)], dtype=kind)
    logged = pl.DataFrame({"user": [1] * 3, "item": [2] * 3, "time": times})
    with pytest.raises(DataError, match=r"log.csv: column 'time', row 1: .* is not a time"):
        canonical(logged, origin="log.csv")


def test_a_day_is_its_first_second() -> None:
    out = canonical(frame(date=["2024-01-01", None]), origin="x")
    assert out["timestamp"].to_list() == [NOON - 43_200, None]


@pytest.mark.parametrize(("unit", "scale"), [("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_units_are_never_guessed(unit: str, scale: int) -> None:
    late = frame(timestamp=[NOON * scale, NOON * scale + 1])
    with pytest.raises(
        DataError, match=rf"looks like {unit}.*timestamp_unit='{unit}' or --timestamp-unit {unit}"
    ):
        canonical(late, origin="x")
    assert canonical(late, origin="x", timestamp_unit=unit)["timestamp"].to_list() == [NOON, NOON]  # type: ignore[arg-type]


def test_unreadable_time_names_its_row() -> None:
    with pytest.raises(DataError, match=r"row 2: 'last week' is not Unix seconds or an ISO 8601 date"):
        canonical(frame(date=["2024-01-01", "last week"]), origin="x")


def test_unknown_unit_is_refused() -> None:
    with pytest.raises(ParameterError, match="timestamp_unit"):
        canonical(frame(), origin="x", timestamp_unit="days")  # type: ignore[arg-type]


def test_catalogue_has_standard_names() -> None:
    raw = pl.DataFrame(
        {"movieId": [1, 2], "movie_title": ["A", "B"], "genres": ["X|Y", None], "release_year": ["1999", "?"]}
    )
    out = catalogue(raw, entity="item", origin="x")
    assert out.to_dict(as_series=False) == {
        "item_id": [1, 2],
        "title": ["A", "B"],
        "genres": [["X", "Y"], []],
        "year": [1999, None],
    }


def test_catalogue_of_recbole_splits_tokens_at_blanks() -> None:
    raw = pl.DataFrame(
        {"item_id:token": ["1"], "movie_title:token_seq": ["Big Cat"], "class:token_seq": ["Film-Noir War"]}
    )
    out = catalogue(raw, entity="item", origin="x", typed=False)
    assert out.row(0, named=True) == {"item_id": 1, "title": "Big Cat", "genres": ["Film-Noir", "War"]}


@pytest.mark.parametrize(
    ("ids", "words"), [([1, 1], "1 has more than one row"), ([1, None], "have no user_id")]
)
def test_catalogue_wants_one_row_for_each_id(ids: list[object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        catalogue(pl.DataFrame({"id": ids}), entity="user", origin="x")


def test_log_without_ratings_is_implicit() -> None:
    assert Log(interactions=canonical(frame(), origin="x")).implicit
    rated = Log(interactions=canonical(frame(rating=[1, 2]), origin="x"), name="r")
    assert not rated.implicit
    assert len(rated) == 2
    assert repr(rated) == "Log('r': 2 rows of user_id, item_id, rating)"

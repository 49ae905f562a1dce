"""Quality: each flaw is found in its row, and repairs do what they say and nothing else."""

from __future__ import annotations

import io
import json
import time

import polars as pl
import pytest
from rich.console import Console

from recsmith.data.dataset import Dataset
from recsmith.data.quality import QualityReport, check, repair
from recsmith.data.schema import Log
from recsmith.errors import DataError, ParameterError

T = 1_600_000_000


def log(scale: tuple[float, float] | None = None, **columns: list[object]) -> Log:
    """A log without a flaw but for the columns given."""
    n = max((len(c) for c in columns.values()), default=4)
    base: dict[str, list[object]] = {
        "user_id": [i // 2 for i in range(n)],
        "item_id": [i % 2 for i in range(n)],
    }
    types = {"rating": pl.Float32, "weight": pl.Float32, "timestamp": pl.Int64}
    data = base | columns
    frame = pl.DataFrame([pl.Series(k, v, dtype=types.get(k)) for k, v in data.items()])
    return Log(interactions=frame, rating_scale=scale, first_row=2, origin="log.csv")


def found(report: QualityReport) -> dict[str, tuple[int, list[int]]]:
    """Code -> (count, rows)."""
    return {f.code: (f.count, [s["row"] for s in f.samples if "row" in s]) for f in report.findings}


def test_clean_log_has_no_finding() -> None:
    report = check(log(scale=(1, 5), rating=[1, 2, 3, 4], timestamp=[T, T + 1, T + 2, T + 3]))
    assert report.findings == ()
    assert report.ok


@pytest.mark.parametrize(
    ("columns", "code", "severity", "rows"),
    [
        ({"user_id": [0, None, 1, 1]}, "missing_ids", "error", [3]),
        ({"item_id": ["a", " ", "a", ""]}, "missing_ids", "error", [3, 5]),
        ({"rating": [1, float("nan"), 2, None]}, "missing_ratings", "error", [3, 5]),
        ({"rating": [1, 6, 2, 0.5]}, "off_scale_ratings", "error", [3, 5]),
        ({"timestamp": [T, None, T + 1, T]}, "missing_timestamps", "error", [3]),
        ({"timestamp": [T, -1, T, T]}, "negative_timestamps", "error", [3]),
        ({"timestamp": [T, T, T, int(time.time()) + 10**6]}, "future_timestamps", "error", [5]),
        ({"timestamp": [0, T, T, T]}, "zero_timestamps", "warning", [2]),
        ({"timestamp": [T, T, 86_400, T]}, "early_timestamps", "warning", [4]),
        ({"timestamp": [T] * 4}, "constant_timestamps", "warning", []),
        ({"rating": [3] * 4}, "constant_ratings", "warning", []),
        ({"rating": [1, float("inf"), 2, 3]}, "missing_ratings", "error", [3]),
        ({"weight": [1, None, float("nan"), float("inf")]}, "missing_weights", "error", [3, 4, 5]),
        ({"weight": [1, 0, 1, -2]}, "negative_weights", "error", [5]),
        ({"weight": [1, 0, 1, 0]}, "zero_weights", "warning", [3, 5]),
        ({"user_id": ["1", "2", "1", "two", "2", "two"]}, "mixed_ids", "warning", [5, 7]),
        ({"user_id": ["a", "a", "b ", "b "]}, "padded_ids", "warning", [4, 5]),
        ({"user_id": [0, 0, 1, 1], "item_id": [0, 0, 1, 0]}, "duplicate_rows", "warning", [3]),
        (
            {"user_id": [0, 0, 1, 1], "item_id": [0, 0, 1, 0], "rating": [1, 2, 3, 4]},
            "conflicting_ratings", "warning", [2, 3],
        ),
        ({"user_id": [0, 0, 1], "item_id": [0, 0, 1], "timestamp": [T, T + 1, T]}, "repeated_pairs", "note", [3]),
    ],
)  # fmt: skip
def test_each_flaw_is_found_where_it_is(
    columns: dict[str, list[object]], code: str, severity: str, rows: list[int]
) -> None:
    report = check(log(scale=(1, 5) if "rating" in columns else None, **columns))
    assert found(report)[code] == (len(rows) or 4, rows)
    finding = next(f for f in report.findings if f.code == code)
    assert finding.severity == severity
    assert finding.share == finding.count / report.rows
    assert finding.done == "kept"
    assert report.ok == (severity != "error")


def test_single_events_count_users_and_items() -> None:
    report = check(log(user_id=[1, 2, 2], item_id=[5, 5, 6]))
    assert {f.code: (f.count, f.share, f.samples) for f in report.findings} == {
        "single_event_users": (1, 0.5, ({"user_id": 1},)),
        "single_event_items": (1, 0.5, ({"item_id": 6},)),
    }


def test_at_most_five_rows_are_shown() -> None:
    assert found(check(log(weight=[0] * 9)))["zero_weights"] == (9, [2, 3, 4, 5, 6])


def test_empty_log_is_an_error() -> None:
    empty = log()
    report = check(Log(interactions=empty.interactions.clear()))
    assert [f.code for f in report.findings] == ["empty_log"]
    assert not report.ok


def test_report_is_json_and_a_table() -> None:
    report = check(log(scale=(1, 5), rating=[9, float("nan"), 2, 3]))
    assert json.loads(json.dumps(report.as_dict()))["findings"][0]["code"] == "missing_ratings"
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report)
    text = console.export_text()
    assert "needs repair" in text
    assert "off_scale_ratings" in text


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"user_id": [0, None, 1, 1]},
            r"log.csv: 1 of 4 rows: The user or item id is missing.*Rows: 3.*'nulls'",
        ),
        ({"rating": [1, 9, 2, 3]}, r"outside the scale 1 to 5.*'off_scale'"),
        ({"timestamp": [T, -1, T, T]}, r"before 1970.*'bad_timestamps'"),
    ],
)
def test_repair_drops_nothing_unasked(columns: dict[str, list[object]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        repair(log(scale=(1, 5) if "rating" in columns else None, **columns))


def test_repair_drops_what_it_is_told_to_and_says_so() -> None:
    flawed = log(
        scale=(1, 5),
        user_id=[0, 0, 1, None, 2],
        item_id=[0, 1, 0, 1, 1],
        rating=[1, 9, 3, 4, 5],
        timestamp=[T, T + 1, -7, T + 3, T + 4],
    )
    good, report = repair(flawed, nulls="drop", off_scale="drop", bad_timestamps="drop")
    assert good.interactions.rows() == [(0, 0, 1.0, T), (2, 1, 5.0, T + 4)]
    errors = {f.code: f.done for f in report.findings if f.severity == "error"}
    assert errors == dict.fromkeys(("missing_ids", "off_scale_ratings", "negative_timestamps"), "dropped")
    assert report.ok
    assert check(good).ok
    assert len(flawed) == 5


def test_repair_clips_to_the_scale() -> None:
    good, report = repair(log(scale=(1, 5), rating=[0, 9, 2, 3]), off_scale="clip")
    assert good.interactions["rating"].to_list() == [1, 5, 2, 3]
    assert report.findings[0].done == "clipped"


@pytest.mark.parametrize(
    ("how", "kept"),
    [("first", [(0, 0, 2.0, T), (1, 0, 4.0, T)]), ("last", [(0, 0, 1.0, T + 9), (1, 0, 4.0, T)])],
)
def test_repair_of_repeated_pairs_goes_by_time(how: str, kept: list[object]) -> None:
    twice = log(user_id=[0, 0, 1], item_id=[0, 0, 0], rating=[1, 2, 4], timestamp=[T + 9, T, T])
    good, report = repair(twice, duplicates=how)  # type: ignore[arg-type]
    assert sorted(good.interactions.rows()) == kept
    assert {f.code: f.done for f in report.findings}["conflicting_ratings"] == "dropped"


@pytest.mark.parametrize(("how", "left"), [("drop", [1, 2]), ("clip", [1, 0, 2])])
def test_repair_of_weights_gives_a_log_that_can_be_used(how: str, left: list[float]) -> None:
    flawed = log(weight=[1, -3, float("inf"), 2])
    with pytest.raises(DataError, match="weights are missing, infinite or below 0"):
        Dataset.from_log(flawed)
    good, report = repair(flawed, nulls="drop", off_scale=how)  # type: ignore[arg-type]
    assert good.interactions["weight"].to_list() == left
    assert report.ok
    assert check(good).ok
    assert len(Dataset.from_log(good)) == len(left)


def test_repair_sums_weights_or_counts() -> None:
    weighted, report = repair(log(user_id=[0, 0, 1], item_id=[0, 0, 0], weight=[2, 3, 4]), duplicates="sum")
    assert weighted.interactions.rows() == [(0, 0, 5.0), (1, 0, 4.0)]
    assert {f.code: f.done for f in report.findings}["repeated_pairs"] == "merged"
    counted, _ = repair(
        log(user_id=[0, 0, 1], item_id=[0, 0, 0], timestamp=[T, T + 2, T + 1]), duplicates="sum"
    )
    assert counted.interactions.rows() == [(0, 0, 2.0, T + 2), (1, 0, 1.0, T + 1)]


def test_different_events_of_a_pair_are_not_duplicates() -> None:
    good, report = repair(
        log(user_id=[0, 0, 0], item_id=[0, 0, 0], event=["view", "buy", "view"]), duplicates="first"
    )
    assert good.interactions["event"].to_list() == ["view", "buy"]
    assert found(report)["repeated_pairs"] == (1, [4])
    bought = log(user_id=[0, 0, 1, 1], item_id=[0, 0, 1, 2], event=["view", "buy", "view", "buy"])
    assert "repeated_pairs" not in found(check(bought))


def test_repair_without_flaws_changes_nothing() -> None:
    clean = log(rating=[1, 2, 3, 4])
    assert repair(clean)[0].interactions.equals(clean.interactions)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ParameterError, match="'nulls' parameter of repair must be 'error' or 'drop'"):
        repair(log(), nulls="ignore")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="'first' or 'last'"):
        repair(log(rating=[1, 2, 3, 4]), duplicates="sum")

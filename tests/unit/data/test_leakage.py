"""What a split gives away is said with the right figures, and a clean split says nothing."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsmith.data.dataset import Dataset
from recsmith.data.filters import k_core
from recsmith.data.ids import IdMap
from recsmith.data.leakage import leakage
from recsmith.data.split import fixed
from recsmith.data.splitters import global_time, leave_last_out, random_holdout, user_time


def log(rows: list[tuple[str, str, int]], *, timed: bool = True, rated: bool = False) -> Dataset:
    """Make a log of (user, item, time); every rating is 3."""
    users, items = (pl.Series([row[c] for row in rows], dtype=pl.String) for c in (0, 1))
    user_map, item_map = IdMap.of(users, kind="user"), IdMap.of(items, kind="item")
    return Dataset.build(
        users=user_map,
        items=item_map,
        user=user_map.index(users),
        item=item_map.index(items),
        time=np.array([row[2] for row in rows], dtype=np.int64) if timed else None,
        value=np.full(len(rows), 3, dtype=np.float32) if rated else None,
    )


def test_a_cut_in_global_time_leaks_nothing() -> None:
    assert (
        leakage(global_time(log([(u, i, t) for t, (u, i) in enumerate(["ua", "va", "ub", "vb"])]), 0.5)) == []
    )


def test_one_user_cut_in_time_leaks_nothing() -> None:
    assert leakage(user_time(log([("u", i, t) for t, i in enumerate("abcd")]))) == []


def test_history_after_the_question() -> None:
    train = log([("u", "a", 1), ("u", "b", 9), ("v", "a", 2), ("v", "b", 3)])
    later, newer = leakage(fixed(train, log([("u", "c", 5), ("v", "c", 5)])))
    assert newer == "1 of 4 train events (25.0 %) are newer than the cut."
    assert "25.0 % of the history events of judged users (1 of 4)" in later
    assert "touches 1 of 2 users" in later


def test_train_newer_than_the_cut() -> None:
    train = log([("u", "a", 1), ("v", "a", 6), ("v", "b", 7), ("w", "b", 2)])
    assert leakage(fixed(train, log([("u", "c", 5)]))) == [
        "2 of 4 train events (50.0 %) are newer than the cut."
    ]


def test_events_of_others_after_the_questions() -> None:
    # Train: u 0, v 10, v 11. Questions: u at 1 (two of three later), v at 12 (none).
    data = log([("u", "a", 0), ("u", "b", 1), ("v", "a", 10), ("v", "b", 11), ("v", "c", 12)])
    (text,) = leakage(leave_last_out(data))
    assert "50.0 % of the questions" in text and "on average 33.3 % of its events" in text


def test_random_holdout_of_a_timed_log_leaks() -> None:
    data = log([(u, f"i{t}", t) for u in "uvwxyz" for t in range(30)])
    texts = leakage(random_holdout(data))
    assert len(texts) == 2 and "later than the user's own question" in texts[0]


def test_pairs_and_copies() -> None:
    train = log([("u", "a", 1), ("u", "b", 2), ("v", "a", 1)], rated=True)
    test = log([("u", "a", 1), ("u", "b", 7), ("u", "c", 8), ("v", "b", 5), ("v", "b", 5)], rated=True)
    texts = leakage(fixed(train, test))
    assert "40.0 % of the test events (2 of 5) are of an item that the user's own history holds" in texts[-3]
    assert texts[-2] == "1 test events are exact copies of events of the same user's history."
    assert texts[-1] == "1 test events are exact copies of other test events of the same user."


def test_pairs_of_a_log_without_times_and_ratings() -> None:
    train, test = log([("u", "a", 0)], timed=False), log([("u", "a", 0), ("u", "a", 0)], timed=False)
    (text,) = leakage(fixed(train, test))
    assert "100.0 %" in text


def test_a_filter_before_the_split_is_told() -> None:
    core = k_core(log([("u", i, t) for t, i in enumerate("abcd")]), 1, 1)
    (text,) = leakage(user_time(core))
    assert text.startswith("A filter has looked at test events too") and "k-core (users >= 1" in text


def test_an_event_of_the_very_second_is_not_later() -> None:
    train = log([("u", "a", 5), ("v", "a", 5)])
    assert leakage(fixed(train, log([("u", "c", 5), ("v", "c", 6)]))) == []

"""What a split gives away is said with the right figures, and a clean split says nothing."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsmith.data.dataset import Dataset
from recsmith.data.filters import k_core
from recsmith.data.ids import IdMap
from recsmith.data.leakage import leakage
from recsmith.data.split import fixed
from recsmith.data.splitters import global_time, leave_last_out, random_holdout, unknown_users, user_time


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
    data = log([(u, f"i{t}", 6 * t + n) for n, u in enumerate("uvwxyz") for t in range(30)])
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


# Users under two ids


def people(seed: int = 0, n: int = 30, *, clones: int = 0, shift: int = 0, share: float = 1.0):
    """20 events of each user at moments of their own; the first ``clones`` users again as ``clone-u...``."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{u}", f"i{i}", 10**9 + int(rng.integers(10**7)))
        for u in range(n)
        for i in rng.permutation(100)[:20]
    ]
    copied = [(f"clone-{u}", i, t + shift) for u, i, t in rows[: 20 * clones] if rng.random() < share]
    return rows + copied


def of_clones(split) -> list[str]:
    return [text for text in leakage(split) if "under another id" in text]


def test_users_under_two_ids_are_found_in_any_split() -> None:
    data = log(people(clones=3))
    (text,) = of_clones(user_time(data))
    assert text == "6 of 33 test users have the same events under another id, such as 'clone-u0' and 'u0'."
    untimed = log(people(clones=3), timed=False)
    for split in (random_holdout(data), unknown_users(data, share=0.5), random_holdout(untimed)):
        (text,) = of_clones(split)
        assert 1 <= int(text.split()[0]) <= 6 and f" of {len(split.queries)} test users" in text
        assert "stand in train under such an id: a model may answer from memory" in text


def test_a_clone_in_the_test_file_alone() -> None:
    rows = people(clones=2)
    train, test = (log([r for r in rows if r[0].startswith("clone") == c]) for c in (False, True))
    (text,) = of_clones(fixed(train, test))
    assert text == (
        "2 of 2 test users have the same events under another id, such as 'clone-u0' and 'u0'. 100.0 % of the test "
        "events (40 of 40) stand in train under such an id: a model may answer from memory."
    )


def test_a_clone_of_part_of_a_history_and_one_at_other_times() -> None:
    assert of_clones(user_time(log(people(clones=3, share=0.6))))[0].startswith("6 of 33")
    assert of_clones(user_time(log(people(clones=3, shift=5))))[0].startswith("6 of 33")


def test_users_who_are_alike_are_not_one() -> None:
    """The same items at other times in a small catalogue, an event that many share, and days for times."""
    everything = [(u, f"i{i}", 100 * i + n) for n, u in enumerate("abcdef") for i in range(12)]
    assert of_clones(user_time(log(everything))) == []
    together = people() + [(f"u{u}", f"show{s}", 10**9 + s) for u in range(30) for s in range(20)]
    assert of_clones(user_time(log(together))) == []
    days = [(u, i, t // 86_400 * 86_400) for u, i, t in people(n=200)]
    assert of_clones(user_time(log(days))) == []


# Units of time


def test_times_in_another_unit_are_told() -> None:
    rows = people(n=5)
    mixed = [(u, i, t * 1000 if n < 30 else t) for n, (u, i, t) in enumerate(rows)]
    text = leakage(user_time(log(mixed)))[0]
    assert "of 80 train, " in text and "of 20 test events have a time in milliseconds, such as 100" in text
    days = [(u, i, t // 86_400 if n < 30 else t) for n, (u, i, t) in enumerate(rows)]
    assert "another unit than seconds" in leakage(user_time(log(days)))[0]


def test_a_test_file_in_another_unit_than_train() -> None:
    train = log([("u", "a", 10**9), ("v", "a", 10**9 + 1)])
    test = log([("u", "b", 10**15 + 5), ("v", "b", 10**15 + 6)])
    (text,) = leakage(fixed(train, test))
    assert text.startswith("2 of 2 test events have a time in microseconds, such as 1000000000000005")


def test_small_times_alone_are_a_unit_of_their_own() -> None:
    assert leakage(user_time(log([("u", i, t) for t, i in enumerate("abcd")]))) == []

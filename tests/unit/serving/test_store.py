"""The store keeps what it acknowledged, in order, once, and tells everybody; the same in SQLite and PostgreSQL."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import polars as pl
import pytest

from recsmith.errors import ParameterError, StorageError, UnknownIdError
from recsmith.serving.events import Change, Exposure, Item, NewEvent, digest, hash_secret
from recsmith.serving.store import Store

STRANGE_IDS = ["👩‍🚀 Zoë", "a/b?c=d&e#f", "'; DROP TABLE events; --", "%s :x {y}", "", " ", "é" * 5_000]


def event(event_id, user="u", item="i", timestamp=100, **rest):
    values = {"event_type": "rating", "value": 4.5, "recomm_id": None} | rest
    return NewEvent(event_id, user, item, timestamp=timestamp, **values)


def ids(events):
    return [e.event_id for e in events]


@pytest.fixture
def other(url, store):
    """A second worker on the same database."""
    other = Store.open(url)
    yield other
    other.close()


# --- events -------------------------------------------------------------------------------------------------


def test_an_event_comes_back_as_it_went_in(store):
    sent = event("e1", "Ann", "film", 1_700_000_000, event_type="view", value=None, recomm_id="r1")
    assert store.add_events([sent]) == [True]
    [stored] = store.history(["Ann"], 10)["Ann"]
    assert NewEvent(**{name: getattr(stored, name) for name in NewEvent.__slots__}) == sent
    assert stored.seq == 1


def test_an_event_is_stored_once(store, other):
    assert store.add_events([event("a"), event("b"), event("a", item="second")]) == [True, True, False]
    assert other.add_events([event("c"), event("b", item="retry")]) == [True, False]
    assert store.add_events([event("a"), event("c")]) == [False, False]
    assert store.add_events([]) == []
    assert [(e.event_id, e.item_id) for e in store.history(["u"], 10)["u"]] == [
        ("a", "i"),
        ("b", "i"),
        ("c", "i"),
    ]


def test_history_is_the_newest_events_oldest_first(store):
    times = {"late": 300, "tie1": 200, "tie2": 200, "early": 100}
    store.add_events([event(name, "ann", timestamp=at) for name, at in times.items()])
    store.add_events([event("bob's", "bob", timestamp=-5)])
    found = store.history(["ann", "bob", "nobody", "ann"], 3)
    assert {user: ids(events) for user, events in found.items()} == {
        "ann": ["tie1", "tie2", "late"],
        "bob": ["bob's"],
        "nobody": [],
    }
    assert store.history([], 3) == {}


def test_history_of_more_users_than_a_query_has_parameters(store):
    store.add_events([event(f"e{n}", f"u{n}") for n in (0, 9_999, 10_000, 25_000)])
    found = store.history([f"u{n}" for n in range(25_001)], 1)
    assert [user for user, events in found.items() if events] == ["u0", "u9999", "u10000", "u25000"]


@pytest.mark.parametrize("strange", STRANGE_IDS)
def test_strange_ids(store, strange):
    assert store.add_events([event(strange, strange, strange)]) == [True]
    assert store.add_events([event(strange, strange, strange)]) == [False]
    store.upsert_items([Item(strange, {"title": strange}, True)])
    assert [e.item_id for e in store.history([strange], 1)[strange]] == [strange]
    assert store.items([strange]) == [Item(strange, {"title": strange}, True)]
    assert store.erase(strange)["events"] == 1


@pytest.mark.parametrize("field", ["event_id", "user_id", "item_id", "event_type", "recomm_id"])
@pytest.mark.parametrize(("bad", "words"), [("a\0b", "without NUL"), ("\ud83d", "that UTF-8 can write")])
def test_text_that_cannot_be_stored(store, field, bad, words):
    with pytest.raises(ParameterError, match=f"'{field}' parameter of NewEvent must be text {words}"):
        store.add_events([event("good"), replace(event("bad"), **{field: bad})])
    assert store.history(["u"], 10)["u"] == []


@pytest.mark.parametrize(
    "change",
    [{"value": float("nan")}, {"value": float("inf")}, {"timestamp": 2**63}, {"timestamp": -(2**63) - 1}],
)
def test_numbers_that_cannot_be_stored(store, change):
    with pytest.raises(ParameterError, match=f"'{next(iter(change))}' parameter of NewEvent must be"):
        store.add_events([replace(event("bad"), **change)])


def test_a_frame_of_all_events(store, monkeypatch):
    monkeypatch.setattr("recsmith.serving.store._FRAME_ROWS", 2)
    assert list(store.events_frame()) == []
    store.add_events([event("a", "u1", "i1", 5), event("b", "u2", "i2", 3, event_type="view", value=None)])
    store.add_events([event("c", "gone", "i3", 9), event("d", "u1", "i3", 9, value=2)])
    store.erase("gone")
    frames = list(store.events_frame())
    assert [frame.height for frame in frames] == [2, 1]
    wanted = pl.DataFrame(
        {
            "user_id": ["u1", "u2", "u1"],
            "item_id": ["i1", "i2", "i3"],
            "event": ["rating", "view", "rating"],
            "value": [4.5, None, 2.0],
            "timestamp": [5, 3, 9],
            "recomm_id": pl.Series([None, None, None], dtype=pl.String),
            "placed": [5, 3, 9],
        }
    )
    assert pl.concat(frames).equals(wanted)
    assert pl.concat(frames).schema == wanted.schema


def test_quarantine(store):
    store.quarantine([])
    store.quarantine(
        [('{"user_id": "u"}', "no item_id", "u"), ("{", "no JSON", None), ("[]", "no event", None)]
    )
    assert [(q.payload, q.reason) for q in store.quarantined(2)] == [("[]", "no event"), ("{", "no JSON")]
    assert store.erase("u")["quarantine"] == 1
    assert len(store.quarantined(10)) == 2


# --- changes ------------------------------------------------------------------------------------------------


def test_each_write_tells_what_it_made_stale(store, other):
    assert (store.mark(), store.changes(0).rows) == (0, [])
    store.add_events([event("a", "ann"), event("b", "bob"), event("c", "ann")])
    store.upsert_items([Item("i1", {}, True), Item("i2", {}, False)])
    store.set_setting("rules", "")
    store.add_key("shop", "reader")
    store.revoke_key(1)
    store.erase("bob")
    seen = other.changes(0)
    assert [(change.kind, change.key) for change in seen.rows] == [
        ("user", digest("ann")),
        ("user", digest("bob")),
        ("item", "i1"),
        ("item", "i2"),
        ("setting", "rules"),
        ("key", "1"),
        ("key", "1"),
        ("erased", digest("bob")),
    ]
    assert (seen.mark, seen.lost) == (store.mark(), False) == (seen.rows[-1].seq, False)


def test_what_changes_nothing_tells_nothing(store, other):
    store.add_events([event("a")])
    mark = other.mark()
    store.add_events([event("a")])
    store.quarantine([("{}", "empty", None)])
    store.log_exposures([Exposure("r", "u", "m", None, None, False, 1, "[]")])
    store.prune_changes(10)
    assert other.changes(mark) == other.changes(mark)
    assert other.changes(mark).rows == []


def test_a_worker_sees_each_commit_of_another_at_once(store, other):
    mark = other.mark()
    for n in range(20):
        assert other.changes(mark).rows == []
        store.add_events([event(f"e{n}", f"u{n}")])
        seen = other.changes(mark)
        assert seen.rows == [Change(seen.mark, "user", digest(f"u{n}"))]
        assert store.changes(mark) == seen
        mark = seen.mark
    assert len(other.changes(0).rows) == 20


def test_readers_with_marks_of_their_own(store):
    """The answer that there is nothing new for one does not keep another from what is new for him."""
    for n in range(3):
        store.add_events([event(f"e{n}")])
    for after, left in [(3, 0), (1, 2), (3, 0), (0, 3), (2, 1), (3, 0)]:
        assert len(store.changes(after).rows) == left


def test_no_change_escapes_a_reader_while_four_write(store, other):
    batches, written, seen, mark = 25, [], [], 0

    def write(name):
        for batch in range(batches):
            names = [f"{name}-{batch}-{n}" for n in range(4)]
            written.extend(store.add_events([event(each, each) for each in names]))

    writers = [threading.Thread(target=write, args=[name]) for name in "abcd"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        new = other.changes(mark)
        seen, mark = seen + new.rows, new.mark
    for writer in writers:
        writer.join()
    seen += other.changes(mark).rows
    everybody = [
        digest(f"{name}-{batch}-{n}") for name in "abcd" for batch in range(batches) for n in range(4)
    ]
    assert written == [True] * len(everybody)
    assert sorted(change.key for change in seen) == sorted(everybody)
    assert [change.seq for change in seen] == sorted(change.seq for change in seen)


def test_pruning_tells_those_who_were_late(store, other):
    store.prune_changes(5)
    for n in range(10):
        store.add_events([event(f"e{n}")])
    store.prune_changes(3)
    assert (other.changes(7).lost, len(other.changes(7).rows)) == (False, 3)
    late = other.changes(6)
    assert (late.lost, late.mark) == (True, 10)
    assert other.changes(0).lost
    assert not other.changes(late.mark).lost
    store.prune_changes(1)
    assert other.mark() == 10
    with pytest.raises(ParameterError, match="'keep' parameter of prune_changes must be >= 1"):
        store.prune_changes(0)


# --- erasure ------------------------------------------------------------------------------------------------


def test_an_erased_user_is_gone_and_may_return(store, other):
    store.add_events([event("a", "ann"), event("b", "ann"), event("c", "bob")])
    store.log_exposures([Exposure("r", user, "m", None, None, False, 1, "[]") for user in ("ann", "bob")])
    store.quarantine([("{}", "empty", "ann")])
    assert store.erase("ann") == {"events": 2, "exposures": 1, "quarantine": 1}
    assert list(other.erased()) == [digest("ann")]
    assert ids(other.history(["ann"], 9)["ann"]) == []
    assert [e.user_id for e in other.exposures(0, 9)] == ["bob"]
    assert store.add_events([event("a", "ann", timestamp=1)]) == [True]
    assert ids(other.history(["ann"], 9)["ann"]) == ["a"]
    assert list(other.erased()) == [digest("ann")]
    assert store.erase("ann")["events"] == 1
    assert ids(store.history(["bob"], 9)["bob"]) == ["c"]


def test_a_user_that_only_a_bundle_knows_is_erased(store):
    assert store.erase("trained") == {"events": 0, "exposures": 0, "quarantine": 0}
    assert digest("trained") in store.erased()


def test_a_number_of_a_deleted_event_never_comes_back(store):
    store.add_events([event("a"), event("b")])
    store.erase("u")
    store.add_events([event("c")])
    assert [e.seq for e in store.history(["u"], 9)["u"]] == [3]


# --- exposures, items, settings, keys -----------------------------------------------------------------------


def test_exposures_in_pages(store):
    slots = [{"item_id": "👩‍🚀", "score": 0.5, "rank": 1, "source": "ease", "propensity": None}]
    sent = [
        Exposure(
            f"r{n}",
            "u",
            "ease@1",
            "trial" if n else None,
            "b" if n else None,
            n == 1,
            100 + n,
            json.dumps(slots * n),
        )
        for n in range(3)
    ]
    store.log_exposures([])
    store.log_exposures(sent)
    first = store.exposures(0, 2)
    rest = store.exposures(first[-1].seq, 2)
    logged = [Exposure(**{name: getattr(e, name) for name in Exposure.__slots__}) for e in first + rest]
    assert (len(first), logged) == (2, sent)


def test_items(store):
    store.upsert_items([])
    store.upsert_items([Item("a", {"title": "A", "genres": ["x", "y"]}, True), Item("b", {}, True)])
    store.upsert_items([Item("b", {"year": 1}, True), Item("c", {}, True), Item("b", {"year": 2}, False)])
    assert sorted(store.items(), key=lambda item: item.item_id) == [
        Item("a", {"title": "A", "genres": ["x", "y"]}, True),
        Item("b", {"year": 2}, False),
        Item("c", {}, True),
    ]
    assert store.items(["b", "unknown"]) == [Item("b", {"year": 2}, False)]
    assert store.items([]) == []
    with pytest.raises(ParameterError, match="'metadata' parameter of Item must be JSON"):
        store.upsert_items([Item("d", {"tags": {1}}, True)])


def test_settings(store, other):
    store.set_setting("rules", "- pin: 1\n")
    store.set_setting("active", {"bundle": "a"})
    store.set_setting("active", None)
    assert other.settings() == {"rules": "- pin: 1\n", "active": None}


def test_keys(store, other):
    secrets = [store.add_key("shop", "reader"), store.add_key("shop", "admin")]
    assert all(secret.startswith("rs_") and len(secret) == 46 for secret in secrets)
    first, second = other.keys()
    assert (first.name, first.role, first.hash, first.revoked) == (
        "shop",
        "reader",
        hash_secret(secrets[0]),
        None,
    )
    assert (second.role, second.hash) == ("admin", hash_secret(secrets[1]))
    store.revoke_key(first.id)
    revoked = other.keys()[0].revoked
    store.revoke_key(first.id)
    first, second = other.keys()
    assert (first.revoked, second.revoked) == (revoked, None)
    assert revoked >= first.created
    with pytest.raises(UnknownIdError, match="no API key with the id 99"):
        store.revoke_key(99)
    with pytest.raises(ParameterError, match=r"no role named 'reeder'. Did you mean 'reader'"):
        store.add_key("shop", "reeder")


# --- opening ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["events.db", "mysql://u@h/d", "sqlite://", "sqlite:///:memory:", ""])
def test_another_kind_of_url(bad):
    with pytest.raises(ParameterError, match="'url' parameter of Store must be"):
        Store.open(bad)


def test_a_refused_url_does_not_tell_the_password():
    with pytest.raises(ParameterError) as caught:
        Store.open("mysql://me:secret@host/name")
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match="Look whether the server runs") as caught:
        Store.open(f"postgresql://me:secret@/name?host={tmp_path}")
    assert "secret" not in str(caught.value)

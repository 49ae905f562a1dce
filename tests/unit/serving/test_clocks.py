"""A clock that jumps: what one store receives is in the order in which it came, and times are data."""

from __future__ import annotations

import itertools
import time

import pytest
import sqlalchemy as sa
from tests.unit.serving.live import ids, save, served
from tests.unit.serving.test_faults import wait_for

from recsmith.experiment.train import load_bundle
from recsmith.serving.events import Exposure, NewEvent
from recsmith.serving.retrain import retrain
from recsmith.serving.settings import SIGNALS
from recsmith.serving.store import Store

DAY = 86_400
_numbers = itertools.count()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundles"), "first", reg=50)


class Clock:
    """The clock of the machine, with an error that may be set."""

    def __init__(self) -> None:
        self.error, self._time = 0.0, time.time

    def __call__(self) -> float:
        return self._time() + self.error


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


def live(item, kind="like"):
    return NewEvent(f"n{next(_numbers)}", "u", item, kind, None, int(time.time()), None, live=True)


def dated(item, at, kind="like"):
    return NewEvent(f"n{next(_numbers)}", "u", item, kind, None, int(at), None)


def history(store):
    return [event.item_id for event in store.history(["u"], 99)["u"]]


@pytest.mark.parametrize("days", [-2, 2])
def test_what_comes_later_stands_later_whatever_the_clock_says(store, clock, days):
    store.add_events([live("a")])
    clock.error = days * DAY
    store.add_events([live("b"), live("c")])
    clock.error = 0
    store.add_events([live("d")])
    assert history(store) == ["a", "b", "c", "d"]
    assert [e.item_id for e in store.history(["u"], 2)["u"]] == ["c", "d"]
    jump = [e.timestamp for e in store.history(["u"], 99)["u"]][1] - time.time()
    assert jump == pytest.approx(days * DAY, abs=60)  # the time is what the clock said


def test_what_brings_its_own_time_stands_there(store, clock):
    now = time.time()
    store.add_events([live("today"), dated("last week", now - 7 * DAY), dated("yesterday", now - DAY)])
    assert history(store) == ["last week", "yesterday", "today"]


def test_a_time_to_come_counts_from_its_arrival(store, clock):
    store.add_events([dated("of a clock ahead", time.time() + 2 * DAY)])
    store.add_events([live("later")])
    store.add_events([dated("of a clock ahead again", time.time() + 3 * DAY)])
    assert history(store) == ["of a clock ahead", "later", "of a clock ahead again"]


def feedback(client, user, item, word):
    client.post("/feedback", json={"user_id": user, "item_id": item, "feedback": word}).raise_for_status()


def test_a_dislike_after_the_clock_went_back_undoes_the_like(bundle, tmp_path, clock):
    with served(bundle, tmp_path) as client:
        clock.error = 2 * DAY
        feedback(client, "u1", "i1", "like")
        feedback(client, "u1", "i3", "like")
        clock.error = 0
        feedback(client, "u1", "i1", "dislike")
        counted = client.get("/users/u1/history").text
        assert '"i3"' in counted
        everything = client.post(
            "/recommend", json={"user_id": "u1", "include_seen": True, "num_recommendations": 40}
        )
        assert "i3" in ids(everything)
        assert "i1" not in ids(everything)
        store = client.app.state.runtime.store
        learned = retrain(load_bundle(bundle), store, SIGNALS).bundle.data
        user = int(learned.users.index(["u1"])[0])
        items = learned.item[learned.offsets[user] : learned.offsets[user + 1]]
        assert "i1" not in learned.items.raw(items).to_list()


def test_who_comes_back_after_an_erasure_by_a_clock_that_was_ahead_is_logged(bundle, tmp_path, clock):
    with served(bundle, tmp_path) as client:
        store = client.app.state.runtime.store
        clock.error = 2 * DAY
        client.delete("/users/u1").raise_for_status()
        clock.error = 0
        answer = client.post("/recommend", json={"user_id": "u1"}).json()
        wait_for(lambda: [row.recomm_id for row in store.exposures(0, 9)] == [answer["recomm_id"]])


def test_a_list_that_was_made_before_an_erasure_is_not_logged_after_it(store):
    before = store.mark()
    store.erase("ann")
    after = store.mark()
    marks = {"r0": {"mark": before}, "r1": {"mark": after}, "r2": {}}
    rows = [
        Exposure(name, "ann", "m", None, None, False, 2**40, "[]", **mark) for name, mark in marks.items()
    ]
    store.log_exposures(rows)
    assert [row.recomm_id for row in store.exposures(0, 9)] == ["r1", "r2"]


def test_events_of_an_older_store_keep_their_order(url):
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    Store.open(url).close()
    with engine.begin() as connection:
        for statement in (
            "DROP INDEX events_of_user",
            "ALTER TABLE events DROP COLUMN placed",
            "ALTER TABLE tombstones DROP COLUMN seq",
            "CREATE INDEX events_of_user ON events (user_key, timestamp, seq)",
            "UPDATE alembic_version SET version_num = '0003'",
        ):
            connection.exec_driver_sql(statement)
        for number, at in enumerate((30, 10, 20)):
            connection.execute(
                sa.text(
                    "INSERT INTO events (event_key, user_key, event_id, user_id, item_id, event_type, timestamp) "
                    "VALUES (:n, :key, :id, 'u', :id, 'like', :at)"
                ),
                {"n": str(number), "id": str(number), "key": "6a4d25ca6c9d3ec1bb3b9a4ab1e5ac0e", "at": at},
            )
    engine.dispose()
    store = Store.open(url)
    placed = [placed for frame in store.events_frame() for placed in frame["placed"]]
    assert placed == [30, 10, 20]
    store.close()

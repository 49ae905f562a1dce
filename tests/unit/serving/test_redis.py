"""What others wrote into Redis, and a Redis that does not answer."""

from __future__ import annotations

import signal
import threading
from contextlib import closing

import pytest
import redis as client_of
from redis.connection import Connection
from tests.unit.serving.live import ids, save, served
from tests.unit.serving.test_faults import free_port, redis, wait_for

from recsmith.serving.shared import Shared

FOREIGN = [
    b"garbage",
    b"[]",
    b"null",
    b"{}",
    b"3",
    b"[1,2,3,4,5,6]",
    b'[[], "", "{", "m", null, null]',
    b"\xff\x00",
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundles"), "first", reg=50)


@pytest.fixture(scope="module")
def port():
    port = free_port()
    with redis(port):
        yield port


@pytest.fixture
def values(port):
    with closing(client_of.Redis(port=port)) as values:
        values.flushall()
        yield values


def metric(client, name):
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_what_somebody_else_wrote_is_not_found_and_is_counted(bundle, tmp_path, port, values):
    settings = {"redis_url": f"redis://127.0.0.1:{port}/0", "cache_bytes": 1}
    with served(bundle, tmp_path, **settings) as client:

        def recommended():
            client.post("/recommend", json={"user_id": "u2"})  # what is in memory is another answer now
            return ids(client.post("/recommend", json={"user_id": "u1"}))

        before = set(values.keys())
        expected = ids(client.post("/recommend", json={"user_id": "u1"}))
        (key,) = (key for key in values.keys() if key not in before and b"answer" in key)  # noqa: SIM118
        for foreign in FOREIGN:
            values.set(key, foreign)
            assert recommended() == expected
        assert metric(client, "recsmith_redis_unreadable_total") == len(FOREIGN)
        for spoil in (
            lambda: values.lpush(key, "a"),
            lambda: values.hset(key, "a", 1),
            lambda: values.sadd(key, "a"),
        ):
            values.delete(key)
            spoil()
            assert recommended() == expected
        assert values.type(key) == b"string"  # written over by the answer
        assert client.get("/health").json()["redis"] == "ok"


def test_a_foreign_count_is_not_found_and_the_others_are(port, values):
    unreadable = []
    with closing(Shared(f"redis://127.0.0.1:{port}/0", unreadable.append)) as shared:
        assert shared.add("rate:1", {"ann": 2, "bob": 1}, 60) == {"ann": 2, "bob": 1}
        values.hset("recsmith:rate:1", "ann", "many")
        assert shared.add("rate:1", {"ann": 2, "bob": 1}, 60) == {"bob": 2}
        values.set("recsmith:rate:2", "no table")
        assert shared.add("rate:2", {"ann": 2, "bob": 1}, 60) == {}
        assert shared.there
        assert sum(unreadable) == 3


def test_a_frozen_server_is_asked_once_and_not_by_every_list(bundle, tmp_path, monkeypatch):
    port, waits = free_port(), []
    read = Connection.read_response

    def counted(self, *args, **kwargs):
        if "answers" in threading.current_thread().name:
            waits.append(1)
        return read(self, *args, **kwargs)

    with (
        redis(port) as process,
        served(bundle, tmp_path, redis_url=f"redis://127.0.0.1:{port}/0", cache_bytes=1) as client,
    ):
        expected = ids(client.post("/recommend", json={"user_id": "u1"}))
        process.send_signal(signal.SIGSTOP)
        try:
            monkeypatch.setattr(Connection, "read_response", counted)
            for _ in range(40):
                for user in ("u2", "u1"):
                    answer = client.post("/recommend", json={"user_id": user})
                assert ids(answer) == expected
            assert len(waits) == 1
            assert client.get("/health").json()["redis"] == "out of reach"
        finally:
            process.send_signal(signal.SIGCONT)
        wait_for(lambda: client.get("/health").json()["redis"] == "ok")

"""Connections that say nothing, half of something, or do not listen: nobody else is kept out by them."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

import pytest
from tests.unit.serving.live import ids, save, served, wait_for

_PATIENCE = 60
HALVES = {
    "nothing": b"",
    "a line": b"POST /recommend HT",
    "headers": b"POST /recommend HTTP/1.1\r\nHost: localhost\r\n",
    "half a body": b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 100\r\n\r\n{"user_id": ',
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("connections"), "first", reg=50)


@pytest.fixture(scope="module")
def hasty(bundle, tmp_path_factory):
    """A client of a service that waits for nobody."""
    with served(bundle, tmp_path_factory.mktemp("hasty"), client_seconds=0.2) as client:
        yield client


def connected(client, said=b""):
    connection = socket.create_connection(("127.0.0.1", client.base_url.port), timeout=_PATIENCE)
    connection.sendall(said)
    return connection


def closed(connection) -> bytes:
    """What a connection says until the other side closes it."""
    said = b""
    try:
        while part := connection.recv(4096):
            said += part
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_is_let_go(bundle, tmp_path, half):
    with (
        served(bundle, tmp_path, client_seconds=0.2) as client,
        connected(client, HALVES[half]) as connection,
    ):
        said = closed(connection)
        assert said.startswith(b"HTTP/1.1 408 ") if HALVES[half] else said == b""
        ids(client.post("/recommend", json={"user_id": "u1"}))


def test_half_a_request_after_a_whole_one_is_let_go(hasty):
    whole = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connected(hasty, whole) as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.sendall(whole[:30])
        assert b" 408 " in closed(connection)


def test_many_silent_connections_keep_nobody_out(bundle, tmp_path):
    with ExitStack() as stack:
        client = stack.enter_context(served(bundle, tmp_path, max_connections=20))
        silent = [stack.enter_context(connected(client, half)) for half in list(HALVES.values()) * 15]
        for user in range(20):
            ids(client.post("/recommend", json={"user_id": f"u{user}"}))
        assert len(client.server.server_state.connections) <= 20
        assert closed(silent[0]) == b""


def test_a_request_under_way_keeps_its_connection(bundle, tmp_path, monkeypatch):
    with ExitStack() as stack:
        client = stack.enter_context(served(bundle, tmp_path, max_connections=3, client_seconds=0.1))
        service, release, begun = client.app.state.runtime.service, threading.Event(), threading.Event()
        answer, found = service.answer, []

        def slow(requests):
            begun.set()
            assert release.wait(_PATIENCE)
            return answer(requests)

        monkeypatch.setattr(service, "answer", slow)
        stack.callback(release.set)
        thread = threading.Thread(
            target=lambda: found.append(client.post("/recommend", json={"user_id": "u1"}, timeout=_PATIENCE))
        )
        thread.start()
        assert begun.wait(_PATIENCE)
        for _ in range(10):
            silent = stack.enter_context(connected(client))
        assert closed(silent) == b""  # later than ``client_seconds`` after the request
        release.set()
        thread.join()
    ids(found[0])


def test_a_client_that_does_not_read_is_let_go(hasty):
    body = b'{"requests": [%s]}' % b",".join([b'{"user_id": "u1", "num_recommendations": 40}'] * 1000)
    head = (
        b"POST /recommend/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", hasty.base_url.port))
        deaf.sendall(head + body)
        state = hasty.server.server_state
        wait_for(lambda: state.tasks)
        wait_for(lambda: not state.connections)
        wait_for(lambda: not state.tasks)

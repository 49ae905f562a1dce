"""Signals under load: what reached the service is answered, and what ends is replaced."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress

import psutil
import pytest
from tests.unit.serving.live import save
from tests.unit.serving.test_faults import COMMAND, free_port, process, wait_for
from tests.unit.serving.traffic import Traffic, post

_SECONDS = 60


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("bundles"), "first", reg=50)


def a_list(number):
    return post("/recommend", b'{"user_id": "u%d"}' % (number % 60))


@contextmanager
def traffic(base):
    """Half of the connections stay open, half are for one request."""
    port = int(base.rpartition(":")[2])
    with Traffic(port, a_list) as long, Traffic(port, a_list, keep_alive=False) as short:
        yield long, short


def lost(clients):
    return sum(client.lost for client in clients)


def answered(clients):
    return min(client.answered for client in clients)


def workers(run):
    """The processes that hold the listening socket, but for the one that started them."""
    port = int(run.args[run.args.index("--port") + 1])
    found = []
    for child in psutil.Process(run.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            sockets = child.net_connections()
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets):
                found.append(child)
    return found


def test_sigterm_loses_no_request(bundle, tmp_path):
    with process(bundle, f"sqlite:///{tmp_path}/events.db") as (base, run), traffic(base) as clients:
        wait_for(lambda: answered(clients) > 200)
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=_SECONDS) in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
        for client in clients:
            client.stop()
        assert lost(clients) == 0
        assert {status for client in clients for status in client.statuses} == {200}


def test_workers_are_replaced_and_stopped_without_the_loss_of_a_request(bundle, tmp_path):
    served_bundle = tmp_path / "first"
    shutil.copytree(bundle, served_bundle)
    options = ("--workers", "2")
    with (
        process(served_bundle, f"sqlite:///{tmp_path}/events.db", *options) as (base, run),
        traffic(base) as clients,
    ):
        first = workers(run)
        first[0].terminate()
        wait_for(lambda: not first[0].is_running() and len(workers(run)) == 2)
        second = workers(run)
        assert lost(clients) == 0
        assert first[1] in second

        run.send_signal(signal.SIGHUP)
        wait_for(lambda: len(workers(run)) == 2 and not any(old.is_running() for old in second))
        assert lost(clients) == 0

        third = workers(run)
        served_bundle.rename(tmp_path / "away")  # another one cannot start now
        third[0].kill()
        wait_for(lambda: not third[0].is_running())
        before = answered(clients)
        wait_for(lambda: answered(clients) > before + 200)
        assert third[1].is_running()
        (tmp_path / "away").rename(served_bundle)
        wait_for(lambda: len([w for w in workers(run) if w.create_time() > third[1].create_time()]) == 1)

        killed = lost(clients)
        os.killpg(run.pid, signal.SIGTERM)
        run.wait(timeout=_SECONDS)
        for client in clients:
            client.stop()
        assert lost(clients) == killed
        assert sum(client.refused for client in clients) > 0  # at the end, and not before
        assert {status for client in clients for status in client.statuses} == {200}


def test_several_workers_that_cannot_start_end_with_the_reason(bundle, tmp_path):
    (tmp_path / "letter").write_text("no database")
    command = [*COMMAND, str(bundle), "--workers", "2", "--port", str(free_port())]
    store = f"sqlite:///{tmp_path}/letter"
    run = subprocess.run(
        [*command, "--store", store], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: The service cannot start: The store")
    assert "Traceback" not in run.stderr

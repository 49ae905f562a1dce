"""A small bundle, and processes that serve it as a container would."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from tests.conftest import build
from tests.support import processes
from tests.support.waiting import PATIENCE_S, wait_for

from recsmith.experiment.train import train

_KEPT = ("PATH", "HOME", "OMP_NUM_THREADS", "NUMBA_CACHE_DIR", "COVERAGE_PROCESS_START")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """EASE on 8 users of two tastes: even users took even items."""
    pairs = [(f"u{u}", f"i{2 * n + u % 2}") for u in range(8) for n in range(5) if n != u // 2]
    users, items = zip(*pairs, strict=True)
    return train("ease", build(users, items, name="shop"), reg=5).save(
        tmp_path_factory.mktemp("model") / "shop"
    )


@pytest.fixture(scope="session")
def free_port():
    """A function that finds a port at which nobody listens."""
    return processes.free_port


@pytest.fixture(scope="session")
def started():
    """``with started(command, port, ready, cwd, **environment) as client``: a process until it is told to end."""
    return _started


@contextmanager
def _started(command, port, ready, cwd, **environment) -> Iterator[httpx.Client]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with (cwd.parent / f"{cwd.name}.log").open("w+") as log:
        process = subprocess.Popen(command, cwd=cwd, env=kept | environment, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
                _wait(client, ready, process, log)
                yield client
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        finally:
            process.kill()
            process.wait()


def _wait(client, ready, process, log) -> None:
    def answers() -> bool:
        if process.poll() is not None:
            log.seek(0)
            raise AssertionError(f"the process has ended before it was ready at {ready}:\n{log.read()}")
        try:
            return client.get(ready).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(answers, f"an answer at {ready}")

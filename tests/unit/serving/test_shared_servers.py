"""What many tests stand on: where it dies, the tests after it do not."""

from __future__ import annotations

import os
import signal

import psycopg
import pytest
from tests.support.postgres import Postgres, ServerReplaced


def test_a_database_server_that_was_killed_is_replaced_and_said(tmp_path_factory):
    servers = Postgres(lambda: tmp_path_factory.mktemp("killed"))
    first = servers.running()
    assert servers.running() is first
    os.kill(first.get_pid(), signal.SIGKILL)
    with pytest.warns(ServerReplaced, match="PostgreSQL was gone"):
        second = servers.running()
    assert second is not first
    psycopg.connect(second.get_uri()).close()
    servers.close()

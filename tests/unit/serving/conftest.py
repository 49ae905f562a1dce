"""Real databases: a SQLite file, and a PostgreSQL server that each test process starts once."""

from __future__ import annotations

import itertools

import psycopg
import pytest
from tests.support.postgres import Postgres

from recsmith.serving.store import Store

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_servers(tmp_path_factory):
    servers = Postgres(lambda: tmp_path_factory.mktemp("pg"))
    yield servers
    servers.close()


@pytest.fixture
def postgres(postgres_servers):
    """A server with ``get_uri``, ``stop`` and ``ensure_postgres_running``."""
    return postgres_servers.running()


@pytest.fixture
def sqlite_url(tmp_path) -> str:
    """A file that is not there yet, in a folder that is not there yet."""
    return f"sqlite:///{tmp_path}/store/events.db"


@pytest.fixture
def postgres_url(postgres) -> str:
    """An empty schema, which is to its user a database of its own."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{postgres.get_uri()}&options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request) -> str:
    """Each database in turn."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def store(url):
    store = Store.open(url)
    yield store
    store.close()

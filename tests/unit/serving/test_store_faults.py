"""What happens to the store when something breaks, and what its files still tell after an erasure."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.pool import Pool

from recsmith.errors import StorageError
from recsmith.serving import schema
from recsmith.serving.database import Patience
from recsmith.serving.events import Exposure, Item, NewEvent
from recsmith.serving.exposures import ExposureLog
from recsmith.serving.store import Store


def event(event_id, user="u", item="i"):
    return NewEvent(event_id, user, item, "view", None, 100, None)


def engine_of(url):
    return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def start(code, *arguments):
    """A Python process of its own, to talk to by lines."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, **pipes)


def path_of(sqlite_url) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


def bytes_of(sqlite_url) -> bytes:
    """All that is on disk of a SQLite database."""
    return b"".join(file.read_bytes() for file in path_of(sqlite_url).parent.iterdir())


# --- crashes ------------------------------------------------------------------------------------------------

_ADD = """
import sys
from recsmith.serving.events import NewEvent
from recsmith.serving.store import Store

store = Store.open(sys.argv[1])
for batch in range(100):
    ids = [f"{batch}-{n}" for n in range(100)]
    store.add_events([NewEvent(id, "u", "i", "view", None, 0, None) for id in ids])
    print(*ids, flush=True)
"""


def test_a_kill_loses_nothing_that_was_acknowledged(url):
    with start(_ADD, url) as process:
        acknowledged = [id for _ in range(10) for id in process.stdout.readline().split()]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += process.stdout.read().split()
    assert 1_000 <= len(acknowledged) < 10_000
    store = Store.open(url)
    everything = [f"{batch}-{n}" for batch in range(100) for n in range(100)]
    new = store.add_events([event(id) for id in everything])
    kept = [id for id, stored in zip(everything, new, strict=True) if not stored]
    assert set(acknowledged) <= set(kept)
    assert len(kept) % 100 == 0  # a batch is there as a whole
    assert len(store.history(["u"], 20_000)["u"]) == 10_000
    store.close()


def test_a_restarted_server(postgres, postgres_url):
    store = Store.open(postgres_url)
    store.add_events([event("before")])
    postgres.stop()
    try:
        for call in (store.mark, store.erased, lambda: store.add_events([event("meanwhile")])):
            with pytest.raises(StorageError, match=r"Nothing is half-written\. Look whether the server runs"):
                call()
    finally:
        postgres.ensure_postgres_running()
    store.mark()
    assert store.add_events([event("before"), event("meanwhile")]) == [False, True]
    assert [change.kind for change in store.changes(1).rows] == ["user"]
    store.close()


def test_a_server_that_ends_the_connections(postgres, postgres_url):
    store = Store.open(postgres_url)
    with psycopg.connect(postgres.get_uri()) as connection:
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    assert store.add_events([event("a")]) == [True]
    store.close()


# --- SQLite's file ------------------------------------------------------------------------------------------


@contextmanager
def full_disk():
    """The files of connections that are made meanwhile cannot grow."""

    def configure(connection, _record):
        connection.execute("PRAGMA max_page_count=1")  # SQLite takes the size that there is

    sa.event.listen(Pool, "connect", configure)
    try:
        yield
    finally:
        sa.event.remove(Pool, "connect", configure)


def test_a_full_disk_keeps_what_was_there(sqlite_url):
    store = Store.open(sqlite_url)
    store.add_events([event("before")])
    store.close()
    many = [event(f"e{n}", f"u{n}") for n in range(2_000)]
    with full_disk():
        store = Store.open(sqlite_url)
        with pytest.raises(StorageError, match=r"disk is full\. Nothing is half-written\. Free some space"):
            store.add_events(many)
    assert [len(events) for events in store.history(["u", "u0"], 9).values()] == [1, 0]
    assert store.mark() == 1
    store.close()
    store = Store.open(sqlite_url)
    assert all(store.add_events(many))
    store.close()


def test_a_file_that_stays_locked(sqlite_url):
    store = Store.open(sqlite_url, Patience(write_s=0.05))
    holder = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"database is locked\..* held it for more than 0\.05 s"):
        store.add_events([event("a")])
    assert store.history(["u"], 1)["u"] == []  # readers go on
    holder.close()
    assert store.add_events([event("a")]) == [True]
    store.close()


def test_a_path_that_is_no_database(tmp_path):
    (tmp_path / "letter").write_text("dear reader, " * 100, encoding="utf-8")
    (tmp_path / "folder").mkdir()
    for path in ("letter", "folder", "letter/events.db"):
        with pytest.raises(StorageError, match="Look whether the path is a database"):
            Store.open(f"sqlite:///{tmp_path}/{path}")
    assert (tmp_path / "letter").read_text(encoding="utf-8").startswith("dear reader")


def test_nothing_of_an_erased_user_is_left_in_the_files(sqlite_url):
    store, reader = Store.open(sqlite_url), Store.open(sqlite_url)
    names = [f"customer-{n:03d}" for n in range(60)]
    for turn in range(20):
        store.add_events([event(f"{turn}-{n}", name, f"item-{turn}") for n, name in enumerate(names)])
        store.log_exposures([Exposure(f"r{turn}", name, "m", None, None, False, 1, "[{}]") for name in names])
        reader.history(names, 10)
    long = "customer-long-" + "x" * 10_000
    store.add_events([event("long", long)])
    store.quarantine([('{"user_id": "customer-007"}', "no item_id", "customer-007")])
    assert b"customer-007" in bytes_of(sqlite_url)
    for name in [*names[::3], "customer-007", long]:
        store.erase(name)
        assert name.encode() not in bytes_of(sqlite_url)
    left = bytes_of(sqlite_url)
    assert not [name for name in (*names[::3], "customer-007", "customer-long") if name.encode() in left]
    assert b"customer-008" in left
    store.close()
    reader.close()


def test_a_reader_of_an_old_state_keeps_an_erasure_from_its_end(sqlite_url):
    store = Store.open(sqlite_url, Patience(write_s=0.05, bulk_s=0.05))
    store.add_events([event("a", "ann")])
    reader = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM events").fetchall()
    with pytest.raises(StorageError, match=r"still holds copies.* End it and erase once more"):
        store.erase("ann")
    assert store.history(["ann"], 1)["ann"] == []
    reader.close()
    store.erase("ann")
    assert b"ann" not in bytes_of(sqlite_url)
    store.close()


def test_no_secret_is_in_the_files(sqlite_url):
    store = Store.open(sqlite_url)
    secret = store.add_key("shop", "reader")
    assert b"shop" in bytes_of(sqlite_url)
    assert secret.encode() not in bytes_of(sqlite_url)
    assert secret.removeprefix("rs_").encode() not in bytes_of(sqlite_url)
    store.close()


# --- migrations ---------------------------------------------------------------------------------------------

_OPEN = """
import sys
from recsmith.serving.store import Store

print("ready", flush=True)
sys.stdin.readline()
Store.open(sys.argv[1]).close()
"""


def test_two_processes_migrate_at_once(url):
    processes = [start(_OPEN, url) for _ in range(2)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    store = Store.open(url)
    assert store.add_events([event("a")]) == [True]
    store.close()


def test_the_migrations_make_the_tables_of_the_schema(url):
    Store.open(url).close()
    engine = engine_of(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_a_newer_database_is_refused(url):
    store = Store.open(url)
    store.upsert_items([Item("a", {}, True)])
    store.close()
    engine = engine_of(url)
    with engine.begin() as connection:
        head = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match=rf"revision '9999' .* newer than '{head}'.* Upgrade recsmith"):
        Store.open(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{head}'")
    engine.dispose()
    store = Store.open(url)
    assert store.items() == [Item("a", {}, True)]
    store.close()


def test_an_exposure_that_is_no_row_costs_no_other_one(tmp_path):
    lost = []
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        log = ExposureLog(store, lost.append)
        for n, model in enumerate(["m", "a\0b", "m"]):
            log.add(Exposure(f"r{n}", "u", model, None, None, False, 1, "[]"))
        log.close()
        assert [row.recomm_id for row in store.exposures(0, 9)] == ["r0", "r2"]
    assert sum(lost) == 1

"""The connection to SQLite or PostgreSQL: how transactions begin, and what becomes of errors."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.dialects import postgresql, sqlite

from recsmith.errors import ParameterError, StorageError
from recsmith.redaction import redacted_url
from recsmith.serving import postgresql as pg
from recsmith.serving.migrations import migrate

_PAUSE_S = 0.01
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_LOCK = "SELECT pg_advisory_xact_lock(7309453663391643509)"
_INSERT: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_OUTAGES = (
    exc.OperationalError,
    exc.InterfaceError,
    exc.InternalError,
    exc.TimeoutError,
    sqlite3.Error,
    OSError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds, > 0, after which a transaction is given up that the database does not let through."""

    read_s: float = 1.0  #: what a list waits for
    write_s: float = 5.0  #: feedback, and whatever else is stored
    bulk_s: float = 60.0  #: a part of a whole log
    opening_s: float = 3600.0  #: another process may be migrating large tables


class Database:
    """A pool of connections. Writers come one after the other, across threads and processes."""

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        """Connect, and create or migrate the tables.

        Raises
        ------
        ParameterError
            ``url`` names neither a SQLite file nor a PostgreSQL database.
        StorageError
            There is no such server, the file cannot be written, or its tables are newer than this version.
        """
        found = _url(url)
        self._sqlite = found.get_backend_name() == "sqlite"
        self._name = redacted_url(url)
        self.insert = _INSERT[found.get_backend_name()]  #: with ``on_conflict_do_...``
        self._patience = patience or Patience()
        self._engine = self._new_engine(found)
        try:
            self._prepare(found)
            with self._storage_errors():
                self._watch = self._engine.raw_connection() if self._sqlite else None
        except BaseException:
            self._engine.dispose()
            raise
        self._watching = threading.Lock()

    def _new_engine(self, url: URL) -> Engine:
        if self._sqlite:
            return _sqlite_engine(url, self._patience.write_s)
        return pg.engine(url, read_s=self._patience.read_s, write_s=self._patience.write_s)

    def _prepare(self, url: URL) -> None:
        with self._storage_errors():
            if self._sqlite:
                Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
                self._write_ahead()
            with self.write(seconds=self._patience.opening_s) as connection:
                migrate(connection)

    @contextmanager
    def read(self, *, bulk: bool = False) -> Iterator[Connection]:
        """A connection for one query; ``bulk`` is one that reads much, and may take longer than a list waits.

        Raises
        ------
        StorageError
            The database cannot be read, or does not answer in time.
        """
        seconds = self._patience.bulk_s if bulk else self._patience.read_s
        with self._storage_errors(), self._within(seconds), self._engine.connect() as connection:
            if bulk and not self._sqlite:
                connection.exec_driver_sql(pg.set_limit(seconds))
            yield connection

    @contextmanager
    def write(self, *, seconds: float | None = None) -> Iterator[Connection]:
        """A transaction that no other writer overlaps, so numbers rise in the order of commits.

        Raises
        ------
        StorageError
            The disk is full, the file stays locked, or the server is gone or does not answer in time. The transaction
            is rolled back; where the connection breaks while it is committed, that is not known.
        """
        limit = self._patience.write_s if seconds is None else seconds
        with self._storage_errors(), self._within(limit), self._engine.connect() as connection:
            connection.exec_driver_sql(self._alone(limit))
            yield connection
            with self._unknown_outcome():
                connection.commit()

    def _alone(self, seconds: float) -> str:
        """What begins a transaction that no other writer overlaps."""
        return "BEGIN IMMEDIATE" if self._sqlite else f"{pg.set_limit(seconds)}; {_LOCK}"

    def _within(self, seconds: float) -> AbstractContextManager[None]:
        return nullcontext() if self._sqlite else pg.within(seconds)

    @contextmanager
    def _unknown_outcome(self) -> Iterator[None]:
        """Say of a commit whose answer did not come that it may have been made."""
        try:
            yield
        except exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise StorageError(
                f"The store {self._name} went silent while it committed: {_reason(error)}. What was sent may be "
                "stored or not. Send it again: events with the same 'event_id' are stored once."
            ) from error

    def version(self) -> int | None:
        """A number that changes with every commit of any process, at the price of microseconds; None where none is."""
        if self._watch is None:
            return None
        with self._storage_errors(), self._watching:
            [(version,)] = self._watch.execute("PRAGMA data_version").fetchall()
        return int(version)

    def scrub(self) -> None:
        """Empty SQLite's write-ahead log, which holds copies of what was deleted.

        Raises
        ------
        StorageError
            Somebody reads an old state all the time.
        """
        if not self._sqlite:
            return
        end = time.monotonic() + self._patience.bulk_s
        with self.read() as connection:
            while time.monotonic() < end:
                busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
                if not busy:
                    return
                time.sleep(_PAUSE_S)
        raise StorageError(
            f"The rows are deleted, but the write-ahead log of {self._name} still holds copies, because another "
            "process reads an old state. End it and erase once more."
        )

    def close(self) -> None:
        """Close all connections."""
        if self._watch is not None:
            self._watch.close()
        self._engine.dispose()

    def _write_ahead(self) -> None:
        """Switch to the write-ahead log. SQLite refuses at once where another process is at work."""
        end = time.monotonic() + self._patience.bulk_s
        with self._engine.connect() as connection:
            while True:
                try:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    return
                except exc.OperationalError as error:
                    if "locked" not in str(error.orig) or time.monotonic() > end:
                        raise
                time.sleep(_PAUSE_S)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Say in the words of the house that the database could not be used."""
        try:
            yield
        except Exception as error:
            if not _is_outage(error):
                raise
            reason = _reason(error)
            raise StorageError(
                f"The store {self._name} cannot be used: {reason}. Nothing is half-written. {self._remedy(reason)}"
            ) from error

    def _remedy(self, reason: str) -> str:
        if "disk is full" in reason or "No space left" in reason:
            return "Free some space and try again."
        if "locked" in reason:
            return f"Another process has held it for more than {self._patience.write_s:g} s. End that one or try again."
        if self._sqlite:
            return "Look whether the path is a database and may be written, and try again."
        return "Look whether the server runs and lets you in, and try again."


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().partition("\n")[0]


def _is_outage(error: Exception) -> bool:
    """Whether the database is to blame, not a mistake in a statement or a value.

    Of SQLite's errors the plain one means a file that is damaged or no database.
    """
    return isinstance(error, _OUTAGES) or type(error) is exc.DatabaseError


def _url(text: str) -> URL:
    wanted = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise ParameterError(
            f"The 'url' parameter of Store must be {wanted}. What was given is no URL."
        ) from None
    if url.drivername not in {*_DRIVERS, *_DRIVERS.values()}:
        raise ParameterError.of("Store", "url", wanted, text)
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ParameterError.of("Store", "url", "a file, sqlite:///PATH: workers share it", text)
    return url


def _sqlite_engine(url: URL, seconds: float) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": seconds})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA synchronous=FULL")  # what is committed survives a loss of power
        connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten

    return engine

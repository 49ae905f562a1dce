"""The store: everything that the service must remember, in SQLite or PostgreSQL.

Each write is one transaction, which also tells in ``changes`` what it made stale. Whoever keeps something in memory
asks for the changes after his own mark before he uses it.

A user's id is in his events and exposures only. Changes and tombstones hold its ``digest``, so that nothing is left
of the id after an erasure.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from sys import intern
from typing import Any, Self, get_args

import orjson
import polars as pl
import sqlalchemy as sa

from recsmith.errors import ParameterError, StorageError, UnknownIdError
from recsmith.serving import schema
from recsmith.serving.database import Database, Patience
from recsmith.serving.events import (
    ApiKey,
    Change,
    Changes,
    Event,
    Exposure,
    Item,
    ItemChange,
    Kind,
    LoggedExposure,
    NewEvent,
    Quarantined,
    Role,
    digest,
    hash_secret,
)
from recsmith.serving.rows import (
    EVENT_FRAME,
    EXPOSURE,
    EXPOSURE_FRAME,
    checked_json,
    checked_text,
    event_row,
    exposure_row,
    item_row,
    merged,
)
from recsmith.serving.statements import CHANGES, HISTORY, LOG_EXPOSURE, NEWEST, OLDER

log = logging.getLogger("recsmith.serving")
_LAST_KEY = 2**31 - 1  # of a column of 32 bits
_AT_ONCE = 10_000  # parameters of one query
_FRAME_ROWS = 100_000


class Store:
    """The events, items, settings and keys of a service; safe to use from many threads.

    Every method raises ``StorageError`` where the disk is full, the file stays locked or the server is gone; what
    was there is whole then, and the same call may be made again. Text that a database cannot hold raises
    ``ParameterError``: a NUL character, or half of a surrogate pair.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: tuple[int | None, int] | None = None
        self.failing: str | None = None  #: why events could not be stored the last time; None while they can

    @classmethod
    def open(cls, url: str, patience: Patience | None = None) -> Self:
        """Connect, and create or migrate the tables; many processes may do so at once.

        Parameters
        ----------
        url
            ``sqlite:///PATH`` (four slashes for an absolute path) or ``postgresql://USER:PASSWORD@HOST/NAME``.
        patience
            How long it waits for the database; None: as ``Patience`` has it.

        Raises
        ------
        ParameterError
            Another kind of URL.
        StorageError
            There is no such server, the file cannot be written, or its tables are newer than this version.
        """
        return cls(Database(url, patience))

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    # --- events ---------------------------------------------------------------------------------------------

    def add_events(self, events: Sequence[NewEvent], exposures: Sequence[Exposure] = ()) -> list[bool]:
        """Store events that are not there yet, all or none; in the same transaction ``log_exposures(exposures)``.

        Histories are in the order of ``placed``, then of commits. A live event is placed at the moment of its arrival,
        and never before an event of the user that came earlier, so a clock that is put back reorders nothing. One that
        brings its own time is placed there, but not after its arrival.

        Returns
        -------
        list of bool
            For each event: it was stored. False where its ``event_id`` was there before, also in the same call.

        Raises
        ------
        ParameterError
            Text that cannot be stored, a value that is not finite, or a time beyond 64 bits.
        """
        rows: dict[str, dict[str, Any]] = {}
        keys = [digest(event.event_id) for event in events]
        for key, event in zip(keys, events, strict=True):
            rows.setdefault(key, event_row(key, event))
        shown = [exposure_row(row) for row in exposures]
        if not rows:
            self.log_exposures(exposures)
            return []
        live = {key for key, event in zip(keys, events, strict=True) if event.live}
        statement = self._database.insert(schema.events).on_conflict_do_nothing(index_elements=["event_key"])
        with self._write_events() as connection:
            _place(connection, rows, live)
            found = connection.execute(statement.returning(schema.events.c.event_key), list(rows.values()))
            stored = set(found.scalars())
            _tell(connection, "user", (row["user_key"] for key, row in rows.items() if key in stored))
            if shown:
                connection.execute(LOG_EXPOSURE, shown)
        told = []
        for key in keys:
            told.append(key in stored)
            stored.discard(key)  # the second of two in one call was there before
        return told

    def try_write(self) -> None:
        """Find out whether events can be stored, and leave no trace of it."""
        key = digest(secrets.token_hex(16))
        row = event_row(key, NewEvent(key, "", "", "", None, 0, None))
        with self._write_events() as connection:
            connection.execute(sa.insert(schema.events), row)
            connection.execute(sa.delete(schema.events).where(schema.events.c.event_key == key))

    @contextmanager
    def _write_events(self) -> Iterator[sa.Connection]:
        """A transaction that finds out whether events can be stored."""
        try:
            with self._database.write() as connection:
                yield connection
        except StorageError as error:
            self.failing = str(error)
            raise
        self.failing = None

    def history(self, user_ids: Sequence[str], limit: int) -> dict[str, list[Event]]:
        """The newest ``limit`` events of each user since his erasure, oldest first as ``add_events`` placed them."""
        found: dict[str, list[Event]] = {user: [] for user in user_ids}
        keys = [digest(user) for user in found]
        for start in range(0, len(keys), _AT_ONCE):
            with self._database.read() as connection:
                asked = {"users": keys[start : start + _AT_ONCE], "limit": limit}
                for row in connection.execute(HISTORY, asked):
                    found[row.user_id].append(Event(*row))
        return found

    def older(self, user_id: str, event: Event) -> list[Event]:
        """Of a user's events before ``event`` the last that came of each item and type, oldest first.

        ``event_id`` is empty and ``recomm_id`` None: what is left is a word for each item, however often it was given.
        """
        asked = {"user": digest(user_id), "seq": event.seq}
        with self._database.read() as connection:
            return [
                Event("", user_id, intern(item), intern(kind), value, timestamp, None, seq)
                for item, kind, value, timestamp, seq in connection.execute(OLDER, asked)
            ]  # many users have the same items and types

    def events_frame(self) -> Iterator[pl.DataFrame]:
        """All events in the order of their commits, in frames of 100,000 rows.

        Yields
        ------
        pl.DataFrame
            ``user_id, item_id, event, value, timestamp, recomm_id, placed``: its type, and Unix seconds; ``placed``
            orders what a user did (see ``add_events``). Each frame is a query of its own: events that are added
            meanwhile come too, and a user erased meanwhile may be in earlier frames.
        """
        table = schema.events.c
        columns = (
            table.user_id,
            table.item_id,
            table.event_type,
            table.value,
            table.timestamp,
            table.recomm_id,
            table.placed,
        )
        return self._frames(table.seq, columns, EVENT_FRAME)

    def exposures_frame(self) -> Iterator[pl.DataFrame]:
        """All exposures, as ``events_frame`` gives the events; ``items`` is the JSON text of the slots."""
        table = schema.exposures.c
        return self._frames(table.seq, [table[name] for name in EXPOSURE_FRAME], EXPOSURE_FRAME)

    def _frames(
        self, seq: sa.Column[int], columns: Sequence[sa.Column[Any]], types: Mapping[str, Any]
    ) -> Iterator[pl.DataFrame]:
        """A log in frames of ``_FRAME_ROWS``, a query each."""
        after = 0
        while True:
            with self._database.read(bulk=True) as connection:
                rows = connection.execute(_after(sa.select(seq, *columns), seq, after, _FRAME_ROWS)).all()
            if not rows:
                return
            after = rows[-1].seq
            _, *values = zip(*rows, strict=True)
            yield pl.DataFrame(dict(zip(types, values, strict=True)), schema=types)

    def reactions(self, recomm_ids: Sequence[str]) -> list[tuple[str, str, str, str]]:
        """The events that echo one of some answers: (recomm_id, user id, item id, event type), in no order."""
        table = schema.events.c
        query = sa.select(table.recomm_id, table.user_id, table.item_id, table.event_type)
        found: list[tuple[str, str, str, str]] = []
        for start in range(0, len(recomm_ids), _AT_ONCE):
            some = list(recomm_ids[start : start + _AT_ONCE])
            with self._database.read(bulk=True) as connection:
                found += [tuple(row) for row in connection.execute(query.where(table.recomm_id.in_(some)))]
        return found

    def quarantine(self, rows: Sequence[tuple[str, str, str | None]]) -> None:
        """Keep events that could not be taken: (payload as JSON text, reason, user id where it is known)."""
        now = int(time.time())
        values = [
            {
                "user_key": None if user is None else digest(user),
                "payload": checked_text("quarantine", "payload", payload),
                "reason": checked_text("quarantine", "reason", reason),
                "timestamp": now,
            }
            for payload, reason, user in rows
        ]
        if values:
            with self._database.write() as connection:
                connection.execute(sa.insert(schema.quarantine), values)

    def quarantined(self, limit: int) -> list[Quarantined]:
        """The newest ``limit`` of the events that could not be taken, newest first."""
        table = schema.quarantine.c
        query = sa.select(table.seq, table.payload, table.reason, table.timestamp).order_by(table.seq.desc())
        with self._database.read() as connection:
            return [Quarantined(*row) for row in connection.execute(query.limit(limit))]

    # --- changes --------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """The newest change, to ask ``changes`` after; 0 where there is none."""
        with self._database.read() as connection:
            return connection.execute(sa.select(sa.func.max(schema.changes.c.seq))).scalar_one() or 0

    def changes(self, after: int) -> Changes:
        """What was committed after a mark by anybody, oldest first.

        With SQLite the answer that there is nothing new costs microseconds.
        """
        version = self._database.version()
        if version is not None and self._seen == (version, after):
            return Changes(after)
        with self._database.read() as connection:
            rows = connection.execute(CHANGES, {"after": after}).all()
        mark = rows[-1].seq if rows else after
        self._seen = (version, mark)
        lost = bool(rows) and rows[0].oldest > after + 1
        return Changes(mark, [Change(seq, kind, key) for seq, kind, key, _ in rows], lost)

    def unchanged(self, after: int) -> bool:
        """Whether ``changes`` would give none, as far as that is known in microseconds; always False but for SQLite."""
        version = self._database.version()
        return version is not None and self._seen == (version, after)

    def prune_changes(self, keep: int) -> None:
        """Delete all changes but the newest ``keep``.

        Raises
        ------
        ParameterError
            ``keep`` < 1: the newest one tells readers that they missed others.
        """
        if keep < 1:
            raise ParameterError.of("prune_changes", "keep", ">= 1", keep)
        newest = sa.select(sa.func.max(schema.changes.c.seq)).scalar_subquery()
        with self._database.write() as connection:
            connection.execute(sa.delete(schema.changes).where(schema.changes.c.seq <= newest - keep))

    # --- erasure --------------------------------------------------------------------------------------------

    def erase(self, user_id: str) -> dict[str, int]:
        """Delete what is stored of a user and leave a tombstone that hides his part of every bundle.

        Events that are stored later begin a new history. In the files of SQLite the deleted rows are overwritten;
        PostgreSQL keeps their bytes until its next vacuum.

        Returns
        -------
        dict
            The number of rows deleted in ``events``, ``exposures`` and ``quarantine``.

        Raises
        ------
        StorageError
            Also where the rows are deleted and SQLite's write-ahead log could not be emptied.
        """
        key = digest(user_id)
        with self._database.write() as connection:
            deleted = {
                table.name: connection.execute(sa.delete(table).where(table.c.user_key == key)).rowcount
                for table in (schema.events, schema.exposures, schema.quarantine)
            }
            told = sa.insert(schema.changes).values(kind="erased", key=key).returning(schema.changes.c.seq)
            seq = connection.execute(told).scalar_one()
            tombstone = {"user_key": key, "erased_at": int(time.time()), "seq": seq}
            self._upsert(connection, schema.tombstones, "user_key", [tombstone])
        self._database.scrub()
        return deleted

    def erased(self) -> dict[str, int]:
        """The change that told of each erasure, by the ``digest`` of the user's id."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(schema.tombstones.c.user_key, schema.tombstones.c.seq))
            return {row.user_key: row.seq for row in rows}

    # --- exposures ------------------------------------------------------------------------------------------

    def log_exposures(self, rows: Sequence[Exposure]) -> None:
        """Append lists that were answered, but those of users who were erased meanwhile."""
        values = [exposure_row(row) for row in rows]
        if values:
            with self._database.write() as connection:
                connection.execute(LOG_EXPOSURE, values)

    def exposures(self, after: int, limit: int) -> list[LoggedExposure]:
        """At most ``limit`` exposures with a ``seq`` above ``after``, in the order of their commits."""
        table = schema.exposures.c
        query = _after(sa.select(*(table[name] for name in EXPOSURE), table.seq), table.seq, after, limit)
        with self._database.read() as connection:
            rows = connection.execute(query)
            return [LoggedExposure(**row) for row in rows.mappings()]

    def latest_exposures(self, limit: int) -> list[LoggedExposure]:
        """The newest ``limit`` exposures, in the order of their commits."""
        return self.exposures(self.newest_exposure() - limit, limit)

    def newest_exposure(self) -> int:
        """The ``seq`` of the newest exposure, to ask ``exposures`` after; 0 where there is none."""
        with self._database.read() as connection:
            newest = sa.select(sa.func.coalesce(sa.func.max(schema.exposures.c.seq), 0))
            return int(connection.execute(newest).scalar_one())

    # --- items ----------------------------------------------------------------------------------------------

    def upsert_items(self, items: Sequence[Item]) -> None:
        """Add items, or replace what was said of them; of an item given twice the last one counts."""
        rows = {item.item_id: item_row(item) for item in items}
        if rows:
            with self._database.write() as connection:
                self._put_items(connection, rows)

    def merge_items(self, changes: Sequence[ItemChange], *, create: bool = True) -> None:
        """Change items field by field, adding those that are not there; nobody writes in between.

        An item that was deleted begins anew: nothing of what was written before it was deleted comes back.

        Parameters
        ----------
        changes
            Of an item given twice the changes follow one another.
        create
            False: an item that was deleted is not known.

        Raises
        ------
        UnknownIdError
            ``create`` is False and an item was deleted; nothing has changed.
        ParameterError
            Metadata that cannot be stored, or that has grown beyond 64 KiB of JSON.
        """
        with self._database.write() as connection:
            found = {item.item_id: item for item in self._found(connection, [c.item_id for c in changes])}
            for change in changes:
                old = found.get(change.item_id)
                if old is not None and old.state == "deleted":
                    if not create:
                        raise UnknownIdError(f"The item {change.item_id!r} was deleted.")
                    old = None
                found[change.item_id] = merged(change, old)
            self._put_items(connection, {item.item_id: item_row(item) for item in found.values()})

    def _put_items(self, connection: sa.Connection, rows: Mapping[str, dict[str, Any]]) -> None:
        if rows:
            self._upsert(connection, schema.items, "item_key", list(rows.values()))
            _tell(connection, "item", rows)

    def items(self, item_ids: Sequence[str] | None = None) -> list[Item]:
        """The items that were written, in no order: all of them, or those of ``item_ids`` that there are."""
        with self._database.read() as connection:
            return list(self._found(connection, item_ids))

    def _found(self, connection: sa.Connection, item_ids: Sequence[str] | None) -> Iterator[Item]:
        table = schema.items.c
        query = sa.select(table.item_id, table.metadata, table.available, table.state)
        queries = [query]
        if item_ids is not None:
            keys = [digest(item) for item in item_ids]
            blocks = (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))
            queries = [query.where(table.item_key.in_(block)) for block in blocks]
        for one in queries:
            for item, text, available, state in connection.execute(one):
                yield Item(item, _metadata(item, text), available, state)

    # --- settings and keys ----------------------------------------------------------------------------------

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name: the text of the rules, the active deployment, the experiments."""
        name, text = checked_text("set_setting", "name", name), checked_json("set_setting", "value", value)
        with self._database.write() as connection:
            self._upsert(connection, schema.settings, "name", [{"name": name, "value": text}])
            _tell(connection, "setting", [name])

    def revise_setting(self, name: str, change: Callable[[Any], Any]) -> bool:
        """Put ``change(value)`` in the place of a value, or leave it where that is None; nobody writes in between.

        ``change`` gets None where there is no value yet. Returns whether it was replaced.
        """
        table = schema.settings.c
        with self._database.write() as connection:
            found = connection.execute(sa.select(table.value).where(table.name == name)).scalar_one_or_none()
            new = change(None if found is None else json.loads(found))
            if new is not None:
                row = {"name": name, "value": checked_json("revise_setting", "value", new)}
                self._upsert(connection, schema.settings, "name", [row])
                _tell(connection, "setting", [name])
        return new is not None

    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(schema.settings.c.name, schema.settings.c.value))
            return {name: json.loads(value) for name, value in rows}

    def add_key(self, name: str, role: Role) -> str:
        """Make an API key and return its secret, which cannot be had again.

        Only ``hash_secret`` of it is kept.

        Raises
        ------
        ParameterError
            An unknown role.
        """
        if role not in get_args(Role):
            raise ParameterError.unknown("role", role, get_args(Role))
        secret = f"rs_{secrets.token_urlsafe(32)}"
        row = {"name": checked_text("add_key", "name", name), "role": role, "hash": hash_secret(secret)}
        with self._database.write() as connection:
            statement = sa.insert(schema.api_keys).returning(schema.api_keys.c.id)
            key = connection.execute(statement, {**row, "created": int(time.time())}).scalar_one()
            _tell(connection, "key", [str(key)])
        return secret

    def keys(self) -> list[ApiKey]:
        """All API keys, the revoked ones too, oldest first."""
        table = schema.api_keys.c
        columns = (table.id, table.name, table.role, table.hash, table.created, table.revoked)
        with self._database.read() as connection:
            return [ApiKey(*row) for row in connection.execute(sa.select(*columns).order_by(table.id))]

    def revoke_key(self, key_id: int) -> None:
        """Let a key open nothing any more; a second time changes nothing.

        Raises
        ------
        UnknownIdError
            There is no such key.
        """
        table = schema.api_keys
        if not 0 < key_id <= _LAST_KEY:
            raise UnknownIdError(_no_key(key_id))
        revoked = sa.func.coalesce(table.c.revoked, int(time.time()))
        with self._database.write() as connection:
            done = connection.execute(sa.update(table).where(table.c.id == key_id).values(revoked=revoked))
            if not done.rowcount:
                raise UnknownIdError(_no_key(key_id))
            _tell(connection, "key", [str(key_id)])

    def _upsert(
        self, connection: sa.Connection, table: sa.Table, key: str, rows: list[dict[str, Any]]
    ) -> None:
        """Add rows, or replace those with the same ``key``."""
        statement = self._database.insert(table)
        new = {name: statement.excluded[name] for name in rows[0] if name != key}
        connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=new), rows)


def _place(connection: sa.Connection, rows: Mapping[str, dict[str, Any]], live: Collection[str]) -> None:
    """Say where in its user's history each event belongs; ``rows`` and ``live`` are by its key."""
    now = int(time.time())
    late = [row["user_key"] for key, row in rows.items() if key in live or row["timestamp"] > now]
    users = list(dict.fromkeys(late))
    newest: dict[str, int] = {}
    for start in range(0, len(users), _AT_ONCE):
        some = {"users": users[start : start + _AT_ONCE]}
        newest.update(tuple(row) for row in connection.execute(NEWEST, some))
    for key, row in rows.items():
        arrived = max(now, newest.get(row["user_key"], now))
        row["placed"] = arrived if key in live else min(row["timestamp"], arrived)


def _tell(connection: sa.Connection, kind: Kind, keys: Iterable[str]) -> None:
    """Append to the changes, each key once."""
    rows = [{"kind": kind, "key": key} for key in dict.fromkeys(keys)]
    if rows:
        connection.execute(sa.insert(schema.changes), rows)


def _metadata(item: str, text: str) -> dict[str, Any]:
    """Stored metadata; none where it is what no answer could hold, which older versions took."""
    try:
        found: dict[str, Any] = orjson.loads(text)  # a whole number beyond 64 bits becomes a float
    except orjson.JSONDecodeError as error:
        log.warning("the metadata of item %r cannot be read, so it has none: %s", item, error)
        return {}
    return found


def _no_key(key_id: int) -> str:
    return f"There is no API key with the id {key_id}. 'keys list' shows them."


def _after(query: sa.Select[Any], seq: sa.ColumnElement[int], after: int, limit: int) -> sa.Select[Any]:
    """The next ``limit`` rows of a log."""
    return query.where(seq > after).order_by(seq).limit(limit)

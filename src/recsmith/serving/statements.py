"""The three statements of the store that are more than a line, compiled once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from recsmith.serving import schema
from recsmith.serving.rows import EVENT


def _placed() -> sa.Subquery:
    """The events of ``users``, each with its ``place`` from the user's newest: one pass over the index."""
    table = schema.events.c
    newest = (table.timestamp.desc(), table.seq.desc())
    place = sa.func.row_number().over(partition_by=table.user_key, order_by=newest).label("place")
    asked = table.user_key.in_(sa.bindparam("users", expanding=True))
    return sa.select(*(table[name] for name in (*EVENT, "seq")), place).where(asked).subquery()


def _history() -> sa.Select[Any]:
    """The newest ``limit`` events of each of ``users``."""
    placed = _placed()
    query = sa.select(*(placed.c[name] for name in (*EVENT, "seq")))
    kept = placed.c.place <= sa.bindparam("limit")
    return query.where(kept).order_by(placed.c.timestamp, placed.c.seq)


def _older() -> sa.Select[Any]:
    """Of the events before those, the latest of each user, item and type."""
    placed = _placed()
    same = (placed.c.user_id, placed.c.item_id, placed.c.event_type)
    turn = sa.func.row_number().over(partition_by=same, order_by=placed.c.place).label("turn")
    old = sa.select(placed, turn).where(placed.c.place > sa.bindparam("limit")).subquery()
    query = sa.select(*(old.c[name] for name in OLDER)).where(old.c.turn == 1)
    return query.order_by(old.c.timestamp, old.c.seq)


def _changes() -> sa.Select[Any]:
    """The changes after ``after``, each with the oldest one there is, so that both are of the same moment."""
    table = schema.changes.c
    new = table.seq > sa.bindparam("after")
    oldest = sa.select(sa.func.min(table.seq)).scalar_subquery().label("oldest")
    return sa.select(table.seq, table.kind, table.key, oldest).where(new).order_by(table.seq)


def _log_exposure() -> sa.Insert:
    """An exposure, unless its user was erased in that second or later."""
    columns = [column for column in schema.exposures.c if column.name != "seq"]
    given = [sa.bindparam(column.name, type_=column.type) for column in columns]
    gone = schema.tombstones.c
    erased = sa.exists().where(
        gone.user_key == sa.bindparam("user_key"), gone.erased_at >= sa.bindparam("timestamp")
    )
    return sa.insert(schema.exposures).from_select(
        [c.name for c in columns], sa.select(*given).where(~erased)
    )


LOG_EXPOSURE = _log_exposure()
HISTORY = _history()
OLDER = ("user_id", "item_id", "event_type", "value", "timestamp", "seq")  #: columns of ``OLDER_EVENTS``
OLDER_EVENTS = _older()
CHANGES = _changes()

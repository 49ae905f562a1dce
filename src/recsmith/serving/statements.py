"""The statements of the store that are more than a line, compiled once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from recsmith.serving import schema
from recsmith.serving.rows import EVENT


def _history() -> sa.Select[Any]:
    """The newest ``limit`` events of each of ``users``: one pass over the index that has them in this order."""
    table = schema.events.c
    newest = (table.placed.desc(), table.seq.desc())
    place = sa.func.row_number().over(partition_by=table.user_key, order_by=newest).label("place")
    columns = (*(table[name] for name in EVENT), table.seq, table.placed)
    asked = table.user_key.in_(sa.bindparam("users", expanding=True))
    placed = sa.select(*columns, place).where(asked).subquery()
    kept = placed.c.place <= sa.bindparam("limit")
    query = sa.select(*(placed.c[column.name] for column in columns[:-1])).where(kept)
    return query.order_by(placed.c.placed, placed.c.seq)


def _newest() -> sa.Select[Any]:
    """The place of the newest event of each of ``users``."""
    table = schema.events.c
    query = sa.select(table.user_key, sa.func.max(table.placed))
    return query.where(table.user_key.in_(sa.bindparam("users", expanding=True))).group_by(table.user_key)


def _older() -> sa.Select[Any]:
    """Of the events of ``user`` before the one with ``seq`` the last that came of each item and type."""
    table = schema.events.c
    of_bound = schema.events.alias().c
    its_place = sa.select(of_bound.placed).where(of_bound.seq == sa.bindparam("seq")).scalar_subquery()
    bound = sa.tuple_(its_place, sa.bindparam("seq"))
    before = sa.tuple_(table.placed, table.seq) < bound
    last = sa.select(sa.func.max(table.seq)).where(table.user_key == sa.bindparam("user"), before)
    last = last.group_by(table.item_id, table.event_type)
    columns = (table.item_id, table.event_type, table.value, table.timestamp, table.seq)
    return sa.select(*columns).where(table.seq.in_(last)).order_by(table.placed, table.seq)


def _changes() -> sa.Select[Any]:
    """The changes after ``after``, each with the oldest one there is, so that both are of the same moment."""
    table = schema.changes.c
    new = table.seq > sa.bindparam("after")
    oldest = sa.select(sa.func.min(table.seq)).scalar_subquery().label("oldest")
    return sa.select(table.seq, table.kind, table.key, oldest).where(new).order_by(table.seq)


def _log_exposure() -> sa.Insert:
    """An exposure, unless its user was erased after ``mark``, the change up to which the list knew the store."""
    columns = [column for column in schema.exposures.c if column.name != "seq"]
    given = [sa.bindparam(column.name, type_=column.type) for column in columns]
    gone = schema.tombstones.c
    erased = sa.exists().where(gone.user_key == sa.bindparam("user_key"), gone.seq > sa.bindparam("mark"))
    return sa.insert(schema.exposures).from_select(
        [c.name for c in columns], sa.select(*given).where(~erased)
    )


LOG_EXPOSURE = _log_exposure()
HISTORY = _history()
OLDER = _older()
NEWEST = _newest()
CHANGES = _changes()

"""The tables of the store. ``migrations`` creates them; a test holds that both say the same.

Ids may be longer than PostgreSQL can index. So the indices are over their digests, of 32 characters.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

#: 64 bits in both databases; SQLite counts only what it calls INTEGER.
Seq = BigInteger().with_variant(Integer(), "sqlite")
_DIGEST = String(32)

events = Table(
    "events",
    metadata,
    Column("seq", Seq, primary_key=True),
    Column("event_key", _DIGEST, nullable=False, unique=True),
    Column("user_key", _DIGEST, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("value", Float),
    Column("timestamp", BigInteger, nullable=False),
    Column("recomm_id", Text),
    Column(
        "placed", BigInteger, nullable=False, server_default="0"
    ),  # place in the user's history, see ``_place``
    sqlite_autoincrement=True,  # a deleted number never comes back
)
Index("events_of_user", events.c.user_key, events.c.placed, events.c.seq)
Index(
    "events_of_answer",
    events.c.recomm_id,
    postgresql_using="hash",  # it may be long
    postgresql_where=events.c.recomm_id.is_not(None),
    sqlite_where=events.c.recomm_id.is_not(None),
)

exposures = Table(
    "exposures",
    metadata,
    Column("seq", Seq, primary_key=True),
    Column("user_key", _DIGEST, nullable=False),
    Column("recomm_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("variant", Text),
    Column("shadow", Boolean, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("items", Text, nullable=False),
    Column("experiment", Text),
    sqlite_autoincrement=True,
)
Index("exposures_of_user", exposures.c.user_key)

quarantine = Table(
    "quarantine",
    metadata,
    Column("seq", Seq, primary_key=True),
    Column("user_key", _DIGEST),
    Column("payload", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
Index("quarantine_of_user", quarantine.c.user_key)

tombstones = Table(
    "tombstones",
    metadata,
    Column("user_key", _DIGEST, primary_key=True),
    Column("erased_at", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False, server_default="0"),  # of the change that tells of it
)

items = Table(
    "items",
    metadata,
    Column("item_key", _DIGEST, primary_key=True),
    Column("item_id", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("state", Text, nullable=False, server_default="merged"),
)

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    sqlite_autoincrement=True,
)

changes = Table(
    "changes",
    metadata,
    Column("seq", Seq, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    sqlite_autoincrement=True,
)

"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create all tables."""
    _create_log()
    _create_state()


def _create_log() -> None:
    """What is only appended to, and deleted by erasure or age."""
    op.create_table(
        "events",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("event_key", sa.String(32), nullable=False, unique=True),
        sa.Column("user_key", sa.String(32), nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("value", sa.Float),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("recomm_id", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("events_of_user", "events", ["user_key", "timestamp", "seq"])
    op.create_table(
        "exposures",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("user_key", sa.String(32), nullable=False),
        sa.Column("recomm_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("variant", sa.Text),
        sa.Column("shadow", sa.Boolean, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("items", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("exposures_of_user", "exposures", ["user_key"])
    op.create_table(
        "quarantine",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("user_key", sa.String(32)),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("quarantine_of_user", "quarantine", ["user_key"])
    op.create_table(
        "changes",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )


def _create_state() -> None:
    """What has one row per thing."""
    op.create_table(
        "tombstones",
        sa.Column("user_key", sa.String(32), primary_key=True),
        sa.Column("erased_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "items",
        sa.Column("item_key", sa.String(32), primary_key=True),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("available", sa.Boolean, nullable=False),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger),
        sqlite_autoincrement=True,
    )

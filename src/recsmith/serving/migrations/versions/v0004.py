"""What one store receives is ordered by its own sequence: a place for each event, and one for each erasure."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the columns; events that are there keep the order of their times."""
    op.add_column("events", sa.Column("placed", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE events SET placed = timestamp")
    op.drop_index("events_of_user", "events")
    op.create_index("events_of_user", "events", ["user_key", "placed", "seq"])
    op.add_column("tombstones", sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"))

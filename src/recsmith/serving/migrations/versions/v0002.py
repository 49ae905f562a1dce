"""The events of an answer are found by its ``recomm_id``, and exposures name their experiment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the index and the column."""
    op.add_column("exposures", sa.Column("experiment", sa.Text))
    there = sa.text("recomm_id IS NOT NULL")
    op.create_index(
        "events_of_answer",
        "events",
        ["recomm_id"],
        postgresql_using="hash",
        postgresql_where=there,
        sqlite_where=there,
    )

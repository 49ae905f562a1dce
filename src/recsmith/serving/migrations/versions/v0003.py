"""Items may stand in the place of the bundle's part, or be deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the column; what was written before lies over the bundle's part."""
    op.add_column("items", sa.Column("state", sa.Text, nullable=False, server_default="merged"))

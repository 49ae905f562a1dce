"""The way from any older database to the tables of this version: one file in ``versions`` per step."""

from __future__ import annotations

from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from recsmith.errors import StorageError

_alone = Lock()  # Alembic keeps the connection in a global


def migrate(connection: Connection) -> None:
    """Bring the tables to the newest revision, inside the transaction of the caller.

    Raises
    ------
    StorageError
        The database has a revision that this version does not know.
    """
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "recsmith.serving:migrations")
    scripts = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    if found == scripts.get_current_head():
        return
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise StorageError(
            f"The store has the revision {found!r} of its tables, which is newer than "
            f"{scripts.get_current_head()!r} of this recsmith. Nothing was changed. Upgrade recsmith, or choose "
            "another database."
        )
    with _alone:
        command.upgrade(config, "head")

"""Applying the migrations to one network's schema."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.advisory_locks import lock_for_transaction
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import metadata_of

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSION_TABLE: Final = "alembic_version"


def upgrade(url: str, schema: str, revision: str = "head") -> None:
    """Bring ``schema`` to ``revision``, making the schema if need be. One transaction, one at a
    time.

    Raises:
        StorageError: the database is away or refuses; the schema is as before.
    """
    _migrate(url, schema, revision, up=True)


def downgrade(url: str, schema: str, revision: str = "base") -> None:
    """Take ``schema`` back to ``revision``; tables that did not exist then are dropped with their
    rows.

    Raises:
        StorageError: the database is away or refuses; the schema is as before.
    """
    _migrate(url, schema, revision, up=False)


def current(url: str, schema: str) -> str | None:
    """The revision that ``schema`` is at; None before the first migration."""
    database = Database(url, schema, pool_size=1)
    try:
        with database.transaction(f"read the version of schema {schema}") as connection:
            return _context(connection, schema).get_current_revision()
    finally:
        database.close()


def newest() -> str:
    """The revision that this version of valmon works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def require_current(url: str, schema: str) -> None:
    """StorageError unless ``schema`` is at the newest revision."""
    found = current(url, schema)
    if found != newest():
        raise StorageError(
            f"schema {schema} is at version {found or 'none'}, this valmon needs {newest()}: run "
            "`valmon migrate`"
        )


def _migrate(url: str, schema: str, revision: str, *, up: bool) -> None:
    database = Database(url, schema, pool_size=1)
    try:
        with database.transaction(f"migrate schema {schema} to {revision}") as connection:
            lock_for_transaction(connection, f"{schema}.migrate")
            if up:
                connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
            config = _config()
            config.attributes["connection"] = connection
            config.attributes["schema"] = schema
            (command.upgrade if up else command.downgrade)(config, revision)
            if up and revision == "head":
                _describe(connection, schema)
    finally:
        database.close()


def _describe(connection: sa.Connection, schema: str) -> None:
    """Put the contracts' descriptions on tables and columns. Not part of the migrations: a better
    wording is no new version."""
    for table in metadata_of(schema).sorted_tables:
        connection.execute(sa.schema.SetTableComment(table))
        for column in table.columns:
            connection.execute(sa.schema.SetColumnComment(column))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _context(connection: sa.Connection, schema: str) -> MigrationContext:
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "version_table_schema": schema}
    )

"""Alembic's entry point. ``storage.migrate`` gives it the connection and the schema."""

from __future__ import annotations

from alembic import context

from valmon_pipeline.storage.migrate import VERSION_TABLE
from valmon_pipeline.storage.tables import metadata_of

schema = context.config.attributes["schema"]
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata_of(schema),
    version_table=VERSION_TABLE,
    version_table_schema=schema,
)
with context.begin_transaction():
    context.run_migrations()

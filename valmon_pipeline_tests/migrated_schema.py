"""A schema with all tables, empty, in a tenth of the time that its migrations take."""

from __future__ import annotations

import functools
import uuid
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.storage import migrate


def make_migrated_schema(url: str, schema: str) -> None:
    """Make ``schema`` as ``migrate.upgrade`` does, for tests of anything but migrations.

    The migrations run once per process; what they said is said again for every further schema, in
    one go.
    """
    assert schema.isidentifier()
    assert schema.islower()
    template, statements = _statements_of_migrations(url)
    with psycopg.connect(url) as connection:
        connection.execute(statements.replace(template, schema).encode())


@functools.cache
def _statements_of_migrations(url: str) -> tuple[str, str]:
    """A schema's name, and all that the migrations say to the database to make it."""
    template = f"template_{uuid.uuid4().hex}"
    statements: list[str] = []
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = psycopg.ClientCursor(connection)

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            statements.append(cursor.mogrify(statement.encode(), parameters))

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            migrate.upgrade(url, template)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(template)))
    return template, ";\n".join(statements)

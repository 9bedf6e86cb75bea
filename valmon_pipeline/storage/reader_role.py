"""The role that dashboards and reports read with: it sees a network's tables, changes nothing."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.advisory_locks import lock_for_transaction
from valmon_pipeline.storage.database import Database, driver_connection

READER: Final = "valmon_reader"
STATEMENT_SECONDS: Final = 30
_OF_LATER_TABLES: Final = (
    "ALTER DEFAULT PRIVILEGES FOR ROLE {user} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role}"
)


def make_reader(database: Database, *, role: str = READER, password: str | None = None) -> None:
    """Make the role, or bring it up to date: it may read every table of the schema, also those that
    are made later by the user that calls this.

    Every transaction of it is read-only and ends after half a minute. Without a ``password`` it
    keeps the one it has.

    Raises:
        StorageError: the user may not make roles, or grant what it does not own.
    """
    schema, name = sql.Identifier(database.schema), sql.Identifier(role)
    with database.transaction(f"make the role {role}") as connection:
        lock_for_transaction(connection, "valmon.roles")
        cursor = driver_connection(connection)
        known = cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        user, catalogue = cursor.execute("SELECT current_user, current_database()").fetchone() or (
            "",
            "",
        )
        try:
            if known is None:
                cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
            if password is not None:
                # Hashed here: servers log statements, those that fail in any case.
                hashed = cursor.pgconn.encrypt_password(password.encode(), role.encode())
                cursor.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(hashed.decode()))
                )
            for statement in (
                "ALTER ROLE {role} SET default_transaction_read_only = on",
                f"ALTER ROLE {{role}} SET statement_timeout = '{STATEMENT_SECONDS}s'",
                "GRANT CONNECT ON DATABASE {database} TO {role}",
                "GRANT USAGE ON SCHEMA {schema} TO {role}",
                "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
                _OF_LATER_TABLES,
            ):
                cursor.execute(
                    sql.SQL(statement).format(
                        role=name,
                        schema=schema,
                        database=sql.Identifier(catalogue),
                        user=sql.Identifier(user),
                    )
                )
        except psycopg.errors.InsufficientPrivilege as error:
            first, _, _ = str(error).partition("\n")
            raise StorageError(
                f"{user} may not make the role {role} ({first}): let an administrator run the "
                "statements in docs/deployment.md"
            ) from error

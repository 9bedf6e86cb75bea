"""The database: there, new enough, migrated, with the rights that valmon needs, and in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from valmon_pipeline.deployment.databases import require_dagster_database
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.doctor.finding import Finding, good, problem, warning
from valmon_pipeline.errors import StorageError
from valmon_pipeline.pipeline import open_database
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.reader_role import READER

SUBJECT: Final = "database"
OLDEST_VERSION: Final = 150_000
MOST_SKEW_SECONDS: Final = 2.0


def database_findings(installation: Installation) -> Iterator[Finding]:
    """Everything about the database that is configured, or the embedded one if it runs."""
    configured = installation.settings.database.url
    if configured is None:
        server = EmbeddedPostgres(installation.home)
        if not server.is_running():
            yield good(
                SUBJECT, "server", "the embedded PostgreSQL does not run; `valmon up` starts it"
            )
            return
        url = server.url()
    else:
        url = configured.reveal()
    database = open_database(installation.settings, url)
    try:
        yield from _server_findings(database)
        yield schema_finding(url, installation.settings.network)
        yield rights_finding(database)
        yield from reader_findings(database)
        if configured is not None:
            yield _dagster_finding(installation, url)
    except StorageError as error:
        yield problem(SUBJECT, "server", str(error), "start it, or correct database.url")
    finally:
        database.close()


def _server_findings(database: Database) -> Iterator[Finding]:
    with database.transaction("examine the database") as connection:
        version, name, there = connection.execute(
            sa.text(
                "SELECT current_setting('server_version_num')::integer, "
                "current_setting('server_version'), clock_timestamp()"
            )
        ).one()
        here = datetime.now(UTC)
    if version < OLDEST_VERSION:
        yield problem(
            SUBJECT, "server", f"{database.address} is PostgreSQL {name}", "use 15 or newer"
        )
    else:
        yield good(SUBJECT, "server", f"{database.address} answers: PostgreSQL {name}")
    skew = (here - there).total_seconds()
    if abs(skew) > MOST_SKEW_SECONDS:
        yield warning(
            SUBJECT,
            "clock",
            f"its clock is {abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} this machine's",
            "set both by NTP: lags are measured by this machine's clock",
        )
    else:
        yield good(SUBJECT, "clock", "its clock agrees with this machine's")


def schema_finding(url: str, schema: str) -> Finding:
    """The schema is of this version of valmon."""
    found, wanted = migrate.current(url, schema), migrate.newest()
    if found == wanted:
        return good(SUBJECT, "schema", f"schema {schema} is at revision {found}")
    return problem(
        SUBJECT,
        "schema",
        f"schema {schema} is at revision {found or 'none'}, this valmon needs {wanted}",
        "run `valmon migrate`",
    )


def rights_finding(database: Database) -> Finding:
    """The user may add partitions to the tables, which takes owning them."""
    with database.transaction("examine the rights") as connection:
        user, may_create, foreign = connection.execute(
            sa.text(
                "SELECT current_user, "
                "coalesce(has_schema_privilege(n.oid, 'CREATE'), false), "
                "(SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid "
                "AND c.relkind IN ('r', 'p') AND NOT pg_has_role(c.relowner, 'USAGE')) "
                "FROM (SELECT to_regnamespace(quote_ident(:schema))::oid AS oid) n"
            ),
            {"schema": database.schema},
        ).one()
    if may_create and not foreign:
        return good(SUBJECT, "rights", f"{user} owns the tables and may make new ones")
    if may_create:
        return problem(
            SUBJECT,
            "rights",
            f"{foreign} tables of schema {database.schema} belong to another role than {user}",
            f"as their owner: GRANT … TO {user}, or REASSIGN OWNED BY … TO {user}",
        )
    return problem(
        SUBJECT,
        "rights",
        f"{user} may not make tables in schema {database.schema}, or there is none",
        f"run `valmon migrate`, or as its owner: GRANT CREATE, USAGE ON SCHEMA {database.schema} "
        f"TO {user}",
    )


def reader_findings(database: Database, role: str = READER) -> Iterator[Finding]:
    """The role that dashboards read with may read every table, where there is one."""
    with database.transaction("examine the reader") as connection:
        unreadable = connection.execute(
            sa.text(
                "SELECT count(c.oid) FILTER (WHERE NOT has_table_privilege(r.oid, c.oid, 'SELECT') "
                "OR NOT has_schema_privilege(r.oid, c.relnamespace, 'USAGE')) "
                "FROM pg_roles r LEFT JOIN pg_class c "
                "ON c.relnamespace = to_regnamespace(quote_ident(:schema)) "
                "AND c.relkind IN ('r', 'p', 'v') WHERE r.rolname = :role GROUP BY r.oid"
            ),
            {"schema": database.schema, "role": role},
        ).scalar_one_or_none()
    if unreadable:
        yield warning(
            SUBJECT,
            "reader",
            f"{role} may not read {unreadable} tables of schema {database.schema}",
            "run `valmon migrate --reader`, or dashboards show less than there is",
        )
    elif unreadable == 0:
        yield good(SUBJECT, "reader", f"{role} may read every table")


def _dagster_finding(installation: Installation, url: str) -> Finding:
    try:
        address = require_dagster_database(installation, url)
    except StorageError as error:
        return problem(SUBJECT, "Dagster", str(error), "run `valmon migrate`")
    return good(SUBJECT, "Dagster", f"{address} answers")

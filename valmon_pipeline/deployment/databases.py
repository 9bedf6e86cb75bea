"""Bring up the databases an installation works with: valmon's tables and Dagster's instance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.embedded import EmbeddedPostgres


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """Where the tables are, and where Dagster keeps its runs. Both may hold passwords."""

    tables: str
    dagster: str

    def __repr__(self) -> str:
        return "DatabaseUrls(…)"


@contextmanager
def running_databases(
    installation: Installation, *, keep_running: bool = False
) -> Iterator[DatabaseUrls]:
    """Databases that answer, with the schema of this version.

    The embedded server is started if need be, migrated, and stopped at the end if it was started
    here, unless ``keep_running``. A configured server is used as it is: it must have been migrated.

    Raises:
        StorageError: the database cannot be started or reached, or needs ``valmon migrate``.
    """
    settings = installation.settings
    if settings.database.url is not None:
        url = settings.database.url.reveal()
        migrate.require_current(url, settings.network)
        yield DatabaseUrls(url, _dagster_url(installation, url))
        return
    server = EmbeddedPostgres(installation.home)
    started_here = not server.is_running()
    server.start()
    try:
        for name in ("valmon", "dagster"):
            server.ensure_database(name)
        migrate.upgrade(server.url(), settings.network)
        yield DatabaseUrls(server.url(), server.dagster_url())
    finally:
        if started_here and not keep_running:
            server.stop()


def prepare_configured_database(installation: Installation) -> None:
    """Migrate a configured database, and make Dagster's database beside it if it is missing.

    Raises:
        StorageError: the database is away or refuses.
    """
    settings = installation.settings
    assert settings.database.url is not None
    url = settings.database.url.reveal()
    migrate.upgrade(url, settings.network)
    _ensure_database(url, make_url(_dagster_url(installation, url)))


def _dagster_url(installation: Installation, url: str) -> str:
    """Dagster's database: the one configured, else ``<database>_dagster`` on the same server.

    Dagster's storage needs psycopg 2 named in the URL: SQLAlchemy 2.1 would take psycopg 3, with
    which every event write of dagster-postgres 0.29 fails.
    """
    configured = installation.settings.database.dagster_url
    if configured is not None:
        parsed = make_url(configured.reveal())
    else:
        parsed = make_url(url)
        parsed = parsed.set(database=f"{parsed.database}_dagster")
    return parsed.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def _ensure_database(url: str, wanted: URL) -> None:
    name = wanted.database
    assert name is not None
    libpq = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(libpq, autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege:
        raise StorageError(
            f"Dagster needs a database of its own and this user may not make it: create {name!r} "
            "on the same server, or name another one with database.dagster_url"
        ) from None
    except psycopg.Error as error:
        raise StorageError(f"could not make Dagster's database {name!r}: {error}") from None

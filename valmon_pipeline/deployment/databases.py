"""Bring up the databases an installation works with: valmon's tables and Dagster's instance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from valmon_pipeline.deployment import file_lock
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.interrupts import uninterrupted
from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import redacted
from valmon_pipeline.storage.embedded import EmbeddedPostgres

USERS_LOCK: Final = "database.lock"
GUARD_PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """Where the tables are, and where Dagster keeps its runs. Both may hold passwords."""

    tables: str
    dagster: str

    def __repr__(self) -> str:
        return "DatabaseUrls(…)"


@contextmanager
def running_databases(installation: Installation) -> Iterator[DatabaseUrls]:
    """Databases that answer, with the schema of this version.

    The embedded server is started if need be, migrated, and stopped by the last command that used
    it. A configured server is used as it is: it must have been migrated.

    Raises:
        StorageError: the database cannot be started or reached, or needs ``valmon migrate``.
    """
    with running_warehouse(installation) as url:
        if installation.settings.database.url is None:
            yield DatabaseUrls(url, EmbeddedPostgres(installation.home).dagster_url())
            return
        dagster = _dagster_url(installation, url)
        _require_database(dagster)
        yield DatabaseUrls(url, dagster.render_as_string(hide_password=False))


@contextmanager
def running_warehouse(installation: Installation) -> Iterator[str]:
    """The URL of valmon's own tables, with the schema of this version: for what needs no Dagster.

    The URL may hold a password.

    Raises:
        StorageError: the database cannot be started or reached, or needs ``valmon migrate``.
    """
    settings = installation.settings
    if settings.database.url is not None:
        url = settings.database.url.reveal()
        migrate.require_current(url, settings.network)
        yield url
        return
    with embedded_server(installation) as server:
        for name in ("valmon", "dagster"):
            server.ensure_database(name)
        migrate.upgrade(server.url(), settings.network)
        yield server.url()


@contextmanager
def embedded_server(installation: Installation) -> Iterator[EmbeddedPostgres]:
    """The embedded server, running; who leaves last stops it.

    Every command that uses it holds a shared lock meanwhile. The lock goes with the process: after
    one that was killed, the next one to leave is the last.
    """
    server = EmbeddedPostgres(installation.home)
    with file_lock.opened(installation.home / USERS_LOCK) as users:
        file_lock.hold(users, shared=True)
        try:
            # Half started, it would be left behind: a server that takes no connections yet cannot
            # be stopped.
            try:
                with uninterrupted():
                    server.start()
            except KeyboardInterrupt:
                # In a terminal Ctrl-C ends pg_ctl too, which starts it: go on from there.
                server.start()
                raise
            yield server
        finally:
            file_lock.release(users)
            if file_lock.try_hold(users):
                server.stop()


class EmbeddedServerGuard:
    """Starts the embedded server again should it end by itself, e.g. be killed for its memory.

    A configured server is not ours to start. ``tell`` is told what happened.
    """

    def __init__(
        self,
        installation: Installation,
        tell: Callable[[str], None],
        *,
        patience_seconds: float = GUARD_PATIENCE_SECONDS,
    ) -> None:
        embedded = installation.settings.database.url is None
        self._server = EmbeddedPostgres(installation.home) if embedded else None
        self._tell = tell
        self._patience_seconds = patience_seconds
        self._ended_at: float | None = None

    def check(self) -> None:
        """Look once; cheap while all is well.

        What a killed server leaves behind may still be ending, so that starting it fails for a
        while; the next looks try again.

        Raises:
            StorageError: it could not be started again in time.
        """
        if self._server is None or not self._server.has_ended():
            return
        if self._ended_at is None:
            self._ended_at = time.monotonic()
            self._tell(
                f"PostgreSQL ended by itself, see {self._server.log_path}: starting it again"
            )
        try:
            with uninterrupted():
                self._server.start()
        except StorageError:
            if time.monotonic() - self._ended_at >= self._patience_seconds:
                raise
            return
        self._ended_at = None
        self._tell("PostgreSQL runs again")


def prepare_configured_database(installation: Installation) -> None:
    """Migrate a configured database, and make Dagster's database if it is missing.

    Raises:
        StorageError: the database is away or refuses.
    """
    settings = installation.settings
    assert settings.database.url is not None
    url = settings.database.url.reveal()
    migrate.upgrade(url, settings.network)
    dagster = _dagster_url(installation, url)
    if settings.database.dagster_url is None:
        _ensure_database(make_url(url), dagster)
    else:
        # Somebody chose it, perhaps on another server: theirs to make.
        _require_database(dagster)


def require_dagster_database(installation: Installation, url: str) -> str:
    """The address of Dagster's database beside that at ``url``, without its secrets.

    Raises:
        StorageError: it is away or refuses.
    """
    dagster = _dagster_url(installation, url)
    _require_database(dagster)
    return redacted(dagster)


def _dagster_url(installation: Installation, url: str) -> URL:
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
    return parsed.set(drivername="postgresql+psycopg2")


def _require_database(dagster: URL) -> None:
    """Say it in words before Dagster does with a stack trace."""
    try:
        psycopg.connect(_libpq(dagster), connect_timeout=10).close()
    except psycopg.Error as error:
        raise StorageError(
            f"Dagster's database {redacted(dagster)} cannot be used: "
            f"{_first_line(error)}. "
            "Check that the server runs; a missing database is made by `valmon migrate`, or by you "
            "if you chose it with database.dagster_url"
        ) from None


def _ensure_database(url: URL, wanted: URL) -> None:
    name = wanted.database
    assert name is not None
    try:
        with psycopg.connect(_libpq(url), autocommit=True, connect_timeout=10) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege:
        raise StorageError(
            "Dagster needs a database of its own and this user may not make it: ask an "
            f"administrator for CREATE DATABASE {name} OWNER {url.username}, or name another "
            "database with database.dagster_url"
        ) from None
    except psycopg.Error as error:
        raise StorageError(
            f"could not make Dagster's database {name}: {_first_line(error)}. Make it yourself, or "
            "name another one with database.dagster_url"
        ) from None


def _libpq(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _first_line(error: psycopg.Error) -> str:
    """What the server or the driver said; neither repeats the password."""
    return str(error).strip().partition("\n")[0].rstrip(".")

"""One PostgreSQL database, one schema in it: connections, transactions, and errors people can act
on.

Nothing here keeps state in a session (no prepared statements, no SET outside a transaction), so
that a transaction-pooling PgBouncer may stand in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.database_observer import DatabaseObserver, NobodyObserves
from valmon_pipeline.storage.failures import explain


class Database:
    """A pool of connections to the database at ``url``, for the tables of one network's ``schema``.

    ``url`` may be ``postgres://``, ``postgresql://`` or name any driver; psycopg 3 is used. Nothing
    is connected before the first transaction. At most ``pool_size + max_overflow`` connections are
    open.
    """

    def __init__(
        self,
        url: str,
        schema: str,
        *,
        pool_size: int = 5,
        max_overflow: int = 5,
        pool_timeout_seconds: float = 30.0,
        connect_timeout_seconds: int = 10,
        statement_timeout_seconds: float | None = None,
        observer: DatabaseObserver | None = None,
    ) -> None:
        self.schema = schema
        self.observer = NobodyObserves() if observer is None else observer
        self._url = with_psycopg(url)
        self._statement_timeout_ms = (
            None if statement_timeout_seconds is None else int(statement_timeout_seconds * 1000)
        )
        self.engine = sa.create_engine(
            self._url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout_seconds,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": connect_timeout_seconds,
                "application_name": f"valmon {schema}",
                # Server-side prepared statements break behind a transaction-pooling PgBouncer.
                "prepare_threshold": None,
            },
        )

    @property
    def address(self) -> str:
        """The URL without its secrets, for messages and logs."""
        return redacted(self._url)

    @contextmanager
    def transaction(self, purpose: str) -> Iterator[sa.Connection]:
        """One transaction: committed at the end, rolled back on any error.

        ``purpose`` completes "could not …" in messages, e.g. ``"store epoch 7 of blocks"``.

        Raises:
            StorageError: for everything the database or the way to it refuses.
        """
        waiting_since = time.monotonic()
        try:
            with self.engine.begin() as connection:
                self.observer.connected(
                    time.monotonic() - waiting_since, self.pool_figures()["checked_out"]
                )
                if self._statement_timeout_ms is not None:
                    # A process that hangs between two statements keeps its locks no longer.
                    connection.exec_driver_sql(
                        f"SET LOCAL statement_timeout = {self._statement_timeout_ms}; "
                        "SET LOCAL idle_in_transaction_session_timeout = "
                        f"{self._statement_timeout_ms}"
                    )
                yield connection
        except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
            raise StorageError(explain(error, purpose, self.address, self.schema)) from error

    @contextmanager
    def statement(self, purpose: str) -> Iterator[sa.Connection]:
        """A connection for one statement, which is committed by itself.

        A process that is stopped or cut off in the middle of it holds no lock, unlike one within a
        transaction. ``purpose`` as for :meth:`transaction`.

        Raises:
            StorageError: for everything the database or the way to it refuses.
        """
        try:
            with self.engine.connect() as connection:
                yield connection.execution_options(isolation_level="AUTOCOMMIT")
        except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
            raise StorageError(explain(error, purpose, self.address, self.schema)) from error

    def ping(self) -> None:
        """StorageError if the database does not answer."""
        with self.transaction("reach the database") as connection:
            connection.exec_driver_sql("SELECT 1")

    def pool_figures(self) -> dict[str, int]:
        """Connections by state, for the metrics: size, checked_out, checked_in, overflow."""
        pool = self.engine.pool
        assert isinstance(pool, sa.pool.QueuePool)
        return {
            "size": pool.size(),
            "checked_out": pool.checkedout(),
            "checked_in": pool.checkedin(),
            "overflow": max(pool.overflow(), 0),
        }

    def close(self) -> None:
        """Close all pooled connections; the object can be used again afterwards."""
        self.engine.dispose()


def driver_connection(connection: sa.Connection) -> psycopg.Connection[Any]:
    """The psycopg connection underneath, for COPY, which SQLAlchemy has no words for."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def with_psycopg(url: str) -> sa.URL:
    """``url`` for SQLAlchemy with psycopg 3. StorageError if it is no PostgreSQL URL."""
    if url.startswith("postgres://"):
        url = "postgresql://" + url.removeprefix("postgres://")
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        # The text itself may hold a password: it is not repeated.
        raise StorageError(
            "the database address is not a URL; expected postgresql://user:password@host/database"
        ) from None
    if parsed.get_backend_name() != "postgresql":
        raise StorageError(
            f"the database address must start with postgresql://, not {parsed.drivername}://"
        )
    return parsed.set(drivername="postgresql+psycopg")


def redacted(url: sa.URL) -> str:
    """``url`` as text, without password, driver and secret parameters."""
    public = {
        name: "***" if "password" in name.lower() else value for name, value in url.query.items()
    }
    return url.set(drivername="postgresql", query=public).render_as_string(hide_password=True)

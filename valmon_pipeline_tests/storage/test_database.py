"""Connections, addresses and what is said when the database is not there."""

from __future__ import annotations

import socket

import psycopg
import pytest
import sqlalchemy as sa

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.database import Database, driver_connection, with_psycopg


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u@h/d",
        "postgresql://u@h/d",
        "postgresql+psycopg2://u@h/d",
        "postgresql+psycopg://u@h/d",
    ],
)
def test_any_postgresql_url_uses_psycopg_3(url: str) -> None:
    assert with_psycopg(url).render_as_string() == "postgresql+psycopg://u@h/d"


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/d", "h/d hunter2", "sqlite:///hunter2"])
def test_other_addresses_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(StorageError, match="postgresql://") as raised:
        with_psycopg(url)
    assert "hunter2" not in str(raised.value)


def test_passwords_are_in_no_message() -> None:
    url = f"postgresql://me:hunter2@127.0.0.1:{free_port()}/d?sslpassword=hunter3"
    database = Database(url, "devnet", connect_timeout_seconds=2)
    with pytest.raises(StorageError) as raised:
        database.ping()
    message = str(raised.value)
    assert "hunter" not in message
    assert "me:***@127.0.0.1" in message
    assert "hunter" not in database.address


def test_a_database_that_is_away_is_named_with_what_to_do() -> None:
    database = Database(f"postgresql://u@127.0.0.1:{free_port()}/d", "devnet")
    with pytest.raises(
        StorageError, match=r"could not reach the database .*127\.0\.0\.1"
    ) as raised:
        database.ping()
    assert "VALMON_DATABASE_URL" in str(raised.value)


def test_a_missing_schema_is_told_to_migrate(database_url: str) -> None:
    database = Database(database_url, "nowhere")
    with (
        pytest.raises(StorageError, match="run `valmon migrate`"),
        database.transaction("read") as connection,
    ):
        connection.execute(sa.text("SELECT 1 FROM nowhere.blocks"))
    database.close()


def test_a_missing_database_is_named(database_url: str) -> None:
    url = sa.make_url(database_url).set(database="not_made")
    database = Database(url.render_as_string(hide_password=False), "devnet")
    with pytest.raises(StorageError, match=r'"not_made" does not exist.*that the database exists'):
        database.ping()


def test_statements_are_cut_off(database_url: str) -> None:
    database = Database(database_url, "devnet", statement_timeout_seconds=0.05)
    with (
        pytest.raises(StorageError, match="statement_timeout_seconds"),
        database.transaction("wait") as connection,
    ):
        connection.execute(sa.text("SELECT pg_sleep(5)"))
    # The limit was the transaction's, not the session's: a pooler may hand the session to others.
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SHOW statement_timeout")).scalar_one() == "0"
    database.close()


def test_nothing_is_prepared_on_the_server(database_url: str) -> None:
    database = Database(database_url, "devnet", pool_size=1, max_overflow=0)
    for _ in range(10):
        with database.transaction("ask") as connection:
            connection.execute(sa.text("SELECT :a"), {"a": 1})
            driver_connection(connection).execute("SELECT %s", [1])
    with database.transaction("ask") as connection:
        prepared = connection.execute(sa.text("SELECT count(*) FROM pg_prepared_statements"))
        assert prepared.scalar_one() == 0
    database.close()


def test_an_exhausted_pool_is_told(database_url: str) -> None:
    database = Database(
        database_url, "devnet", pool_size=1, max_overflow=0, pool_timeout_seconds=0.05
    )
    with database.transaction("hold"):
        assert database.pool_figures() == {
            "size": 1,
            "checked_out": 1,
            "checked_in": 0,
            "overflow": 0,
        }
        with pytest.raises(StorageError, match=r"database\.pool_size"):
            database.ping()
    database.close()


def test_a_dropped_connection_is_replaced(database_url: str) -> None:
    database = Database(database_url, "devnet", pool_size=1, max_overflow=0)
    with database.transaction("find the session") as connection:
        pid = driver_connection(connection).info.backend_pid
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    database.ping()
    database.close()


def test_a_process_that_falls_silent_in_a_transaction_keeps_its_locks_no_longer(
    database_url: str,
) -> None:
    silent = Database(database_url, "devnet", statement_timeout_seconds=0.2)
    other = Database(database_url, "devnet")

    def wait_silently_for_another() -> None:
        with silent.transaction("hold a lock") as connection:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4711)")
            with other.transaction("wait for it") as waiting:
                waiting.exec_driver_sql("SELECT pg_advisory_xact_lock(4711)")
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(StorageError, match=r"silent for database\.statement_timeout_seconds"):
        wait_silently_for_another()
    for database in (silent, other):
        database.close()

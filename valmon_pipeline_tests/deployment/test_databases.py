"""The databases of an installation: the embedded server's comings and goings, and one's own."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from valmon_pipeline.deployment.databases import (
    EmbeddedServerGuard,
    embedded_server,
    prepare_configured_database,
    require_dagster_database,
    running_databases,
)
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline_tests.deployment.installations import installation


@pytest.fixture
def own_database(database_url: str) -> Iterator[str]:
    """A database of one's own, empty, that ``somebody`` without privileges may log in to."""
    name, somebody = f"own_{uuid.uuid4().hex[:12]}", f"somebody_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(somebody)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(somebody)
            )
        )
        yield address(database_url, database=name, username=somebody)
        for made in (name, f"{name}_dagster"):
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(made))
            )
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(somebody)))


def address(url: str, **parts: str) -> str:
    changed = make_url(url).set(drivername="postgresql", password="pg-s3cret", **parts)  # type: ignore[arg-type]
    return changed.render_as_string(hide_password=False)


def as_superuser(own: str, database_url: str) -> str:
    return address(own, username=make_url(database_url).username or "postgres")


def with_database(home: Path, url: str, **variables: str) -> Installation:
    return installation(home, VALMON_DATABASE_URL=url, **variables)


def test_the_embedded_server_runs_as_long_as_somebody_uses_it(postgres_home: Path) -> None:
    home = installation(postgres_home)
    server = EmbeddedPostgres(postgres_home)
    with running_databases(home) as first:
        assert migrate.current(first.tables, "devnet") == migrate.newest()
        assert first.dagster.startswith("postgresql+psycopg2://")
        with running_databases(home) as second:
            assert second == first
        assert server.is_running()
    assert not server.is_running()


def test_a_server_that_is_killed_is_started_again_and_told(postgres_home: Path) -> None:
    told: list[str] = []
    guard = EmbeddedServerGuard(installation(postgres_home), told.append)
    with embedded_server(installation(postgres_home)) as server:
        guard.check()
        assert told == []
        kill_server(server)
        deadline = time.monotonic() + 60
        while not server.is_running():
            assert time.monotonic() < deadline
            guard.check()
            time.sleep(0.05)
        guard.check()
        server.ensure_database("valmon")
    assert len(told) == 2
    assert f"ended by itself, see {server.log_path}" in told[0]
    assert told[1] == "PostgreSQL runs again"


def test_a_server_that_cannot_be_started_again_is_given_up_with_the_reason(
    postgres_home: Path,
) -> None:
    guard = EmbeddedServerGuard(installation(postgres_home), lambda _: None, patience_seconds=0)
    with embedded_server(installation(postgres_home)) as server:
        kill_server(server)
        version = server.data_directory / "PG_VERSION"
        ours = version.read_text()
        version.write_text("9.6\n")
        with pytest.raises(StorageError, match=r"was made by PostgreSQL 9\.6"):
            guard.check()
        version.write_text(ours)


def test_a_configured_server_is_not_ours_to_start(tmp_path: Path) -> None:
    home = with_database(tmp_path, "postgresql://127.0.0.1:1/none")
    EmbeddedServerGuard(home, pytest.fail).check()
    assert not (tmp_path / "postgres").exists()


def kill_server(server: EmbeddedPostgres) -> None:
    pid = int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while not server.has_ended():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_who_leaves_last_stops_it_whoever_started_it(postgres_home: Path) -> None:
    home = installation(postgres_home)
    server = EmbeddedPostgres(postgres_home)
    server.start()  # left by a command that was killed
    first, second = embedded_server(home), embedded_server(home)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert server.is_running()
    second.__exit__(None, None, None)
    assert not server.is_running()


def test_a_database_of_ones_own_must_be_migrated_first(tmp_path: Path, own_database: str) -> None:
    with (
        pytest.raises(StorageError, match="valmon migrate") as failure,
        running_databases(with_database(tmp_path, own_database)),
    ):
        pass
    assert "pg-s3cret" not in str(failure.value)


def test_migrating_makes_dagsters_database_beside_it(
    tmp_path: Path, own_database: str, database_url: str
) -> None:
    url = as_superuser(own_database, database_url)
    home = with_database(tmp_path, url)
    prepare_configured_database(home)
    prepare_configured_database(home)
    with running_databases(home) as urls:
        assert urls.tables == url
        dagster = make_url(urls.dagster)
        assert dagster.drivername == "postgresql+psycopg2"
        assert dagster.database == f"{make_url(url).database}_dagster"
        libpq = dagster.set(drivername="postgresql").render_as_string(hide_password=False)
        psycopg.connect(libpq).close()


def test_without_the_right_to_make_it_the_message_says_who_can(
    tmp_path: Path, own_database: str
) -> None:
    with pytest.raises(StorageError, match=r"database\.dagster_url") as failure:
        prepare_configured_database(with_database(tmp_path, own_database))
    parsed = make_url(own_database)
    assert f"CREATE DATABASE {parsed.database}_dagster OWNER {parsed.username}" in str(
        failure.value
    )
    assert "pg-s3cret" not in str(failure.value)


def test_a_database_chosen_for_dagster_is_used_and_none_is_made(
    tmp_path: Path, own_database: str, database_url: str
) -> None:
    url = as_superuser(own_database, database_url)
    home = with_database(tmp_path, url, VALMON_DATABASE__DAGSTER_URL=url)
    prepare_configured_database(home)
    with running_databases(home) as urls:
        assert make_url(urls.dagster).database == make_url(url).database
    with psycopg.connect(url) as connection:
        beside = f"{make_url(url).database}_dagster"
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [beside])
        assert known.fetchone() is None


def test_a_database_of_dagsters_that_is_missing_is_told_in_words(
    tmp_path: Path, own_database: str
) -> None:
    migrate.upgrade(own_database, "devnet")
    with (
        pytest.raises(StorageError, match=r"does not exist.*valmon migrate") as failure,
        running_databases(with_database(tmp_path, own_database)),
    ):
        pass
    assert "pg-s3cret" not in str(failure.value)


def test_a_server_that_is_away_is_told_without_the_password(tmp_path: Path) -> None:
    url = "postgresql://me:pg-s3cret@127.0.0.1:9/valmon"
    home = with_database(tmp_path, url)
    for attempt in (
        lambda: running_databases(home).__enter__(),
        lambda: prepare_configured_database(home),
    ):
        with pytest.raises(StorageError, match=r"127\.0\.0\.1") as failure:
            attempt()
        assert "pg-s3cret" not in str(failure.value)


def test_no_password_of_dagsters_database_is_told_wherever_it_stands(tmp_path: Path) -> None:
    home = with_database(
        tmp_path,
        "postgresql://valmon@127.0.0.1:9/valmon",
        VALMON_DATABASE__DAGSTER_URL="postgresql://127.0.0.1:9/dagster?password=d4gster-pw",
    )
    with pytest.raises(StorageError, match="Dagster's database postgresql://") as caught:
        require_dagster_database(home, "postgresql://valmon@127.0.0.1:9/valmon")
    assert "d4gster-pw" not in str(caught.value)

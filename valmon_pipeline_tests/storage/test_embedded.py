"""The embedded server through its life: start, reuse, crash, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage import server_account
from valmon_pipeline.storage.embedded import EmbeddedPostgres


@pytest.fixture
def server(postgres_home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(postgres_home / "home")
    yield server
    server.stop()


def postmaster_pid(server: EmbeddedPostgres) -> int:
    return int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])


def answer(server: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(server.url("postgres")) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def test_it_starts_is_reused_and_stops(server: EmbeddedPostgres) -> None:
    assert not server.is_running()
    server.start()
    pid = postmaster_pid(server)
    server.start()
    assert postmaster_pid(server) == pid
    assert int(str(answer(server, "SHOW server_version_num"))) >= 150000
    assert answer(server, "SHOW listen_addresses") == ""
    server.stop()
    assert not server.is_running()
    server.stop()


def test_databases_are_made_once(server: EmbeddedPostgres) -> None:
    server.start()
    server.ensure_database("valmon")
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (a integer)")
    server.ensure_database("valmon")
    with psycopg.connect(server.url()) as connection:
        connection.execute("SELECT a FROM kept")


def test_data_survive_a_killed_server(server: EmbeddedPostgres) -> None:
    server.start()
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS a")
    os.kill(postmaster_pid(server), signal.SIGKILL)
    server.start()
    assert answer(server, "SELECT a FROM kept") == 42


def test_a_pid_file_whose_number_is_another_program_is_recovered(server: EmbeddedPostgres) -> None:
    server.start()
    lines = (server.data_directory / "postmaster.pid").read_text().splitlines()
    server.stop()
    stale = "\n".join([str(os.getpid()), *lines[1:]]) + "\n"
    (server.data_directory / "postmaster.pid").write_text(stale)
    assert not server.is_running()
    server.start()
    assert server.is_running()


def test_an_unfinished_data_directory_is_made_anew(server: EmbeddedPostgres) -> None:
    unfinished = server.data_directory.with_name("postgres.unfinished")
    unfinished.mkdir(parents=True)
    (unfinished / "half").touch()
    server.start()
    assert server.is_running()
    assert not unfinished.exists()


def test_two_homes_are_two_servers(server: EmbeddedPostgres, postgres_home: Path) -> None:
    server.start()
    other = EmbeddedPostgres(postgres_home / "other")
    other.start()
    try:
        server.ensure_database("only_here")
        with psycopg.connect(other.url("postgres")) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'only_here'")
            assert found.fetchone() is None
    finally:
        other.stop()
    assert server.is_running()


def test_a_path_too_long_for_a_socket_gets_a_short_one(postgres_home: Path) -> None:
    server = EmbeddedPostgres(postgres_home / ("long" * 30))
    server.start()
    try:
        assert answer(server, "SELECT 1") == 1
        assert Path(tempfile.gettempdir()).as_posix() in server.url()
        socket_directory = Path(server.url().partition("?host=")[2])
        assert socket_directory.is_dir()
    finally:
        server.stop()
    assert not socket_directory.exists()


def test_it_outlives_the_process_that_started_it(server: EmbeddedPostgres) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from valmon_pipeline.storage.embedded import EmbeddedPostgres;"
        "EmbeddedPostgres(Path(sys.argv[1])).start()"
    )
    subprocess.run([sys.executable, "-c", program, str(server.data_directory.parent)], check=True)
    assert server.is_running()


def test_starters_at_once_get_one_server(server: EmbeddedPostgres) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from valmon_pipeline.storage.embedded import EmbeddedPostgres;"
        "s = EmbeddedPostgres(Path(sys.argv[1])); s.start(); s.ensure_database('valmon')"
    )
    command = [sys.executable, "-c", program, str(server.data_directory.parent)]
    starters = [subprocess.Popen(command) for _ in range(3)]
    assert [starter.wait(60) for starter in starters] == [0, 0, 0]
    with psycopg.connect(server.url()):
        pass


def test_nobody_else_can_enter_the_data(server: EmbeddedPostgres) -> None:
    server.start()
    assert server.data_directory.stat().st_mode & 0o077 == 0


def test_the_url_of_a_stopped_server_is_an_error(server: EmbeddedPostgres) -> None:
    with pytest.raises(StorageError, match="not running"):
        server.url()


def test_urls_name_the_drivers_that_are_needed(server: EmbeddedPostgres) -> None:
    server.start()
    assert server.url("a").startswith("postgresql://postgres@/a?host=/")
    assert server.dagster_url().startswith("postgresql+psycopg2://postgres@/dagster?host=/")


def test_a_server_that_cannot_start_shows_its_log(postgres_home: Path) -> None:
    server = EmbeddedPostgres(postgres_home, settings={"shared_buffers": "none"})
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"invalid value for parameter .shared_buffers."):
        server.start()
    assert time.monotonic() - started < 10


def test_data_of_another_version_are_not_touched(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.data_directory / "PG_VERSION").write_text("12\n")
    with pytest.raises(StorageError, match=r"made by PostgreSQL 12, .* has PostgreSQL 18"):
        server.start()


def test_root_without_an_account_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_account, "ACCOUNT", "no such account")
    monkeypatch.setenv("PATH", "/nonexistent")
    if os.geteuid() != 0:
        assert not server_account.server_account().switch
        return
    with pytest.raises(StorageError, match="Run valmon as an ordinary user"):
        server_account.server_account()

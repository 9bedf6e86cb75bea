"""Code servers that could not load valmon's code, or lost their worker, serve it again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.scheduler.instigation import TickStatus

from valmon_pipeline.deployment import code_location
from valmon_pipeline.deployment.code_location import (
    CODE_SERVER_HOST,
    CODE_SERVER_PORT,
    CodeLocation,
    CodeLocationGuard,
)
from valmon_pipeline.deployment.databases import DatabaseUrls
from valmon_pipeline.deployment.environment import dagster_environment, prepare_dagster_home
from valmon_pipeline.deployment.processes import (
    ManagedProcess,
    ProcessFailedError,
    answers,
    free_port,
    stop_all,
)
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline_tests.cli.home import wait_until
from valmon_pipeline_tests.conftest import temporary_home
from valmon_pipeline_tests.deployment.installations import installation

pytestmark = pytest.mark.slow

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
START_SECONDS = 120.0


@dataclass
class Server:
    """An embedded PostgreSQL with both databases, and Dagster's processes on it."""

    home: Path
    postgres: EmbeddedPostgres
    variables: Mapping[str, str]
    port: int
    processes: list[ManagedProcess] = field(default_factory=list)

    def run(self, name: str, *command: str) -> ManagedProcess:
        """Start a process; it is stopped with the test."""
        process = ManagedProcess(
            name, [sys.executable, "-m", *command], self.variables, self.home / f"{name}.log"
        )
        process.start()
        self.processes.append(process)
        return process

    def code_server(self) -> CodeLocation:
        """The code server as ``valmon up`` starts it, once it answers."""
        process = self.run(
            "code-server",
            *("dagster", "code-server", "start", "-m", "valmon_pipeline.definitions"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        )
        process.wait_until(lambda: answers(self.port), START_SECONDS)
        location = CodeLocation.configured(self.variables)
        assert location is not None
        return location

    @property
    def workspace(self) -> str:
        return str(self.home / "dagster" / "workspace.yaml")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Everything prepared; PostgreSQL runs, and no process of Dagster's."""
    with temporary_home() as home:
        postgres = EmbeddedPostgres(home)
        postgres.start()
        for name in ("valmon", "dagster"):
            postgres.ensure_database(name)
        ours = installation(
            home,
            VALMON_BEACON_URL="http://127.0.0.1:9",
            VALMON_VALIDATORS="0",
            VALMON_NETWORK="devnet",
            VALMON_DATABASE__CONNECT_TIMEOUT_SECONDS="5",
        )
        migrate.upgrade(postgres.url(), "devnet")
        prepare_dagster_home(ours, print)
        port = free_port()
        variables = {
            **dagster_environment(ours, DatabaseUrls(postgres.url(), postgres.dagster_url())),
            CODE_SERVER_HOST: "127.0.0.1",
            CODE_SERVER_PORT: str(port),
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.get():
            pass  # makes Dagster's tables
        made = Server(home, postgres, variables, port)
        try:
            yield made
        finally:
            stop_all(made.processes)
            postgres.stop()


@contextmanager
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(code_location, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(code_location, "LONGEST_PAUSE_SECONDS", 0.5)
    yield


def succeeded_ticks(sensor: str) -> int:
    """Count the ticks of a sensor that the code server evaluated."""
    with dg.DagsterInstance.get() as instance:
        states = [
            state for state in instance.all_instigator_state() if state.instigator_name == sensor
        ]
        ticks = [
            tick
            for state in states
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        ]
    return sum(tick.status is TickStatus.SKIPPED for tick in ticks)


def test_code_that_was_loaded_without_a_database_is_loaded_again_and_sensors_tick(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.postgres.stop()
    location = server.code_server()
    error = location.load_error()
    assert error is not None
    assert "could not be loaded" in location.problem()
    told: list[str] = []
    with short_pauses(monkeypatch):
        guard = CodeLocationGuard(location, told.append)
        guard.check()
        # Loaded again without a database it is no better, and the same reason is told once.
        assert location.load_error() is not None
        time.sleep(code_location.CHECK_SECONDS)
        guard.check()
        assert len(told) == 1
        assert error in told[0]

        server.postgres.start()
        wait_until(lambda: is_loaded(guard, told), START_SECONDS)
    assert len(told) == 2
    assert location.problem() == ""
    server.run("daemon", "dagster._daemon", "run", "-w", server.workspace)
    wait_until(lambda: succeeded_ticks("slot_sensor") > 0, START_SECONDS)


def is_loaded(guard: CodeLocationGuard, told: list[str]) -> bool:
    """Let the guard look; True once it has found the code loaded."""
    guard.check()
    return told[-1:] == ["Valmon's code is loaded"]


def test_a_worker_that_is_killed_is_replaced(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = server.code_server()
    assert location.problem() == ""
    (worker,) = workers_of(server.processes[0])
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: "does not answer" in location.problem(), START_SECONDS)
    told: list[str] = []
    with short_pauses(monkeypatch):
        guard = CodeLocationGuard(location, told.append)
        for _ in range(code_location.FAILURES - 1):
            guard.check()
            time.sleep(code_location.CHECK_SECONDS)
        assert told == []
        wait_until(lambda: is_loaded(guard, told), START_SECONDS)
    assert location.problem() == ""
    assert told == [
        "The code server lost its worker: loading valmon's code again",
        "Valmon's code is loaded",
    ]


def workers_of(process: ManagedProcess) -> list[int]:
    """The processes that a code server started to load the code."""
    shown = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    return [int(line) for line in shown.stdout.split()]


def compose_command(port: int) -> Sequence[str]:
    """The code server's command in docker-compose.yml, at another address."""
    service: Any = yaml.safe_load(COMPOSE.read_text())["services"]["code-server"]
    replaced = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=4000": f"--port={port}"}
    return [replaced.get(word, word) for word in service["command"]]


def test_the_containers_code_server_ends_where_it_cannot_load_the_code(server: Server) -> None:
    """Compose starts it again then, until PostgreSQL is there."""
    server.postgres.stop()
    process = server.run("container", *compose_command(server.port))
    with pytest.raises(ProcessFailedError, match="ended by itself with code 1"):
        process.wait_until(lambda: answers(server.port), START_SECONDS)
    server.postgres.start()
    process = server.run("container", *compose_command(server.port))
    location = CodeLocation("127.0.0.1", server.port)
    process.wait_until(lambda: not location.problem(), START_SECONDS)

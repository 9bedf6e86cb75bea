"""The processes of ``valmon up``: the replay node of the demo, the server of metrics, and Dagster's
services."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn

import httpx

from valmon_pipeline.dagster_adapter.internals import DAEMON_MODULE
from valmon_pipeline.deployment.code_location import (
    CODE_SERVER_HOST,
    CODE_SERVER_PORT,
    CodeLocation,
    CodeLocationGuard,
)
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.json_lines import command_in_json
from valmon_pipeline.deployment.listening import LOOPBACK, address_of, socket_at
from valmon_pipeline.deployment.processes import (
    ManagedProcess,
    answers,
    free_port,
    stop_all,
)

_WATCH_SECONDS: Final = 1.0

Started = Callable[[ManagedProcess], None]
"""Told of each process as soon as it runs, so that others can stop it should we be killed."""


@contextmanager
def replay_node(
    installation: Installation, started: Started
) -> Iterator[tuple[ManagedProcess, str]]:
    """The replay node on the recorded devnet, as a process; yields it with its address."""
    port = free_port()
    process = ManagedProcess(
        "replay node",
        [sys.executable, "-m", "valmon_pipeline.devnet.replay_node", "--port", str(port)],
        {},
        installation.logs / "replay-node.log",
    )
    try:
        process.start()
        started(process)
        process.wait_until(lambda: answers(port), _start_seconds(installation))
        yield process, f"http://{LOOPBACK}:{port}"
    finally:
        stop_all([process])


@contextmanager
def metrics_server(
    installation: Installation, environment: Mapping[str, str], started: Started
) -> Iterator[tuple[ManagedProcess, str]]:
    """The server of /metrics, /healthz and /readyz, as a process; yields it with its address.

    It takes ``metrics.port`` if that is free.
    """
    with socket_at(installation.settings.metrics.port) as listening:
        url, descriptor = address_of(listening), str(listening.fileno())
        command = [sys.executable, "-m", "valmon_pipeline", "metrics", "--descriptor", descriptor]
        process = ManagedProcess(
            "metrics server",
            _logged(installation, "metrics", command),
            environment,
            installation.logs / "metrics.log",
            listening,
        )
        process.start()
    try:
        started(process)
        yield process, url
    finally:
        stop_all([process])


def _start_seconds(installation: Installation) -> float:
    """How long a process may take to start."""
    return installation.settings.up.start_timeout_seconds


def _logged(installation: Installation, name: str, command: Sequence[str]) -> Sequence[str]:
    """A command whose log is in the configured format."""
    as_json = installation.settings.logs.as_json
    return command_in_json(name, command) if as_json else command


class DagsterServices:
    """Code server, webserver and daemon of one home; the UI takes ``ui_port`` if it is free."""

    def __init__(
        self,
        installation: Installation,
        environment: Mapping[str, str],
        ui_port: int,
        started: Started,
    ) -> None:
        self._started = started
        self._start_seconds = _start_seconds(installation)
        self._ui_port = free_port(ui_port)
        self._code_port = free_port()
        environment = self.environment = {
            **environment,
            CODE_SERVER_HOST: LOOPBACK,
            CODE_SERVER_PORT: str(self._code_port),
        }
        as_json = ("--log-format", "json") if installation.settings.logs.as_json else ()
        workspace = str(installation.dagster_home / "workspace.yaml")

        def process(name: str, log: str, *command: str) -> ManagedProcess:
            return ManagedProcess(
                name,
                _logged(installation, log, [sys.executable, "-m", *command]),
                environment,
                installation.logs / f"{log}.log",
            )

        self._code_server = process(
            "code server",
            "code-server",
            *("dagster", "code-server", "start", "-m", "valmon_pipeline.definitions"),
            *("--host", LOOPBACK, "--port", str(self._code_port)),
            *as_json,
        )
        self._webserver = process(
            "webserver",
            "webserver",
            *("dagster_webserver", "-w", workspace, "-h", LOOPBACK, "-p", str(self._ui_port)),
            *as_json,
        )
        self._daemon = process(
            "daemon", "daemon", *(DAEMON_MODULE, "run", "-w", workspace), *as_json
        )

    @property
    def ui_port(self) -> int:
        """The port of the Dagster UI."""
        return self._ui_port

    @property
    def ui_url(self) -> str:
        """Where the Dagster UI is."""
        return f"http://{LOOPBACK}:{self._ui_port}"

    @property
    def processes(self) -> Sequence[ManagedProcess]:
        """In the order they are started."""
        return (self._code_server, self._webserver, self._daemon)

    def start(self) -> None:
        """Start all; webserver and daemon once the code server answers."""
        self._start(self._code_server)
        self._code_server.wait_until(lambda: answers(self._code_port), self._start_seconds)
        self._start(self._webserver)
        self._start(self._daemon)

    def wait_ready(self) -> None:
        """Wait until the UI answers.

        Raises:
            ProcessFailedError: a process ended, or the UI takes too long; with the end of its log.
        """
        self._webserver.wait_until(self._ui_answers, self._start_seconds)
        self.require_running()

    def require_running(self) -> None:
        """Raise ProcessFailedError if one of them has ended."""
        for process in self.processes:
            process.require_running()

    @property
    def code_server(self) -> str:
        """The address of the code server, ``host:port``."""
        return f"{LOOPBACK}:{self._code_port}"

    def code_location_guard(self, tell: Callable[[str], None]) -> CodeLocationGuard:
        """Keeps valmon's code loaded, see there."""
        return CodeLocationGuard(CodeLocation(LOOPBACK, self._code_port), tell)

    def watch(
        self, also: Sequence[ManagedProcess] = (), checks: Sequence[Callable[[], None]] = ()
    ) -> NoReturn:
        """Return only by an exception: one of them, or ``also``, ended by itself, or a signal.

        Meanwhile their logs are kept from growing without end, and ``checks`` are made each time.
        """
        watched = (*self.processes, *also)
        while True:
            for process in watched:
                process.require_running()
                process.bound_log()
            for check in checks:
                check()
            time.sleep(_WATCH_SECONDS)

    def stop(self) -> None:
        """Stop all of them."""
        stop_all(self.processes)

    def _start(self, process: ManagedProcess) -> None:
        process.start()
        self._started(process)

    def _ui_answers(self) -> bool:
        try:
            return httpx.get(f"{self.ui_url}/server_info", timeout=2).is_success
        except httpx.TransportError:
            return False

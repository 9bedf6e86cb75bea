"""``valmon up``: the services of one home, started in order, watched, and stopped together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NoReturn

import httpx

from valmon_pipeline.deployment.environment import CODE_SERVER_HOST, CODE_SERVER_PORT
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.processes import (
    ManagedProcess,
    ProcessFailedError,
    answers,
    free_port,
    stop_all,
)
from valmon_pipeline.errors import ValmonError

START_SECONDS: Final = 90.0
_LOOPBACK: Final = "127.0.0.1"
_WATCH_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class UpState:
    """What a running ``valmon up`` leaves for other commands; see ``Installation.state_file``."""

    pid: int
    network: str
    ui_url: str
    process_groups: tuple[int, ...]

    def write(self, path: Path) -> None:
        """Write it so that a reader sees all of it or nothing."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> UpState | None:
        """The state, or None if nothing is up or was ever."""
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return cls(data["pid"], data["network"], data["ui_url"], tuple(data["process_groups"]))

    @property
    def is_alive(self) -> bool:
        """Whether its process still runs, and is still ours."""
        return _is_ours(self.pid)


class AlreadyUpError(ValmonError):
    """Another ``valmon up`` serves this home."""


@contextmanager
def replay_node(installation: Installation) -> Iterator[tuple[ManagedProcess, str]]:
    """The replay node on the recorded devnet, as a process; yields it with its address."""
    port = free_port()
    process = ManagedProcess(
        "replay node",
        [sys.executable, "-m", "valmon_pipeline.devnet.replay_node", "--port", str(port)],
        {},
        installation.logs / "replay-node.log",
    )
    process.start()
    try:
        process.wait_until(lambda: answers(port), START_SECONDS)
        yield process, f"http://{_LOOPBACK}:{port}"
    finally:
        stop_all([process])


class Services:
    """Code server, daemon and webserver of one home."""

    def __init__(
        self, installation: Installation, environment: Mapping[str, str], ui_port: int
    ) -> None:
        code_port = free_port()
        self._ui_port = free_port(ui_port)
        self._code_port = code_port
        environment = {
            **environment,
            CODE_SERVER_HOST: _LOOPBACK,
            CODE_SERVER_PORT: str(code_port),
        }
        workspace = str(installation.dagster_home / "workspace.yaml")

        def process(name: str, log: str, *command: str) -> ManagedProcess:
            return ManagedProcess(
                name,
                [sys.executable, "-m", *command],
                environment,
                installation.logs / f"{log}.log",
            )

        self._code_server = process(
            "code server",
            "code-server",
            *("dagster", "code-server", "start", "-m", "valmon_pipeline.definitions"),
            *("--host", _LOOPBACK, "--port", str(code_port)),
        )
        self._webserver = process(
            "webserver",
            "webserver",
            *("dagster_webserver", "-w", workspace, "-h", _LOOPBACK, "-p", str(self._ui_port)),
        )
        self._daemon = process("daemon", "daemon", *("dagster._daemon", "run", "-w", workspace))

    @property
    def ui_url(self) -> str:
        """Where the Dagster UI is."""
        return f"http://{_LOOPBACK}:{self._ui_port}"

    @property
    def processes(self) -> Sequence[ManagedProcess]:
        """In the order they are started."""
        return (self._code_server, self._webserver, self._daemon)

    def start(self) -> None:
        """Start all; webserver and daemon once the code server answers."""
        self._code_server.start()
        self._code_server.wait_until(lambda: answers(self._code_port), START_SECONDS)
        self._webserver.start()
        self._daemon.start()

    def wait_ready(self) -> None:
        """Wait until the UI answers.

        Raises:
            ProcessFailedError: a process ended, or the UI takes too long; with the end of its log.
        """
        self._webserver.wait_until(self._ui_answers, START_SECONDS)
        self.require_running()

    def require_running(self) -> None:
        """Raise ProcessFailedError if one of them has ended."""
        for process in self.processes:
            process.require_running()

    def watch(self, also: Sequence[ManagedProcess] = ()) -> NoReturn:
        """Return only by an exception: one of them, or ``also``, ended by itself, or a signal."""
        while True:
            self.require_running()
            for process in also:
                process.require_running()
            time.sleep(_WATCH_SECONDS)

    def stop(self) -> None:
        """Stop all of them."""
        stop_all(self.processes)

    def _ui_answers(self) -> bool:
        try:
            return httpx.get(f"{self.ui_url}/server_info", timeout=2).is_success
        except httpx.TransportError:
            return False


@contextmanager
def claimed_home(installation: Installation) -> Iterator[None]:
    """This process serves the home, alone; what a killed predecessor left running is stopped.

    Raises:
        AlreadyUpError: another ``valmon up`` serves it.
    """
    state = UpState.read(installation.state_file)
    if state is not None and state.is_alive and state.pid != os.getpid():
        raise AlreadyUpError(
            f"valmon is already up for {installation.home} (process {state.pid}, {state.ui_url}): "
            "stop it with `valmon down`, or choose another VALMON_HOME"
        )
    if state is not None:
        stop_leftovers(state)
    UpState(os.getpid(), installation.settings.network, "", ()).write(installation.state_file)
    try:
        yield
    finally:
        installation.state_file.unlink(missing_ok=True)


def stop_leftovers(state: UpState) -> None:
    """Stop the process groups of a supervisor that was killed and could not stop them itself."""
    for group in state.process_groups:
        if _is_ours(group):
            os.killpg(group, signal.SIGTERM)


def take_down(installation: Installation, seconds: float = 60.0) -> bool:
    """Stop a running ``valmon up`` and wait for it; False if none was running.

    Raises:
        ProcessFailedError: it did not stop in time.
    """
    state = UpState.read(installation.state_file)
    if state is None:
        return False
    if not state.is_alive:
        stop_leftovers(state)
        installation.state_file.unlink(missing_ok=True)
        return False
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while _is_ours(state.pid):
        if time.monotonic() > deadline:
            raise ProcessFailedError(
                f"valmon (process {state.pid}) did not stop within {seconds:.0f} s"
            )
        time.sleep(_WATCH_SECONDS / 5)
    return True


def _is_ours(pid: int) -> bool:
    """Whether a process runs and its command line is valmon's or Dagster's: ids are used again."""
    shown = subprocess.run(  # noqa: S603 - the only argument is a number
        ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)],  # noqa: S607 - on every Unix
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    is_zombie = shown.startswith("Z")
    return bool(shown) and not is_zombie and ("valmon" in shown or "dagster" in shown)

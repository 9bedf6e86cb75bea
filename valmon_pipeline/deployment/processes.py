"""Child processes: started with clean signals, logged to a file each, stopped in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from valmon_pipeline.errors import ValmonError

STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.1
_LOG_TAIL_LINES: Final = 12


class ProcessFailedError(ValmonError):
    """A process of ``valmon up`` ended by itself or did not come up; names its log."""


@dataclass(slots=True)
class ManagedProcess:
    """One child in a session of its own: Ctrl-C in a terminal reaches only the supervisor."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int | None:
        """Its process id, also of its process group; None before it was started."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it; its output goes to its log, after what earlier starts left there."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                list(self.command),
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def require_running(self) -> None:
        """Raise ProcessFailedError, with the end of its log, if the process has ended."""
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise ProcessFailedError(
                f"{self.name} ended by itself with code {code}; the end of {self.log}:\n"
                f"{self.tail()}"
            )

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for ``ready``; ProcessFailedError if the process ends first or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.require_running()
            if time.monotonic() > deadline:
                raise ProcessFailedError(
                    f"{self.name} was not ready after {seconds:.0f} s; the end of {self.log}:\n"
                    f"{self.tail()}"
                )
            time.sleep(_POLL_SECONDS)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait_stopped(self, deadline: float) -> None:
        """Wait until ``deadline`` (monotonic), then kill it together with what it started."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in lines)


def stop_all(processes: Sequence[ManagedProcess], seconds: float = STOP_SECONDS) -> None:
    """Stop processes together: all are asked, then waited for until one common deadline."""
    deadline = time.monotonic() + seconds
    for process in reversed(processes):
        process.ask_to_stop()
    for process in reversed(processes):
        process.wait_stopped(deadline)


def free_port(preferred: int | None = None) -> int:
    """``preferred`` if nothing listens there, else any free port of the loopback interface."""
    for candidate in ([preferred] if preferred else []) + [0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port
    raise ProcessFailedError("this machine has no free port")


def answers(port: int) -> bool:
    """Whether something accepts connections on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""Child processes: each with a log that it keeps locked, stopped together with all it started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from valmon_pipeline.deployment import file_lock
from valmon_pipeline.deployment.listening import LOOPBACK, socket_at
from valmon_pipeline.errors import ValmonError

STOP_SECONDS: Final = 20.0
_KILL_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
_LOG_TAIL_LINES: Final = 12
LOG_BYTES: Final = 32 * 2**20


class ProcessFailedError(ValmonError):
    """A process of ``valmon up`` ended by itself or did not come up; names its log."""


@dataclass(slots=True)
class ManagedProcess:
    """One child in a session of its own: Ctrl-C in a terminal reaches only the supervisor.

    Its log is locked while it, or anything it started, lives. ``listening`` is a socket that it
    takes over: it inherits the descriptor, and ours is closed as soon as it runs.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    listening: socket.socket | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int | None:
        """Its process id, also of its process group; None before it was started."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it; its output goes to its log, after what earlier starts left there.

        Raises:
            ProcessFailedError: another process holds the log.
        """
        with file_lock.opened(self.log) as log:
            if not file_lock.try_hold(log):
                raise ProcessFailedError(
                    f"an earlier {self.name} of this home still runs, it writes to {self.log}: "
                    "stop it, then try again"
                )
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                list(self.command),
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[] if self.listening is None else [self.listening.fileno()],
            )
        if self.listening is not None:
            self.listening.close()

    def require_running(self) -> None:
        """Raise ProcessFailedError, with the end of its log, if the process has ended."""
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise ProcessFailedError(
                f"{self.name} ended by itself {_ending(code)}; the end of {self.log}:\n"
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

    def bound_log(self, limit: int = LOG_BYTES) -> None:
        """Begin its log anew once it is longer than ``limit`` bytes; what was there is in ``….1``.

        The process goes on writing to the same file, at its new end: children append. A line that
        is written between the copy and the cut is lost. Where there is no room for the copy, what
        was there is lost, too: a log must not be what fills the disk.
        """
        if self.log.stat().st_size <= limit:
            return
        before = self.log.with_name(f"{self.log.name}.1")
        before.unlink(missing_ok=True)
        try:
            shutil.copyfile(self.log, before)
        except OSError:
            before.unlink(missing_ok=True)
        os.truncate(self.log, 0)

    @property
    def is_left(self) -> bool:
        """Whether it, or anything it started, still lives."""
        if self._process is None:
            return False
        return self._process.poll() is None or file_lock.is_held(self.log)

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in lines)


def stop_all(processes: Sequence[ManagedProcess], seconds: float = STOP_SECONDS) -> None:
    """Stop processes and all they started: asked together, killed at one common deadline."""
    stop_groups(
        lambda: [process.pid for process in processes if process.pid and process.is_left], seconds
    )


def stop_groups(remaining: Callable[[], Sequence[int]], seconds: float = STOP_SECONDS) -> None:
    """Ask process groups to stop (SIGTERM); kill those that ``remaining`` still names too late.

    Raises:
        ProcessFailedError: some survive even that.
    """
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, _KILL_SECONDS)):
        for group in remaining():
            _signal_group(group, number)
        deadline = time.monotonic() + patience
        while remaining() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS / 2)
    if groups := remaining():
        raise ProcessFailedError(
            f"process groups {', '.join(map(str, groups))} cannot be stopped: see `ps -e`"
        )


def free_port(preferred: int | None = None) -> int:
    """``preferred`` if nothing listens there, else any free port of the loopback interface.

    For programs that cannot be given a socket: until they listen, somebody else may take it.
    """
    with socket_at(preferred) as found:
        port: int = found.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether something accepts connections on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left in it
        os.killpg(group, number)


def _ending(code: int) -> str:
    return f"with code {code}" if code >= 0 else f"by signal {signal.Signals(-code).name}"

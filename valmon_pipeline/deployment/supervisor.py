"""One ``valmon up`` per home: claiming the home, stopping it, cleaning up after one killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

from valmon_pipeline.deployment import file_lock
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.processes import (
    STOP_SECONDS,
    ManagedProcess,
    ProcessFailedError,
    stop_groups,
)
from valmon_pipeline.deployment.up_state import UpState, lock_file, running_up
from valmon_pipeline.errors import ValmonError

_POLL_SECONDS: Final = 0.1
_REPEAT_SECONDS: Final = 5.0


class AlreadyUpError(ValmonError):
    """Another ``valmon up`` serves this home."""


class HomeClaim:
    """What this process tells other commands while it serves the home."""

    def __init__(self, installation: Installation) -> None:
        self._path = installation.state_file
        self._tell(UpState(os.getpid(), installation.settings.network, None, None, {}))

    def started(self, process: ManagedProcess) -> None:
        """A process runs: should this one be killed, the next command stops it."""
        assert process.pid is not None
        processes = {**self._state.processes, process.log.name: process.pid}
        self._tell(replace(self._state, processes=processes))

    def node_is_at(self, url: str) -> None:
        """The replay node answers."""
        self._tell(replace(self._state, node_url=url))

    def code_server_is_at(self, address: str) -> None:
        """The code server listens at ``host:port``."""
        self._tell(replace(self._state, code_server=address))

    def metrics_are_at(self, url: str) -> None:
        """The server of metrics was started."""
        self._tell(replace(self._state, metrics_url=url))

    def ui_is_at(self, url: str) -> None:
        """The UI answers."""
        self._tell(replace(self._state, ui_url=url))

    def _tell(self, state: UpState) -> None:
        self._state = state
        state.write(self._path)


@contextmanager
def claimed_home(installation: Installation) -> Iterator[HomeClaim]:
    """This process serves the home, alone; what a killed predecessor left running is stopped.

    Raises:
        AlreadyUpError: another ``valmon up`` serves it.
    """
    with file_lock.opened(lock_file(installation)) as lock:
        if not _claim(lock):
            state = UpState.read(installation.state_file)
            who = f" (process {state.pid}, {state.ui_url or 'starting'})" if state else ""
            raise AlreadyUpError(
                f"valmon is already up for {installation.home}{who}: stop it with `valmon down`, "
                "or choose another VALMON_HOME"
            )
        stop_leftovers(installation)
        try:
            yield HomeClaim(installation)
        finally:
            installation.state_file.unlink(missing_ok=True)


def stop_leftovers(installation: Installation, seconds: float = STOP_SECONDS) -> bool:
    """Stop what a supervisor left running that was killed; whether there was anything."""
    state = UpState.read(installation.state_file)
    if state is None:
        return False

    def remaining() -> list[int]:
        # Process ids are used again: the lock on its log tells that it is still the same process.
        return [
            group
            for log, group in state.processes.items()
            if file_lock.is_held(installation.logs / log)
        ]

    found = bool(remaining())
    stop_groups(remaining, seconds)
    installation.state_file.unlink(missing_ok=True)
    return found


def take_down(installation: Installation, seconds: float = 180.0) -> bool:
    """Stop ``valmon up``, or what one that was killed left; False if there was nothing.

    One that is materializing first records as Dagster events what it has stored, which takes a
    while for many epochs.

    Raises:
        ProcessFailedError: it did not stop in time.
    """
    state = running_up(installation)
    if state is None:
        return stop_leftovers(installation)
    deadline = time.monotonic() + seconds
    ask_again = 0.0
    while file_lock.is_held(lock_file(installation)):
        if time.monotonic() > deadline:
            raise ProcessFailedError(
                f"valmon (process {state.pid}) did not stop within {seconds:.0f} s: "
                f"end it with `kill -9 {state.pid}`, then run `valmon down` again"
            )
        if time.monotonic() >= ask_again:
            # Repeated, should one be lost in a library; those after the first are ignored.
            with suppress(ProcessLookupError):  # it has ended since its lock was looked at
                os.kill(state.pid, signal.SIGTERM)
            ask_again = time.monotonic() + _REPEAT_SECONDS
        time.sleep(_POLL_SECONDS)
    return True


def _claim(lock: file_lock.File) -> bool:
    """Lock the home; a command that just looks whether it is locked is waited for."""
    for _ in range(5):
        if file_lock.try_hold(lock):
            return True
        time.sleep(_POLL_SECONDS)
    return False

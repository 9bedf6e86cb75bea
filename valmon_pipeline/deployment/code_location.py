"""Valmon's code location, as its code server serves it: whether it is loaded, and loading it again.

``dagster code-server`` keeps serving when the worker that has valmon's code loaded is gone, e.g.
killed for its memory, and also when the worker could not load the code, e.g. because PostgreSQL was
away at that moment. It then serves that error for ever: pings are answered, but no sensor ticks. So
the server is asked for its repositories, and told to reload. Dagster reloads nothing by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import dagster as dg

from valmon_pipeline.dagster_adapter.internals import (
    DagsterGrpcClient,
    DagsterUserCodeUnreachableError,
    ListRepositoriesResponse,
    SerializableErrorInfo,
)

CODE_SERVER_HOST: Final = "VALMON_CODE_SERVER_HOST"
CODE_SERVER_PORT: Final = "VALMON_CODE_SERVER_PORT"
CHECK_SECONDS: Final = 5.0
FAILURES: Final = 3
LONGEST_PAUSE_SECONDS: Final = 60.0
_RELOAD_SECONDS: Final = 60


class CodeServerUnreachableError(Exception):
    """The code server, or the worker behind it, does not answer."""


class CodeLocation:
    """The code location behind a code server's address."""

    def __init__(self, host: str, port: int) -> None:
        self.address = f"{host}:{port}"
        self._client = DagsterGrpcClient(host=host, port=port)

    @classmethod
    def configured(cls, environ: Mapping[str, str]) -> CodeLocation | None:
        """The one that the environment names, as it does for Dagster's processes."""
        host, port = environ.get(CODE_SERVER_HOST), environ.get(CODE_SERVER_PORT)
        return cls(host, int(port)) if host and port else None

    def load_error(self) -> str | None:
        """Reason that the code could not be loaded, in one line; None if it is loaded.

        Raises:
            CodeServerUnreachableError: it does not answer.
        """
        try:
            answer = self._client.list_repositories()
        except DagsterUserCodeUnreachableError as error:
            raise CodeServerUnreachableError(
                f"the code server at {self.address} does not answer"
            ) from error
        found = dg.deserialize_value(answer, (ListRepositoriesResponse, SerializableErrorInfo))
        if isinstance(found, ListRepositoriesResponse):
            return None
        while found.cause is not None:
            found = found.cause
        return found.message.strip().partition("\n")[0]

    def problem(self) -> str:
        """Reason that sensors and jobs cannot be used; "" if they can."""
        try:
            error = self.load_error()
        except CodeServerUnreachableError as unreachable:
            return str(unreachable)
        return "" if error is None else f"valmon's code could not be loaded: {error}"

    def reload(self) -> None:
        """Have the code server start another worker. Runs under way go on in the old one.

        Raises:
            CodeServerUnreachableError: it does not answer.
        """
        try:
            self._client.reload_code(timeout=_RELOAD_SECONDS)
        except DagsterUserCodeUnreachableError as error:
            raise CodeServerUnreachableError(
                f"the code server at {self.address} did not reload its code"
            ) from error


class CodeLocationGuard:
    """Has the code loaded again: when it failed to load, and when ``FAILURES`` looks in a row were
    not answered.

    Looks come every ``CHECK_SECONDS``; between two reloads the pause grows up to a minute, since a
    worker that cannot load its code costs seconds of CPU. ``tell`` is told what happens.
    """

    def __init__(self, location: CodeLocation, tell: Callable[[str], None]) -> None:
        self._location = location
        self._tell = tell
        self._failures = 0
        self._told = ""
        self._pause = CHECK_SECONDS
        self._next_check = 0.0

    def check(self) -> None:
        """Look, if it is time to."""
        if time.monotonic() < self._next_check:
            return
        reason = self._reason()
        pause = CHECK_SECONDS
        if reason is not None:
            if reason != self._told:
                self._tell(f"{reason}: loading valmon's code again")
                self._told = reason
            # A reload also fails when the new worker is up but was asked too early: later looks
            # tell.
            with suppress(CodeServerUnreachableError):
                self._location.reload()
            pause = self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._next_check = time.monotonic() + pause

    def _reason(self) -> str | None:
        """Reason to load the code again, None if there is none."""
        try:
            error = self._location.load_error()
        except CodeServerUnreachableError:
            self._failures += 1
            if self._failures < FAILURES:
                return None
            self._failures = 0
            return "The code server lost its worker"
        self._failures = 0
        if error is not None:
            return f"The code server could not load valmon's code ({error})"
        if self._told:
            self._tell("Valmon's code is loaded")
        self._told, self._pause = "", CHECK_SECONDS
        return None

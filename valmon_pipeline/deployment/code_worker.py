"""The worker behind Dagster's code server, which nobody else starts again.

``dagster code-server`` keeps serving when the process that has valmon's code loaded is killed, e.g.
for its memory: every sensor and run then fails until somebody reloads the code location.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from valmon_pipeline.dagster_adapter.internals import (
    DagsterGrpcClient,
    DagsterUserCodeUnreachableError,
)

CHECK_SECONDS: Final = 5.0
FAILURES: Final = 3
_RELOAD_SECONDS: Final = 60


class CodeWorkerGuard:
    """Has the code server start its worker anew after ``FAILURES`` pings in a row that failed."""

    def __init__(self, client: DagsterGrpcClient, tell: Callable[[str], None]) -> None:
        self._client = client
        self._tell = tell
        self._failures = 0
        self._next_check = 0.0

    def check(self) -> None:
        """Look, if the last look is ``CHECK_SECONDS`` ago."""
        if time.monotonic() < self._next_check:
            return
        try:
            self._client.ping("valmon")
            self._failures = 0
        except DagsterUserCodeUnreachableError:
            self._failures += 1
        if self._failures >= FAILURES:
            self._failures = 0
            self._tell("The code server lost its worker: starting another one")
            # It also fails when the new worker is up but was asked too early: the next pings tell.
            with suppress(DagsterUserCodeUnreachableError):
                self._client.reload_code(timeout=_RELOAD_SECONDS)
        self._next_check = time.monotonic() + CHECK_SECONDS

"""The end of a run's process that hangs.

Dagster marks a run as failed at its deadline and asks its process to stop. One that hangs, in a
library or in a wait without end, does not listen, and would stay for as long as its code server.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg
from dagster._core.storage.tags import GRPC_INFO_TAG, MAX_RUNTIME_SECONDS_TAG

GRACE_SECONDS: Final = 300.0
"""After the deadline: for Dagster to notice it, and for an epoch that is being stored to end."""


def seconds_until_overdue(run: dg.DagsterRun, instance: dg.DagsterInstance) -> float | None:
    """When the process of ``run`` has to be gone, in seconds from its start; None if nobody set it
    a deadline, or if its process is not its own (``valmon backfill``)."""
    if GRPC_INFO_TAG not in run.tags:
        return None
    limit = float(
        run.tags.get(MAX_RUNTIME_SECONDS_TAG, instance.run_monitoring_max_runtime_seconds)
    )
    return limit + GRACE_SECONDS if limit > 0 else None


@contextmanager
def ended_after(seconds: float | None) -> Iterator[None]:
    """Within this context for longer than ``seconds``, the process prints where each of its threads
    is and ends at once, whatever it is doing. None: never."""
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()

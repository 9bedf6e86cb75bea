"""A run's own process keeps its deadline.

Dagster's daemon ends runs at their deadline by asking their process to stop, through the code
server. One that hangs, in a library or in a wait without end, does not listen, and stays; one whose
threads all stand still makes the code server wait for it for ever, and no run starts any more. So
before the daemon does, the process first asks itself to stop, and then ends without being asked.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg
from dagster import MAX_RUNTIME_SECONDS_TAG

from valmon_pipeline.dagster_adapter.internals import GRPC_INFO_TAG

STOP_AT: Final = 0.75
"""The part of its time after which a run is asked to stop: it ends after the epoch at hand."""
END_AT: Final = 0.9
"""The part of its time after which its process ends, whatever it is doing."""


def deadline_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> float | None:
    """How long the process of ``run`` may take, in seconds; None if there is no limit, or if the
    process is not the run's own (``valmon backfill``)."""
    if GRPC_INFO_TAG not in run.tags:
        return None
    limit = float(
        run.tags.get(MAX_RUNTIME_SECONDS_TAG, instance.run_monitoring_max_runtime_seconds)
    )
    return limit if limit > 0 else None


@contextmanager
def ended_by(deadline: float | None) -> Iterator[Callable[[], None]]:
    """Within this context the process gets SIGINT after ``STOP_AT`` of ``deadline`` seconds. After
    ``END_AT`` of it, it prints where each of its threads is and is gone. None: neither.

    Gives a function to call before storing: from then on the process is not asked to stop. A run
    that is interrupted counts as failed, one whose process is gone is repeated.
    """
    if deadline is None:
        yield lambda: None
        return
    stop = threading.Timer(STOP_AT * deadline, os.kill, (os.getpid(), signal.SIGINT))
    stop.daemon = True
    stop.start()
    # A thread of the interpreter's own, which does not need the lock that a hung one may hold.
    faulthandler.dump_traceback_later(END_AT * deadline, exit=True)
    try:
        yield stop.cancel
    finally:
        faulthandler.cancel_dump_traceback_later()
        stop.cancel()

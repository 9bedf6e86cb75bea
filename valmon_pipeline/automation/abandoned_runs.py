"""Runs that nobody is at work on any more: their code server, whose children their processes are,
was killed. Dagster itself shows them as started, and their epochs are under way, until their
deadline."""

from __future__ import annotations

import time
from typing import Final

import dagster as dg

from valmon_pipeline.automation.under_way import runs_under_way
from valmon_pipeline.dagster_adapter.internals import GRPC_INFO_TAG

PROCESS_STARTED: Final = time.time()
"""When this process, a code server's in the case that matters, loaded its code."""

_WITH_A_WORKER: Final = frozenset(
    {dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING}
)


def fail_abandoned_runs(
    instance: dg.DagsterInstance, network: str, since: float = PROCESS_STARTED
) -> list[str]:
    """Mark those runs of a network's epochs as failed that an earlier code server worked on; their
    ids.

    Their epochs are due again then, and Dagster starts the runs anew as it does after any worker's
    death. ``since``: when this code server started (Unix time). Runs without a code server, such as
    those of ``valmon backfill``, are left alone, and so are all where workers are not children of
    the code server (containers of their own). Should a worker have survived, because only the code
    location was loaded anew, its epochs are stored twice, one after the other: with equal rows.
    """
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []
    abandoned = []
    for run in runs_under_way(instance, network):
        if run.status not in _WITH_A_WORKER or GRPC_INFO_TAG not in run.tags:
            continue
        record = instance.get_run_record_by_id(run.run_id)
        if record is None:
            continue
        # One that was about to start has no time of starting; its latest change was that.
        started = record.start_time or record.update_timestamp.timestamp()
        if started >= since:
            continue
        instance.report_run_failed(
            run, "the code server that it ran in is gone: its epochs are requested again"
        )
        abandoned.append(run.run_id)
    return abandoned

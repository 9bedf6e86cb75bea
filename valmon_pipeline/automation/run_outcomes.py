"""Outcomes of runs that have ended: did they run at all, why did they fail, on which epochs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import dagster as dg

from valmon_pipeline.assets.failed_epochs import epochs_blamed
from valmon_pipeline.automation.under_way import belongs_to
from valmon_pipeline.dagster_adapter.internals import RUN_KEY_TAG, SerializableErrorInfo

_RUNS_READ: Final = 50


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that failed: when, and why, in one line."""

    run_id: str
    failed_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """Outcome of the runs of one request, retries included.

    ``ran``: a worker began at least one of them. A run that could not be launched, or that was
    taken out of the queue, says nothing about its epochs. ``named`` are the epochs that failures
    name; empty if none does.
    """

    ran: bool
    named: frozenset[int]


def request_outcome(instance: dg.DagsterInstance, run_key: str) -> RequestOutcome:
    """The outcome of a request none of whose runs is under way."""
    records = instance.get_run_records(dg.RunsFilter(tags={RUN_KEY_TAG: run_key}))
    named: set[int] = set()
    for record in records:
        if record.dagster_run.status is dg.DagsterRunStatus.FAILURE:
            named.update(_blamed(instance, record.dagster_run.run_id))
    return RequestOutcome(
        any(record.start_time is not None for record in records), frozenset(named)
    )


def last_failed_run(instance: dg.DagsterInstance, network: str) -> FailedRun | None:
    """The newest failed run of a network, None if none failed of late."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    for record in instance.get_run_records(failed, limit=_RUNS_READ):
        if belongs_to(record.dagster_run, network):
            run_id = record.dagster_run.run_id
            failed_at = record.update_timestamp.replace(tzinfo=UTC)
            return FailedRun(run_id, failed_at, failure_reason(instance, run_id))
    return None


def failure_reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """Reason of a failed run in one line: that of its first epoch, of its step, or of the run."""
    named = _blamed(instance, run_id)
    if named:
        epoch, reason = min(named.items())
        return f"epoch {epoch}: {_first_line(reason)}"
    for event in _events(instance, run_id, dg.DagsterEventType.STEP_FAILURE):
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            return _first_line(data.user_failure_data.description)
        if data.error is not None:
            return _innermost(data.error)
    for event in _events(instance, run_id, dg.DagsterEventType.RUN_FAILURE):
        error = event.job_failure_data.error
        if error is not None:
            return _innermost(error)
        if event.message:
            return _first_line(event.message)
    return "its events do not say why"


def _blamed(instance: dg.DagsterInstance, run_id: str) -> dict[int, str]:
    return epochs_blamed(_events(instance, run_id, dg.DagsterEventType.STEP_FAILURE))


def _events(
    instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType
) -> Iterator[dg.DagsterEvent]:
    for entry in instance.all_logs(run_id, of_type=kind):
        yield entry.get_dagster_event()


def _innermost(error: SerializableErrorInfo) -> str:
    while error.cause is not None:
        error = error.cause
    return _first_line(error.message.strip().removeprefix(f"{error.cls_name}: "))


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]

"""Execute a job of the graph in this process, as a run that the UI links to the job.

``JobDefinition.execute_in_process`` does the same but for the link: it records no code location, so
that the UI shows such runs as those of a job it does not know. Only Dagster's own modules can tell
it, hence the imports of its internals; nothing else of valmon has any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import execute_run
from dagster._core.execution.job_execution_result import JobExecutionResult
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import MAX_RETRIES_TAG

CODE_LOCATION: Final = "valmon"
"""The name in workspace.yaml."""

# Dagster's own console log would tear the progress bar apart; failures are reported by us.
_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

_SIGNAL_SECONDS: Final = 0.5

_REPOSITORY: Final = RemoteRepositoryOrigin(
    RegisteredCodeLocationOrigin(CODE_LOCATION), SINGLETON_REPOSITORY_NAME
)


def execute(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    tags: Mapping[str, str],
    cancel: Callable[[], None],
) -> JobExecutionResult:
    """Execute a job to its end; a failure is in the result.

    ``cancel`` makes it end soon: called when a signal raises KeyboardInterrupt here, which goes on
    to the caller once the run is recorded as failed.
    """
    run = instance.create_run_for_job(
        job,
        run_config=_QUIET,
        # Who asked for the run is told of its failure, and decides about trying again.
        tags={**job.run_tags, **tags, MAX_RETRIES_TAG: "0"},
        remote_job_origin=_REPOSITORY.get_job_origin(job.name),
    )
    # In the main thread Dagster would handle signals itself; see cancellation.
    with ThreadPoolExecutor(1, "run") as aside:
        execution = aside.submit(execute_run, InMemoryJob(job), run, instance)
        try:
            # Not for ever at once: a signal may be delivered to another thread, which does not
            # wake this one.
            while not execution.done():
                wait([execution], timeout=_SIGNAL_SECONDS)
            return execution.result()
        except KeyboardInterrupt:
            cancel()
            raise


def reason_of(result: JobExecutionResult) -> str:
    """The innermost message of the step that failed."""
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return error.message.strip().removeprefix(f"{error.cls_name}: ").split(": ", 1)[-1]
    return "the run failed before its step started"

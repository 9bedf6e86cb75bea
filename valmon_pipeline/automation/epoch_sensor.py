"""The sensor that materializes each epoch as soon as its window has closed, and makes up for gaps.

What is due follows from the chain's head and the tables alone; the cursor only remembers what was
tried, so that epochs that fail are tried ever later. It is delivered at least once: run keys make
a repeated tick harmless.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import json
from dataclasses import dataclass
from typing import Any, Final

import dagster as dg

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.automation.abandoned_runs import fail_abandoned_runs
from valmon_pipeline.automation.boundary_capture import BoundaryWatch
from valmon_pipeline.automation.catch_up import (
    Attempt,
    CatchUpPlan,
    attempts_of,
    first_epoch_due,
    newest_closed_epoch,
    plan_catch_up,
    spans_of,
)
from valmon_pipeline.automation.epoch_runs import LIVE, catch_up_runs, epoch_run, epochs_under_way
from valmon_pipeline.automation.node_tick import ask_node
from valmon_pipeline.automation.reason_log import ReasonLog
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.config import Settings
from valmon_pipeline.errors import ValmonError
from valmon_pipeline.partitions import register_epochs, registered_epochs
from valmon_pipeline.storage.finality import first_stored_epoch, stored_epochs

SENSOR_SECONDS: Final = 2
"""Dagster's sensor loop is a grid of 5 s, rounded up: every tick of it is used."""
_BATCHES_UNDER_WAY: Final = 2
_MILLISECONDS_PER_DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class _Head:
    """The head's epoch, the newest one whose window is closed, and how many epochs retention
    keeps."""

    epoch: int
    newest: int
    kept_epochs: int | None


@dataclass(frozen=True, slots=True)
class _Cursor:
    """``complete``: everything up to ``newest`` was stored."""

    newest: int = -1
    complete: bool = False
    attempts: tuple[tuple[int, Attempt], ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> "_Cursor":
        if not text:
            return cls()
        data: dict[str, Any] = json.loads(text)
        attempts = attempts_of(data["attempts"])
        return cls(data["newest"], data["complete"], tuple(attempts.items()))

    def __str__(self) -> str:
        spans = spans_of(dict(self.attempts))
        return json.dumps({"newest": self.newest, "complete": self.complete, "attempts": spans})


def epoch_sensor(settings: Settings, job_name: str) -> dg.SensorDefinition:
    """The sensor ``epoch_sensor``, which starts runs of the job that materializes epochs."""
    network = settings.network
    reasons = ReasonLog()
    cleared_up: list[bool] = []  # once in the life of a code server
    boundaries = BoundaryWatch()

    @dg.sensor(
        name="epoch_sensor",
        job_name=job_name,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"pipeline"},
        description="Materializes each epoch, provisionally, when its attestation window has "
        "closed, and the epochs that are missing, oldest first.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline: Pipeline = context.resources.pipeline
        if not cleared_up:
            for run_id in fail_abandoned_runs(context.instance, network):
                context.log.warning(f"run {run_id} was abandoned and is marked as failed")
            cleared_up.append(True)
        try:
            head = _head(settings, pipeline)
            _capture(context, boundaries, pipeline, head)
            cursor = _Cursor.parse(context.cursor)
            if head.newest < 0:
                return dg.SensorResult(skip_reason="no attestation window has closed yet")
            if cursor.complete and cursor.newest == head.newest:
                return dg.SensorResult(
                    skip_reason=f"epoch {head.newest} is stored, and nothing before it is missing"
                )
            first, plan = _plan(settings, pipeline, context.instance, head, cursor)
        except ValmonError as error:
            return dg.SensorResult(skip_reason=reasons.note(error, context.log))
        reasons.all_is_well()
        after = _Cursor(head.newest, plan.missing == 0, tuple(plan.attempts.items()))
        requests = _requests(context.instance, network, first, head.newest, plan)
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=str(after))
        return dg.SensorResult(
            skip_reason=f"{plan.missing} epochs up to {head.newest} are missing: under way, or "
            "failed and tried again later",
            cursor=str(after),
        )

    return sensor


def _capture(
    context: dg.SensorEvaluationContext, boundaries: BoundaryWatch, pipeline: Pipeline, head: _Head
) -> None:
    """Keep what the node tells now; what it does not costs a later request, not the tick."""
    try:
        report = boundaries.capture(pipeline, head.epoch)
    except ValmonError as error:
        context.log.warning(f"epoch {head.epoch} is not captured yet: {error}")
        return
    if report.answers:
        context.log.info(f"{len(report.answers)} answers about epoch {head.epoch} are kept")
    for problem in report.problems:
        context.log.info(f"not kept: {problem}")


def _head(settings: Settings, pipeline: Pipeline) -> _Head:
    async def read(client: BeaconClient) -> _Head:
        spec, head = await client.spec(), await client.head()
        newest = newest_closed_epoch(head.slot, spec.slots_per_epoch)
        days = settings.retention_days
        kept = None if days is None else days * _MILLISECONDS_PER_DAY // spec.epoch_duration_ms
        return _Head(spec.epoch_of(head.slot), newest, kept)

    return ask_node(pipeline, read)


def _plan(
    settings: Settings,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    head: _Head,
    cursor: _Cursor,
) -> tuple[int, CatchUpPlan]:
    """The first epoch to have, and what to launch since then."""
    database = pipeline.warehouse.database
    first = first_epoch_due(
        head.newest,
        start_epoch=settings.start_epoch,
        first_stored=first_stored_epoch(database),
        kept_epochs=head.kept_epochs,
    )
    under_way = epochs_under_way(instance, settings.network)
    batch = settings.catch_up.max_epochs_per_tick
    plan = plan_catch_up(
        first,
        head.newest,
        stored=stored_epochs(database, first=first, last=head.newest),
        under_way=under_way,
        attempts=dict(cursor.attempts),
        limit=max(0, min(batch, _BATCHES_UNDER_WAY * batch - len(under_way))),
    )
    return first, plan


def _requests(
    instance: dg.DagsterInstance, network: str, first: int, newest: int, plan: CatchUpPlan
) -> list[dg.RunRequest]:
    """Runs for a plan, the newest epoch's first; their keys are registered, ascending."""
    if plan.newest is None and not plan.older:
        return []
    register_epochs(instance, network, range(first, newest + 1))
    requests = []
    if plan.newest is not None:
        key = f"epoch:{network}:{plan.newest}:at:{newest}"
        requests.append(epoch_run(network, plan.newest, LIVE, key, "window closed"))
    if plan.older:
        registered = registered_epochs(instance, network)
        requests.extend(catch_up_runs(network, registered, plan.older, newest))
    return requests

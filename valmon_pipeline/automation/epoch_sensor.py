"""The sensor that materializes each epoch as soon as its window has closed, and makes up for gaps.

What is due follows from the chain's head and the tables alone; the cursor only remembers what was
requested and what failed, so that epochs that fail are tried ever later. It is delivered at least
once: run keys make a repeated tick harmless. Once everything is stored, neither the node nor
Dagster is asked before the clock says that another epoch can have closed.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg

from valmon_pipeline.assets.alerts import epoch_at
from valmon_pipeline.assets.batch_size import epochs_per_run
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.run_tags import LIVE
from valmon_pipeline.automation.abandoned_runs import fail_abandoned_runs
from valmon_pipeline.automation.boundary_capture import BoundaryWatch
from valmon_pipeline.automation.catch_up import (
    CatchUpPlan,
    first_epoch_due,
    missing_epochs,
    newest_closed_epoch,
    plan_catch_up,
)
from valmon_pipeline.automation.epoch_runs import catch_up_runs, epoch_run
from valmon_pipeline.automation.node_tick import ask_node
from valmon_pipeline.automation.reason_log import ReasonLog
from valmon_pipeline.automation.requested_runs import RequestLedger
from valmon_pipeline.automation.under_way import cancel_superseded_runs, read_under_way
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.config import Settings
from valmon_pipeline.errors import ValmonError
from valmon_pipeline.partitions import register_epochs, registered_epochs
from valmon_pipeline.storage.finality import first_stored_epoch, stored_epochs
from valmon_pipeline.storage.network_identity import NetworkIdentity

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
    ledger: RequestLedger = field(default_factory=RequestLedger)

    @classmethod
    def parse(cls, text: str | None) -> "_Cursor":
        if not text:
            return cls()
        data: dict[str, Any] = json.loads(text)
        return cls(data["newest"], data["complete"], RequestLedger.parse(data))

    def __str__(self) -> str:
        return json.dumps(
            {"newest": self.newest, "complete": self.complete, **self.ledger.as_json()}
        )


@dataclass(frozen=True, slots=True)
class _Due:
    """Epochs to have from ``first`` on: what to launch of them, how many are missing, and the
    ledger without the requests that have been settled."""

    first: int
    plan: CatchUpPlan
    missing: int
    ledger: RequestLedger


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
        cursor = _Cursor.parse(context.cursor)
        try:
            if cursor.complete and _is_settled(pipeline.warehouse.network(), boundaries, cursor):
                return dg.SensorResult(skip_reason=_nothing_missing(cursor.newest))
            head = _head(settings, pipeline)
            _capture(context, boundaries, pipeline, head)
            if head.newest < 0:
                return dg.SensorResult(skip_reason="no attestation window has closed yet")
            if cursor.complete and cursor.newest == head.newest:
                return dg.SensorResult(skip_reason=_nothing_missing(head.newest))
            due = _due(settings, pipeline, context, head, cursor)
        except ValmonError as error:
            return dg.SensorResult(skip_reason=reasons.note(error, context.log))
        reasons.all_is_well()
        requests = _requests(context.instance, settings, head.newest, due)
        ledger = due.ledger.with_requests(requests, time.time())
        after = str(_Cursor(head.newest, due.missing == 0, ledger))
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=after)
        return dg.SensorResult(
            skip_reason=f"{due.missing} epochs up to {head.newest} are missing: under way, or "
            "failed and tried again later"
            if due.missing
            else _nothing_missing(head.newest),
            cursor=after,
        )

    return sensor


def _nothing_missing(newest: int) -> str:
    return f"epoch {newest} is stored, and nothing before it is missing"


def _is_settled(chain: NetworkIdentity | None, boundaries: BoundaryWatch, cursor: _Cursor) -> bool:
    """Return True if by the clock no later epoch can have closed, and everything is captured."""
    if chain is None:
        return False
    now = epoch_at(chain, datetime.now(UTC))
    return now - 2 <= cursor.newest and not boundaries.is_due(now)


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


def _due(
    settings: Settings,
    pipeline: Pipeline,
    context: dg.SensorEvaluationContext,
    head: _Head,
    cursor: _Cursor,
) -> _Due:
    """Read what is missing and what is under way, and plan what to launch."""
    database, chain = pipeline.warehouse.database, pipeline.warehouse.network()
    instance, network = context.instance, settings.network
    first = first_epoch_due(
        head.newest,
        start_epoch=settings.start_epoch,
        first_stored=first_stored_epoch(database),
        kept_epochs=head.kept_epochs,
    )
    for run_id in cancel_superseded_runs(instance, network, chain):
        context.log.info(f"run {run_id} is canceled: its epochs are asked for elsewhere")
    # Before the tables: what ends in between is stored, and not requested again.
    under_way = read_under_way(instance, network, chain)
    stored = stored_epochs(database, first=first, last=head.newest)
    missing = missing_epochs(first, head.newest, stored)
    ledger = cursor.ledger.settled(
        instance, under_way.run_keys, wanted=missing, newest=head.newest, now=time.time()
    )
    batch = settings.catch_up.max_epochs_per_tick
    plan = plan_catch_up(
        missing,
        head.newest,
        under_way=under_way.epochs | ledger.epochs,
        attempts=ledger.attempts,
        limit=max(0, min(batch, _BATCHES_UNDER_WAY * batch - len(ledger.epochs))),
    )
    return _Due(first, plan, len(missing), ledger)


def _requests(
    instance: dg.DagsterInstance, settings: Settings, newest: int, due: _Due
) -> list[dg.RunRequest]:
    """Runs for a plan, the newest epoch's first; their keys are registered, ascending."""
    plan, network = due.plan, settings.network
    if plan.newest is None and not plan.older:
        return []
    register_epochs(instance, network, range(due.first, newest + 1))
    key = f"at:{newest}:{due.ledger.number}"
    requests = []
    if plan.newest is not None:
        run_key = f"epoch:{network}:{plan.newest}:{key}"
        requests.append(epoch_run(network, plan.newest, LIVE, run_key, "window closed"))
    if plan.older:
        registered = registered_epochs(instance, network)
        longest = epochs_per_run(settings)
        requests.extend(catch_up_runs(network, registered, plan.older, key, longest=longest))
    return requests

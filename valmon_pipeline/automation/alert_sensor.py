"""The sensor that applies the alert rules to what cannot wait for a run: the head, the node, the
data and valmon itself; and to epochs whose run was killed before it did."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import asyncio
from datetime import UTC, datetime
from typing import Final

import dagster as dg

from valmon_pipeline.alerting.kinds import AlertType
from valmon_pipeline.alerting.live import SystemFacts
from valmon_pipeline.assets.alerts import (
    epoch_at,
    evaluate_due_epochs,
    evaluate_live_events,
    evaluate_system_facts,
)
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.automation.catch_up import newest_closed_epoch
from valmon_pipeline.automation.delivery import Delivery
from valmon_pipeline.automation.node_tick import ask_node
from valmon_pipeline.automation.reason_log import ReasonLog
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.disagreements import Disagreement
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.errors import BeaconApiError, ValmonError
from valmon_pipeline.notify.reminders import Reminders
from valmon_pipeline.notify.sender import Sender
from valmon_pipeline.storage.alert_store import StoredChange
from valmon_pipeline.storage.chain_head import first_followed_epoch, read_chain_head
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.finality import last_stored_epoch

TICK_SECONDS: Final = 5
_CHAINS_COMPARED_EVERY: Final = 60.0
_COMPARE_SECONDS: Final = 15.0
_LIVE_EPOCHS: Final = 2
"""An event of the head's epoch may have been stored when the clock was in the next one."""


def alert_sensor(reminders: Reminders, sender: Sender) -> dg.SensorDefinition:
    """The sensor ``alert_sensor``. It asks nodes only if nobody has seen the head for long, and
    several nodes once a minute whether they follow the same chain.

    It writes ``reminders`` when it has evaluated everything: their arrival says that it can. What
    is due of the outbox is sent in the same tick, whoever wrote it.
    """

    reasons = ReasonLog()
    started_at = datetime.now(UTC)
    delivery = Delivery(sender)

    @dg.sensor(
        name="alert_sensor",
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"pipeline"},
        description="Alerts about missed proposals, slashings and exits seen at the head, about "
        "the node, late data and a pipeline that stands still; sends the messages about alerts.",
        # A sensor has to have a target; this one never requests a run.
        asset_selection=dg.AssetSelection.assets(),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        pipeline: Pipeline = context.resources.pipeline
        try:
            found = evaluate(context, pipeline)
        finally:
            # Also where evaluating fails: what was written before is to arrive.
            sent = delivery.send_due(lambda: pipeline.warehouse.database, context.log)
        return dg.SkipReason("; ".join(filter(None, [found, sent])) or "no changes")

    def evaluate(context: dg.SensorEvaluationContext, pipeline: Pipeline) -> str:
        """Evaluate everything that is due; the changes in a few words, or why it failed."""
        try:
            changes = look_for_alerts(pipeline, datetime.now(UTC), started_at)
            reminders.write_due(pipeline.warehouse, datetime.now(UTC))
        except ValmonError as error:
            return reasons.note(error, context.log)
        reasons.all_is_well()
        for one in changes:
            alert = one.change.alert
            context.log.info(f"alert {alert.alert_id} {one.change.kind.value}: {one.change.reason}")
        return "; ".join(
            f"{one.change.kind.value} {one.change.alert.finding.kind.value} "
            f"{one.change.alert.finding.subject}"
            for one in changes[:10]
        )

    return sensor


def look_for_alerts(
    pipeline: Pipeline, now: datetime, started_at: datetime | None = None
) -> list[StoredChange]:
    """Evaluate everything that is due ``now``; what changed.

    ``started_at`` is since when a node was waited for, if the chain was never followed yet.

    Raises:
        StorageError: the database is away or refuses; what was evaluated before stays.
    """
    warehouse, alerting = pipeline.warehouse, pipeline.alerting
    network = warehouse.network()
    facts = system_facts(pipeline, now, started_at)
    if network is None:
        return evaluate_system_facts(warehouse, alerting, facts, now)
    changes = list(evaluate_due_epochs(warehouse, alerting, now).changes)
    current = epoch_at(network, now)
    recent = range(max(0, current - _LIVE_EPOCHS), current + 1)
    changes += evaluate_live_events(warehouse, alerting, recent, now)
    changes += evaluate_system_facts(warehouse, alerting, facts, now)
    return changes


def system_facts(
    pipeline: Pipeline, now: datetime, started_at: datetime | None = None
) -> SystemFacts:
    """Where node, data and pipeline are ``now``; ``started_at`` as for ``look_for_alerts``.

    Raises:
        StorageError: the database is away.
    """
    warehouse = pipeline.warehouse
    network = warehouse.network()
    head = read_chain_head(warehouse, now)
    stalled = pipeline.alerting.rules.settings(AlertType.PIPELINE_STALLED).threshold
    if network is None or head is None:
        waits = started_at is not None and (now - started_at).total_seconds() >= stalled
        problem = _node_problem(pipeline) if waits else None
        return SystemFacts(0, None, None, False, None, problem)
    closed = newest_closed_epoch(head.slot, network.slots_per_epoch)
    return SystemFacts(
        epoch=max(0, epoch_at(network, now)),
        slots_behind=head.slots_behind,
        seconds_since_seen=head.seconds_since_seen,
        is_optimistic=head.is_optimistic,
        epochs_late=_epochs_late(warehouse.database, closed),
        node_problem=_node_problem(pipeline) if head.seconds_since_seen >= stalled else None,
        disagreement=_disagreement(pipeline),
    )


def _epochs_late(database: Database, closed: int) -> int | None:
    """Closed epochs after the newest stored one. Without any: after the one that had closed last
    when the chain was first followed. None if it never was."""
    stored = last_stored_epoch(database)
    if stored is None:
        followed = first_followed_epoch(database)
        if followed is None:
            return None
        stored = followed - 3
    return max(0, closed - stored)


def _node_problem(pipeline: Pipeline) -> str:
    """A sentence that says why no node can be read from, "" if one can."""

    async def read(client: BeaconClient) -> None:
        await client.head()

    try:
        ask_node(pipeline, read)
    except BeaconApiError as error:
        return error.summary or f"no beacon node can be read from: {error}"
    return ""


def _disagreement(pipeline: Pipeline) -> str:
    """Which nodes follow different chains, and in what, "" if none do."""
    pool = pipeline.open_client
    if not isinstance(pool, NodePool):
        return ""

    async def look() -> list[Disagreement]:
        async with asyncio.timeout(_COMPARE_SECONDS):
            return await pool.disagreements(at_most_every=_CHAINS_COMPARED_EVERY)

    try:
        return "; ".join(found.text for found in asyncio.run(look()))
    except TimeoutError:
        return ""

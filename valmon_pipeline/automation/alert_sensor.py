"""The sensor that applies the alert rules: to stored epochs in ascending order, and to what cannot
wait for a run: the head, the node, the data and valmon itself."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import dagster as dg

from valmon_pipeline.alerting.rule import SystemFacts
from valmon_pipeline.alerting.rules import PIPELINE_STALLED
from valmon_pipeline.assets.alert_checks import alert_check_events, messages_event
from valmon_pipeline.assets.alert_order import LoadingWatch, nothing_is_loaded
from valmon_pipeline.assets.alerts import (
    AlertsOutcome,
    epoch_at,
    evaluate_due_epochs,
    evaluate_live_events,
    evaluate_system_facts,
)
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.automation.catch_up import EPOCHS_OPEN, newest_closed_epoch
from valmon_pipeline.automation.delivery import Delivery
from valmon_pipeline.automation.node_tick import ask_node
from valmon_pipeline.automation.reason_log import ReasonLog
from valmon_pipeline.automation.under_way import read_under_way
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.disagreements import Disagreement
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.errors import BeaconApiError, ValmonError
from valmon_pipeline.notify.reminders import Reminders
from valmon_pipeline.notify.sender import Sender
from valmon_pipeline.storage.alert_store import DueEpoch
from valmon_pipeline.storage.chain_head import first_followed_epoch, read_chain_head
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.finality import last_stored_epoch
from valmon_pipeline.storage.queries import count_dead_deliveries

TICK_SECONDS: Final = 5
EPOCHS_PER_TICK: Final = 32
"""Each is about ten events, which the daemon writes one by one."""
_EVALUATING_SECONDS: Final = 20.0
_CHAINS_COMPARED_EVERY: Final = 60.0
_COMPARE_SECONDS: Final = 15.0
_LIVE_EPOCHS: Final = 2
"""An event of the head's epoch may have been stored when the clock was in the next one."""


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """Result of a tick: a few words on the changes, and the events reported to Dagster."""

    said: str = ""
    events: Sequence[dg.AssetCheckEvaluation] = ()
    cursor: str | None = None


def alert_sensor(network: str, reminders: Reminders, sender: Sender) -> dg.SensorDefinition:
    """The sensor ``alert_sensor``. It asks nodes only if nobody has seen the head for long, and
    several nodes once a minute whether they follow the same chain.

    It writes ``reminders`` when it has evaluated everything: their arrival says that it can. What
    is due of the outbox is sent in the same tick, whoever wrote it. Its cursor is the number of
    undelivered messages that it reported last.
    """

    reasons = ReasonLog()
    started_at = datetime.now(UTC)
    loading = LoadingWatch(started_at)
    delivery = Delivery(sender)

    @dg.sensor(
        name="alert_sensor",
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"pipeline"},
        description="Alerts about stored epochs, in ascending order; about missed proposals, "
        "slashings and exits seen at the head, the node, late data and a pipeline that stands "
        "still. Sends the messages about alerts.",
        # A sensor has to have a target; this one never requests a run.
        asset_selection=dg.AssetSelection.assets(),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline: Pipeline = context.resources.pipeline
        found = _Evaluated()
        try:
            found = evaluate(context, pipeline)
        finally:
            # Also where evaluating fails: what was written before is to arrive.
            sent = send(context, pipeline, found)
        return dg.SensorResult(
            skip_reason="; ".join(filter(None, [found.said, sent])) or "no changes",
            asset_events=found.events,
            cursor=found.cursor,
        )

    def evaluate(context: dg.SensorEvaluationContext, pipeline: Pipeline) -> _Evaluated:
        """Evaluate everything that is due, or say why it failed."""

        def epochs_under_way() -> Collection[int]:
            chain = pipeline.warehouse.network()
            return read_under_way(context.instance, network, chain).epochs

        must_wait = partial(loading.must_wait, epochs_under_way=epochs_under_way)
        try:
            outcome = look_for_alerts(pipeline, datetime.now(UTC), started_at, must_wait)
            given_up = count_dead_deliveries(pipeline.warehouse)
            reminders.write_due(pipeline.warehouse, datetime.now(UTC))
        except ValmonError as error:
            return _Evaluated(reasons.note(error, context.log))
        reasons.all_is_well()
        for one in outcome.changes:
            alert = one.change.alert
            context.log.info(f"alert {alert.alert_id} {one.change.kind.value}: {one.change.reason}")
        events = [
            event
            for evaluation in outcome.evaluations
            for event in alert_check_events(network, evaluation)
        ]
        if str(given_up) != (context.cursor or "0"):
            events.append(messages_event(network, given_up))
        return _Evaluated(summary(outcome), events, str(given_up))

    def send(context: dg.SensorEvaluationContext, pipeline: Pipeline, found: _Evaluated) -> str:
        """Send what is due. An error of sending is the tick's, unless it has events to report: a
        tick that fails reports none, and no later one has them."""
        try:
            return delivery.send_due(lambda: pipeline.warehouse.database, context.log)
        except Exception as error:
            if not found.events:
                raise
            context.log.exception("the messages could not be sent")
            return f"the messages could not be sent: {type(error).__name__}"

    return sensor


def summary(outcome: AlertsOutcome) -> str:
    """Summary of a tick: changes, and which epoch waits for which; "" if there are none."""
    changes = [(one.change.kind, one.change.alert.finding) for one in outcome.changes[:10]]
    parts = [f"{kind.value} {finding.kind} {finding.subject}" for kind, finding in changes]
    if outcome.evaluations:
        epochs = [evaluation.epoch for evaluation in outcome.evaluations]
        parts.append(f"epochs evaluated: {len(epochs)}, up to {epochs[-1]}")
    due = outcome.waiting
    if due is not None:
        waits_for = f"epochs {due.gap[0]} to {due.gap[-1]}" if due.gap else "its standings"
        parts.append(f"epoch {due.epoch} waits for {waits_for}")
    return "; ".join(parts)


def look_for_alerts(
    pipeline: Pipeline,
    now: datetime,
    started_at: datetime | None = None,
    must_wait: Callable[[DueEpoch, datetime], bool] = nothing_is_loaded,
) -> AlertsOutcome:
    """Evaluate what is due ``now``; at most ``EPOCHS_PER_TICK`` epochs, the next tick goes on.

    ``started_at`` is since when a node was waited for, if the chain was never followed yet.
    ``must_wait`` says which epochs wait for others; by default no runs are at work on any.

    Raises:
        StorageError: the database is away or refuses; what was evaluated before stays.
    """
    warehouse, alerting = pipeline.warehouse, pipeline.alerting
    outcome = AlertsOutcome()
    network = warehouse.network()
    if network is not None:
        outcome = evaluate_due_epochs(
            warehouse,
            alerting,
            now,
            must_wait=must_wait,
            at_most=EPOCHS_PER_TICK,
            seconds=_EVALUATING_SECONDS,
        )
        current = epoch_at(network, now)
        recent = range(max(0, current - _LIVE_EPOCHS), current + 1)
        outcome.changes += evaluate_live_events(warehouse, alerting, recent, now)
    facts = system_facts(pipeline, now, started_at)
    outcome.changes += evaluate_system_facts(warehouse, alerting, facts, now)
    return outcome


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
    stalled = pipeline.alerting.rules.settings(PIPELINE_STALLED.name).threshold
    if network is None or head is None:
        waits = started_at is not None and (now - started_at).total_seconds() >= stalled
        problem = _node_problem(pipeline) if waits else None
        return SystemFacts(0, None, None, False, None, problem)
    late, is_empty = _epochs_late(
        warehouse.database, newest_closed_epoch(head.slot, network.slots_per_epoch)
    )
    return SystemFacts(
        epoch=max(0, epoch_at(network, now)),
        slots_behind=head.slots_behind,
        seconds_since_seen=head.seconds_since_seen,
        is_optimistic=head.is_optimistic,
        epochs_late=late,
        node_problem=_node_problem(pipeline) if head.seconds_since_seen >= stalled else None,
        disagreement=_disagreement(pipeline),
        is_empty=is_empty,
    )


def _epochs_late(database: Database, closed: int) -> tuple[int | None, bool]:
    """Count the epochs up to ``closed`` that are not stored, None if that is not known; and True if
    no epoch is: then those count that have closed since the head is followed."""
    stored = last_stored_epoch(database)
    if stored is not None:
        return max(0, closed - stored), False
    followed = first_followed_epoch(database)
    if followed is None:
        return None, True
    return max(0, closed - max(0, followed - EPOCHS_OPEN) + 1), True


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

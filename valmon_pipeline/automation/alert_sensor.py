"""The sensor that applies the alert rules: to stored epochs in ascending order, and to what cannot
wait for a run: the head, the node, the data and valmon itself."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import asyncio
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
from valmon_pipeline.automation.epoch_runs import epochs_under_way
from valmon_pipeline.automation.node_tick import ask_node
from valmon_pipeline.automation.reason_log import ReasonLog
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.disagreements import Disagreement
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.errors import BeaconApiError, ValmonError
from valmon_pipeline.notify.reminders import Reminders
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


def alert_sensor(network: str, reminders: Reminders) -> dg.SensorDefinition:
    """The sensor ``alert_sensor``. It asks nodes only if nobody has seen the head for long, and
    several nodes once a minute whether they follow the same chain.

    It writes ``reminders`` when it has evaluated everything: their arrival says that it can. Its
    cursor is the number of undelivered messages that it reported last.
    """

    reasons = ReasonLog()
    started_at = datetime.now(UTC)
    loading: list[LoadingWatch] = []  # remembers, as long as the code server lives

    @dg.sensor(
        name="alert_sensor",
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"pipeline"},
        description="Alerts about stored epochs, in ascending order; about missed proposals, "
        "slashings and exits seen at the head, the node, late data and a pipeline that stands "
        "still.",
        # A sensor has to have a target; this one never requests a run.
        asset_selection=dg.AssetSelection.assets(),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline: Pipeline = context.resources.pipeline
        if not loading:
            under_way = partial(epochs_under_way, context.instance, network)
            loading.append(LoadingWatch(under_way, started_at))
        try:
            outcome = look_for_alerts(pipeline, datetime.now(UTC), started_at, loading[0])
            given_up = count_dead_deliveries(pipeline.warehouse)
            reminders.write_due(pipeline.warehouse, datetime.now(UTC))
        except ValmonError as error:
            return dg.SensorResult(skip_reason=reasons.note(error, context.log))
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
        return dg.SensorResult(
            skip_reason=summary(outcome), asset_events=events, cursor=str(given_up)
        )

    return sensor


def summary(outcome: AlertsOutcome) -> str:
    """What a tick did, and which epoch waits for which."""
    changes = [(one.change.kind, one.change.alert.finding) for one in outcome.changes[:10]]
    parts = [f"{kind.value} {finding.kind} {finding.subject}" for kind, finding in changes]
    if outcome.evaluations:
        epochs = [evaluation.epoch for evaluation in outcome.evaluations]
        parts.append(f"epochs evaluated: {len(epochs)}, up to {epochs[-1]}")
    due = outcome.waiting
    if due is not None:
        waits_for = f"epochs {due.gap[0]} to {due.gap[-1]}" if due.gap else "its standings"
        parts.append(f"epoch {due.epoch} waits for {waits_for}")
    return "; ".join(parts) or "no changes"


def look_for_alerts(
    pipeline: Pipeline,
    now: datetime,
    started_at: datetime | None = None,
    loading: LoadingWatch | None = None,
) -> AlertsOutcome:
    """Evaluate what is due ``now``; at most ``EPOCHS_PER_TICK`` epochs, the next tick goes on.

    ``started_at`` is since when a node was waited for, if the chain was never followed yet.
    ``loading`` knows the epochs that runs are at work on; None: no runs are.

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
            must_wait=nothing_is_loaded if loading is None else loading.must_wait,
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
    """How many epochs up to ``closed`` are not stored, None if that is not known; and True if no
    epoch is: then those count that have closed since the head is followed."""
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

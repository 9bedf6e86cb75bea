"""Follows the chain slot by slot, within the ticks of one sensor: no run is started for a slot."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import logging
import time
from typing import Any, Final

import dagster as dg

from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.live import LiveFollower, LiveReport
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.automation.reason_log import ReasonLog
from valmon_pipeline.automation.validators_refresh import refresh_due
from valmon_pipeline.config import Settings
from valmon_pipeline.errors import ConfigurationError, ValmonError
from valmon_pipeline.partitions import epoch_key

logger = logging.getLogger(__name__)

MINIMUM_INTERVAL_SECONDS: Final = 2
"""Dagster evaluates sensors on a grid of five seconds and rounds intervals up to it."""
LIVE_TABLES: Final = {
    "chain_head": "Head and finality of the chain, as the node last reported them.",
    "live_slots": "Slots as the live service saw them.",
    "live_events": "Missed and late proposals, slashings, exits, status changes and reorgs.",
}


def live_assets(network: str) -> list[dg.AssetSpec]:
    """The tables that the slot sensor fills, so that the UI shows them and their events."""
    return [
        dg.AssetSpec(asset_key(network, table), group_name="live", description=description)
        for table, description in LIVE_TABLES.items()
    ]


class _Watching:
    """The follower of this process, and the pipeline with the watch list that it follows.

    There is one for all ticks of the process: it keeps the last snapshot in memory. ``configured``
    is the pipeline that Dagster hands to the ticks, ``pipeline`` the same with whom to watch now.
    """

    def __init__(self, pipeline: Pipeline, polling_interval_slots: int) -> None:
        self.configured = pipeline
        self.pipeline = pipeline
        self._follower = LiveFollower(
            pipeline.open_client,
            lambda: pipeline.warehouse,
            pipeline.watch,
            polling_interval_slots,
            open_captured=lambda: pipeline.warehouse.captured_answers(),
        )
        self._epoch: int | None = None

    def look(self) -> tuple[LiveReport, bool]:
        """Look once; with it whether it was the first look in an epoch, or of this process."""
        report = self._follower.look()
        is_first = report.head_epoch != self._epoch
        self._epoch = report.head_epoch
        return report, is_first

    def waits_for_slot(self) -> int | None:
        """The slot before which there is nothing new to see, None if a look is due."""
        return self._follower.waits_for_slot()

    def reconfigure(self) -> str | None:
        """Watch from the next look on whom the configuration names by now; why not, if so."""
        try:
            pipeline = self.pipeline.reconfigured()
        except ConfigurationError as error:
            return f"still watching as before, the configuration cannot be used: {error}"
        if pipeline is not self.pipeline:
            self.pipeline = pipeline
            self._follower.watch(pipeline.watch)
        return None


def slot_sensor(settings: Settings, refresh_job: str) -> dg.SensorDefinition:
    """The sensor ``slot_sensor``, which looks at the head.

    At the first look in an epoch it reads the configuration again, if its file has changed, and
    has ``refresh_job`` run for a watch list whose validators and labels are not stored yet.

    What it remembers between ticks is in the tables (see ``assets.live``), not in a cursor: a tick
    that Dagster repeats finds its work done. It reports an event to Dagster at the first look in an
    epoch and when something happened to a validator or the chain, not for every slot.
    """
    watching: _Watching | None = None
    reasons = ReasonLog()

    def watching_of(pipeline: Pipeline) -> _Watching:
        nonlocal watching
        if watching is None or watching.configured is not pipeline:
            watching = _Watching(pipeline, settings.polling_interval_slots)
        return watching

    @dg.sensor(
        name="slot_sensor",
        job_name=refresh_job,
        minimum_interval_seconds=MINIMUM_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"pipeline"},
        description="Follows the head: slots, live snapshots of the watched validators, missed "
        "and late proposals, slashings, exits, and the duties of the next epoch.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline: Pipeline = context.resources.pipeline
        started = time.monotonic()
        follower = watching_of(pipeline)
        try:
            following = follower.waits_for_slot()
            if following is not None:
                return dg.SensorResult(
                    skip_reason=f"slot {following - 1} has its block; slot {following} is next"
                )
            report, is_first = follower.look()
        except ValmonError as error:
            reason = reasons.note(error, context.log)
            seconds = time.monotonic() - started
            return dg.SensorResult(skip_reason=f"{reason} [{seconds:.2f} s]")
        finally:
            # What all sensors of this process counted: this one comes round the most often.
            pipeline.store_counts(if_due=True)
        reasons.all_is_well()
        _log_events(report)
        problem, refresh = None, None
        if is_first:
            problem = follower.reconfigure()
            refresh = refresh_due(context.instance, follower.pipeline, report.head_epoch)
        if problem is not None:
            context.log.warning(problem)
        return dg.SensorResult(
            asset_events=_events(settings.network, report, context.cursor),
            run_requests=[refresh] if refresh is not None else [],
            # Dagster takes either.
            skip_reason=None
            if refresh is not None
            else "; ".join(filter(None, [report.summary(), problem])),
            cursor=str(report.head_epoch),
        )

    return sensor


def _log_events(report: LiveReport) -> None:
    """What happened to validators and the chain, for logs in JSON; others are at the level of
    warnings."""
    for event in report.events:
        fields: dict[str, object] = {"slot": event.slot, "status": event.event_type}
        if event.validator_index is not None:
            fields["validator_index"] = event.validator_index
        if event.event_type == "proposal_missed":
            fields["duty_success"] = False
        logger.info(event.detail, extra=fields)


def _events(
    network: str, report: LiveReport, cursor: str | None
) -> list[dg.AssetMaterialization | dg.AssetObservation]:
    events: list[dg.AssetMaterialization | dg.AssetObservation] = []
    metadata: dict[str, Any] = {"node": report.node, "slot": report.head_slot}
    if cursor != str(report.head_epoch):
        events.append(
            dg.AssetObservation(
                asset_key(network, "chain_head"),
                metadata={
                    **metadata,
                    "epoch": report.head_epoch,
                    "finalized_epoch": report.finalized_epoch,
                    "slots_behind_the_clock": report.slots_behind,
                },
            )
        )
    if report.events:
        rows = [
            dg.TableRecord(
                {
                    "slot": event.slot,
                    "event_type": event.event_type,
                    "validator_index": ""
                    if event.validator_index is None
                    else event.validator_index,
                    "detail": event.detail,
                }
            )
            for event in report.events[:20]
        ]
        events.append(
            dg.AssetMaterialization(
                asset_key(network, "live_events"),
                metadata={
                    **metadata,
                    "events": len(report.events),
                    "first": dg.MetadataValue.table(records=rows),
                },
            )
        )
    if report.duties_ahead is not None:
        following = report.duties_ahead.frames[report.duties_ahead.epoch]
        events.append(
            dg.AssetObservation(
                asset_key(network, "attestation_duties"),
                partition=epoch_key(report.duties_ahead.epoch),
                metadata={**metadata, "duties_ahead": len(following["attestation_duties"])},
            )
        )
    return events

"""Keeping both databases small: retention of epochs, and pruning of Dagster's storage."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import dagster as dg

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.automation.dagster_pruning import Pruned, describe, prune
from valmon_pipeline.config import Settings
from valmon_pipeline.partitions import epochs_of_day
from valmon_pipeline.storage.captured_answers import CapturedAnswers
from valmon_pipeline.storage.network_days import network_days, sum_up_network_day
from valmon_pipeline.storage.network_packing import PackedSpan, pack_span, spans_to_pack
from valmon_pipeline.storage.outbox import delete_old_deliveries
from valmon_pipeline.storage.queries import storage_status
from valmon_pipeline.storage.retention import RetentionOutcome, drop_epochs_before
from valmon_pipeline.storage.warehouse import Warehouse

MAINTENANCE: Final = "maintenance"
NETWORK_DAYS_AT_ONCE: Final = 5
"""Days of the whole network that are summed up and packed in one run: some minutes each on mainnet.
After a long backfill, the next nights do the rest."""
DAILY: Final = "17 3 * * *"
MESSAGES_KEPT: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What a run of maintenance did. ``retention`` is None when everything is kept for ever."""

    retention: RetentionOutcome | None
    network_days: tuple[date, ...]
    """Days of the whole network that were summed up."""
    packed: tuple[PackedSpan, ...]
    """Epochs of the whole network that were packed."""
    dagster: Pruned
    messages: int
    """Messages about alerts that were sent or given up long ago, and are deleted."""
    captured: int
    """Answers of nodes that are not needed any more: their epochs are final, complete, and of a
    day that is over, or were dropped."""


def maintain(
    settings: Settings, warehouse: Warehouse, instance: dg.DagsterInstance, now: datetime
) -> MaintenanceReport:
    """Sum up days of the whole network, drop epochs older than ``retention_days``, pack what is
    final of the whole network, then prune Dagster's storage.

    Raises:
        StorageError: one of the databases is away or refuses.
    """
    days = _sum_up_network(warehouse)
    retention = None
    if settings.retention_days is not None:
        # Those that are still due need the epochs that are dropped now.
        make_due_standings(warehouse, settings.scoring.rules)
        before = now.astimezone(UTC).date() - timedelta(days=settings.retention_days)
        retention = drop_epochs_before(warehouse, before)
    spans = spans_to_pack(warehouse)[:NETWORK_DAYS_AT_ONCE]
    packed = tuple(found for span in spans if (found := pack_span(warehouse, span)) is not None)
    # Keys of epochs that were dropped go too; without retention only their number is bounded.
    first = storage_status(warehouse).first_epoch if retention and retention.dropped else None
    pruned = prune(
        instance,
        settings.network,
        older_than=now - timedelta(days=settings.maintenance.dagster_days),
        first_epoch=first,
    )
    messages = delete_old_deliveries(warehouse.database, now - MESSAGES_KEPT)
    captured = _drop_captured(warehouse, now, first if settings.retention_days else None)
    return MaintenanceReport(retention, days, packed, pruned, messages, captured)


def _drop_captured(warehouse: Warehouse, now: datetime, first_kept: int | None) -> int:
    """Drop answers that were kept while they were current and are not needed any more."""
    network = warehouse.network()
    if network is None:
        return 0
    today = epochs_of_day(network, network.genesis_time, now.astimezone(UTC).date())
    captured = CapturedAnswers(warehouse.database)
    dropped = captured.drop_settled(today.start)
    return dropped + (0 if first_kept is None else captured.drop_before(first_kept))


def summary(report: MaintenanceReport) -> dict[str, str]:
    """What to show of a report, by subject; kept days are named with the reason."""
    packed = ", ".join(f"{span.first} to {span.last}" for span in report.packed)
    days = ", ".join(day.isoformat() for day in report.network_days)
    lines = {
        "network": f"summed up {days or 'no days'}; packed epochs {packed or 'of no days'}",
        "dagster": f"deleted {describe(report.dagster)}",
        "messages": f"deleted {report.messages}",
        "captured answers": f"dropped {report.captured}",
    }
    if report.retention is None:
        return {"retention": "off: epochs are kept for ever", **lines}
    dropped = report.retention.dropped
    told = (
        f"dropped epochs {dropped[0].first} to {dropped[-1].last}"
        if dropped
        else f"nothing to drop before {report.retention.before}"
    )
    kept: dict[date, str] = report.retention.kept
    return {
        "retention": told,
        **{f"kept {day}": reason for day, reason in sorted(kept.items())},
        **lines,
    }


def _sum_up_network(warehouse: Warehouse) -> tuple[date, ...]:
    network = warehouse.network()
    if network is None:
        return ()
    due = [found.day for found in network_days(warehouse) if found.is_due][:NETWORK_DAYS_AT_ONCE]
    for day in due:
        sum_up_network_day(warehouse, day, epochs_of_day(network, network.genesis_time, day))
    return tuple(due)


def maintenance_job(settings: Settings) -> dg.JobDefinition:
    """The job ``maintenance``."""

    @dg.op(required_resource_keys={"pipeline"})
    def maintain_databases(context: dg.OpExecutionContext) -> None:
        """Drop old epochs that are summed up by day, and prune Dagster's own storage."""
        pipeline: Pipeline = context.resources.pipeline
        report = maintain(settings, pipeline.warehouse, context.instance, datetime.now(UTC))
        for subject, told in summary(report).items():
            context.log.info(f"{subject}: {told}")
        context.add_output_metadata(dict(summary(report)))

    @dg.job(
        name=MAINTENANCE,
        executor_def=dg.in_process_executor,
        tags={"dagster/priority": "-2", "dagster/max_runtime": "3600"},
        description="Retention of epochs, and pruning of Dagster's runs and events.",
    )
    def maintenance() -> None:
        maintain_databases()

    return maintenance


def maintenance_schedule() -> dg.ScheduleDefinition:
    """Once a day, in the night of UTC."""
    return dg.ScheduleDefinition(
        name="daily_maintenance",
        job_name=MAINTENANCE,
        cron_schedule=DAILY,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )

"""The sensor that has a UTC day summed up when it is over and final.

What is missing is found by comparing the stored epochs with the summaries, so nothing depends on
having been awake.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import dagster as dg

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.errors import ValmonError
from valmon_pipeline.partitions import epochs_of_day
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.stored_days import StoredDay, stored_days

SUM_UP_DAYS: Final = "sum_up_days"
SENSOR_SECONDS: Final = 300
DAYS_PER_TICK: Final = 5


def day_sensor(network: str, first_day: date) -> dg.SensorDefinition:
    """The sensor ``day_sensor``; what it finds is run by the job ``sum_up_days``."""

    @dg.sensor(
        name="day_sensor",
        job_name=SUM_UP_DAYS,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"pipeline"},
        description="Has each UTC day summed up per validator once it is over and final.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline: Pipeline = context.resources.pipeline
        try:
            identity = pipeline.warehouse.network()
            days = stored_days(pipeline.warehouse)
        except ValmonError as error:
            context.log.warning(str(error))
            return dg.SensorResult(skip_reason=str(error))
        if identity is None:
            return dg.SensorResult(skip_reason="nothing is stored yet")
        seen: dict[str, str] = json.loads(context.cursor or "{}")
        due = days_to_sum_up([day for day in days if day.day >= first_day], identity, seen)
        requests = [
            dg.RunRequest(
                # Epochs that are stored later, or again, make it another request.
                run_key=f"{network}:{day.day}:{_state(day)}",
                partition_key=day.day.isoformat(),
                tags={"valmon/network": network, "dagster/priority": "-1"},
            )
            for day in due[:DAYS_PER_TICK]
        ]
        cursor = json.dumps({day.day.isoformat(): _state(day) for day in days if day.is_due})
        return dg.SensorResult(
            run_requests=requests,
            cursor=cursor,
            skip_reason=None if requests else "every day that is over and final is summed up",
        )

    return sensor


def days_to_sum_up(
    days: Sequence[StoredDay], network: NetworkIdentity, seen: Mapping[str, str]
) -> list[StoredDay]:
    """The days that are over and final and not summed up as they are stored, oldest first.

    A day with gaps, or that was summed up before and is stored again, waits until nothing has been
    stored of it since the last look (``seen``: its state then, by ISO date): a backfill may be at
    work on it.
    """
    newest = max((day.last_epoch for day in days), default=-1)
    due = []
    for day in days:
        epochs = epochs_of_day(network, network.genesis_time, day.day)
        is_over = newest >= epochs.stop - 1
        is_completed = day.epochs == len(epochs) and day.epochs > day.summed_up
        is_settled = is_completed or seen.get(day.day.isoformat()) == _state(day)
        if is_over and day.is_final and day.is_due and is_settled:
            due.append(day)
    return due


def _state(day: StoredDay) -> str:
    return f"{day.epochs}:{day.stored_at.isoformat()}"

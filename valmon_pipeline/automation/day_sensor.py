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
        seen: dict[str, int] = json.loads(context.cursor or "{}")
        due = days_to_sum_up([day for day in days if day.day >= first_day], identity, seen)
        requests = [
            dg.RunRequest(
                # Epochs that are stored later make it another request.
                run_key=f"{network}:{day.day}:{day.epochs}",
                partition_key=day.day.isoformat(),
                tags={"valmon/network": network, "dagster/priority": "-1"},
            )
            for day in due[:DAYS_PER_TICK]
        ]
        cursor = json.dumps(
            {day.day.isoformat(): day.epochs for day in days if day.summed_up != day.epochs}
        )
        return dg.SensorResult(
            run_requests=requests,
            cursor=cursor,
            skip_reason=None if requests else "every day that is over and final is summed up",
        )

    return sensor


def days_to_sum_up(
    days: Sequence[StoredDay], network: NetworkIdentity, epochs_before: Mapping[str, int]
) -> list[StoredDay]:
    """The days that are over and final and not summed up as they are stored, oldest first.

    A day with gaps waits until their number has not changed since the last look
    (``epochs_before``, by ISO date): a backfill may be filling them.
    """
    newest = max((day.last_epoch for day in days), default=-1)
    due = []
    for day in days:
        epochs = epochs_of_day(network, network.genesis_time, day.day)
        is_over = newest >= epochs.stop - 1
        is_settled = (
            day.epochs == len(epochs) or epochs_before.get(day.day.isoformat()) == day.epochs
        )
        if is_over and day.is_final and day.summed_up < day.epochs and is_settled:
            due.append(day)
    return due

"""The sensor that sends the messages of the outbox.

One of its own, so that a channel that hangs delays no alert. It is bounded in time, see
``notify.sender``.
"""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
from typing import Final

import dagster as dg

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.errors import ValmonError
from valmon_pipeline.notify.sender import RoundOutcome, Sender

TICK_SECONDS: Final = 5


def delivery_sensor(sender: Sender) -> dg.SensorDefinition:
    """The sensor ``delivery_sensor``."""

    @dg.sensor(
        name="delivery_sensor",
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"pipeline"},
        description="Sends what is to be told of alerts to the channels of the configuration.",
        # A sensor has to have a target; this one never requests a run.
        asset_selection=dg.AssetSelection.assets(),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        pipeline: Pipeline = context.resources.pipeline
        try:
            outcome = sender.send_due(pipeline.warehouse.database)
        except ValmonError as error:
            context.log.warning(str(error))
            return dg.SkipReason(str(error))
        for channel, problem in outcome.problems.items():
            context.log.warning(f"channel {channel}: {problem}")
        if outcome.dead:
            context.log.error(
                f"{outcome.dead} messages were given up: see `valmon alerts show`, and "
                "`valmon alerts retry` when the channel is mended"
            )
        return dg.SkipReason(_summary(outcome))

    return sensor


def _summary(outcome: RoundOutcome) -> str:
    told = [
        f"{count} {what}"
        for count, what in (
            (outcome.sent, "sent"),
            (outcome.failed, "to be tried again"),
            (outcome.dead, "given up"),
        )
        if count
    ]
    return ", ".join(told) or "nothing to send"

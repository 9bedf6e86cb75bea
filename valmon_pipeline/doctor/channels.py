"""The channels that alerts are sent to. Nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from valmon_pipeline.config import Settings
from valmon_pipeline.doctor.finding import Finding, good, problem, warning
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.notify.wiring import channels_of, send_to

SUBJECT: Final = "configuration"


def channel_findings(settings: Settings) -> Iterator[Finding]:
    """There are channels, and Apprise knows their addresses."""
    channels = channels_of(settings)
    if not channels:
        yield warning(
            SUBJECT,
            "channels",
            "nobody is told of alerts: no channel is configured",
            "name one in alerts.channels, see docs/alerts.md; without, alerts are in the UI only",
        )
    for channel in channels:
        name = f"channel {channel.name}"
        try:
            send_to(channel)
        except ConfigurationError as error:
            yield problem(SUBJECT, name, str(error), "correct its address in the environment")
        else:
            yield good(SUBJECT, name, f"is told of alerts from {channel.minimum_severity} on")

"""From the settings to who is told of what, and how."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.config import Settings
from valmon_pipeline.config.channels import HEARTBEAT
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.heartbeat import ping
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.notify.reminders import ReminderRules, Reminders
from valmon_pipeline.notify.sender import Send, Sender


def channels_of(settings: Settings) -> tuple[Channel, ...]:
    """The channels that are configured."""
    return tuple(
        Channel(
            entry.name,
            "" if entry.url is None else entry.url.get_secret_value(),
            Severity(entry.minimum_severity),
            frozenset(entry.labels),
            entry.digest,
        )
        for entry in settings.alerts.channels
    )


def notifier_of(settings: Settings) -> Notifier:
    """What writes the messages about changes of alerts."""
    alerts = settings.alerts
    templates = Templates(settings.network, alerts.link or "", alerts.templates.texts)
    return Notifier(channels_of(settings), templates)


def sender_of(settings: Settings) -> Sender:
    """What sends them.

    Raises:
        ConfigurationError: a channel has an address that Apprise does not know.
    """
    channels = {channel.name: send_to(channel) for channel in channels_of(settings)}
    heartbeat = settings.alerts.heartbeat.url
    return Sender(channels if heartbeat is None else {**channels, HEARTBEAT: ping(heartbeat)})


def reminders_of(settings: Settings) -> Reminders:
    """What writes digests and heartbeats."""
    alerts = settings.alerts
    every = timedelta(minutes=alerts.heartbeat.every_minutes)
    return Reminders(
        ReminderRules(
            settings.network,
            [channel.name for channel in channels_of(settings) if channel.digest],
            alerts.digest_hour,
            alerts.group_by,
            None if alerts.heartbeat.url is None else every,
        )
    )


def send_to(channel: Channel) -> Send:
    """How a message is sent to a channel.

    Raises:
        ConfigurationError: Apprise does not know its address.
    """
    # Apprise is loaded by those who send only: it brings an HTTP library of its own.
    from valmon_pipeline.notify import apprise_transport

    return partial(
        apprise_transport.send, apprise_transport.target_of(channel.name, channel.address)
    )

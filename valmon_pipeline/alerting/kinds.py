"""Severities of alerts, and the states they go through."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How bad, ascending."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertStatus(StrEnum):
    """Where an alert is in its life; the last two are the end of it."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    RETRACTED = "retracted"


class ChangeKind(StrEnum):
    """What happened to an alert."""

    OPENED = "opened"
    WORSENED = "worsened"
    """At least twice as many validators as when it was last told of."""
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    RETRACTED = "retracted"
    """It was not so: the chain that it rested on was left behind."""


LIVE_STATUSES = (AlertStatus.OPEN, AlertStatus.ACKNOWLEDGED)

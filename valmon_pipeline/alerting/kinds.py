"""What alerts can be about, how bad they are, and the states they go through."""

from __future__ import annotations

from enum import StrEnum


class AlertType(StrEnum):
    """The rules under their stored names."""

    MISSED_ATTESTATIONS = "missed_attestations"
    MISSED_ATTESTATION_SHARE = "missed_attestation_share"
    LOW_EFFECTIVENESS = "low_effectiveness"
    BELOW_NETWORK = "below_network"
    MISSED_PROPOSAL = "missed_proposal"
    SYNC_PARTICIPATION = "sync_participation"
    SLASHING = "slashing"
    EXIT = "exit"
    BALANCE_DROP = "balance_drop"
    LEDGER_RESIDUAL = "ledger_residual"
    NODE_UNHEALTHY = "node_unhealthy"
    DATA_LATE = "data_late"
    PIPELINE_STALLED = "pipeline_stalled"


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

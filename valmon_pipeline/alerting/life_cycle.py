"""What becomes of alerts: open, acknowledged, then resolved or retracted.

There is at most one live alert per rule and subject. A subject is a validator (``validator:7``), a
label (``operator:a``) or a part of valmon (``node``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from valmon_pipeline.alerting.kinds import (
    LIVE_STATUSES,
    AlertStatus,
    ChangeKind,
    Severity,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A subject with which the rule ``kind`` found something wrong. ``cost`` is gwei, ``labels``
    are those that all its validators have (none for a finding about sums or about valmon),
    ``since_epoch`` is the first of the bad epochs in a row."""

    kind: str
    severity: Severity
    subject: str
    labels: tuple[str, ...]
    validator_indices: tuple[int, ...]
    epoch: int
    since_epoch: int
    slot: int | None
    message: str
    cost: int

    @property
    def validators(self) -> int:
        """Number of validators that it is about."""
        return len(self.validator_indices)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is. ``told_validators`` is how many validators it had when a change of it was
    last told of; ``last_epoch`` the newest epoch in which it was found."""

    alert_id: int
    finding: Finding
    status: AlertStatus
    last_epoch: int
    told_validators: int

    @property
    def is_live(self) -> bool:
        """Whether it is neither resolved nor retracted."""
        return self.status in LIVE_STATUSES

    def tells_of(self, epoch: int) -> bool:
        """Whether what was found in ``epoch`` is part of it, be it over or not."""
        within = self.finding.epoch <= epoch <= self.last_epoch
        return within and self.status is not AlertStatus.RETRACTED


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an alert, and the alert after it. ``alert_id`` 0: it is new."""

    kind: ChangeKind
    alert: Alert
    reason: str


def opened(finding: Finding) -> Change:
    """A new alert."""
    alert = Alert(0, finding, AlertStatus.OPEN, finding.epoch, finding.validators)
    return Change(ChangeKind.OPENED, alert, finding.message)


def found_again(alert: Alert, finding: Finding, *, is_event: bool) -> Change | Alert:
    """A live alert in whose subject the rule finds something again.

    A change that is told of if it has become worse: twice as many validators, or another event
    (``is_event``) in a later epoch. Otherwise just the alert as it is by now.
    """
    grown = finding.validators >= 2 * max(1, alert.told_validators)
    again = is_event and finding.epoch > alert.last_epoch
    severity = max(alert.finding.severity, finding.severity, key=list(Severity).index)
    latest = replace(
        finding,
        severity=severity,
        epoch=alert.finding.epoch,
        since_epoch=min(alert.finding.since_epoch, finding.since_epoch),
        cost=finding.cost + alert.finding.cost if again else finding.cost,
    )
    after = replace(alert, finding=latest, last_epoch=max(alert.last_epoch, finding.epoch))
    if not grown and not again:
        return after
    why = f"again in epoch {finding.epoch}" if again else f"now {finding.validators} validators"
    told = replace(after, told_validators=finding.validators)
    return Change(ChangeKind.WORSENED, told, f"{why}: {finding.message}")


def acknowledged(alert: Alert, reason: str) -> Change | None:
    """Somebody has seen it; None if it is not open."""
    if alert.status is not AlertStatus.OPEN:
        return None
    return Change(ChangeKind.ACKNOWLEDGED, replace(alert, status=AlertStatus.ACKNOWLEDGED), reason)


def resolved(alert: Alert, reason: str) -> Change | None:
    """It is over; None if it was before."""
    if not alert.is_live:
        return None
    return Change(ChangeKind.RESOLVED, replace(alert, status=AlertStatus.RESOLVED), reason)


def retracted(alert: Alert, reason: str) -> Change | None:
    """It was not so; None if it is over anyway."""
    if not alert.is_live:
        return None
    return Change(ChangeKind.RETRACTED, replace(alert, status=AlertStatus.RETRACTED), reason)

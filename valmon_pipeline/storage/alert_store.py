"""Alerts in the database: read, and written together with everything a change of them entails.

All writers take one lock, so that decisions are made from what is stored. What is decided is stored
in one transaction with its history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from valmon_pipeline.alerting.kinds import (
    LIVE_STATUSES,
    AlertStatus,
    AlertType,
    ChangeKind,
    Severity,
)
from valmon_pipeline.alerting.life_cycle import Alert, Change, Finding
from valmon_pipeline.storage.advisory_locks import lock_for_transaction
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of

STANDINGS_WAIT: Final = timedelta(minutes=2)
"""For how long an epoch waits for its standings, which the step that stored it makes next."""
_LIVE: Final = tuple(status.value for status in LIVE_STATUSES)


@dataclass(frozen=True, slots=True)
class DueEpoch:
    """A stored epoch that the rules were not applied to since it was stored.

    ``is_newest``: they were applied to no later epoch.
    """

    epoch: int
    materialized_at: datetime
    is_newest: bool


@dataclass(frozen=True, slots=True)
class StoredChange:
    """A change as it was stored: the alert with its number, and which of its changes it is."""

    change: Change
    position: int
    at: datetime


OnStored = Callable[["AlertTransaction", Sequence[StoredChange]], None]
"""Called with changes within their transaction."""


class AlertTransaction:
    """The alerts of a network within one transaction that nobody else's change can come between."""

    def __init__(self, connection: sa.Connection, schema: str, at: datetime) -> None:
        self.connection = connection
        self.schema = schema
        self.at = at
        self._alerts = table_of(schema, "alerts")

    def alerts(self, epoch: int | None = None) -> list[Alert]:
        """All that are live, and all that tell of ``epoch``, in their order."""
        columns = self._alerts.c
        wanted: sa.ColumnElement[bool] = columns.status.in_(_LIVE)
        if epoch is not None:
            wanted = sa.or_(wanted, sa.and_(columns.epoch <= epoch, columns.last_epoch >= epoch))
        query = sa.select(self._alerts).where(wanted).order_by(columns.alert_id)
        return [_alert(row) for row in self.connection.execute(query).mappings()]

    def alert(self, alert_id: int) -> Alert | None:
        """One alert, live or not."""
        query = sa.select(self._alerts).where(self._alerts.c.alert_id == alert_id)
        row = self.connection.execute(query).mappings().one_or_none()
        return None if row is None else _alert(row)

    def store(self, changes: Sequence[Change]) -> list[StoredChange]:
        """Store changes with their history; new alerts get a number."""
        history = table_of(self.schema, "alert_changes")
        stored = []
        for change in changes:
            alert = change.alert
            if change.kind is ChangeKind.OPENED:
                number = self.next_number(self._alerts.c.alert_id)
                alert = Alert(
                    number, alert.finding, alert.status, alert.last_epoch, alert.told_validators
                )
                values = {"alert_id": number, "opened_at": self.at, **_values(alert)}
                self.connection.execute(sa.insert(self._alerts).values(values))
            else:
                self._update(alert, self._moments_of(change))
            position = self.connection.execute(
                sa.select(sa.func.count()).where(history.c.alert_id == alert.alert_id)
            ).scalar_one()
            self.connection.execute(
                sa.insert(history).values(
                    alert_id=alert.alert_id,
                    position=position,
                    change=change.kind.value,
                    reason=change.reason,
                    at=self.at,
                )
            )
            stored.append(
                StoredChange(Change(change.kind, alert, change.reason), position, self.at)
            )
        return stored

    def refresh(self, alerts: Sequence[Alert]) -> None:
        """Store newer figures of live alerts: nothing that is told of."""
        for alert in alerts:
            self._update(alert, {})

    def note_evaluated(self, due: DueEpoch, findings: int, changes: int) -> None:
        """Enter that the rules were applied to an epoch."""
        table = table_of(self.schema, "alert_evaluations")
        self.connection.execute(sa.delete(table).where(table.c.epoch == due.epoch))
        self.connection.execute(
            sa.insert(table).values(
                epoch=due.epoch,
                materialized_at=due.materialized_at,
                at=self.at,
                findings=findings,
                changes=changes,
            )
        )

    def due_epochs(self, first: int) -> list[DueEpoch]:
        """Epochs from ``first`` on that are stored and not evaluated since, ascending.

        Whose standings are still to be made waits for them, but not for ever.
        """
        stored = table_of(self.schema, "network_epochs").c
        waiting = table_of(self.schema, "standings_due").c
        evaluated = table_of(self.schema, "alert_evaluations").c
        newest = self.connection.execute(
            sa.select(sa.func.coalesce(sa.func.max(evaluated.epoch), -1))
        ).scalar_one()
        query = (
            sa.select(stored.epoch, stored.materialized_at)
            .outerjoin(evaluated.epoch.table, evaluated.epoch == stored.epoch)
            .where(
                stored.epoch >= first,
                evaluated.materialized_at.is_distinct_from(stored.materialized_at),
                sa.or_(
                    ~sa.exists().where(waiting.epoch == stored.epoch),
                    stored.materialized_at < self.at - STANDINGS_WAIT,
                ),
            )
            .order_by(stored.epoch)
        )
        return [DueEpoch(epoch, at, epoch > newest) for epoch, at in self.connection.execute(query)]

    def is_evaluated(self, epoch: int) -> bool:
        """Whether the rules were applied to an epoch as it is stored."""
        evaluated = table_of(self.schema, "alert_evaluations").c.epoch
        query = sa.select(sa.exists().where(evaluated == epoch))
        return bool(self.connection.execute(query).scalar_one())

    def next_number(self, column: sa.Column[Any]) -> int:
        """One more than the largest of a column of numbers; the lock keeps it unique."""
        largest = sa.func.coalesce(sa.func.max(column), 0)
        return int(self.connection.execute(sa.select(largest)).scalar_one()) + 1

    def _update(self, alert: Alert, moments: Mapping[str, Any]) -> None:
        self.connection.execute(
            sa.update(self._alerts)
            .where(self._alerts.c.alert_id == alert.alert_id)
            .values({**_values(alert), **moments})
        )

    def _moments_of(self, change: Change) -> dict[str, Any]:
        if change.kind is ChangeKind.ACKNOWLEDGED:
            return {"acknowledged_at": self.at}
        if change.kind in (ChangeKind.RESOLVED, ChangeKind.RETRACTED):
            return {"resolved_at": self.at, "resolution": change.reason}
        return {}


@contextmanager
def alert_transaction(database: Database, purpose: str, at: datetime) -> Iterator[AlertTransaction]:
    """A transaction in which alerts are read and changed; others wait until it is over.

    Raises:
        StorageError: the database is away or refuses; nothing was changed.
    """
    with database.transaction(purpose) as connection:
        lock_for_transaction(connection, f"{database.schema}.alerts")
        yield AlertTransaction(connection, database.schema, at)


def has_due_epochs(database: Database, first: int, at: datetime) -> bool:
    """Whether any epoch is to be evaluated, without waiting for anybody.

    Raises:
        StorageError: the database is away.
    """
    with database.transaction("read which epochs to evaluate") as connection:
        transaction = AlertTransaction(connection, database.schema, at)
        return bool(transaction.due_epochs(first))


def _values(alert: Alert) -> dict[str, Any]:
    finding = alert.finding
    return {
        "alert_type": finding.kind.value,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "labels": "\n".join(finding.labels),
        "validator_indices": ",".join(map(str, finding.validator_indices)),
        "validators": finding.validators,
        "told_validators": alert.told_validators,
        "epoch": finding.epoch,
        "since_epoch": finding.since_epoch,
        "last_epoch": alert.last_epoch,
        "slot": finding.slot,
        "message": finding.message,
        "cost_gwei": finding.cost,
        "status": alert.status.value,
    }


def _alert(row: sa.RowMapping) -> Alert:
    return Alert(
        row["alert_id"],
        Finding(
            AlertType(row["alert_type"]),
            Severity(row["severity"]),
            row["subject"],
            tuple(row["labels"].split("\n")) if row["labels"] else (),
            tuple(int(one) for one in row["validator_indices"].split(",") if one),
            row["validators"],
            row["epoch"],
            row["since_epoch"],
            row["slot"],
            row["message"],
            row["cost_gwei"],
        ),
        AlertStatus(row["status"]),
        row["last_epoch"],
        row["told_validators"],
    )

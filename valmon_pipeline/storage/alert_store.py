"""Alerts in the database: read, and written together with everything a change of them entails.

All writers take one lock, so that decisions are made from what is stored. What is decided is stored
in one transaction with its history.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.alerting.kinds import LIVE_STATUSES, AlertStatus, ChangeKind, Severity
from valmon_pipeline.alerting.life_cycle import Alert, Change, Finding
from valmon_pipeline.storage.advisory_locks import lock_for_transaction
from valmon_pipeline.storage.binary_copy import binary_copy
from valmon_pipeline.storage.database import Database, driver_connection
from valmon_pipeline.storage.tables import table_of

ALERT_VALIDATORS: Final = "alert_validators"
_LIVE: Final = tuple(status.value for status in LIVE_STATUSES)


@dataclass(frozen=True, slots=True)
class DueEpoch:
    """A stored epoch that the rules were not applied to since it was stored.

    ``is_newest``: they were applied to no later epoch. ``gap`` are the epochs right before it that
    are not stored, back to the newest one that was evaluated or to where evaluation begins;
    ``has_standings``: its standings rest on everything stored; ``is_first``: no epoch was ever
    evaluated.
    """

    epoch: int
    materialized_at: datetime
    is_newest: bool
    gap: range
    has_standings: bool
    is_first: bool = False


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

    def __init__(
        self,
        connection: sa.Connection,
        schema: str,
        at: datetime,
        hold_until: datetime | None = None,
    ) -> None:
        self.connection = connection
        self.schema = schema
        self.at = at
        self.hold_until = hold_until
        """Messages about what is opened in this transaction are not to be sent before; None: at
        once."""
        self._alerts = table_of(schema, "alerts")
        self._validators: dict[int, tuple[int, ...]] = {}

    def alerts(self, rules: Collection[str], epoch: int | None = None) -> list[Alert]:
        """The alerts of ``rules`` that are live, and those that tell of ``epoch``, in their
        order."""
        columns = self._alerts.c
        wanted: sa.ColumnElement[bool] = columns.status.in_(_LIVE)
        if epoch is not None:
            wanted = sa.or_(wanted, sa.and_(columns.epoch <= epoch, columns.last_epoch >= epoch))
        return self._read(sa.and_(columns.alert_type.in_(list(rules)), wanted))

    def alert(self, alert_id: int) -> Alert | None:
        """One alert, live or not."""
        return next(iter(self._read(self._alerts.c.alert_id == alert_id)), None)

    def store(self, changes: Sequence[Change]) -> list[StoredChange]:
        """Store changes with their history; new alerts get a number."""
        history = table_of(self.schema, "alert_changes")
        unread = {one.alert.alert_id for one in changes} - self._validators.keys() - {0}
        if unread:
            self._read(self._alerts.c.alert_id.in_(list(unread)))
        stored = []
        for change in changes:
            alert = change.alert
            if change.kind is ChangeKind.OPENED:
                alert = replace(alert, alert_id=self.next_number(self._alerts.c.alert_id))
                values = {"alert_id": alert.alert_id, "opened_at": self.at, **_values(alert)}
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
        self._store_validators([one.change.alert for one in stored])
        return stored

    def refresh(self, alerts: Sequence[Alert]) -> None:
        """Store newer figures of live alerts: nothing that is told of."""
        for alert in alerts:
            self._update(alert, {})
        self._store_validators(alerts)

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

    def next_due(self, horizon: int, but: Collection[int] = ()) -> DueEpoch | None:
        """The next epoch to apply the rules to; None if there is none.

        First come epochs from ``horizon`` on, older than the newest evaluated one, that were stored
        since they were evaluated, but for ``but``; then the oldest stored one after the newest
        evaluated, or, if none was evaluated, from ``horizon`` on.
        """
        stored = table_of(self.schema, "network_epochs").c
        waiting = table_of(self.schema, "standings_due").c
        evaluated = table_of(self.schema, "alert_evaluations").c
        newest: int | None = self.connection.execute(
            sa.select(sa.func.max(evaluated.epoch))
        ).scalar_one()
        first = max(0, horizon) if newest is None else newest + 1
        has_standings = ~sa.exists().where(waiting.epoch == stored.epoch)
        stale = (
            sa.select(stored.epoch, stored.materialized_at, has_standings)
            .outerjoin(evaluated.epoch.table, evaluated.epoch == stored.epoch)
            .where(
                stored.epoch.between(horizon, first - 1),
                stored.epoch.not_in(list(but)),
                evaluated.materialized_at.is_distinct_from(stored.materialized_at),
            )
            .order_by(~has_standings, stored.epoch)
            .limit(1)
        )
        found = None if newest is None else self.connection.execute(stale).one_or_none()
        if found is not None and found[2]:
            return DueEpoch(found[0], found[1], False, range(0), True)
        oldest = (
            sa.select(stored.epoch, stored.materialized_at, has_standings)
            .where(stored.epoch >= first)
            .order_by(stored.epoch)
            .limit(1)
        )
        following = self.connection.execute(oldest).one_or_none()
        if following is None:
            return None if found is None else DueEpoch(found[0], found[1], False, range(0), False)
        epoch, at, is_ready = following
        return DueEpoch(epoch, at, True, range(first, epoch), is_ready, newest is None)

    def is_evaluated(self, epoch: int) -> bool:
        """Whether the rules were applied to an epoch as it is stored."""
        evaluated = table_of(self.schema, "alert_evaluations").c.epoch
        query = sa.select(sa.exists().where(evaluated == epoch))
        return bool(self.connection.execute(query).scalar_one())

    def next_number(self, column: sa.Column[Any]) -> int:
        """One more than the largest of a column of numbers; the lock keeps it unique."""
        largest = sa.func.coalesce(sa.func.max(column), 0)
        return int(self.connection.execute(sa.select(largest)).scalar_one()) + 1

    def _read(self, wanted: sa.ColumnElement[bool]) -> list[Alert]:
        validators = table_of(self.schema, ALERT_VALIDATORS).c
        indices = (
            sa.select(sa.func.array_agg(validators.validator_index))
            .where(validators.alert_id == self._alerts.c.alert_id)
            .scalar_subquery()
        )
        query = (
            sa.select(self._alerts, indices.label("validator_indices"))
            .where(wanted)
            .order_by(self._alerts.c.alert_id)
        )
        alerts = [_alert(row) for row in self.connection.execute(query).mappings()]
        self._validators |= {one.alert_id: one.finding.validator_indices for one in alerts}
        return alerts

    def _update(self, alert: Alert, moments: Mapping[str, Any]) -> None:
        self.connection.execute(
            sa.update(self._alerts)
            .where(self._alerts.c.alert_id == alert.alert_id)
            .values({**_values(alert), **moments})
        )

    def _store_validators(self, alerts: Sequence[Alert]) -> None:
        """Store the validators of alerts: what is different from before."""
        gone, new = [], []
        for alert in alerts:
            before = np.array(self._validators.get(alert.alert_id, ()), np.int32)
            after = np.array(alert.finding.validator_indices, np.int32)
            gone.append((alert.alert_id, np.setdiff1d(before, after)))
            new.append((alert.alert_id, np.setdiff1d(after, before)))
            self._validators[alert.alert_id] = alert.finding.validator_indices
        connection = driver_connection(self.connection)
        table = sql.Identifier(self.schema, ALERT_VALIDATORS)
        removed, added = _pairs(gone), _pairs(new)
        if len(removed):
            delete = sql.SQL(
                "DELETE FROM {} WHERE (alert_id, validator_index) IN "
                "(SELECT * FROM unnest(%s::bigint[], %s::integer[]))"
            ).format(table)
            connection.execute(delete, [removed[name].tolist() for name in removed.columns])
        if len(added):
            copy_in = sql.SQL(
                "COPY {} (alert_id, validator_index) FROM STDIN (FORMAT binary)"
            ).format(table)
            with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
                for piece in binary_copy(added):
                    copy.write(piece)

    def _moments_of(self, change: Change) -> dict[str, Any]:
        if change.kind is ChangeKind.ACKNOWLEDGED:
            return {"acknowledged_at": self.at}
        if change.kind in (ChangeKind.RESOLVED, ChangeKind.RETRACTED):
            return {"resolved_at": self.at, "resolution": change.reason}
        return {}


@contextmanager
def alert_transaction(
    database: Database, purpose: str, at: datetime, hold_until: datetime | None = None
) -> Iterator[AlertTransaction]:
    """A transaction in which alerts are read and changed; others wait until it is over.

    Raises:
        StorageError: the database is away or refuses; nothing was changed.
    """
    with database.transaction(purpose) as connection:
        lock_for_transaction(connection, f"{database.schema}.alerts")
        yield AlertTransaction(connection, database.schema, at, hold_until)


def next_due_epoch(
    database: Database, horizon: int, at: datetime, but: Collection[int] = ()
) -> DueEpoch | None:
    """The epoch to evaluate next, without waiting for other writers; as ``next_due``.

    Raises:
        StorageError: the database is away.
    """
    with database.transaction("read which epoch to evaluate") as connection:
        return AlertTransaction(connection, database.schema, at).next_due(horizon, but)


def _pairs(parts: Sequence[tuple[int, np.ndarray[Any, np.dtype[np.int32]]]]) -> pd.DataFrame:
    """Frame ``alert_validators`` of alerts with some of their validators."""
    return pd.DataFrame(
        {
            "alert_id": np.repeat(
                np.array([alert for alert, _ in parts], np.int64), [len(ours) for _, ours in parts]
            ),
            "validator_index": np.concatenate(
                [np.zeros(0, np.int32), *(ours for _, ours in parts)]
            ),
        }
    )


def _values(alert: Alert) -> dict[str, Any]:
    finding = alert.finding
    return {
        "alert_type": finding.kind,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "labels": "\n".join(finding.labels),
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
            row["alert_type"],
            Severity(row["severity"]),
            row["subject"],
            tuple(row["labels"].split("\n")) if row["labels"] else (),
            tuple(sorted(row["validator_indices"] or ())),
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

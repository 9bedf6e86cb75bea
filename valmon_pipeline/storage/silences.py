"""Times in which alerts are recorded but not delivered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from valmon_pipeline.alerting.life_cycle import Alert
from valmon_pipeline.storage.alert_store import AlertTransaction
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.outbox import held_back_alerts, reschedule_held_back
from valmon_pipeline.storage.tables import table_of

SILENCES: Final = "alert_silences"


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is told of alerts of a rule (None: any) about a subject: a label, ``validator:7``,
    ``node`` (None: any)."""

    silence_id: int
    subject: str | None
    alert_type: str | None
    starts_at: datetime
    ends_at: datetime
    reason: str

    def covers(self, alert: Alert) -> bool:
        """Whether it meets every condition."""
        finding = alert.finding
        subjects = (finding.subject, *finding.labels)
        return (self.subject is None or self.subject in subjects) and (
            self.alert_type is None or self.alert_type == finding.kind
        )


def silenced_until(silences: list[Silence], alert: Alert) -> datetime | None:
    """When the last of the ``silences`` that cover an alert ends; None if none does."""
    return max((one.ends_at for one in silences if one.covers(alert)), default=None)


def current_silences(transaction: AlertTransaction) -> list[Silence]:
    """The silences that hold in the moment of the transaction."""
    silences = table_of(transaction.schema, SILENCES)
    query = sa.select(silences).where(
        silences.c.starts_at <= transaction.at, silences.c.ends_at > transaction.at
    )
    return [Silence(*row) for row in transaction.connection.execute(query)]


def list_silences(database: Database, ending_after: datetime) -> list[Silence]:
    """Silences that end after a moment, in the order in which they were made.

    Raises:
        StorageError: the database is away.
    """
    silences = table_of(database.schema, SILENCES)
    query = (
        sa.select(silences).where(silences.c.ends_at > ending_after).order_by(silences.c.silence_id)
    )
    with database.transaction("read silences") as connection:
        return [Silence(*row) for row in connection.execute(query)]


def add_silence(
    transaction: AlertTransaction,
    subject: str | None,
    alert_type: str | None,
    ends_at: datetime,
    reason: str,
) -> Silence:
    """Keep quiet until ``ends_at`` from now on; what was written before still goes out."""
    silences = table_of(transaction.schema, SILENCES)
    silence = Silence(
        transaction.next_number(silences.c.silence_id),
        subject,
        alert_type,
        transaction.at,
        ends_at,
        reason,
    )
    transaction.connection.execute(sa.insert(silences).values(asdict(silence)))
    return silence


def end_silence(transaction: AlertTransaction, silence_id: int) -> Silence | None:
    """End a silence now; what it holds back is due at once, unless another one holds it back, too.

    None if there is no such silence, or it is over.
    """
    silences = table_of(transaction.schema, SILENCES)
    ended = transaction.connection.execute(
        sa.update(silences)
        .where(silences.c.silence_id == silence_id, silences.c.ends_at > transaction.at)
        .values(ends_at=transaction.at)
        .returning(silences)
    ).one_or_none()
    if ended is None:
        return None
    release_held_back(transaction)
    return Silence(*ended)


def release_held_back(transaction: AlertTransaction) -> None:
    """Have messages that are held back sent now, but for those that a silence holds back."""
    held = held_back_alerts(transaction)
    silences = current_silences(transaction) if held else []
    for alert_id in held:
        alert = transaction.alert(alert_id)
        until = None if alert is None else silenced_until(silences, alert)
        reschedule_held_back(transaction, alert_id, until or transaction.at)

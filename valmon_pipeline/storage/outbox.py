"""The outbox: messages that are to be sent, and what became of them.

What is sent is claimed first, for a while: whoever claimed it and was killed leaves it to be sent
again. Messages about one alert are sent in their order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from valmon_pipeline.storage.alert_store import AlertTransaction
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.tables import table_of

OUTBOX: Final = "alert_deliveries"
CLAIMED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A message for a channel, not to be sent before ``next_attempt_at``. ``alert_id`` 0: it is
    about no alert."""

    delivery_key: str
    channel: str
    alert_id: int
    kind: str
    severity: str
    title: str
    body: str
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that is being sent for the ``attempts``-th time."""

    delivery_id: int
    channel: str
    kind: str
    severity: str
    title: str
    body: str
    attempts: int


def write_deliveries(transaction: AlertTransaction, deliveries: Sequence[NewDelivery]) -> None:
    """Write messages; those whose key there is already are left as they are."""
    if not deliveries:
        return
    outbox = table_of(transaction.schema, OUTBOX)
    first = transaction.next_number(outbox.c.delivery_id)
    common = {"status": "pending", "attempts": 0, "created_at": transaction.at}
    rows = [
        {**asdict(delivery), **common, "delivery_id": first + position}
        for position, delivery in enumerate(deliveries)
    ]
    transaction.connection.execute(
        insert(outbox).on_conflict_do_nothing(index_elements=[outbox.c.delivery_key]), rows
    )


def cancel_held_back(transaction: AlertTransaction, alert_ids: Collection[int]) -> None:
    """Take back messages about alerts that a silence held back: what is newer overtakes them."""
    outbox = table_of(transaction.schema, OUTBOX)
    transaction.connection.execute(
        sa.update(outbox)
        .where(outbox.c.alert_id.in_(list(alert_ids)), *_held_back(outbox, transaction.at))
        .values(status="cancelled")
    )


def told(transaction: AlertTransaction, alert_ids: Collection[int]) -> set[tuple[int, str]]:
    """Which channels were told of which alerts, or are about to be."""
    outbox = table_of(transaction.schema, OUTBOX).c
    query = (
        sa.select(outbox.alert_id, outbox.channel)
        .where(outbox.alert_id.in_(list(alert_ids)), outbox.status != "cancelled")
        .distinct()
    )
    return {(alert, channel) for alert, channel in transaction.connection.execute(query)}


def reschedule_held_back(transaction: AlertTransaction, alert_id: int, at: datetime) -> None:
    """Have messages about an alert that a silence holds back sent ``at`` another time."""
    outbox = table_of(transaction.schema, OUTBOX)
    transaction.connection.execute(
        sa.update(outbox)
        .where(outbox.c.alert_id == alert_id, *_held_back(outbox, transaction.at))
        .values(next_attempt_at=at)
    )


def held_back_alerts(transaction: AlertTransaction) -> list[int]:
    """Alerts about which messages are held back."""
    outbox = table_of(transaction.schema, OUTBOX)
    query = sa.select(outbox.c.alert_id).where(*_held_back(outbox, transaction.at)).distinct()
    return list(transaction.connection.execute(query).scalars())


def _held_back(outbox: sa.Table, at: datetime) -> Iterable[sa.ColumnElement[bool]]:
    columns = outbox.c
    return (columns.status == "pending", columns.attempts == 0, columns.next_attempt_at > at)


def due_channels(database: Database, now: datetime) -> list[str]:
    """Channels for which something is to be sent by ``now``.

    Raises:
        StorageError: the database is away.
    """
    outbox = table_of(database.schema, OUTBOX).c
    query = (
        sa.select(outbox.channel)
        .where(outbox.status == "pending", outbox.next_attempt_at <= now)
        .distinct()
        .order_by(outbox.channel)
    )
    with database.transaction("read which messages are due") as connection:
        return list(connection.execute(query).scalars())


def claim(database: Database, channel: str, now: datetime, lease: timedelta) -> list[Delivery]:
    """Messages that are to be sent to ``channel`` now, in their order, counted as tried.

    They are due again after ``lease`` if nothing is noted about them. Those about an alert wait for
    earlier ones about it.

    Raises:
        StorageError: the database is away; nothing is claimed.
    """
    outbox = table_of(database.schema, OUTBOX)
    earlier = outbox.alias("earlier")
    waits = sa.exists().where(
        earlier.c.alert_id == outbox.c.alert_id,
        earlier.c.alert_id != 0,
        earlier.c.channel == outbox.c.channel,
        earlier.c.status == "pending",
        earlier.c.delivery_id < outbox.c.delivery_id,
        earlier.c.next_attempt_at > now,
    )
    due = (
        sa.select(outbox.c.delivery_id)
        .where(
            outbox.c.channel == channel,
            outbox.c.status == "pending",
            outbox.c.next_attempt_at <= now,
            ~waits,
        )
        .order_by(outbox.c.delivery_id)
        .limit(CLAIMED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    fields = ("delivery_id", "channel", "kind", "severity", "title", "body", "attempts")
    claimed = (
        sa.update(outbox)
        .where(outbox.c.delivery_id.in_(due))
        .values(attempts=outbox.c.attempts + 1, next_attempt_at=now + lease)
        .returning(*(outbox.c[name] for name in fields))
    )
    with database.transaction(f"claim messages for {channel}") as connection:
        rows = [Delivery(*row) for row in connection.execute(claimed)]
    return sorted(rows, key=lambda delivery: delivery.delivery_id)


def note_sent(database: Database, deliveries: Sequence[Delivery], at: datetime) -> None:
    """Enter that messages were accepted.

    Raises:
        StorageError: the database is away; they will be sent again.
    """
    _note(database, deliveries, {"status": "sent", "sent_at": at, "last_error": None})


def note_failed(
    database: Database,
    deliveries: Sequence[Delivery],
    problem: str,
    next_attempt_at: datetime | None,
) -> None:
    """Enter that sending messages failed; without a next attempt they are given up.

    Raises:
        StorageError: the database is away; they will be tried again.
    """
    after: dict[str, Any] = (
        {"status": "dead"} if next_attempt_at is None else {"next_attempt_at": next_attempt_at}
    )
    _note(database, deliveries, {"last_error": problem, **after})


def release(database: Database, deliveries: Sequence[Delivery], now: datetime) -> None:
    """Give back messages that were claimed and not tried.

    Raises:
        StorageError: the database is away; they are due when the lease is over.
    """
    outbox = table_of(database.schema, OUTBOX)
    _note(database, deliveries, {"attempts": outbox.c.attempts - 1, "next_attempt_at": now})


def _note(database: Database, deliveries: Sequence[Delivery], values: dict[str, Any]) -> None:
    outbox = table_of(database.schema, OUTBOX)
    numbers = [delivery.delivery_id for delivery in deliveries]
    with database.transaction("note what became of messages") as connection:
        connection.execute(
            sa.update(outbox)
            .where(outbox.c.delivery_id.in_(numbers), outbox.c.status == "pending")
            .values(**values)
        )


def retry_dead(transaction: AlertTransaction, alert_id: int | None = None) -> int:
    """Have messages that were given up sent again, of one alert or all; how many there are."""
    outbox = table_of(transaction.schema, OUTBOX)
    revived = sa.update(outbox).where(outbox.c.status == "dead")
    if alert_id is not None:
        revived = revived.where(outbox.c.alert_id == alert_id)
    result = transaction.connection.execute(
        revived.values(status="pending", attempts=0, next_attempt_at=transaction.at).returning(
            outbox.c.delivery_id
        )
    )
    return len(result.all())


def forget_heartbeats(transaction: AlertTransaction, but: str) -> None:
    """Delete all heartbeats but the one with a key: a late one says nothing."""
    outbox = table_of(transaction.schema, OUTBOX)
    transaction.connection.execute(
        sa.delete(outbox).where(outbox.c.kind == "heartbeat", outbox.c.delivery_key != but)
    )


def delete_old_deliveries(database: Database, before: datetime) -> int:
    """Delete messages written before a moment that are not pending; how many.

    Raises:
        StorageError: the database is away or refuses.
    """
    outbox = table_of(database.schema, OUTBOX).c
    with database.transaction("delete old messages") as connection:
        result = connection.execute(
            sa.delete(outbox.status.table).where(
                outbox.created_at < before, outbox.status != "pending"
            )
        )
        return result.rowcount

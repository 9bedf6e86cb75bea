"""What is told by the clock: the daily digest, and the heartbeat of a dead man's switch.

Written by the sensor that evaluates alerts, after it has, and sent by the one that delivers: a
heartbeat that arrives says that both work, and the database.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.alerting.digest import DigestFacts, GroupDay, digest
from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.config.channels import HEARTBEAT
from valmon_pipeline.storage.alert_store import AlertTransaction, alert_transaction
from valmon_pipeline.storage.finality import stored_epochs
from valmon_pipeline.storage.outbox import NewDelivery, forget_heartbeats, write_deliveries
from valmon_pipeline.storage.queries import count_dead_deliveries, group_summary, list_alerts
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse

DAY: Final = timedelta(days=1)
LIVE_READ: Final = 1000


@dataclass(frozen=True, slots=True)
class ReminderRules:
    """``digest_channels`` get a digest at ``digest_hour`` UTC, by groups of category ``group_by``.
    ``heartbeat_every`` None: there is no dead man's switch."""

    network: str
    digest_channels: Sequence[str]
    digest_hour: int
    group_by: str
    heartbeat_every: timedelta | None


class Reminders:
    """Writes reminders when they are due; remembers which it wrote, to look only then.

    What another process wrote is not written twice: each has a key.
    """

    def __init__(self, rules: ReminderRules) -> None:
        self._rules = rules
        self._written: dict[str, str] = {}

    def write_due(self, warehouse: Warehouse, now: datetime) -> None:
        """Write what is due ``now``.

        Raises:
            StorageError: the database is away or refuses.
        """
        self._heartbeat(warehouse, now)
        self._digest(warehouse, now)

    def _heartbeat(self, warehouse: Warehouse, now: datetime) -> None:
        every = self._rules.heartbeat_every
        if every is None:
            return
        key = f"{HEARTBEAT}:{int(now.timestamp() // every.total_seconds())}"
        if self._written.get(HEARTBEAT) == key:
            return
        beat = _delivery(key, HEARTBEAT, "heartbeat", "heartbeat", "valmon is alive", now)
        with alert_transaction(warehouse.database, "write a heartbeat", now) as transaction:
            forget_heartbeats(transaction, key)
            write_deliveries(transaction, [beat])
        self._written[HEARTBEAT] = key

    def _digest(self, warehouse: Warehouse, now: datetime) -> None:
        rules = self._rules
        day = f"{now - timedelta(hours=rules.digest_hour):%Y-%m-%d}"
        if not rules.digest_channels or self._written.get("digest") == day:
            return
        message = digest(digest_facts(warehouse, rules, now))
        with alert_transaction(warehouse.database, "write a digest", now) as transaction:
            write_deliveries(
                transaction,
                [
                    _delivery(
                        f"digest:{day}:{channel}",
                        channel,
                        "digest",
                        message.title,
                        message.body,
                        now,
                    )
                    for channel in rules.digest_channels
                ],
            )
        self._written["digest"] = day


def digest_facts(warehouse: Warehouse, rules: ReminderRules, now: datetime) -> DigestFacts:
    """What the digest of the day before ``now`` says.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    epochs: list[int] = []
    if network is not None:
        seconds = network.slot_duration_ms * network.slots_per_epoch / 1000
        current = int((now.timestamp() - network.genesis_time) // seconds)
        first = max(0, current - int(DAY.total_seconds() // seconds))
        epochs = stored_epochs(warehouse.database, first=first, last=max(0, current))
    groups: list[GroupDay] = []
    if epochs:
        groups = _days(group_summary(warehouse, epochs), "everybody")
        groups += _days(group_summary(warehouse, epochs, rules.group_by), rules.group_by)
    with alert_transaction(warehouse.database, "count changes of alerts", now) as transaction:
        changes = _changes_since(transaction, now - DAY)
    live = list_alerts(warehouse, live_only=True, limit=LIVE_READ)
    ended = list_alerts(warehouse, live_only=False, resolved_since=now - DAY, limit=LIVE_READ)
    return DigestFacts(
        rules.network,
        epochs,
        groups,
        changes,
        [f"{row['severity']}: {row['message']}" for row in _worst_first(live)],
        [
            f"{row['severity']}: {row['message']} (epochs {row['since_epoch']} to "
            f"{row['last_epoch']})"
            for row in _worst_first(ended)
        ],
        count_dead_deliveries(warehouse),
    )


def _worst_first(alerts: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Rows of ``alerts``, the worst severity first."""
    return sorted(
        alerts.to_dict("records"),
        key=lambda row: -list(Severity).index(Severity(row["severity"])),
    )


def _days(summary: pd.DataFrame, category: str) -> list[GroupDay]:
    """The rows of ``group_summary``, named after their label."""
    return [
        GroupDay(
            category
            if category == "everybody"
            else f"{category}:{'(none)' if pd.isna(row['group']) else row['group']}",
            int(row["validators"]),
            int(row["duties"]),
            int(row["missed"]),
            None if pd.isna(row["reward_effectiveness"]) else float(row["reward_effectiveness"]),
            None if pd.isna(row["earned_gwei"]) else int(row["earned_gwei"]),
            int(row["incomplete_epochs"]),
        )
        for row in summary.to_dict("records")
    ]


def _changes_since(transaction: AlertTransaction, since: datetime) -> dict[str, int]:
    changes = table_of(transaction.schema, "alert_changes").c
    query = (
        sa.select(changes.change, sa.func.count())
        .where(changes.at >= since)
        .group_by(changes.change)
    )
    return {kind: int(count) for kind, count in transaction.connection.execute(query)}


def _delivery(
    key: str, channel: str, kind: str, title: str, body: str, now: datetime
) -> NewDelivery:
    return NewDelivery(key, channel, 0, kind, Severity.INFO.value, title, body, now)

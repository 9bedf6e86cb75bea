"""A webhook that a test tells how to answer, and alerts that are told to it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.life_cycle import Alert, Change, Finding, opened
from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.notify.sender import Sender, Timing
from valmon_pipeline.notify.wiring import send_to
from valmon_pipeline.storage.alert_store import StoredChange, alert_transaction
from valmon_pipeline.storage.database import Database
from valmon_pipeline_tests.beacon.scripted_node import ScriptedNode, scripted_node
from valmon_pipeline_tests.migrated_schema import make_migrated_schema

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def finding(validator: int, severity: Severity = Severity.WARNING, **changes: Any) -> Finding:
    """A validator that misses."""
    values: dict[str, Any] = {
        "kind": "missed_attestations",
        "severity": severity,
        "subject": f"validator:{validator}",
        "labels": ("operator:a",),
        "validator_indices": (validator,),
        "epoch": 10,
        "since_epoch": 8,
        "slot": None,
        "message": f"validator {validator}: 3 attestations missed in a row",
        "cost": 3000,
    }
    return Finding(**{**values, **changes})


@pytest.fixture(scope="session")
def shared_database(database_url: str) -> Iterator[Database]:
    """A schema that the tests of this package take in turn: making one takes longer than a test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    make_migrated_schema(database_url, name)
    database = Database(database_url, name)
    yield database
    with database.transaction("drop the schema") as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
    database.close()


@pytest.fixture
def database(shared_database: Database) -> Database:
    """The same with all tables about alerts empty."""
    with shared_database.transaction("empty tables") as connection:
        for table in (
            *("alerts", "alert_validators", "alert_changes"),
            *("alert_deliveries", "alert_silences"),
        ):
            connection.exec_driver_sql(f"TRUNCATE {shared_database.schema}.{table}")
    return shared_database


class Hook:
    """A webhook at ``/hook`` with what it was told."""

    def __init__(self, node: ScriptedNode) -> None:
        self.node = node
        self.address = node.url.replace("http://", "json://") + "/hook"

    @property
    def titles(self) -> list[str]:
        return [json.loads(one.body)["title"] for one in self.node.received]

    @property
    def messages(self) -> list[str]:
        return [json.loads(one.body)["message"] for one in self.node.received]


@pytest.fixture
def hook() -> Iterator[Hook]:
    with scripted_node() as node:
        yield Hook(node)


@dataclass
class Desk:
    """The outbox with its clock, which only ``later`` moves."""

    database: Database
    channels: Sequence[Channel]
    now: datetime = NOW
    send_seconds: float = 30.0
    templates: Templates = field(default_factory=lambda: Templates("devnet"))

    def __post_init__(self) -> None:
        self.sender = self.new_sender()

    def new_sender(self) -> Sender:
        timing = Timing(self.send_seconds, 4 * self.send_seconds, lambda: self.now)
        return Sender({one.name: send_to(one) for one in self.channels}, timing)

    def change(self, *changes: Change | None) -> list[StoredChange]:
        """Store changes with their messages."""
        with alert_transaction(self.database, "test", self.now) as transaction:
            stored = transaction.store([one for one in changes if one is not None])
            Notifier(self.channels, self.templates)(transaction, stored)
        return stored

    def open(self, *findings: Finding) -> list[Alert]:
        return [one.change.alert for one in self.change(*map(opened, findings))]

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)

    def send(self) -> tuple[int, int, int]:
        """Send what is due: how many were sent, failed, given up."""
        outcome = self.sender.send_due(self.database)
        return outcome.sent, outcome.failed, outcome.dead

    def rows(self) -> list[dict[str, Any]]:
        """The outbox in its order."""
        with self.database.transaction("read the outbox") as connection:
            table = f"{self.database.schema}.alert_deliveries"
            result = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY delivery_id")
            return [dict(row) for row in result.mappings()]

    def statuses(self) -> list[str]:
        return [row["status"] for row in self.rows()]


@pytest.fixture
def desk(database: Database, hook: Hook) -> Desk:
    return Desk(database, [Channel("oncall", hook.address)])

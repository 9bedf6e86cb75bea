"""Messages are sent in the tick of the alert sensor: what a tick does and says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from valmon_pipeline.alerting.rule import SystemFacts
from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.assets.alerts import Alerting, evaluate_system_facts
from valmon_pipeline.automation.alert_sensor import alert_sensor
from valmon_pipeline.automation.delivery import Delivery
from valmon_pipeline.config import Settings
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.errors import DeliveryError
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.notify.sender import Send, Sender
from valmon_pipeline.notify.wiring import reminders_of
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.warehouse import Warehouse

ALERTING = Alerting(on_stored=Notifier([Channel("hook", "")], Templates("devnet")))


class Ticks:
    """A sensor of alerts whose messages a function sends."""

    def __init__(self, schema: str, database_url: str, send: Send) -> None:
        settings = Settings(network=schema)
        self.pipeline = pipeline_of(settings, lambda: database_url)
        self._sensor = alert_sensor(schema, reminders_of(settings), Sender({"hook": send}))
        self._definitions = dg.Definitions(
            sensors=[self._sensor],
            assets=[dg.AssetSpec("any")],
            resources={"pipeline": self.pipeline},
        )

    def tick(self) -> str:
        """Evaluate a tick; its message."""
        said = self.evaluate().skip_message
        assert said is not None
        return said

    def evaluate(self, cursor: str | None = None) -> SensorExecutionData:
        """Evaluate a tick."""
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(
                instance=instance,
                cursor=cursor,
                resources={"pipeline": self.pipeline},
                definitions=self._definitions,
            ) as context,
        ):
            return self._sensor.evaluate_tick(context)


@contextmanager
def ticks(schema: str, database_url: str, send: Send) -> Iterator[Ticks]:
    made = Ticks(schema, database_url, send)
    yield made
    made.pipeline.warehouse.database.close()


def refuse(*_: object) -> None:
    raise DeliveryError("HTTP 500")


def write_message(warehouse: Warehouse) -> None:
    now = datetime.now(UTC)
    evaluate_system_facts(warehouse, ALERTING, SystemFacts(12, 9, 3.0, False, 0, ""), now)


def test_a_tick_sends_what_the_evaluation_wrote(warehouse: Warehouse, database_url: str) -> None:
    write_message(warehouse)
    told: list[str] = []
    with ticks(warehouse.schema, database_url, refuse) as failing:
        assert failing.tick() == "1 to be tried again"
        assert failing.tick() == "no changes"
    with warehouse.database.transaction("make it due") as connection:
        table = f"{warehouse.schema}.alert_deliveries"
        connection.exec_driver_sql(f"UPDATE {table} SET next_attempt_at = created_at")
    with ticks(
        warehouse.schema, database_url, lambda message, severity: told.append(message.title)
    ) as sending:
        assert sending.tick() == "1 sent"
    assert told == ["[devnet] critical: Beacon node unhealthy – node"]


def test_a_channel_that_hangs_keeps_its_round_and_not_the_tick(
    warehouse: Warehouse, database_url: str
) -> None:
    write_message(warehouse)
    answered = threading.Event()

    def hang(*_: object) -> None:
        answered.wait(60)

    with ticks(warehouse.schema, database_url, hang) as hanging:
        assert hanging.tick() == "messages are being sent"
        assert hanging.tick() == "messages are being sent"
        answered.set()
        assert hanging.tick() == "1 sent"
        assert hanging.tick() == "no changes"


def test_a_tick_without_a_database_says_so(warehouse: Warehouse) -> None:
    without = Ticks(warehouse.schema, "postgresql://127.0.0.1:1/none", refuse)
    assert without.tick().count("could not") == 2


def test_an_error_of_sending_is_the_ticks(warehouse: Warehouse, database_url: str) -> None:
    def broken() -> Database:
        raise RuntimeError("no such channel")

    rounds = Delivery(Sender({}))
    log = dg.get_dagster_logger()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no such channel"):
            rounds.send_due(broken, log)
    assert rounds.send_due(lambda: warehouse.database, log) == ""


def test_what_a_tick_reports_outlives_an_error_of_sending(
    warehouse: Warehouse, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such channel")

    monkeypatch.setattr(Sender, "send_due", broken)
    with ticks(warehouse.schema, database_url, refuse) as failing:
        # Another number of undelivered messages was reported last.
        result = failing.evaluate(cursor="7")
        assert len(result.asset_events) == 1
        assert result.cursor == "0"
        assert result.skip_message == "the messages could not be sent: RuntimeError"
        with pytest.raises(RuntimeError, match="no such channel"):
            failing.evaluate(cursor="0")

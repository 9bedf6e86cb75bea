"""The sensor that sends the outbox: what a tick does and says."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from valmon_pipeline.alerting.rule import SystemFacts
from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.assets.alerts import Alerting, evaluate_system_facts
from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.automation.delivery_sensor import delivery_sensor
from valmon_pipeline.config import Settings
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.errors import DeliveryError
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.notify.sender import Send, Sender
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage.warehouse import Warehouse


def tick(warehouse: Warehouse, database_url: str, send: Send) -> str:
    """What a tick says, with a channel that sends so."""
    settings = Settings(network=warehouse.schema)
    pipeline: Pipeline = pipeline_of(settings, lambda: database_url)
    sensor = delivery_sensor(Sender({"hook": send}))
    definitions = dg.Definitions(
        sensors=[sensor], assets=[dg.AssetSpec("any")], resources={"pipeline": pipeline}
    )
    with dg.build_sensor_context(
        resources={"pipeline": pipeline}, definitions=definitions
    ) as context:
        said = sensor.evaluate_tick(context).skip_message
    pipeline.warehouse.database.close()
    assert said is not None
    return said


def refuse(*_: object) -> None:
    raise DeliveryError("HTTP 500")


def test_a_tick_sends_what_the_evaluation_wrote(warehouse: Warehouse, database_url: str) -> None:
    now = datetime.now(UTC)
    alerting = Alerting(on_stored=Notifier([Channel("hook", "")], Templates("devnet")))
    evaluate_system_facts(warehouse, alerting, SystemFacts(12, 9, 3.0, False, 0, ""), now)
    told: list[str] = []
    assert tick(warehouse, database_url, refuse) == "1 to be tried again"
    assert tick(warehouse, database_url, refuse) == "nothing to send"
    with warehouse.database.transaction("make it due") as connection:
        table = f"{warehouse.schema}.alert_deliveries"
        connection.exec_driver_sql(f"UPDATE {table} SET next_attempt_at = created_at")
    said = tick(warehouse, database_url, lambda message, severity: told.append(message.title))
    assert said == "1 sent"
    assert told == ["[devnet] critical: Beacon node unhealthy – node"]


def test_a_tick_without_a_database_says_so(warehouse: Warehouse) -> None:
    assert "could not" in tick(warehouse, "postgresql://127.0.0.1:1/none", refuse)

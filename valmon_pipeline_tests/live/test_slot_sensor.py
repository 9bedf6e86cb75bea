"""The sensor as Dagster calls it: what it stores, reports, and says when it cannot."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.automation.slot_sensor import slot_sensor
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.config import Settings, WatchList
from valmon_pipeline.errors import BeaconUnreachableError
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import client_opener
from valmon_pipeline_tests.live.conftest import ALL, OpenChain


def tick(
    sensor: dg.SensorDefinition, pipeline: Pipeline, cursor: str | None = None
) -> SensorExecutionData:
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance, cursor=cursor, resources={"pipeline": pipeline}
        ) as context,
    ):
        return sensor.evaluate_tick(context)


def pipeline_to(url: str, tables: Warehouse) -> Pipeline:
    nobody = WatchList(everyone=False, indices=(), pubkeys=(), labels={})
    return Pipeline("devnet", client_opener(url), lambda: tables, ALL, nobody)


def test_it_stores_and_reports_what_happened(open_chain: OpenChain, tables: Warehouse) -> None:
    chain, sensor = open_chain(276), slot_sensor(Settings(network="devnet"), "refresh")
    pipeline = pipeline_to(chain.url, tables)
    first = tick(sensor, pipeline)
    assert first.cursor == "34"
    assert [type(event) for event in first.asset_events] == [dg.AssetObservation] * 2
    [refresh] = first.run_requests or []  # of the job that the sensor was made for
    assert (refresh.run_key or "").startswith("validators:devnet:")
    chain.go_to(277)
    second = tick(sensor, pipeline, first.cursor)
    assert not second.asset_events  # no event for a mere slot
    assert (second.skip_message or "").startswith("head slot 277 (epoch 34, ")
    chain.go_to(279)  # after the missed slot 278
    [missed] = tick(sensor, pipeline, first.cursor).asset_events
    assert isinstance(missed, dg.AssetMaterialization)
    assert missed.asset_key == dg.AssetKey(["devnet", "live_events"])
    assert tables.read("live_slots")["slot"].tolist() == [276, 277, 278, 279]
    chain.go_to(280 + 1)
    assert tick(sensor, pipeline, first.cursor).cursor == "35"


def test_every_tick_follows_the_pipeline_that_it_is_handed(tables: Warehouse) -> None:
    asked: list[str] = []

    def pipeline_of(node: str) -> Pipeline:
        def away(
            avoid: Collection[str] = (), *, archive: bool = False
        ) -> AbstractAsyncContextManager[BeaconClient]:
            asked.append(node)
            raise BeaconUnreachableError(f"{node} is away")

        return replace(pipeline_to("", tables), open_client=away)

    sensor = slot_sensor(Settings(network="devnet"), "refresh")
    first, second = pipeline_of("first"), pipeline_of("second")
    for pipeline in (first, first, second, first):
        tick(sensor, pipeline)
    assert asked == ["first", "first", "second", "first"]


def test_a_node_that_is_away_is_said_to_be(tables: Warehouse) -> None:
    result = tick(
        slot_sensor(Settings(network="devnet"), "refresh"),
        pipeline_to("http://127.0.0.1:9", tables),
        "7",
    )
    assert result.cursor == "7"
    assert "no answer after" in (result.skip_message or "")
    assert "127.0.0.1:9" in (result.skip_message or "")

"""What a process counts, between it and whoever stores it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from valmon_pipeline.telemetry.process_counts import ProcessCounts, Series


class Stored(dict[Series, float]):
    """Adds up what it is given, as the database does."""

    def add(self, grown: Mapping[Series, float]) -> None:
        for series, value in grown.items():
            self[series] = self.get(series, 0.0) + value


class Served(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def test_several_processes_add_up_to_one_valid_exposition() -> None:
    stored, processes = Stored(), [ProcessCounts() for _ in range(3)]
    for process in processes:
        process.answered("a", "/eth/v1/node/syncing", "200", 0.03)
        process.store(stored.add)
        process.answered("a", "/eth/v1/node/syncing", "503", 3.0)
        process.wrote("blocks", 8, 0.5)
        process.store(stored.add)
        process.store(stored.add)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Served(list(ProcessCounts().served(stored, "hoodi"))))
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return samples[name, frozenset({"network": "hoodi", **labels}.items())]

    asked = {"node": "a", "endpoint": "/eth/v1/node/syncing"}
    assert value("valmon_beacon_requests_total", outcome="503", **asked) == 3
    buckets = {"0.02": 0, "0.05": 3, "2.5": 3, "5.0": 6, "+Inf": 6}
    for le, count in buckets.items():
        assert value("valmon_beacon_request_seconds_bucket", le=le, **asked) == count
    assert value("valmon_beacon_request_seconds_sum", **asked) == pytest.approx(9.09)
    assert value("valmon_table_written_rows_total", table="blocks") == 24


def test_what_could_not_be_stored_is_stored_the_next_time() -> None:
    stored, process = Stored(), ProcessCounts()
    process.wrote("blocks", 8, 0.5)

    def refuse(grown: Mapping[Series, float]) -> None:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        process.store(refuse)
    process.wrote("blocks", 1, 0.5)
    process.store(stored.add)
    assert stored["valmon_table_written_rows_total", '{"table":"blocks"}'] == 9

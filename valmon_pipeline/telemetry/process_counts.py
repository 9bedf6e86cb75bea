"""What one process counts and measures, until it is added to what is stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric

Series = tuple[str, str]
"""Name of a sample, and its labels as JSON with sorted keys."""

_REQUEST_SECONDS: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_IN_USE: Final = (1, 2, 3, 5, 8, 10, 15, 20, 50)


class ProcessCounts:
    """Counters and histograms of one process; safe to use from several threads.

    It is what a beacon client and a database are observed by (``beacon.request_observer``,
    ``storage.database_observer``).
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._stored: dict[Series, float] = {}
        node = ["node", "endpoint"]
        self._requests = Counter(
            "valmon_beacon_requests",
            "Requests sent to beacon nodes, retries included, by HTTP status or kind of error.",
            [*node, "outcome"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "valmon_beacon_request_seconds",
            "From sending a request to the last byte of its answer.",
            node,
            registry=self._registry,
            buckets=_REQUEST_SECONDS,
        )
        self._rate_limit_seconds = Counter(
            "valmon_beacon_rate_limit_wait_seconds",
            "Time that requests waited for valmon's own rate limit, added up.",
            ["node"],
            registry=self._registry,
        )
        self._rows = Counter(
            "valmon_table_written_rows",
            "Rows written of epochs.",
            ["table"],
            registry=self._registry,
        )
        self._write_seconds = Counter(
            "valmon_table_write_seconds",
            "Time that replacing the rows of epochs took.",
            ["table"],
            registry=self._registry,
        )
        self._pool_wait = Histogram(
            "valmon_database_pool_wait_seconds",
            "How long transactions waited for a connection, new ones being opened included.",
            registry=self._registry,
            buckets=(0.001, 0.01, 0.1, 0.5, 1, 5, 30),
        )
        self._pool_in_use = Histogram(
            "valmon_database_pool_in_use",
            "Connections of a process in use whenever a transaction begins, its own included.",
            registry=self._registry,
            buckets=_IN_USE,
        )

    def answered(self, node: str, endpoint: str, outcome: str, seconds: float) -> None:
        """A request was answered, or failed."""
        self._requests.labels(node, endpoint, outcome).inc()
        self._request_seconds.labels(node, endpoint).observe(seconds)

    def waited_for_rate_limit(self, node: str, seconds: float) -> None:
        """A request waited until it could be sent."""
        self._rate_limit_seconds.labels(node).inc(seconds)

    def wrote(self, table: str, rows: int, seconds: float) -> None:
        """Rows of an epoch were replaced."""
        self._rows.labels(table).inc(rows)
        self._write_seconds.labels(table).inc(seconds)

    def connected(self, seconds: float, in_use: int) -> None:
        """A transaction got its connection."""
        self._pool_wait.observe(seconds)
        self._pool_in_use.observe(in_use)

    def store(self, add: Callable[[Mapping[Series, float]], None]) -> None:
        """Have ``add`` add what was counted since the last time that it did without an error."""
        with self._lock:
            counted = self._counted()
            grown = {
                series: value - self._stored.get(series, 0.0)
                for series, value in counted.items()
                if value != self._stored.get(series)
            }
            if grown:
                add(grown)
                self._stored = counted

    def _counted(self) -> dict[Series, float]:
        return {
            (sample.name, encoded(sample.labels)): sample.value
            for family in self._registry.collect()
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    def served(self, stored: Mapping[Series, float], network: str) -> Iterable[Metric]:
        """What is stored of all processes, as metrics with one more label, ``network``."""
        by_name: dict[str, list[tuple[dict[str, str], float]]] = {}
        for (name, as_json), value in stored.items():
            decoded = msgspec.json.decode(as_json, type=dict[str, str])
            by_name.setdefault(name, []).append((decoded, value))
        for family in self._registry.collect():
            served = Metric(family.name, family.documentation, family.type)
            for suffix in ("_total", "_bucket", "_count", "_sum"):
                for labels, value in by_name.get(family.name + suffix, []):
                    served.add_sample(family.name + suffix, {**labels, "network": network}, value)
            yield served


def encoded(labels: Mapping[str, str]) -> str:
    """Labels as the text that a series is stored under."""
    return msgspec.json.encode(dict(labels), order="sorted").decode()

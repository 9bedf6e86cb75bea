"""How metric families are made: every sample says which network it is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

NETWORK = "network"


def gauge(name: str, meaning: str, network: str, value: float | None) -> Iterator[Metric]:
    """A gauge without further labels; nothing if the value is not known."""
    if value is not None:
        yield gauges(name, meaning, network, [], {(): value})


def gauges(
    name: str,
    meaning: str,
    network: str,
    labels: Iterable[str],
    samples: Mapping[tuple[str, ...], float | None],
) -> GaugeMetricFamily:
    """A gauge with a sample per value of ``labels``; those not known are left out."""
    family = GaugeMetricFamily(name, meaning, labels=[*labels, NETWORK])
    for values, value in samples.items():
        if value is not None:
            family.add_metric([*values, network], value)
    return family

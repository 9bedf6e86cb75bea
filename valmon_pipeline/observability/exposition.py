"""Stored figures as Prometheus metrics.

Names that start with ``eth_`` are those of Kiln's eth-validator-watcher and mean the same; no label
names a validator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from valmon_pipeline.observability.stored_figures import (
    EVERYBODY,
    Group,
    StoredEpoch,
    StoredFigures,
)

_SUMS: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Any]], float | None]]]] = {
    "eth_suboptimal_sources_rate": (
        "Attestations without TIMELY_SOURCE, in percent of those due.",
        lambda sums: _percent(sums["duties"] - sums["source_timely"], sums["duties"]),
    ),
    "eth_suboptimal_targets_rate": (
        "Attestations without TIMELY_TARGET, in percent of those due.",
        lambda sums: _percent(sums["duties"] - sums["target_timely"], sums["duties"]),
    ),
    "eth_suboptimal_heads_rate": (
        "Attestations without TIMELY_HEAD, in percent of those due.",
        lambda sums: _percent(sums["duties"] - sums["head_timely"], sums["duties"]),
    ),
    "eth_ideal_consensus_rewards_gwei": (
        "Attestation rewards of perfect attestations.",
        lambda sums: sums["ideal_reward"],
    ),
    "eth_actual_consensus_rewards_gwei": (
        "Attestation rewards earned.",
        lambda sums: sums["reward"],
    ),
    "eth_consensus_rewards_rate": (
        "Attestation rewards in percent of the ideal, where the ideal is known.",
        lambda sums: _percent(sums["scored_reward"], sums["scored_ideal_reward"]),
    ),
    "eth_missed_attestations": (
        "Attestations that no block carries, although one could have.",
        lambda sums: sums["missed"],
    ),
}


class FiguresCollector(Collector):
    """The metrics of one scrape.

    ``watches_network``: the watched validators are all of the network's, and are exported as
    ``scope:all-network``, too.
    """

    def __init__(self, figures: StoredFigures, network: str, *, watches_network: bool) -> None:
        self._figures = figures
        self._network = network
        self._watches_network = watches_network

    def collect(self) -> Iterable[Metric]:
        """Every metric family of which something is known."""
        yield from self._chain()
        yield from self._database()
        if self._figures.newest is not None:
            yield from self._groups(self._figures.newest)

    def _chain(self) -> Iterator[Metric]:
        figures, head, newest = self._figures, self._figures.head, self._figures.newest
        slot, epoch = figures.clock_slot, figures.clock_epoch
        yield from self._gauge("eth_slot", "Slot by the clock.", slot)
        yield from self._gauge("eth_epoch", "Epoch by the clock.", epoch)
        if head is not None:
            yield from self._gauge("valmon_head_slot", "Slot of the head last seen.", head.slot)
            yield from self._gauge(
                "valmon_head_lag_slots", "Slots from that head to the clock.", head.slots_behind
            )
            yield from self._gauge(
                "valmon_head_age_seconds",
                "Seconds since the slot sensor last looked at the head.",
                head.seconds_since_seen,
            )
            yield from self._gauge(
                "valmon_finalized_epoch", "Finalized epoch last seen.", head.finalized_epoch
            )
        if newest is not None and epoch is not None:
            yield from self._gauge("valmon_stored_epoch", "Newest stored epoch.", newest.epoch)
            yield from self._gauge(
                "valmon_stored_lag_epochs",
                "Epochs from the newest stored one to the clock; 2 when all is well, for an "
                "epoch is stored when the next one is over.",
                max(0, epoch - newest.epoch),
            )

    def _database(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily(
            "valmon_table_rows", "Rows, as estimated by the server.", labels=["table", "network"]
        )
        sizes = GaugeMetricFamily(
            "valmon_table_bytes", "Size with indexes.", labels=["table", "network"]
        )
        for table, count, size in self._figures.tables:
            rows.add_metric([table, self._network], count)
            sizes.add_metric([table, self._network], size)
        connections = GaugeMetricFamily(
            "valmon_database_connections",
            "Connections of all of valmon's processes, by the state the server tells.",
            labels=["state", "network"],
        )
        for state, count in self._figures.connections.items():
            connections.add_metric([state, self._network], count)
        yield from (rows, sizes, connections)

    def _groups(self, newest: StoredEpoch) -> Iterator[Metric]:
        for name, (meaning, figure) in _SUMS.items():
            family = self._scoped(name, meaning)
            for group, sums in newest.sums.items():
                value = figure(sums)
                if value is not None:
                    for scope in self._scopes(group):
                        family.add_metric([scope, self._network], value)
            yield family
        statuses = GaugeMetricFamily(
            "eth_validator_status_count",
            "Validators by status at the start of the newest stored epoch.",
            labels=["scope", "status", "network"],
        )
        for group, counts in newest.statuses.items():
            for status, count in counts.items():
                for scope in self._scopes(group):
                    statuses.add_metric([scope, status, self._network], count)
        yield statuses
        slashed = self._scoped("eth_slashed_validators", "Slashed validators.")
        for group, count in newest.slashed.items():
            for scope in self._scopes(group):
                slashed.add_metric([scope, self._network], count)
        yield slashed

    def _scopes(self, group: Group) -> list[str]:
        """The scopes a group is exported under; none for those without a label."""
        if group == EVERYBODY:
            network = ["scope:all-network"] if self._watches_network else []
            return ["scope:watched", *network]
        category, value = group
        return [f"{category}:{value}"] if value else []

    def _scoped(self, name: str, meaning: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, meaning, labels=["scope", "network"])

    def _gauge(self, name: str, meaning: str, value: float | None) -> Iterator[Metric]:
        if value is not None:
            family = GaugeMetricFamily(name, meaning, labels=["network"])
            family.add_metric([self._network], value)
            yield family


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None

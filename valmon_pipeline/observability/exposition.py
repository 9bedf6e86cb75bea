"""What is stored, and what is remembered of the nodes, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from valmon_pipeline.beacon.circuit_breaker import BreakerState
from valmon_pipeline.observability.families import gauge, gauges
from valmon_pipeline.observability.group_metrics import GroupMetrics
from valmon_pipeline.observability.validator_metrics import validator_metrics
from valmon_pipeline.storage.queries.figures import LIVE_ALERTS, UNTOLD, StoredFigures
from valmon_pipeline.telemetry import ProcessCounts

_SEVERITIES: Final = ("info", "warning", "critical")


class FiguresCollector(Collector):
    """The metrics of one scrape; ``breakers`` is the state of every node's breaker."""

    def __init__(
        self,
        network: str,
        figures: StoredFigures,
        breakers: Mapping[str, BreakerState],
        *,
        watches_network: bool,
    ) -> None:
        self._network = network
        self._figures = figures
        self._breakers = breakers
        self._groups = GroupMetrics(network, watches_network=watches_network)

    def collect(self) -> Iterable[Metric]:
        """Every metric family of which something is known."""
        figures = self._figures
        yield from self._chain()
        yield from self._missing()
        yield from self._database()
        yield gauges(
            "valmon_alerts",
            "Alerts that are open, or acknowledged and not over yet.",
            self._network,
            ["severity", "status"],
            {
                (severity, status): figures.alerts.get((severity, status), 0)
                for severity in _SEVERITIES
                for status in LIVE_ALERTS
            },
        )
        yield gauges(
            "valmon_alert_messages",
            "Messages about alerts that nobody has got: pending, to be sent; dead, given up.",
            self._network,
            ["status"],
            {(status,): figures.messages.get(status, 0) for status in UNTOLD},
        )
        yield gauges(
            "valmon_node_breaker_state",
            "1 for the state that the circuit breaker of a beacon node is in: closed, its node is "
            "asked; open, it is left alone; half-open, it gets one more chance.",
            self._network,
            ["node", "state"],
            {
                (node, state.value): float(state is is_in)
                for node, is_in in self._breakers.items()
                for state in BreakerState
            },
        )
        yield from ProcessCounts().served(figures.counts, self._network)
        yield self._groups.future_proposals(figures.future_proposals)
        if figures.newest is not None:
            yield from self._groups.collect(figures.newest)
            if figures.newest.validators:
                yield from validator_metrics(self._network, figures.newest.validators)

    def _chain(self) -> Iterator[Metric]:
        figures, head, newest = self._figures, self._figures.head, self._figures.newest
        epoch = figures.clock_epoch
        yield from self._gauge("eth_slot", "Slot by the clock.", figures.clock_slot)
        yield from self._gauge("eth_epoch", "Epoch by the clock.", epoch)
        if head is not None:
            yield from self._gauge("valmon_head_slot", "Slot of the head last seen.", head.slot)
            yield from self._gauge(
                "valmon_head_lag_slots", "Slots from that head to the clock.", head.slots_behind
            )
            yield from self._gauge(
                "valmon_head_age_seconds",
                "Seconds since the slot sensor last read the head.",
                head.seconds_since_seen,
            )
            yield from self._gauge(
                "valmon_finalized_epoch", "Finalized epoch last seen.", head.finalized_epoch
            )
        if newest is not None and epoch is not None:
            yield from self._gauge("valmon_stored_epoch", "Newest stored epoch.", newest.epoch)
            yield from self._gauge(
                "valmon_stored_lag_epochs",
                "Epochs from the newest stored one to the clock; 2 or 3 when all is well, for an "
                "epoch is stored when the next one is over.",
                max(0, epoch - newest.epoch),
            )

    def _missing(self) -> Iterator[Metric]:
        figures = self._figures
        yield from self._gauge(
            "valmon_incomplete_epochs",
            "Stored epochs that lack a fact.",
            figures.incomplete_epochs,
        )
        yield gauges(
            "valmon_missing_facts",
            "Stored epochs that lack the fact.",
            self._network,
            ["fact"],
            {(fact,): count for fact, count in figures.missing_facts.items()},
        )

    def _database(self) -> Iterator[Metric]:
        tables = self._figures.tables
        yield gauges(
            "valmon_table_rows",
            "Rows, as estimated by the server.",
            self._network,
            ["table"],
            {(table,): count for table, count, _ in tables},
        )
        yield gauges(
            "valmon_table_bytes",
            "Size with indexes.",
            self._network,
            ["table"],
            {(table,): size for table, _, size in tables},
        )
        yield gauges(
            "valmon_database_connections",
            "Connections of all of valmon's processes, by the state the server tells.",
            self._network,
            ["state"],
            {(state,): count for state, count in self._figures.connections.items()},
        )

    def _gauge(self, name: str, meaning: str, value: float | None) -> Iterator[Metric]:
        return gauge(name, meaning, self._network, value)

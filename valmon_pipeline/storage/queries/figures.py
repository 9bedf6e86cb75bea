"""The figures of the tables that are exported as metrics, in a fixed number of statements however
many validators are watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from valmon_pipeline.storage.chain_head import ChainHead, read_chain_head
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.process_counters import stored_counts
from valmon_pipeline.storage.queries.incomplete_epochs import count_missing
from valmon_pipeline.storage.queries.newest_epoch import Group, StoredEpoch, newest_epoch, of_groups
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline.telemetry.process_counts import Series

LIVE_ALERTS: Final = ("open", "acknowledged")
UNTOLD: Final = ("pending", "dead")
"""Messages about alerts that nobody has got."""


@dataclass(frozen=True, slots=True)
class StoredFigures:
    """What is known at ``now``; None where nothing is stored yet.

    ``tables`` are (name, estimated rows, bytes), child tables included; ``connections`` those of
    all of valmon's processes to this schema, by state; ``alerts`` the live ones by (severity,
    status), ``messages`` about them that nobody has got by status; ``future_proposals`` the blocks
    due after the slot of the clock, by group; ``counts`` what all processes have counted;
    ``incomplete_epochs`` how many stored epochs lack a fact, ``missing_facts`` how many lack which.
    """

    now: datetime
    network: NetworkIdentity | None
    head: ChainHead | None
    newest: StoredEpoch | None
    tables: Sequence[tuple[str, int, int]]
    connections: Mapping[str, int]
    alerts: Mapping[tuple[str, str], int]
    messages: Mapping[str, int]
    future_proposals: Mapping[Group, int]
    counts: Mapping[Series, float]
    incomplete_epochs: int
    missing_facts: Mapping[str, int]

    @property
    def clock_slot(self) -> int | None:
        """The slot that it is by this machine's clock."""
        return None if self.network is None else _slot_at(self.network, self.now)

    @property
    def clock_epoch(self) -> int | None:
        """The epoch of that slot."""
        slot = self.clock_slot
        if slot is None or self.network is None:
            return None
        return slot // self.network.slots_per_epoch


class FiguresReader:
    """Reads the figures of a warehouse; the newest epoch's only when it was stored since.

    ``per_validator``: also what is exported of each validator.
    """

    def __init__(self, warehouse: Warehouse, *, per_validator: bool = False) -> None:
        self.warehouse = warehouse
        self._per_validator = per_validator
        self._newest: StoredEpoch | None = None

    def read(self, now: datetime) -> StoredFigures:
        """Everything that is exported, as of ``now``.

        Raises:
            StorageError: the database is away, or was not migrated.
        """
        network = self.warehouse.network()
        head = read_chain_head(self.warehouse, now)
        schema = self.warehouse.schema
        with self.warehouse.database.transaction("read the figures to export") as connection:
            self._newest = newest_epoch(
                connection, schema, self._newest, per_validator=self._per_validator
            )
            return StoredFigures(
                now,
                network,
                head,
                self._newest,
                _tables(connection, schema),
                _connections(connection, schema),
                _alerts(connection, schema),
                _messages(connection, schema),
                {} if network is None else _future_proposals(connection, schema, network, now),
                stored_counts(connection, schema),
                *count_missing(connection, schema),
            )


def _slot_at(network: NetworkIdentity, now: datetime) -> int:
    since_genesis_ms = round(now.timestamp() * 1000) - network.genesis_time * 1000
    return max(0, since_genesis_ms // network.slot_duration_ms)


def _tables(connection: sa.Connection, schema: str) -> list[tuple[str, int, int]]:
    """Rows as the server keeps count of them: counting would read every row."""
    rows = connection.execute(
        sa.text(
            "SELECT coalesce(parent.relname, own.relname), "
            "sum(pg_stat_get_live_tuples(own.oid))::bigint, "
            "sum(pg_total_relation_size(own.oid))::bigint "
            "FROM pg_class own JOIN pg_namespace n ON n.oid = own.relnamespace "
            "LEFT JOIN pg_inherits i ON i.inhrelid = own.oid "
            "LEFT JOIN pg_class parent ON parent.oid = i.inhparent "
            "WHERE n.nspname = :schema AND own.relkind = 'r' GROUP BY 1 ORDER BY 1"
        ),
        {"schema": schema},
    )
    return [(name, count, size) for name, count, size in rows]


def _connections(connection: sa.Connection, schema: str) -> dict[str, int]:
    rows = connection.execute(
        sa.text(
            "SELECT coalesce(state, 'unknown'), count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = :name GROUP BY 1"
        ),
        {"name": f"valmon {schema}"},
    )
    return {str(state): count for state, count in rows}


def _alerts(connection: sa.Connection, schema: str) -> dict[tuple[str, str], int]:
    alerts = table_of(schema, "alerts").c
    rows = connection.execute(
        sa.select(alerts.severity, alerts.status, sa.func.count())
        .where(alerts.status.in_(LIVE_ALERTS))
        .group_by(alerts.severity, alerts.status)
    )
    return {(severity, status): count for severity, status, count in rows}


def _messages(connection: sa.Connection, schema: str) -> dict[str, int]:
    outbox = table_of(schema, "alert_deliveries").c
    rows = connection.execute(
        sa.select(outbox.status, sa.func.count())
        .where(outbox.status.in_(UNTOLD))
        .group_by(outbox.status)
    )
    return {str(status): int(count) for status, count in rows}


def _future_proposals(
    connection: sa.Connection, schema: str, network: NetworkIdentity, now: datetime
) -> dict[Group, int]:
    duties = table_of(schema, "proposer_duties").c
    slot = _slot_at(network, now)
    epoch = slot // network.slots_per_epoch
    due: sa.Select[Any] = sa.select(duties.validator_index).where(
        duties.epoch.in_([epoch, epoch + 1]), duties.slot > slot
    )
    members = of_groups(schema, due, epoch).c
    rows = connection.execute(
        sa.select(members.category, members.value, sa.func.count()).group_by(
            members.category, members.value
        )
    )
    return {(category, value): count for category, value, count in rows}

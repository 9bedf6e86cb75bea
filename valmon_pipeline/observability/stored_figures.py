"""The figures that the tables hold, read in a fixed number of statements however many validators
are watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from valmon_pipeline.frames.epoch_summaries import CONTRACT as SUMMARIES
from valmon_pipeline.storage.chain_head import ChainHead, read_chain_head
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse

EVERYBODY = ("all", "all")
"""Category and value of the group of all watched validators."""

Group = tuple[str, str]


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """The newest stored epoch: its groups' sums, and its validators by group and status.

    ``sums`` are rows of ``epoch_summaries`` by (category, value). ``statuses`` are counts by
    (category, value), then by status; ``slashed`` counts by (category, value).
    """

    epoch: int
    sums: Mapping[Group, Mapping[str, Any]]
    statuses: Mapping[Group, Mapping[str, int]]
    slashed: Mapping[Group, int]


@dataclass(frozen=True, slots=True)
class StoredFigures:
    """What is known at ``now``; None where nothing is stored yet.

    ``tables`` are (name, estimated rows, bytes), child tables included; ``connections`` those of
    all of valmon's processes to this schema, by state.
    """

    now: datetime
    network: NetworkIdentity | None
    head: ChainHead | None
    newest: StoredEpoch | None
    tables: Sequence[tuple[str, int, int]]
    connections: Mapping[str, int]

    @property
    def clock_slot(self) -> int | None:
        """The slot that it is by this machine's clock."""
        if self.network is None:
            return None
        since_genesis_ms = round(self.now.timestamp() * 1000) - self.network.genesis_time * 1000
        return max(0, since_genesis_ms // self.network.slot_duration_ms)

    @property
    def clock_epoch(self) -> int | None:
        """The epoch of that slot."""
        slot = self.clock_slot
        return (
            None if slot is None or self.network is None else slot // self.network.slots_per_epoch
        )


def read_figures(warehouse: Warehouse, now: datetime) -> StoredFigures:
    """Everything that is exported, as of ``now``.

    Raises:
        StorageError: the database is away, or was not migrated.
    """
    network = warehouse.network()
    head = read_chain_head(warehouse, now)
    schema = warehouse.schema
    with warehouse.database.transaction("read the figures to export") as connection:
        return StoredFigures(
            now,
            network,
            head,
            _newest_epoch(connection, schema),
            _tables(connection, schema),
            _connections(connection, schema),
        )


def _newest_epoch(connection: sa.Connection, schema: str) -> StoredEpoch | None:
    epochs = table_of(schema, "network_epochs")
    epoch = connection.execute(sa.select(sa.func.max(epochs.c.epoch))).scalar_one()
    if epoch is None:
        return None
    summaries = table_of(schema, SUMMARIES.name)
    rows = connection.execute(sa.select(summaries).where(summaries.c.epoch == epoch)).mappings()
    sums = {(row["category"], row["value"]): dict(row) for row in rows}
    statuses: dict[Group, dict[str, int]] = {}
    slashed: dict[Group, int] = {}
    for category, value, status, count, slashed_count in connection.execute(
        _statuses(schema), {"epoch": epoch}
    ):
        group = (category, value)
        statuses.setdefault(group, {})[status] = count
        slashed[group] = slashed.get(group, 0) + slashed_count
    return StoredEpoch(epoch, sums, statuses, slashed)


def _statuses(schema: str) -> sa.Select[Any]:
    """Validators by group and status at the first slot of ``:epoch``, by the labels that held."""
    snapshots = table_of(schema, "validator_snapshots")
    validators = table_of(schema, "validators")
    labels = table_of(schema, "validator_labels")
    epoch = sa.bindparam("epoch", type_=sa.Integer)
    first_slot = (
        sa.select(sa.func.min(snapshots.c.slot)).where(snapshots.c.epoch == epoch).scalar_subquery()
    )
    everybody = sa.select(
        snapshots.c.validator_index,
        sa.literal(EVERYBODY[0]).label("category"),
        sa.literal(EVERYBODY[1]).label("value"),
        snapshots.c.status,
    ).where(snapshots.c.epoch == epoch, snapshots.c.slot == first_slot)
    labelled = (
        sa.select(
            snapshots.c.validator_index, labels.c.category, labels.c.value, snapshots.c.status
        )
        .join(labels, labels.c.validator_index == snapshots.c.validator_index)
        .where(
            snapshots.c.epoch == epoch,
            snapshots.c.slot == first_slot,
            labels.c.from_epoch <= epoch,
            sa.or_(labels.c.until_epoch.is_(None), labels.c.until_epoch > epoch),
        )
    )
    members = sa.union_all(everybody, labelled).subquery("members")
    return (
        sa.select(
            members.c.category,
            members.c.value,
            members.c.status,
            sa.func.count(),
            sa.func.count().filter(validators.c.slashed),
        )
        .outerjoin(validators, validators.c.validator_index == members.c.validator_index)
        .group_by(members.c.category, members.c.value, members.c.status)
    )


def _tables(connection: sa.Connection, schema: str) -> list[tuple[str, int, int]]:
    """Estimated by the server: counting would read every row."""
    rows = connection.execute(
        sa.text(
            "SELECT coalesce(parent.relname, own.relname), "
            "sum(greatest(own.reltuples, 0))::bigint, sum(pg_total_relation_size(own.oid))::bigint "
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
    return {state: count for state, count in rows}

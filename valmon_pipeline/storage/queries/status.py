"""What is stored: epochs and their gaps, rows and bytes of each table.

Read from the keys of the small table ``network_epochs``, and from the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from valmon_pipeline.frames import TABLES
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.tile_table import TILES
from valmon_pipeline.storage.warehouse import Warehouse

EXACT_COUNT_BYTES: Final = 256 * 2**20
"""Tables up to this size are counted (well under a second); of larger ones PostgreSQL's estimate is
given."""


@dataclass(frozen=True, slots=True)
class TableStatus:
    """Size of a table with all its children. ``rows_estimated`` marks PostgreSQL's estimate."""

    name: str
    rows: int
    rows_estimated: bool
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """What is stored. Epochs are those of ``network_epochs``; None while nothing is stored.

    ``gaps`` are ranges of missing epochs, first and last included, between the first and the last.
    """

    network: NetworkIdentity | None
    first_epoch: int | None
    last_epoch: int | None
    epoch_count: int
    finalized_count: int
    gaps: tuple[tuple[int, int], ...]
    tables: tuple[TableStatus, ...]


def storage_status(warehouse: Warehouse) -> StorageStatus:
    """What the warehouse holds: network, epochs and their gaps, rows and bytes of each table.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    epochs = table_of(warehouse.schema, "network_epochs").c
    following = sa.func.lead(epochs.epoch).over(order_by=epochs.epoch)
    stored = sa.select(epochs.epoch, following.label("following")).subquery().c
    with warehouse.database.transaction("read what is stored") as connection:
        first, last, count, finalized = connection.execute(
            sa.select(
                sa.func.min(epochs.epoch),
                sa.func.max(epochs.epoch),
                sa.func.count(),
                sa.func.count().filter(epochs.finalized),
            )
        ).one()
        gaps = connection.execute(
            sa.select(stored.epoch + 1, stored.following - 1)
            .where(stored.following > stored.epoch + 1)
            .order_by(stored.epoch)
        ).all()
        tables = tuple(_table_status(connection, warehouse, name) for name in (*TABLES, TILES))
    return StorageStatus(
        network, first, last, count, finalized, tuple((start, end) for start, end in gaps), tables
    )


def stored_epochs(warehouse: Warehouse) -> list[int]:
    """The epochs that are stored, ascending."""
    epochs: list[int] = warehouse.read("network_epochs", columns=["epoch"])["epoch"].tolist()
    return epochs


def _table_status(connection: sa.Connection, warehouse: Warehouse, name: str) -> TableStatus:
    table = table_of(warehouse.schema, name)
    # A partitioned table has a tree of children, any other table none: then it is counted itself.
    size, estimate = connection.execute(
        sa.text(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint, "
            "coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class "
            "WHERE relkind = 'r' AND (oid = CAST(:table AS regclass) "
            "OR oid IN (SELECT relid FROM pg_partition_tree(CAST(:table AS regclass))))"
        ),
        {"table": connection.dialect.identifier_preparer.format_table(table)},
    ).one()
    if size > EXACT_COUNT_BYTES:
        return TableStatus(name, estimate, True, size)
    count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    return TableStatus(name, count, False, size)

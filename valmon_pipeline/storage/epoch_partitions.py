"""Child tables of the tables that are split by epoch: made when an epoch needs them, dropped whole.

A child spans the epochs of one UTC day (``network_identity.partition_epochs``) and starts at a
multiple of that span. It is made beside its parent and then attached, which blocks neither readers
nor writers of the other epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from valmon_pipeline.storage.advisory_locks import lock_for_transaction


@dataclass(frozen=True, slots=True, order=True)
class EpochPartition:
    """The child of ``table`` for ``first_epoch <= epoch < end_epoch``."""

    table: str
    first_epoch: int
    end_epoch: int

    @property
    def name(self) -> str:
        return f"{self.table}_e{self.first_epoch:07d}"


def partition_of(table: str, epoch: int, span: int) -> EpochPartition:
    """The partition of ``table`` that holds ``epoch``."""
    first = epoch // span * span
    return EpochPartition(table, first, first + span)


def ensure_partitions(
    connection: sa.Connection, schema: str, partitions: Iterable[EpochPartition]
) -> None:
    """Make those of ``partitions`` that do not exist. Several processes may do so at once."""
    wanted = sorted(set(partitions))
    missing = _missing(connection, schema, wanted)
    if not missing:
        return
    lock_for_transaction(connection, f"{schema}.partitions")
    for partition in _missing(connection, schema, missing):
        _create(connection, schema, partition)


def list_partitions(connection: sa.Connection, schema: str, table: str) -> list[EpochPartition]:
    """The partitions of ``table`` that exist, oldest first."""
    rows = connection.execute(
        sa.text(
            "SELECT child.relname, pg_get_expr(child.relpartbound, child.oid) AS bound "
            "FROM pg_inherits "
            "JOIN pg_class child ON child.oid = inhrelid "
            "JOIN pg_class parent ON parent.oid = inhparent "
            "JOIN pg_namespace namespace ON namespace.oid = parent.relnamespace "
            "WHERE namespace.nspname = :schema AND parent.relname = :table"
        ),
        {"schema": schema, "table": table},
    )
    return sorted(EpochPartition(table, *_bounds(row.bound)) for row in rows)


def drop_partitions(
    connection: sa.Connection, schema: str, partitions: Sequence[EpochPartition]
) -> None:
    """Drop ``partitions`` with their rows. Readers of their parents wait until the transaction
    ends."""
    lock_for_transaction(connection, f"{schema}.partitions")
    for partition in partitions:
        connection.execute(sa.schema.DropTable(_child(schema, partition), if_exists=True))


def swap_partition(
    connection: sa.Connection, schema: str, partition: EpochPartition, filled: str
) -> None:
    """Make the table ``filled`` the ``partition``, whose own rows go. Readers of its parent wait
    until the transaction ends."""
    drop_partitions(connection, schema, [partition])
    prepared = connection.dialect.identifier_preparer
    table = prepared.format_table(sa.Table(filled, sa.MetaData(schema=schema)))
    connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {prepared.quote(partition.name)}")
    _attach(connection, schema, partition)


def _missing(
    connection: sa.Connection, schema: str, partitions: Sequence[EpochPartition]
) -> list[EpochPartition]:
    names = [partition.name for partition in partitions]
    rows = connection.execute(
        sa.text(
            "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE nspname = :schema AND relname = ANY(:names) AND relispartition"
        ),
        {"schema": schema, "names": names},
    )
    known = set(rows.scalars())
    return [partition for partition in partitions if partition.name not in known]


def _create(connection: sa.Connection, schema: str, partition: EpochPartition) -> None:
    prepared = connection.dialect.identifier_preparer
    child = prepared.format_table(_child(schema, partition))
    parent = prepared.format_table(sa.table(partition.table, schema=schema))
    connection.exec_driver_sql(
        f"CREATE TABLE {child} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
    )
    _attach(connection, schema, partition)


def _attach(connection: sa.Connection, schema: str, partition: EpochPartition) -> None:
    prepared = connection.dialect.identifier_preparer
    child = prepared.format_table(_child(schema, partition))
    parent = prepared.format_table(sa.table(partition.table, schema=schema))
    first, end = int(partition.first_epoch), int(partition.end_epoch)
    connection.exec_driver_sql(
        f"ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES FROM ({first}) TO ({end})"
    )


def _child(schema: str, partition: EpochPartition) -> sa.Table:
    return sa.Table(partition.name, sa.MetaData(schema=schema))


def _bounds(expression: str) -> tuple[int, int]:
    """From ``FOR VALUES FROM (225) TO (450)`` or, as PostgreSQL may print it, ``('225')``."""
    inside = [part.split(")")[0].strip("'") for part in expression.split("(")[1:]]
    return int(inside[0]), int(inside[1])

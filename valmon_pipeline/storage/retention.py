"""Dropping old epochs: whole child tables at a time, and only what is summed up by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import sqlalchemy as sa

from valmon_pipeline.frames import TABLES
from valmon_pipeline.storage.epoch_partitions import (
    EpochPartition,
    drop_partitions,
    list_partitions,
)
from valmon_pipeline.storage.network_days import network_days
from valmon_pipeline.storage.stored_days import day_of_epoch, days_of_epochs, stored_days
from valmon_pipeline.storage.tables import PARTITIONED, table_of
from valmon_pipeline.storage.warehouse import Warehouse

LOCK_SECONDS: Final = 5
"""Dropping a child waits for the queries that read its parent, and others queue up behind it."""


@dataclass(frozen=True, slots=True)
class DroppedEpochs:
    """Epochs ``first`` to ``last`` were dropped from all tables: so many children and rows of
    tables without children."""

    first: int
    last: int
    children: int
    rows: int


@dataclass(frozen=True, slots=True)
class RetentionOutcome:
    """What was dropped, and why older epochs than ``before`` are still there (by day)."""

    before: date
    dropped: tuple[DroppedEpochs, ...]
    kept: dict[date, str]


def drop_epochs_before(warehouse: Warehouse, before: date, *, spans: int = 400) -> RetentionOutcome:
    """Drop epochs that start before a UTC day, oldest first, each span in one transaction.

    A span is what one child table holds, about a day. It goes only if every stored epoch of the
    days it touches is final and in ``validator_day_summaries``, and in ``network_validator_days``
    if the whole network is stored of it. Corrections, labels and tables
    whose contract says so stay. At most ``spans`` are dropped.

    Raises:
        StorageError: the database refuses, or a reader holds a table for longer than
            ``LOCK_SECONDS``; what was dropped before stays dropped.
    """
    network = warehouse.network()
    if network is None:
        return RetentionOutcome(before, (), {})
    days = {stored.day: stored for stored in stored_days(warehouse)}
    whole = {found.day: found for found in network_days(warehouse)}
    kept: dict[date, str] = {}
    dropped: list[DroppedEpochs] = []
    for first, end in _spans(warehouse):
        if day_of_epoch(network, end - 1) >= before or len(dropped) == spans:
            break
        reasons = {}
        for day in sorted(days_of_epochs(network, range(first, end)) & days.keys()):
            if not days[day].is_final:
                reasons[day] = "holds epochs that are not final"
            elif days[day].is_due:
                reasons[day] = _why_due(days[day].summed_up, days[day].epochs, "epochs")
            elif day in whole and whole[day].is_due:
                reasons[day] = _why_due(
                    whole[day].summed_up, len(whole[day].epochs), "epochs of the whole network"
                )
        kept |= reasons
        if not reasons:
            dropped.append(_drop(warehouse, first, end))
    return RetentionOutcome(before, tuple(dropped), kept)


def _why_due(summed_up: int, stored: int, what: str) -> str:
    if summed_up == stored:
        return f"{what} were stored again after they were summed up"
    return f"{summed_up} of its {stored} stored {what} are summed up"


def _spans(warehouse: Warehouse) -> list[tuple[int, int]]:
    """First and end epoch of every span that has a child or rows, oldest first."""
    network = warehouse.network()
    assert network is not None
    length = network.partition_epochs
    epochs = table_of(warehouse.schema, "network_epochs").c.epoch
    with warehouse.database.transaction("list what is stored") as connection:
        firsts = {
            child.first_epoch
            for table in PARTITIONED
            for child in list_partitions(connection, warehouse.schema, table)
        }
        # A span whose children are gone may still have rows, if dropping was cut off by hand.
        firsts |= {
            span * length
            for span in connection.execute(
                sa.select(sa.cast(sa.func.floor(epochs / length), sa.Integer)).distinct()
            ).scalars()
        }
    return [(first, first + length) for first in sorted(firsts)]


def _drop(warehouse: Warehouse, first: int, end: int) -> DroppedEpochs:
    schema = warehouse.schema
    rows = 0
    with warehouse.database.transaction(f"drop epochs {first} to {end - 1}") as connection:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        children = [
            child
            for table in PARTITIONED
            for child in list_partitions(connection, schema, table)
            if child == EpochPartition(table, first, end)
        ]
        drop_partitions(connection, schema, children)
        for contract in TABLES.values():
            if contract.by_epoch and not contract.partitioned and not contract.outlives_retention:
                epoch = table_of(schema, contract.name).c.epoch
                rows += connection.execute(
                    sa.delete(epoch.table).where(epoch >= first, epoch < end)
                ).rowcount
    return DroppedEpochs(first, end - 1, len(children), rows)

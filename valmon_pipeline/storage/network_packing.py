"""Packing the whole network's final epochs: from tiles of one epoch into tiles of a span of them.

An epoch is stored as it comes, in tiles of some hundred validators. Once a span of epochs (what a
child table holds, about a day) is over and final, its tiles are made anew, of a few validators and
all its epochs: the history of a validator is then one row per day instead of one per epoch, and
takes less than half the space. ``network_states`` says which tiles hold an epoch, so that nobody
who reads has to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.frames import contract_of
from valmon_pipeline.storage.advisory_locks import lock_epochs
from valmon_pipeline.storage.binary_copy import (
    HEADER,
    TRAILER,
    Field,
    array_field,
    copied_rows,
)
from valmon_pipeline.storage.database import driver_connection
from valmon_pipeline.storage.epoch_partitions import EpochPartition, partition_of, swap_partition
from valmon_pipeline.storage.table_reader import Selection, read_table
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.tile_blocks import Matrices, blocks_of, read_block
from valmon_pipeline.storage.tile_table import ARRAYS, KEPT_AS_CHANGES, TILE_KEY, TILES
from valmon_pipeline.storage.warehouse import Warehouse

PACKED_VALIDATORS: Final = 32
"""Validators in a tile of a span. Measured (``bench.network_layouts``): fewer cost more bytes, more
bring nothing."""

OUTCOMES: Final = "network_outcomes"

LOCK_SECONDS: Final = 5
"""Exchanging a child waits for the queries that read its parent, and others queue up behind it."""


@dataclass(frozen=True, slots=True)
class PackedSpan:
    """Epochs ``first`` to ``last``, of which ``epochs`` are stored, are in ``tiles`` tiles now."""

    first: int
    last: int
    epochs: int
    tiles: int


def spans_to_pack(warehouse: Warehouse) -> list[range]:
    """The spans that are over, final in all epochs that are stored, and not packed as they are
    stored, oldest first.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    if network is None or network.partition_epochs == 1:
        return []
    states = warehouse.read("network_states", columns=["epoch", "tile_epochs"])
    epochs = warehouse.read("network_epochs", columns=["epoch", "finalized"])
    if states.empty or epochs.empty:
        return []
    newest = int(epochs["epoch"].max())
    final = epochs.loc[epochs["finalized"], "epoch"]
    span = states["epoch"] // network.partition_epochs
    is_due = (
        pd.DataFrame({"final": states["epoch"].isin(final), "packed": states["tile_epochs"] > 1})
        .groupby(span)
        .all()
    )
    firsts = is_due.index[is_due["final"] & ~is_due["packed"]] * network.partition_epochs
    spans = [range(first, first + network.partition_epochs) for first in firsts.tolist()]
    return [span for span in spans if span.stop <= newest]


def pack_span(warehouse: Warehouse, span: range) -> PackedSpan | None:
    """Pack the epochs of a span, in one transaction: after a kill they are as they were before.
    None if nothing of it is stored or everything is packed already.

    Whoever stores one of its epochs meanwhile waits. An epoch that is stored later gets tiles of
    its own again, until the span is packed anew.

    Raises:
        StorageError: the database refuses, or a reader holds the table for longer than
            ``LOCK_SECONDS``; nothing is changed.
    """
    schema, states = warehouse.schema, contract_of("network_states")
    with warehouse.database.transaction(f"pack epochs {span[0]} to {span[-1]}") as connection:
        lock_epochs(connection, schema, span)
        stored = read_table(
            connection, schema, states, states.columns, Selection({"epoch": [*span]})
        )
        if (stored["tile_epochs"] > 1).all():
            return None
        child = partition_of(TILES, span[0], len(span))
        packed = f"{child.name}_packed"
        driver_connection(connection).execute(
            sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(
                sql.Identifier(schema, packed), sql.Identifier(schema, TILES)
            )
        )
        tiles = 0
        for block in blocks_of(int(stored["validators"].max())):
            found = read_block(connection, schema, stored, block, list(ARRAYS))
            tiles += _copy_packed(
                connection, sql.Identifier(schema, packed), span, stored, block, found
            )
        table = table_of(schema, "network_states")
        connection.execute(
            sa.update(table)
            .where(table.c.epoch.in_(stored["epoch"].tolist()))
            .values(tile_epoch=span[0], tile_epochs=len(span), tile_validators=PACKED_VALIDATORS)
        )
        _add_key(connection, schema, packed, TILE_KEY)
        outcomes = gather_outcomes(connection, schema, span)
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        swap_partition(connection, schema, child, packed)
        swap_partition(connection, schema, *outcomes)
    return PackedSpan(span[0], span[-1], len(stored), tiles)


def gather_outcomes(
    connection: sa.Connection, schema: str, span: range
) -> tuple[EpochPartition, str]:
    """Lay the outcomes of a span by their number instead of by epoch, with an index by number: in a
    new table, which is to be swapped for the child.

    Numbers go by frequency, so that a validator that does as most do has the same few all day: its
    outcomes of a day then lie on a few pages instead of one per epoch.
    """
    child = partition_of(OUTCOMES, span[0], len(span))
    name = f"{child.name}_packed"
    gathered = sql.Identifier(schema, name)
    driver = driver_connection(connection)
    driver.execute(
        sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(
            gathered, sql.Identifier(schema, OUTCOMES)
        )
    )
    driver.execute(
        sql.SQL("INSERT INTO {} SELECT * FROM {} ORDER BY outcome, epoch").format(
            gathered, sql.Identifier(schema, child.name)
        )
    )
    _add_key(connection, schema, name, contract_of(OUTCOMES).key)
    # After the key: of two indexes that would do, PostgreSQL takes the one made last.
    driver.execute(sql.SQL("CREATE INDEX ON {} (outcome, epoch)").format(gathered))
    driver.execute(sql.SQL("ANALYZE {}").format(gathered))
    return child, name


def _add_key(connection: sa.Connection, schema: str, table: str, key: Sequence[str]) -> None:
    """Make the key before the table is attached: then nobody waits for it."""
    driver_connection(connection).execute(
        sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(
            sql.Identifier(schema, table), sql.SQL(", ").join(map(sql.Identifier, key))
        )
    )


def _copy_packed(
    connection: sa.Connection,
    target: sql.Identifier,
    span: range,
    states: pd.DataFrame,
    block: range,
    found: Matrices,
) -> int:
    """Store the tiles of a block; how many. Tiles without any validator are left out."""
    anybody = (found["outcome"] >= 0).any(axis=0).reshape(-1, PACKED_VALIDATORS).any(axis=1)
    firsts = np.flatnonzero(anybody) * PACKED_VALIDATORS + block.start
    places = states["epoch"].to_numpy() - span[0]
    fields = [
        Field(np.full(len(firsts), span[0], dtype=np.int32)),
        Field(np.full(len(firsts), len(span), dtype=np.int32)),
        Field(firsts.astype(np.int32)),
        *(array_field(_packed(name, found, places, len(span))[anybody]) for name in ARRAYS),
    ]
    query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        target, sql.SQL(", ").join(map(sql.Identifier, (*TILE_KEY, *ARRAYS)))
    )
    with driver_connection(connection).cursor() as cursor, cursor.copy(query) as copy:
        copy.write(HEADER)
        for piece in copied_rows(fields):
            copy.write(piece)
        copy.write(TRAILER)
    return len(firsts)


def _packed(
    name: str, found: Matrices, places: npt.NDArray[np.int64], epochs: int
) -> npt.NDArray[np.integer[Any]]:
    """An array of tiles, a row each, from its matrix (epochs stored, validators)."""
    matrix, is_change = found[name], name in KEPT_AS_CHANGES
    whole = np.full((matrix.shape[1], epochs), 0 if is_change else -1, dtype=matrix.dtype)
    if is_change:
        # Balances of nobody are 0, and stay as they are in epochs that are not stored.
        values = np.where(found["outcome"] < 0, 0, matrix)
        whole[:, places] = np.diff(values, axis=0, prepend=values.dtype.type(0)).T
    else:
        whole[:, places] = matrix.T
    return whole.reshape(-1, PACKED_VALIDATORS * epochs)

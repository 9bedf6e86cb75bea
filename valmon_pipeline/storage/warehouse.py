"""The facts: the only way frames get into the database and out of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, LiteralString

import numpy as np
import pandas as pd
import sqlalchemy as sa
from psycopg import sql

from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.frames import TableContract, contract_of, validate
from valmon_pipeline.frames.contract import is_strictly_ascending
from valmon_pipeline.storage.advisory_locks import lock_for_transaction
from valmon_pipeline.storage.binary_copy import binary_copy
from valmon_pipeline.storage.corrections import (
    MATERIALIZED_AGAIN,
    corrections_to_standings,
    corrections_to_store,
)
from valmon_pipeline.storage.database import Database, driver_connection
from valmon_pipeline.storage.epoch_partitions import ensure_partitions, partition_of
from valmon_pipeline.storage.network_corrections import network_changes
from valmon_pipeline.storage.network_identity import (
    NetworkIdentity,
    bind_identity,
    read_identity,
)
from valmon_pipeline.storage.network_rows import (
    hold_still,
    network_rows,
    read_network_epoch,
    replace_tiles,
)
from valmon_pipeline.storage.standings_due import (
    MADE_FROM,
    STANDINGS,
    DueStandings,
    mark_stored,
    take_mark,
)
from valmon_pipeline.storage.table_reader import Selection, read_table
from valmon_pipeline.storage.tables import PARTITIONED, sql_type
from valmon_pipeline.storage.tile_table import TILES


class Warehouse:
    """The tables of one network.

    Every write is one transaction: readers see all of it or nothing, and an error leaves stored
    what was stored before. Frames are validated against their contracts before anything is sent.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._identity: NetworkIdentity | None = None

    @property
    def schema(self) -> str:
        return self.database.schema

    def bind_network(self, identity: NetworkIdentity) -> NetworkIdentity:
        """Tie the schema to a network before its first row is stored; the identity as stored.

        Raises:
            StorageError: the schema holds another network's data.
        """
        with self.database.transaction("tie the schema to the network") as connection:
            self._identity = bind_identity(connection, self.schema, identity)
        return self._identity

    def network(self) -> NetworkIdentity | None:
        """The network the schema is tied to; None before the first run."""
        if self._identity is None:
            with self.database.transaction("read which network is stored") as connection:
                self._identity = read_identity(connection, self.schema)
        return self._identity

    def replace_epoch(
        self,
        epoch: int,
        frames: Mapping[str, pd.DataFrame],
        *,
        network: NetworkEpoch | None = None,
        correction_reason: str = MATERIALIZED_AGAIN,
    ) -> dict[str, int]:
        """Make ``frames`` (by table) the rows of ``epoch``, all tables at once; rows stored by
        table.

        With ``network``, every validator of the network is stored as well, in the same
        transaction; ``frames`` must not have the tables that it goes to. Without it, what is
        stored of the whole network stays.

        What the tables held of the epoch is gone, also where the new frame is empty. Of tables
        whose contract replaces rows by more than the epoch, only the rows of the frame's slots are.
        Writers of the same table and epoch wait for each other.

        If the epoch was stored already, every value that comes out differently is also entered in
        ``corrections`` with ``correction_reason``; these rows are then among those counted.
        Standings that rest on the epoch are listed in ``standings_due``.

        Raises:
            ContractViolationError: a frame breaks its contract or holds another epoch's rows.
            StorageError: the database refuses; the epoch is as it was before.
        """
        rows = None if network is None else network_rows(network)
        frames = {**frames, **({} if rows is None else rows.frames)}
        ready = {table: self._ready(table, frame, epoch) for table, frame in sorted(frames.items())}
        targets = self._targets(epoch, ready if rows is None else [*ready, TILES])
        with self.database.transaction(f"store epoch {epoch} of {', '.join(ready)}") as connection:
            lock_for_transaction(connection, *(f"{self.schema}.{table}.{epoch}" for table in ready))
            changes = [] if network is None else self._network_changes(connection, network)
            stored = self._replace(connection, epoch, ready, targets, correction_reason, changes)
            if rows is not None:
                tiles = sql.Identifier(self.schema, targets[TILES])
                stored[TILES] = replace_tiles(connection, tiles, rows)
            return stored

    def recompute_epoch(
        self,
        epoch: int,
        read: Sequence[str],
        write: Sequence[str],
        compute: Callable[[Mapping[str, pd.DataFrame]], Mapping[str, pd.DataFrame]],
        *,
        correction_reason: str,
    ) -> dict[str, int] | None:
        """Replace the rows of an epoch in some of the tables ``write`` by what ``compute`` makes of
        those in the tables ``read``, in one transaction: nobody stores the epoch in between, nor
        marks it final. Rows stored by table, as ``replace_epoch``; None if the epoch is not stored.

        Raises:
            ContractViolationError, StorageError: as ``replace_epoch``.
        """
        targets = self._targets(epoch, write)
        with self.database.transaction(f"compute epoch {epoch} again") as connection:
            locks = {f"{self.schema}.{table}.{epoch}" for table in (*read, *write)}
            lock_for_transaction(connection, *locks)
            lock = sql.SQL("SELECT FROM {} WHERE epoch = %s FOR UPDATE").format(
                sql.Identifier(self.schema, "network_epochs")
            )
            if driver_connection(connection).execute(lock, [epoch]).rowcount == 0:
                return None
            facts = {
                table: read_table(
                    connection,
                    self.schema,
                    contract_of(table),
                    contract_of(table).columns,
                    Selection({"epoch": [epoch]}),
                )
                for table in read
            }
            frames = sorted(compute(facts).items())
            ready = {table: self._ready(table, frame, epoch) for table, frame in frames}
            return self._replace(connection, epoch, ready, targets, correction_reason)

    def replace_standings(self, due: DueStandings, frame: pd.DataFrame) -> int | None:
        """Make ``frame`` the standings of an epoch that are due, and take it off the list; how many
        corrections that were. None, and nothing is stored, if facts were stored since ``due`` was
        read, or somebody else has made the standings.

        Raises:
            ContractViolationError, StorageError: as ``replace_epoch``.
        """
        ready = self._ready(STANDINGS, frame, due.epoch)
        target = self._targets(due.epoch, {STANDINGS: ready})[STANDINGS]
        with self.database.transaction(f"store standings of epoch {due.epoch}") as connection:
            lock_for_transaction(connection, f"{self.schema}.{STANDINGS}.{due.epoch}")
            if not take_mark(connection, self.schema, due):
                return None
            corrections = corrections_to_standings(
                connection, self.schema, due.epoch, ready, due.reason
            )
            if corrections is not None:
                self._copy(connection, "corrections", corrections)
            self._delete(connection, target, due.epoch)
            self._copy(connection, target, ready)
        return 0 if corrections is None else len(corrections)

    def store_ahead(self, epoch: int, frames: Mapping[str, pd.DataFrame]) -> bool:
        """Like ``replace_epoch``, for rows known before their epoch is materialized: once it is
        (``network_epochs`` has it), nothing is stored and False returned.

        Raises:
            ContractViolationError, StorageError: as ``replace_epoch``.
        """
        ready = {table: self._ready(table, frame, epoch) for table, frame in sorted(frames.items())}
        targets = self._targets(epoch, ready)
        with self.database.transaction(f"store epoch {epoch} ahead") as connection:
            lock_for_transaction(connection, *(f"{self.schema}.{table}.{epoch}" for table in ready))
            query = sql.SQL("SELECT 1 FROM {} WHERE epoch = %s").format(
                sql.Identifier(self.schema, "network_epochs")
            )
            if driver_connection(connection).execute(query, [epoch]).fetchone() is not None:
                return False
            for table, frame in ready.items():
                self._delete_replaced(connection, contract_of(table), targets[table], epoch, frame)
                self._copy(connection, targets[table], frame)
        return True

    def replace_rows(self, frames: Mapping[str, pd.DataFrame]) -> dict[str, int]:
        """Store the rows of ``frames`` (by table), of whatever epochs, all at once; rows stored by
        table.

        A row replaces those that agree with it in the columns that its table is ``replaced_by``;
        others stay.

        Raises:
            ContractViolationError: a frame breaks its contract.
            StorageError: the database refuses; every table is as it was before.
        """
        pieces: list[tuple[TableContract, int | None, str, pd.DataFrame]] = []
        for table, frame in sorted(frames.items()):
            contract = contract_of(table)
            ordered = _in_key_order(contract, validate(table, frame))
            if not contract.by_epoch:
                pieces.append((contract, None, table, ordered))
                continue
            for epoch in np.unique(ordered["epoch"].to_numpy()).tolist():
                rows = ordered[ordered["epoch"] == epoch].reset_index(drop=True)
                pieces.append((contract, epoch, self._targets(epoch, {table: rows})[table], rows))
        locks = [
            f"{self.schema}.{contract.name}" + ("" if epoch is None else f".{epoch}")
            for contract, epoch, _, _ in pieces
        ]
        with self.database.transaction(f"store rows of {', '.join(frames)}") as connection:
            lock_for_transaction(connection, *locks)
            for contract, epoch, target, rows in pieces:
                self._delete_replaced(connection, contract, target, epoch, rows)
                self._copy(connection, target, rows)
        return {table: len(frame) for table, frame in frames.items()}

    def replace_table(self, table: str, frame: pd.DataFrame) -> int:
        """Make ``frame`` all rows of ``table``, which must not be split by epoch; rows stored.

        Readers keep seeing the old rows until the new ones are complete.

        Raises:
            ContractViolationError: the frame breaks its contract.
            StorageError: the database refuses; the table is as it was before.
        """
        ready = self._whole(table, frame)
        with self.database.transaction(f"store table {table}") as connection:
            lock_for_transaction(connection, f"{self.schema}.{table}")
            self._delete(connection, table, None)
            self._copy(connection, table, ready)
        return len(ready)

    def change_table(self, table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> int:
        """Make what ``change`` makes of all rows of ``table`` its rows; rows stored.

        The table must not be split by epoch, and small. Changes of one table wait for each other,
        so that each starts from what the other has stored.

        Raises:
            ContractViolationError: the frame breaks its contract.
            StorageError: the database refuses; the table is as it was before.
        """
        contract = contract_of(table)
        with self.database.transaction(f"change table {table}") as connection:
            lock_for_transaction(connection, f"{self.schema}.{table}")
            stored = read_table(connection, self.schema, contract, contract.columns, Selection({}))
            ready = self._whole(table, change(stored))
            self._delete(connection, table, None)
            self._copy(connection, table, ready)
        return len(ready)

    def read(
        self,
        table: str,
        *,
        epochs: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        validator_indices: Sequence[int] | None = None,
        slots: Sequence[int] | None = None,
    ) -> pd.DataFrame:
        """Rows of ``table`` in key order, with the exact column types of its contract.

        ``epochs``, ``slots`` and ``validator_indices`` keep the rows with one of these values (an
        empty list keeps none), ``columns`` only these columns, in this order. In tables about
        blocks the validator is the proposer.

        Raises:
            ContractViolationError: the table has no such column.
            StorageError: the database is away or refuses.
        """
        contract = contract_of(table)
        wanted = list(contract.columns if columns is None else columns)
        unknown = [name for name in wanted if name not in contract.columns]
        if unknown:
            raise ContractViolationError(f"{table} has no columns {unknown}", table=table)
        conditions: dict[str, Sequence[int]] = {}
        if epochs is not None:
            conditions["epoch"] = epochs
        if validator_indices is not None:
            conditions[_validator_column(contract)] = validator_indices
        if slots is not None:
            conditions["slot"] = slots
        if "epoch" in conditions and not contract.by_epoch:
            raise ContractViolationError(f"{table} is not kept by epoch", table=table)
        with self.database.transaction(f"read {table}") as connection:
            return read_table(connection, self.schema, contract, wanted, Selection(conditions))

    def read_network_epoch(self, epoch: int) -> NetworkEpoch | None:
        """Every validator of the network in ``epoch``, exactly as it was stored; None if the whole
        network is not stored of it.

        Raises:
            StorageError: the database is away or refuses.
        """
        with self.database.transaction(f"read epoch {epoch} of the whole network") as connection:
            hold_still(connection, self.schema)
            return read_network_epoch(connection, self.schema, epoch)

    def _replace(
        self,
        connection: sa.Connection,
        epoch: int,
        ready: Mapping[str, pd.DataFrame],
        targets: Mapping[str, str],
        correction_reason: str,
        network_changes: Sequence[pd.DataFrame] = (),
    ) -> dict[str, int]:
        """Replace an epoch's rows, whose locks are held; rows stored by table."""
        if not MADE_FROM.isdisjoint(ready):
            mark_stored(connection, self.schema, epoch, correction_reason)
        corrections = corrections_to_store(
            connection, self.schema, epoch, ready, correction_reason, network_changes
        )
        if corrections is not None:
            self._copy(connection, "corrections", corrections)
        for table, frame in ready.items():
            started = time.monotonic()
            self._delete_replaced(connection, contract_of(table), targets[table], epoch, frame)
            self._copy(connection, targets[table], frame)
            self.database.observer.wrote(table, len(frame), time.monotonic() - started)
        stored = {table: len(frame) for table, frame in ready.items()}
        return stored if corrections is None else stored | {"corrections": len(corrections)}

    def _network_changes(
        self, connection: sa.Connection, network: NetworkEpoch
    ) -> list[pd.DataFrame]:
        """What is different from the whole network as it is stored of the epoch, if it is."""
        stored = read_network_epoch(connection, self.schema, network.epoch)
        return [] if stored is None else [network_changes(stored, network)]

    def _ready(self, table: str, frame: pd.DataFrame, epoch: int) -> pd.DataFrame:
        contract = contract_of(table)
        if not contract.by_epoch:
            raise ContractViolationError(
                f"{table} is not kept by epoch; use replace_table", table=table
            )
        ordered = _in_key_order(contract, validate(table, frame))
        found = ordered["epoch"].to_numpy()
        if len(found) and (found[0] != epoch or found[-1] != epoch):
            others = np.unique(found[found != epoch])
            raise ContractViolationError(
                f"{table}: {int((found != epoch).sum())} rows of other epochs among those of epoch "
                f"{epoch}: {others[:5].tolist()}",
                table=table,
            )
        return ordered

    def _whole(self, table: str, frame: pd.DataFrame) -> pd.DataFrame:
        contract = contract_of(table)
        if contract.partitioned:
            raise ContractViolationError(
                f"{table} is kept by epoch; use replace_epoch", table=table
            )
        return _in_key_order(contract, validate(table, frame))

    def _targets(self, epoch: int, tables: Collection[str]) -> dict[str, str]:
        """Where the rows go: a table's child for the epoch, made if need be, or the table itself.

        Writing to the child spares PostgreSQL the routing of each row.
        """
        targets = {table: table for table in tables}
        split = [table for table in tables if table in PARTITIONED]
        if not split:
            return targets
        identity = self.network()
        if identity is None:
            raise StorageError(
                f"schema {self.schema} is not tied to a network yet: call bind_network first"
            )
        children = [partition_of(table, epoch, identity.partition_epochs) for table in split]
        with self.database.transaction(f"make room for epoch {epoch}") as connection:
            ensure_partitions(connection, self.schema, children)
        return targets | {child.table: child.name for child in children}

    def _delete(self, connection: sa.Connection, target: str, epoch: int | None) -> None:
        query = sql.SQL("DELETE FROM {}").format(sql.Identifier(self.schema, target))
        if epoch is None:
            driver_connection(connection).execute(query)
        else:
            driver_connection(connection).execute(query + sql.SQL(" WHERE epoch = %s"), [epoch])

    def _delete_replaced(
        self,
        connection: sa.Connection,
        contract: TableContract,
        target: str,
        epoch: int | None,
        frame: pd.DataFrame,
    ) -> None:
        """Remove the stored rows that the rows of ``frame`` replace."""
        if contract.replaced_by == ("epoch",):
            self._delete(connection, target, epoch)
            return
        replaced = list(contract.replaced_by)
        values = frame[replaced].drop_duplicates()
        if values.empty:
            return
        query = sql.SQL("DELETE FROM {} WHERE ({}) IN (SELECT * FROM unnest({}))").format(
            sql.Identifier(self.schema, target),
            _names(replaced),
            sql.SQL(", ").join(
                sql.SQL("%s::{}[]").format(sql.SQL(_sql_type_name(contract, name)))
                for name in replaced
            ),
        )
        parameters = [values[name].tolist() for name in replaced]
        driver_connection(connection).execute(query, parameters)

    def _copy(self, connection: sa.Connection, target: str, frame: pd.DataFrame) -> None:
        query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            sql.Identifier(self.schema, target), _names(list(frame.columns))
        )
        with driver_connection(connection).cursor() as cursor, cursor.copy(query) as copy:
            for piece in binary_copy(frame):
                copy.write(piece)


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _sql_type_name(contract: TableContract, column: str) -> LiteralString:
    """The SQL type of a key's column, for a cast."""
    kind = sql_type(contract.schema.columns[column])
    names: dict[type[sa.types.TypeEngine[Any]], LiteralString] = {
        sa.Integer: "integer",
        sa.BigInteger: "bigint",
        sa.Boolean: "boolean",
        sa.Text: "text",
        sa.Date: "date",
    }
    return names[type(kind)]


def _in_key_order(contract: TableContract, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of the key: same rows, same bytes, and the index grows at its end."""
    if is_strictly_ascending(frame, contract.key):
        return frame
    return frame.sort_values(list(contract.key), ignore_index=True)


def _validator_column(contract: TableContract) -> str:
    for name in ("validator_index", "proposer_index"):
        if name in contract.columns:
            return name
    raise ContractViolationError(f"{contract.name} is not about validators")

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
from valmon_pipeline.frames.epoch_rows import rows_of_epoch
from valmon_pipeline.storage.advisory_locks import lock_epochs, lock_for_transaction
from valmon_pipeline.storage.binary_copy import binary_copy
from valmon_pipeline.storage.captured_answers import CapturedAnswers
from valmon_pipeline.storage.corrections import (
    corrections_to_standings,
    corrections_to_store,
)
from valmon_pipeline.storage.database import Database, driver_connection
from valmon_pipeline.storage.epoch_partitions import ensure_partitions, partition_of
from valmon_pipeline.storage.finality import stored_epochs
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
    MATERIALIZED_AGAIN,
    STANDINGS,
    DueStandings,
    due_standings,
    list_again,
    spread_marks,
)
from valmon_pipeline.storage.step_frames import StepFrames, StoredStep
from valmon_pipeline.storage.stored_facts import epochs_without
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

    def store(self, step: StepFrames) -> StoredStep:
        """Make a step's frames the rows of its epochs, all tables and all epochs at once.

        What the tables held of these epochs is gone, also where a new frame is empty. Of tables
        whose contract replaces rows by more than the epoch, only the rows of the frame's slots are.
        Writers of the same epoch wait for each other.

        If an epoch was stored already, every value that comes out differently is also entered in
        ``corrections``. Epochs that the step itself finds out of date are left out.

        Raises:
            ContractViolationError: a frame breaks its contract, or holds rows of other epochs; it
                names the epochs.
            StorageError: the database refuses; every epoch is as it was before.
        """
        whole = {epoch: network_rows(network) for epoch, network in step.networks.items()}
        by_table: dict[str, list[pd.DataFrame]] = {}
        for rows in whole.values():
            for table, frame in rows.frames.items():
                by_table.setdefault(table, []).append(frame)
        added = {table: validate(table, pd.concat(rows)) for table, rows in by_table.items()}
        ready = {
            table: self._ready(table, frame, step.epochs)
            for table, frame in sorted({**step.validated, **added}.items())
        }
        self._make_room(step.epochs, [*ready, *([TILES] if whole else [])])
        what = f"store {_span(step.epochs)} of {', '.join(ready)}"
        with self.database.transaction(what) as connection:
            lock_epochs(connection, self.schema, step.epochs)
            epochs = step.admitted(connection, self.schema)
            if not epochs:
                return StoredStep(dict.fromkeys(ready, 0), (), step.epochs)
            for table in step.tables:
                merged = step.frame(table, connection, self.schema)
                if merged is not step.tables[table]:
                    ready[table] = self._ready(table, validate(table, merged), step.epochs)
            if len(epochs) < len(step.epochs):
                ready = {
                    table: frame[frame["epoch"].isin(epochs)].reset_index(drop=True)
                    for table, frame in ready.items()
                }
            step.note(connection, self.schema, epochs)
            changes = {
                epoch: self._network_changes(connection, network)
                for epoch, network in step.networks.items()
                if epoch in epochs
            }
            corrections = self._corrections(connection, step, epochs, ready, changes)
            self._replace(connection, epochs, ready)
            stored = {table: len(frame) for table, frame in ready.items()}
            for epoch, rows in whole.items():
                if epoch in epochs:
                    child = self._targets([epoch], TILES)[0][0]
                    tiles = replace_tiles(connection, sql.Identifier(self.schema, child), rows)
                    stored[TILES] = stored.get(TILES, 0) + tiles
        return StoredStep(
            stored,
            tuple(epochs),
            tuple(epoch for epoch in step.epochs if epoch not in set(epochs)),
            corrections,
        )

    def replace_epoch(
        self,
        epoch: int,
        frames: Mapping[str, pd.DataFrame],
        *,
        network: NetworkEpoch | None = None,
        correction_reason: str = MATERIALIZED_AGAIN,
    ) -> dict[str, int]:
        """Make ``frames`` (by table), and with ``network`` every validator of the network, the rows
        of ``epoch`` as ``store`` does; rows stored by table, those of ``corrections`` included.

        Raises:
            ContractViolationError, StorageError: as ``store``.
        """
        networks = {} if network is None else {epoch: network}
        stored = self.store(StepFrames((epoch,), frames, correction_reason, networks=networks))
        corrections = {"corrections": stored.corrections} if stored.corrections else {}
        return {**stored.rows, **corrections}

    def captured_answers(self) -> CapturedAnswers:
        """The answers of nodes that were kept while they were current."""
        return CapturedAnswers(self.database)

    def scored_epochs(self, first: int, last: int) -> list[int]:
        """The epochs of ``first`` to ``last`` that are stored with their scores, ascending.

        Raises:
            StorageError: the database is away.
        """
        return stored_epochs(self.database, first=first, last=last)

    def unknown_committees(self, epochs: Sequence[int]) -> set[int]:
        """Those of ``epochs`` whose committees are not known.

        Raises:
            StorageError: the database is away.
        """
        with self.database.transaction("read whose committees are not known") as connection:
            return epochs_without(connection, self.schema, "committees", epochs)

    def due_standings(self, window_epochs: int) -> list[DueStandings]:
        """The epochs whose standings rest on facts that were stored since, ascending.

        Raises:
            StorageError: the database is away.
        """
        spread_marks(self.database, window_epochs)
        return due_standings(self.database)

    def list_standings(self, epochs: Sequence[int]) -> list[DueStandings]:
        """List epochs whose standings are to be made, due or not; as ``due_standings``.

        Raises:
            StorageError: the database is away.
        """
        list_again(self.database, epochs)
        wanted = set(epochs)
        return [due for due in due_standings(self.database) if due.epoch in wanted]

    def store_ahead(self, epoch: int, frames: Mapping[str, pd.DataFrame]) -> bool:
        """Like ``replace_epoch``, for rows known before their epoch is materialized: once it is
        (``network_epochs`` has it), nothing is stored and False returned.

        Raises:
            ContractViolationError, StorageError: as ``replace_epoch``.
        """
        ready = {
            table: self._ready(table, validate(table, frame), [epoch])
            for table, frame in sorted(frames.items())
        }
        self._make_room([epoch], ready)
        with self.database.transaction(f"store epoch {epoch} ahead") as connection:
            lock_epochs(connection, self.schema, [epoch])
            query = sql.SQL("SELECT 1 FROM {} WHERE epoch = %s").format(
                sql.Identifier(self.schema, "network_epochs")
            )
            if driver_connection(connection).execute(query, [epoch]).fetchone() is not None:
                return False
            self._replace(connection, [epoch], ready)
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
        ready = {
            table: _in_key_order(contract_of(table), validate(table, frame))
            for table, frame in sorted(frames.items())
        }
        epochs = {
            table: np.unique(frame["epoch"].to_numpy()).tolist()
            for table, frame in ready.items()
            if contract_of(table).by_epoch
        }
        for table, held in epochs.items():
            self._make_room(held, [table])
        whole = [f"{self.schema}.{table}" for table in ready if table not in epochs]
        all_epochs = {epoch for held in epochs.values() for epoch in held}
        with self.database.transaction(f"store rows of {', '.join(frames)}") as connection:
            lock_epochs(connection, self.schema, all_epochs, *whole)
            for table, frame in ready.items():
                if table in epochs:
                    self._replace(connection, epochs[table], {table: frame})
                else:
                    self._delete_replaced(connection, contract_of(table), table, (), frame)
                    self._copy(connection, table, frame)
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
        epochs: Sequence[int],
        ready: Mapping[str, pd.DataFrame],
    ) -> None:
        """Replace the rows of epochs, whose locks are held."""
        for table, frame in ready.items():
            started = time.monotonic()
            rows = frame["epoch"].to_numpy()
            for target, held in self._targets(epochs, table):
                start, end = np.searchsorted(rows, [held[0], held[-1] + 1])
                piece = frame.iloc[start:end] if end - start < len(frame) else frame
                self._delete_replaced(connection, contract_of(table), target, held, piece)
                self._copy(connection, target, piece)
            self.database.observer.wrote(table, len(frame), time.monotonic() - started)

    def _corrections(
        self,
        connection: sa.Connection,
        step: StepFrames,
        epochs: Sequence[int],
        ready: Mapping[str, pd.DataFrame],
        network_changes: Mapping[int, Sequence[pd.DataFrame]],
    ) -> int:
        """Enter what is different from epochs that are stored already; how many values are."""
        count = 0
        for epoch in step.compared(connection, self.schema, epochs):
            frames = {table: rows_of_epoch(frame, epoch) for table, frame in ready.items()}
            if list(frames) == [STANDINGS]:
                found = corrections_to_standings(
                    connection, self.schema, epoch, frames[STANDINGS], step.reason_of(epoch)
                )
            else:
                found = corrections_to_store(
                    connection,
                    self.schema,
                    epoch,
                    frames,
                    step.reason_of(epoch),
                    network_changes.get(epoch, ()),
                    watched_in=step.watched_in,
                )
            if found is not None:
                self._copy(connection, "corrections", found)
                count += len(found)
        return count

    def _network_changes(
        self, connection: sa.Connection, network: NetworkEpoch
    ) -> list[pd.DataFrame]:
        """What is different from the whole network as it is stored of the epoch, if it is."""
        stored = read_network_epoch(connection, self.schema, network.epoch)
        return [] if stored is None else [network_changes(stored, network)]

    def _ready(self, table: str, frame: pd.DataFrame, epochs: Sequence[int]) -> pd.DataFrame:
        """A validated frame in key order; it must hold rows of ``epochs`` alone."""
        contract = contract_of(table)
        if not contract.by_epoch:
            raise ContractViolationError(
                f"{table} is not kept by epoch; use replace_table", table=table
            )
        ordered = _in_key_order(contract, frame)
        found = ordered["epoch"].to_numpy()
        others = np.setdiff1d(found, np.asarray(epochs))
        if len(others):
            raise ContractViolationError(
                f"{table}: {int(np.isin(found, others).sum())} rows of other epochs among those of "
                f"{_span(epochs)}: {others[:5].tolist()}",
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

    def _make_room(self, epochs: Sequence[int], tables: Collection[str]) -> None:
        """Make the children of split tables for these epochs that do not exist yet."""
        split = [table for table in tables if table in PARTITIONED]
        if not split:
            return
        span = self._span_of_children()
        children = {partition_of(table, epoch, span) for table in split for epoch in epochs}
        with self.database.transaction(f"make room for {_span(epochs)}") as connection:
            ensure_partitions(connection, self.schema, children)

    def _targets(self, epochs: Sequence[int], table: str) -> list[tuple[str, list[int]]]:
        """Where the rows of each of the epochs (ascending) go: a table's child or the table itself.

        Writing to the child spares PostgreSQL the routing of each row.
        """
        if table not in PARTITIONED:
            return [(table, list(epochs))]
        targets: dict[str, list[int]] = {}
        for epoch in epochs:
            child = partition_of(table, epoch, self._span_of_children())
            targets.setdefault(child.name, []).append(epoch)
        return list(targets.items())

    def _span_of_children(self) -> int:
        identity = self.network()
        if identity is None:
            raise StorageError(
                f"schema {self.schema} is not tied to a network yet: call bind_network first"
            )
        return identity.partition_epochs

    def _delete(self, connection: sa.Connection, target: str, epochs: Sequence[int] | None) -> None:
        query = sql.SQL("DELETE FROM {}").format(sql.Identifier(self.schema, target))
        if epochs is None:
            driver_connection(connection).execute(query)
        else:
            chosen = query + sql.SQL(" WHERE epoch = ANY(%s::integer[])")
            driver_connection(connection).execute(chosen, [list(epochs)])

    def _delete_replaced(
        self,
        connection: sa.Connection,
        contract: TableContract,
        target: str,
        epochs: Sequence[int],
        frame: pd.DataFrame,
    ) -> None:
        """Remove the stored rows that the rows of ``frame`` replace."""
        if contract.replaced_by == ("epoch",):
            self._delete(connection, target, epochs)
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


def _span(epochs: Sequence[int]) -> str:
    if len(epochs) == 1:
        return f"epoch {epochs[0]}"
    return f"{len(epochs)} epochs from {min(epochs)} to {max(epochs)}"


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

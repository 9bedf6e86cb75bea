"""Dagster's door to the warehouse: what assets return is stored, what they ask for is read.

Partition keys are taken one by one, in ascending order. Never as a range: Dagster orders dynamic
keys by when they were added, and ``asset_partition_keys`` is a set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.frames import contract_of
from valmon_pipeline.storage.warehouse import Warehouse


def epoch_of_key(key: str) -> Sequence[int]:
    """The epochs that an epoch partition's key stands for: itself."""
    return [int(key)]


class PostgresIOManager(dg.IOManager):
    """Stores frames as the rows of the table named by the last part of the asset's key.

    ``epochs_of_key`` tells which epochs a partition key stands for (several for a day).
    """

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        epochs_of_key: Callable[[str], Sequence[int]] = epoch_of_key,
    ) -> None:
        self.warehouse = warehouse
        self._epochs_of_key = epochs_of_key

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store ``obj``: a DataFrame, or for tables kept by epoch an iterable of ``(epoch,
        DataFrame)``, which is stored as it comes.

        Each epoch of the run is replaced in a transaction of its own, ascending, also where the
        frame has no rows of it.

        Raises:
            ContractViolationError: a frame breaks its contract, or holds epochs that the run does
            not. StorageError: the database refuses, or the run holds no partition keys at all. The
            epochs
                stored before stay stored.
        """
        table = context.asset_key.path[-1]
        started = time.monotonic()
        if not contract_of(table).by_epoch:
            rows, epochs = self.warehouse.replace_table(table, _frame(table, obj)), None
        else:
            keys = context.asset_partition_keys if context.has_asset_partitions else []
            wanted = self._epochs(table, keys)
            pieces = _by_epoch(table, obj, wanted)
            rows = sum(
                self.warehouse.replace_epoch(epoch, {table: frame})[table]
                for epoch, frame in _each_once(table, pieces, wanted)
            )
            epochs = len(wanted)
        context.add_output_metadata(
            {
                "dagster/row_count": rows,
                "seconds_to_store": round(time.monotonic() - started, 3),
                **({} if epochs is None else {"epochs": epochs}),
            }
        )

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """The rows of the input's partitions in key order; all rows of a table not kept by epoch.

        ``dg.AssetIn(metadata={"columns": [...]})`` limits the columns.

        Raises:
            StorageError: the database refuses, or no partition keys are asked for.
        """
        table = context.asset_key.path[-1]
        columns = (context.definition_metadata or {}).get("columns")
        if not contract_of(table).by_epoch:
            return self.warehouse.read(table, columns=columns)
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        return self.warehouse.read(table, epochs=self._epochs(table, keys), columns=columns)

    def _epochs(self, table: str, keys: Iterable[str]) -> list[int]:
        epochs = sorted({epoch for key in keys for epoch in self._epochs_of_key(key)})
        if not epochs:
            raise StorageError(
                f"the run holds no epochs of {table}: a range of partition keys can be empty when "
                "its keys were not added in order. Launch it with explicit keys."
            )
        return epochs


def _frame(table: str, obj: Any) -> pd.DataFrame:
    if not isinstance(obj, pd.DataFrame):
        raise ContractViolationError(
            f"{table}: expected a DataFrame, got {type(obj).__name__}", table=table
        )
    return obj


def _by_epoch(table: str, obj: Any, wanted: Sequence[int]) -> Iterator[tuple[int, pd.DataFrame]]:
    """``obj`` as pairs of epoch and frame; a whole frame is cut up, with an empty piece where an
    epoch has no rows."""
    if not isinstance(obj, pd.DataFrame):
        if not isinstance(obj, Iterable):
            _frame(table, obj)
        yield from obj
        return
    frame = obj.sort_values("epoch", kind="stable", ignore_index=True)
    found = frame["epoch"].to_numpy()
    others = np.setdiff1d(found, np.asarray(wanted))
    if len(others):
        raise _unwanted(table, others.tolist())
    for epoch in wanted:
        start, end = np.searchsorted(found, [epoch, epoch + 1])
        yield epoch, frame.iloc[start:end].reset_index(drop=True)


def _each_once(
    table: str, pieces: Iterable[tuple[int, pd.DataFrame]], wanted: Sequence[int]
) -> Iterator[tuple[int, pd.DataFrame]]:
    """The pieces as they come, checked: every wanted epoch, no other, none twice."""
    left = set(wanted)
    for epoch, frame in pieces:
        if epoch not in left:
            raise _unwanted(table, [epoch])
        left.remove(epoch)
        yield epoch, _frame(table, frame)
    if left:
        raise ContractViolationError(
            f"{table}: the run holds epochs that it produced nothing for: {sorted(left)[:5]}",
            table=table,
        )


def _unwanted(table: str, epochs: Sequence[int]) -> ContractViolationError:
    return ContractViolationError(
        f"{table}: rows of epochs that the run does not hold, or holds once only: {epochs[:5]}",
        table=table,
    )

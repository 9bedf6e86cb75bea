"""Dagster's door to the store: it writes what steps make, and reads what they take.

The outputs of a step are views of one ``StepFrames``. The first output that Dagster hands over
stores all of it in one transaction, the others find it stored: so every materialization event
follows the commit. (Dagster reports an output before it hands over the next one: to commit at the
last output would report rows that may still be rolled back.)

Partition keys are taken one by one, in ascending order. Never as a range: Dagster orders dynamic
keys by when they were added, and ``asset_partition_keys`` is a set.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import dagster as dg
import pandas as pd

from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.frames import contract_of
from valmon_pipeline.storage.step_frames import StepFrames, StepStore, StoredStep

_RUNS_KEPT: Final = 2


@dataclass(frozen=True, slots=True)
class StepTable:
    """One table of a step: what an output is, and what a later step of the same run is handed."""

    step: StepFrames
    table: str


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """The rows that an input asks for. ``step``: they were made by this step of the same run."""

    frame: pd.DataFrame
    step: StepFrames | None = None


@dataclass(slots=True)
class _Run:
    """What this process knows of a run: its steps that are stored, and the table each has made."""

    stored: list[tuple[StepFrames, StoredStep]] = field(default_factory=list)
    made: dict[str, StepFrames] = field(default_factory=dict)


class StepIOManager(dg.IOManager):
    """Stores steps, and hands their tables to later steps; see the module's text."""

    def __init__(self, store: StepStore) -> None:
        self.store = store
        self._runs: dict[str, _Run] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store a step at its first ``StepTable``; or a DataFrame, of a table not kept by epoch.

        Raises:
            dagster.Failure: frames break their contracts; its metadata name the epochs.
            ContractViolationError: the output is of neither kind.
            StorageError: the database refuses; everything is as it was before.
        """
        table = context.asset_key.path[-1]
        started = time.monotonic()
        if isinstance(obj, pd.DataFrame) and not contract_of(table).by_epoch:
            rows = self.store.replace_table(table, obj)
        elif isinstance(obj, StepTable):
            run = self._run(context.run_id)
            rows = self._stored(run, obj.step).rows.get(obj.table, 0)
            run.made[table] = obj.step
        else:
            raise ContractViolationError(
                f"{table}: expected a table of a step, got {type(obj).__name__}", table=table
            )
        context.add_output_metadata(
            {
                "dagster/row_count": rows,
                "seconds_to_store": round(time.monotonic() - started, 3),
            }
        )

    def load_input(self, context: dg.InputContext) -> LoadedTable:
        """The rows of the input's partitions in key order; all rows of a table not kept by epoch.

        Raises:
            StorageError: the database refuses, or no partition keys are asked for.
        """
        table = context.asset_key.path[-1]
        if not contract_of(table).by_epoch:
            return LoadedTable(self.store.read(table))
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        epochs = _epochs(table, keys)
        made = self._run(context.step_context.run_id).made.get(table)
        if made is not None and list(made.epochs) == epochs:
            return LoadedTable(made.tables[table], made)
        return LoadedTable(self.store.read(table, epochs=epochs))

    def _stored(self, run: _Run, step: StepFrames) -> StoredStep:
        for known, stored in run.stored:
            if known is step:
                return stored
        try:
            stored = self.store.store(step)
        except ContractViolationError as error:
            raise contract_failure(step, error) from error
        run.stored.append((step, stored))
        step.on_stored(stored)
        return stored

    def _run(self, run_id: str) -> _Run:
        """What is known of a run; earlier runs of this process are forgotten, with their frames."""
        if run_id not in self._runs:
            while len(self._runs) >= _RUNS_KEPT:
                del self._runs[next(iter(self._runs))]
            self._runs[run_id] = _Run()
        return self._runs[run_id]


def contract_failure(step: StepFrames, error: ContractViolationError) -> dg.Failure:
    """The failure of a step whose frames break a contract; its metadata name the epochs."""
    return dg.Failure(
        f"{error.table} breaks its contract; nothing of {len(step.epochs)} epochs is stored: "
        f"{error}",
        metadata={f"epoch {epoch}": str(error) for epoch in error.epochs},
        allow_retries=False,
    )


def _epochs(table: str, keys: Iterable[str]) -> list[int]:
    epochs = sorted({int(key) for key in keys})
    if not epochs:
        raise StorageError(
            f"the run holds no epochs of {table}: a range of partition keys can be empty when "
            "its keys were not added in order. Launch it with explicit keys."
        )
    return epochs

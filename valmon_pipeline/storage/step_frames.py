"""The unit that is stored in one transaction: all frames that a step made of its epochs.

Epochs whose frames are out of date when they are to be stored are left out, in that transaction:
somebody else has stored newer ones, or what is stored is known better.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.beacon.captured_answers import AnswerStore
from valmon_pipeline.chain.network_epoch import NetworkEpoch
from valmon_pipeline.frames import conform, contract_of, validate
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.storage.corrections import stored_already
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.standings_due import (
    MADE_FROM,
    MATERIALIZED_AGAIN,
    DueStandings,
    mark_stored,
    take_marks,
)
from valmon_pipeline.storage.stored_facts import stored_facts
from valmon_pipeline.storage.table_reader import Selection, read_table
from valmon_pipeline.storage.tables import table_of


@dataclass(frozen=True, slots=True)
class StoredStep:
    """What storing a step did: rows by table, the epochs that were stored, those that were left
    out, and how many values of stored epochs were corrected."""

    rows: Mapping[str, int]
    epochs: tuple[int, ...]
    left_out: tuple[int, ...] = ()
    corrections: int = 0


@dataclass(frozen=True)
class StepFrames:
    """Frames by table, each of all ``epochs``, in which every epoch's rows replace what is stored
    of it. ``reason`` is entered with every value that changes. ``networks``
    has every validator of the network, by epoch, as far as that is to be stored, too. ``on_stored``
    is called after the commit."""

    epochs: tuple[int, ...]
    tables: Mapping[str, pd.DataFrame]
    reason: str = MATERIALIZED_AGAIN
    networks: Mapping[int, NetworkEpoch] = field(default_factory=dict, kw_only=True)
    on_stored: Callable[[StoredStep], None] = field(default=lambda stored: None, kw_only=True)

    @cached_property
    def validated(self) -> Mapping[str, pd.DataFrame]:
        """``tables``, once pandera has found that each keeps its contract.

        Raises:
            ContractViolationError: one does not.
        """
        return {table: validate(table, frame) for table, frame in self.tables.items()}

    watched_in: ClassVar[str] = "validator_snapshots"
    """The table whose stored rows say whom the stored epoch is about."""

    def reason_of(self, epoch: int) -> str:
        """The reason that is entered with changed values of an epoch."""
        return self.reason

    def admitted(self, connection: sa.Connection, schema: str) -> list[int]:
        """The epochs to store, ascending; the others stay as they are stored."""
        return list(self.epochs)

    def compared(self, connection: sa.Connection, schema: str, epochs: Sequence[int]) -> list[int]:
        """Those of ``epochs`` that were stored before: what is different in them is corrected."""
        return stored_already(connection, schema, epochs)

    def frame(self, table: str, connection: sa.Connection, schema: str) -> pd.DataFrame:
        """The rows of a table to store, once it is known which epochs are admitted."""
        return self.tables[table]

    def note(self, connection: sa.Connection, schema: str, epochs: Collection[int]) -> None:
        """Enter, in the same transaction, what follows from storing ``epochs``."""
        if not MADE_FROM.isdisjoint(self.tables):
            mark_stored(connection, schema, epochs, self.reason)


@dataclass(frozen=True)
class FactStep(StepFrames):
    """Facts. ``parts`` are the same by epoch (``epoch.FactFrames``), for a later step of the run.

    An epoch is left out if it is stored, on the same chain, with facts that the frames lack. A
    snapshot that was taken at a boundary is not replaced by one without balances.
    """

    parts: Mapping[int, Any] = field(default_factory=dict, kw_only=True)

    def admitted(self, connection: sa.Connection, schema: str) -> list[int]:
        epochs = self.tables["network_epochs"]
        incomplete = epochs.loc[epochs["missing_facts"] > 0, ["epoch", "window_root"]]
        sources = self.tables["fact_sources"]
        unknown = sources[sources["source"].isna()]
        kept = set()
        for epoch, root in incomplete.itertuples(index=False, name=None):
            stored = stored_facts(connection, schema, epoch)
            missing = frozenset(unknown.loc[unknown["epoch"] == epoch, "fact"])
            if stored is not None and stored.would_lose(bytes(root), missing):
                kept.add(epoch)
        return [epoch for epoch in self.epochs if epoch not in kept]

    def frame(self, table: str, connection: sa.Connection, schema: str) -> pd.DataFrame:
        frame = self.tables[table]
        if table != "validator_snapshots" or not frame["balance"].isna().any():
            return frame
        unknown = frame.loc[frame["balance"].isna(), ["epoch", "slot"]]
        contract = contract_of(table)
        stored = read_table(
            connection,
            schema,
            contract,
            contract.columns,
            Selection({name: np.unique(unknown[name]).tolist() for name in ("epoch", "slot")}),
        )
        key = list(contract.key)
        known = frame.set_index(key).combine_first(stored[stored["balance"].notna()].set_index(key))
        merged = known.reset_index()[list(contract.columns)]
        return conform(table, {name: merged[name] for name in contract.columns})


@dataclass(frozen=True)
class ScoreStep(StepFrames):
    """Scores. ``made_from`` has when the facts behind them were materialized: an epoch whose facts
    were stored again since is left out, its scores are made by whoever did so.

    ``all_scores``: the epoch's scores are complete with these tables.
    """

    watched_in: ClassVar[str] = "effectiveness_scores"

    made_from: Mapping[int, datetime] = field(default_factory=dict, kw_only=True)
    all_scores: bool = field(default=True, kw_only=True)

    def admitted(self, connection: sa.Connection, schema: str) -> list[int]:
        table = table_of(schema, "network_epochs")
        query = (
            sa.select(table.c.epoch, table.c.materialized_at)
            .where(table.c.epoch.in_(self.epochs))
            .with_for_update()
        )
        stored = {int(epoch): at for epoch, at in connection.execute(query)}
        return [epoch for epoch in self.epochs if stored.get(epoch) == self.made_from[epoch]]

    def compared(self, connection: sa.Connection, schema: str, epochs: Sequence[int]) -> list[int]:
        # Facts are stored before: an epoch whose scores are there, too, has a sum of all.
        sums = table_of(schema, "epoch_summaries").c
        query = sa.select(sums.epoch).distinct().where(sums.epoch.in_(list(epochs)))
        return sorted(int(epoch) for epoch in connection.execute(query).scalars())

    def note(self, connection: sa.Connection, schema: str, epochs: Collection[int]) -> None:
        super().note(connection, schema, epochs)
        if self.all_scores:
            table = table_of(schema, "network_epochs")
            connection.execute(
                sa.update(table)
                .where(table.c.epoch.in_(list(epochs)))
                .values(formula_version=FORMULA_VERSION)
            )


@dataclass(frozen=True)
class StandingStep(StepFrames):
    """Standings. An epoch is left out unless it is still on the list ``standings_due`` with the
    mark that was read before its facts were."""

    due: Mapping[int, DueStandings] = field(default_factory=dict, kw_only=True)

    def reason_of(self, epoch: int) -> str:
        return self.due[epoch].reason

    def admitted(self, connection: sa.Connection, schema: str) -> list[int]:
        taken = take_marks(connection, schema, list(self.due.values()))
        return [epoch for epoch in self.epochs if epoch in taken]


class StepStore(Protocol):
    """Where steps are stored and read from: PostgreSQL, or memory in a test."""

    def bind_network(self, identity: NetworkIdentity) -> NetworkIdentity:
        """Tie what is stored to a network; StorageError if it holds another network's data."""

    def captured_answers(self) -> AnswerStore | None:
        """The answers that were kept while they were current; None if they are not kept."""

    def network(self) -> NetworkIdentity | None:
        """The network whose data are stored; None before the first run."""

    def store(self, step: StepFrames) -> StoredStep:
        """Validate the frames and replace the epochs' rows, all or none."""

    def replace_table(self, table: str, frame: pd.DataFrame) -> int:
        """Make ``frame`` all rows of a table that is not kept by epoch; rows stored."""

    def read(
        self,
        table: str,
        *,
        epochs: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        slots: Sequence[int] | None = None,
    ) -> pd.DataFrame:
        """Stored rows in key order."""

    def scored_epochs(self, first: int, last: int) -> list[int]:
        """The epochs of ``first`` to ``last`` that are stored with their scores, ascending."""

    def unknown_committees(self, epochs: Sequence[int]) -> set[int]:
        """Those of ``epochs`` whose committees are not known."""

    def due_standings(self, window_epochs: int) -> list[DueStandings]:
        """The epochs whose standings rest on facts that were stored since, ascending."""

    def list_standings(self, epochs: Sequence[int]) -> list[DueStandings]:
        """List epochs whose standings are to be made, due or not, ascending."""

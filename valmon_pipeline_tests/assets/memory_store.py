"""Steps stored in memory: what the graph needs of a store, without a database."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from valmon_pipeline.frames import TABLES, contract_of, validate
from valmon_pipeline.frames.conform import empty_frame
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.standings_due import DueStandings
from valmon_pipeline.storage.step_frames import ScoreStep, StandingStep, StepFrames, StoredStep


class MemoryStore:
    """A ``StepStore`` whose tables are frames."""

    def __init__(self) -> None:
        self.tables = {table: empty_frame(table) for table in TABLES}
        self.steps: list[StepFrames] = []
        self._identity: NetworkIdentity | None = None
        self._due: set[int] = set()

    def bind_network(self, identity: NetworkIdentity) -> NetworkIdentity:
        self._identity = identity
        return identity

    def captured_answers(self) -> None:
        return None

    def network(self) -> NetworkIdentity | None:
        return self._identity

    def store(self, step: StepFrames) -> StoredStep:
        frames = step.validated
        for table, frame in frames.items():
            stored = self.tables[table]
            kept = stored[~stored["epoch"].isin(step.epochs)]
            if table == "check_results":
                names = frame["check_name"]
                kept = stored[
                    ~(stored["epoch"].isin(step.epochs) & stored["check_name"].isin(names))
                ]
            self._put(table, [kept, frame])
        if isinstance(step, ScoreStep):
            epochs = self.tables["network_epochs"]
            scored = epochs["epoch"].isin(step.epochs)
            epochs.loc[scored, "formula_version"] = np.int32(FORMULA_VERSION)
            self._due.update(step.epochs)
        if isinstance(step, StandingStep):
            self._due.difference_update(step.epochs)
        self.steps.append(step)
        return StoredStep({table: len(frame) for table, frame in frames.items()}, step.epochs)

    def replace_table(self, table: str, frame: pd.DataFrame) -> int:
        self.tables[table] = validate(table, frame)
        return len(frame)

    def read(
        self,
        table: str,
        *,
        epochs: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        slots: Sequence[int] | None = None,
    ) -> pd.DataFrame:
        frame = self.tables[table]
        for name, wanted in (("epoch", epochs), ("slot", slots)):
            if wanted is not None:
                frame = frame[frame[name].isin(wanted)]
        return frame[list(columns or frame.columns)].reset_index(drop=True)

    def scored_epochs(self, first: int, last: int) -> list[int]:
        epochs = self.tables["network_epochs"]
        scored = epochs["formula_version"].notna() & epochs["epoch"].between(first, last)
        found: list[int] = epochs.loc[scored, "epoch"].tolist()
        return found

    def unknown_committees(self, epochs: Sequence[int]) -> set[int]:
        sources = self.tables["fact_sources"]
        unknown = sources["source"].isna() & (sources["fact"] == "committees")
        return set(sources.loc[unknown & sources["epoch"].isin(epochs), "epoch"])

    def due_standings(self, window_epochs: int) -> list[DueStandings]:
        return [DueStandings(epoch, 0, "test") for epoch in sorted(self._due)]

    def list_standings(self, epochs: Sequence[int]) -> list[DueStandings]:
        return [DueStandings(epoch, 0, "test") for epoch in epochs]

    def _put(self, table: str, frames: list[pd.DataFrame]) -> None:
        filled = [frame for frame in frames if len(frame)] or frames[:1]
        whole = pd.concat(filled, ignore_index=True)
        self.tables[table] = whole.sort_values(
            list(contract_of(table).key),
            ignore_index=True,
            # By name, as PostgreSQL orders text, and not by the contract's list of names.
            key=lambda column: column.astype(str) if column.dtype == "category" else column,
        )

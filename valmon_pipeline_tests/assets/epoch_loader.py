"""Loads epochs of a test as runs of the graph do, without Dagster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from valmon_pipeline.assets.fact_batch import EpochReport, FactReader
from valmon_pipeline.assets.loading import LoadOutcome, load_epochs
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.captured_answers import AnswerStore
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.reading.batch_reader import EPOCH_DEADLINE_SECONDS
from valmon_pipeline.storage.standings_due import MATERIALIZED_AGAIN
from valmon_pipeline.storage.warehouse import Warehouse


@dataclass
class EpochLoader:
    """Loads epochs into a warehouse; the settings are those of ``FactReader``.

    ``stored_facts`` are the epochs whose facts were committed, ``kept`` those that stay as they
    were stored, with more facts.
    """

    open_client: OpenClient
    warehouse: Warehouse
    watch: Watch
    deadline_seconds: float = EPOCH_DEADLINE_SECONDS
    provisional: bool = False
    correction_reason: str = MATERIALIZED_AGAIN
    archive: AnswerArchive | None = None
    captured: AnswerStore | None = None
    every_node: bool = False
    batch_epochs: int = 32
    on_read: Callable[[int], None] = lambda epoch: None
    kept: set[int] = field(default_factory=set)

    def run(
        self,
        epochs: Sequence[int],
        on_stored: Callable[[EpochReport], None] = lambda report: None,
    ) -> LoadOutcome:
        """Load epochs, in batches."""
        return load_epochs(self.reader, epochs, batch_epochs=self.batch_epochs, on_stored=on_stored)

    @property
    def reader(self) -> FactReader:
        """The reader behind it."""
        return FactReader(
            self.open_client,
            self.warehouse,
            self.watch,
            archive=self.archive,
            captured=self.captured,
            provisional=self.provisional,
            every_node=self.every_node,
            deadline_seconds=self.deadline_seconds,
            reason=self.correction_reason,
            on_read=self.on_read,
            on_stored=lambda reports, stored: self.kept.update(stored.left_out),
        )

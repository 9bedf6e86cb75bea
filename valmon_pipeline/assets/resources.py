"""What assets are handed: how to reach a node, the warehouse, and whom to watch.

A plain object rather than a configurable resource: Dagster shows the fields of those in its UI, and
addresses may carry tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from valmon_pipeline.assets.alerts import Alerting
from valmon_pipeline.assets.fact_batch import EpochReport, FactReader
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.node_pool import PROBE_SECONDS
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.config import WatchList
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.reading.batch_reader import EPOCH_DEADLINE_SECONDS, STATE_DEADLINE_SECONDS
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage.process_counters import CountStore
from valmon_pipeline.storage.standings_due import MATERIALIZED_AGAIN
from valmon_pipeline.storage.step_frames import StepStore, StoredStep
from valmon_pipeline.storage.warehouse import Warehouse


class Progress(Protocol):
    """Told of each epoch as a run goes on, e.g. to draw a progress bar."""

    def read(self, epoch: int) -> None:
        """An epoch was read; it is stored with its batch."""

    def stored(self, step: str, stored: StoredStep) -> None:
        """A step (``facts``, ``scores`` or ``standings``) was committed."""


class NoProgress:
    """Nobody is watching: runs started by Dagster's own processes."""

    def read(self, epoch: int) -> None:
        """Ignore it."""

    def stored(self, step: str, stored: StoredStep) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class Pipeline:
    """Everything a run needs; making one opens no connection.

    ``archive`` is where the answers about final epochs are kept; None: they are not.
    ``read_watch_list`` gives the watch list that the configuration has by now; None: it is fixed.
    A batch holds ``epochs_per_run`` epochs at most. ``standing_rules`` say how standings are
    computed, ``alerting`` what is alerted and to whom. ``count_store`` has what node and warehouse
    are observed by. A node may take ``probe_seconds`` to say how it is, and then to answer a
    sensor.
    """

    network: str
    open_client: OpenClient
    open_warehouse: Callable[[], Warehouse]
    watch: Watch
    watch_list: WatchList
    progress: Progress = field(default_factory=NoProgress)
    archive: AnswerArchive | None = None
    read_watch_list: Callable[[], WatchList] | None = None
    standing_rules: StandingRules = field(default_factory=StandingRules)
    alerting: Alerting = field(default_factory=Alerting)
    count_store: CountStore | None = None
    probe_seconds: float = PROBE_SECONDS
    epochs_per_run: int = 32

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse, opened when first needed: definitions load without a database."""
        return self.open_warehouse()

    def store_counts(self, *, if_due: bool = False) -> None:
        """Add what this process counted to the stored counters; ``if_due``: now and then."""
        if self.count_store is not None:
            self.count_store.store(lambda: self.warehouse.database, if_due=if_due)

    def reconfigured(self) -> Pipeline:
        """The same pipeline with the watch list that the configuration has by now; this one if it
        has not changed.

        Raises:
            ConfigurationError: the configuration cannot be read or has mistakes.
        """
        if self.read_watch_list is None:
            return self
        watch_list = self.read_watch_list()
        if watch_list == self.watch_list:
            return self
        return replace(self, watch_list=watch_list, watch=self.watch.of_list(watch_list))

    def fact_reader(
        self,
        store: StepStore,
        *,
        provisional: bool = False,
        reason: str = MATERIALIZED_AGAIN,
        every_node: bool = False,
        on_stored: Callable[[Sequence[EpochReport], StoredStep], None] = lambda reports, stored: (
            None
        ),
    ) -> FactReader:
        """A reader of batches of facts that are stored in ``store``; see ``FactReader``."""
        return FactReader(
            self.open_client,
            store,
            self.watch,
            archive=self.archive,
            captured=store.captured_answers(),
            provisional=provisional,
            every_node=every_node,
            deadline_seconds=(
                STATE_DEADLINE_SECONDS if self.watch.network_state else EPOCH_DEADLINE_SECONDS
            ),
            reason=reason,
            on_read=self.progress.read,
            on_stored=on_stored,
        )

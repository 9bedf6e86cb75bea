"""What assets are handed: how to reach a node, the warehouse, and whom to watch.

A plain object rather than a configurable resource: Dagster shows the fields of those in its UI, and
addresses may carry tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Protocol

from valmon_pipeline.assets.alerts import Alerting
from valmon_pipeline.assets.epoch_worker import OpenMaterializer
from valmon_pipeline.assets.materialization import (
    EPOCH_DEADLINE_SECONDS,
    STATE_DEADLINE_SECONDS,
    EpochMaterializer,
    EpochReport,
)
from valmon_pipeline.assets.parallel_materialization import ParallelMaterializer
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.node_pool import PROBE_SECONDS
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.config import WatchList
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage.captured_answers import CapturedAnswers
from valmon_pipeline.storage.corrections import MATERIALIZED_AGAIN
from valmon_pipeline.storage.process_counters import CountStore
from valmon_pipeline.storage.warehouse import Warehouse


class Progress(Protocol):
    """Told of each epoch as a run goes on, e.g. to draw a progress bar."""

    def stored(self, report: EpochReport) -> None:
        """An epoch was committed."""

    def failed(self, epoch: int, reason: str) -> None:
        """An epoch failed; nothing of it was stored."""

    @property
    def interrupted(self) -> bool:
        """Whether the run is to end."""


class NoProgress:
    """Nobody is watching: runs started by Dagster's own processes."""

    def stored(self, report: EpochReport) -> None:
        """Ignore it."""

    def failed(self, epoch: int, reason: str) -> None:
        """Ignore it."""

    @property
    def interrupted(self) -> bool:
        """Never: such runs are ended by signals."""
        return False


class WorkerOpener(Protocol):
    """Says how each of several processes opens a materializer of its own."""

    def __call__(
        self, watch: Watch, *, provisional: bool, correction_reason: str
    ) -> OpenMaterializer:
        """What each process calls, unpickled: for the same nodes and the same database."""


@dataclass(frozen=True)
class Pipeline:
    """Everything a run needs; making one opens no connection.

    ``archive`` is where the answers about final epochs are kept; None: they are not.
    ``read_watch_list`` gives the watch list that the configuration has by now; None: it is fixed.
    Long runs are shared among up to ``processes``, if ``worker_opener`` says how they begin.
    ``standing_rules`` say how standings are computed, ``alerting`` what is alerted and to whom.
    ``count_store`` has what node and warehouse are observed by. A node may take ``probe_seconds``
    to say how it is, and then to answer a sensor.
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
    processes: int = 1
    worker_opener: WorkerOpener | None = None
    count_store: CountStore | None = None
    probe_seconds: float = PROBE_SECONDS

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse, opened when first needed: definitions load without a database."""
        return self.open_warehouse()

    @cached_property
    def captured_answers(self) -> CapturedAnswers:
        """What was kept of nodes' answers while they were current."""
        return CapturedAnswers(self.warehouse.database)

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

    def materializer(
        self,
        *,
        provisional: bool = False,
        correction_reason: str = MATERIALIZED_AGAIN,
        every_node: bool = False,
    ) -> EpochMaterializer | ParallelMaterializer:
        """A materializer of epochs with this node, warehouse and watch list; with ``every_node``
        it asks every node about what one does not know."""
        alone = self.materializer_alone(
            provisional=provisional, correction_reason=correction_reason, every_node=every_node
        )
        if self.worker_opener is None or every_node:
            return alone
        opener = partial(
            self.worker_opener,
            self.watch,
            provisional=provisional,
            correction_reason=correction_reason,
        )
        return ParallelMaterializer(
            alone, opener, self.processes, is_cancelled=lambda: self.progress.interrupted
        )

    def materializer_alone(
        self, *, provisional: bool, correction_reason: str, every_node: bool = False
    ) -> EpochMaterializer:
        """The same in this process alone."""
        return EpochMaterializer(
            self.open_client,
            self.warehouse,
            self.watch,
            provisional=provisional,
            correction_reason=correction_reason,
            archive=self.archive,
            captured=self.captured_answers,
            every_node=every_node,
            deadline_seconds=(
                STATE_DEADLINE_SECONDS if self.watch.network_state else EPOCH_DEADLINE_SECONDS
            ),
            store_counts=lambda if_due: self.store_counts(if_due=if_due),
        )

"""Materialize epochs within this process, as Dagster runs that the UI shows like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import dagster as dg

from valmon_pipeline.assets.materialization import EpochReport
from valmon_pipeline.assets.run_tags import NETWORK_TAG
from valmon_pipeline.config import Settings
from valmon_pipeline.definitions import (
    MATERIALIZE_EPOCHS,
    REFRESH_VALIDATORS,
    build_definitions,
)
from valmon_pipeline.deployment.cancellation import CancellableClients
from valmon_pipeline.deployment.in_process_run import execute, reason_of
from valmon_pipeline.errors import PartitionsFailedError
from valmon_pipeline.partitions import (
    contiguous_chunks,
    range_tags,
    register_epochs,
    registered_epochs,
)
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.reading.epoch_reader import EpochReader, newest_epoch_readable


@dataclass(slots=True)
class BackfillProgress:
    """What became of each epoch so far; ``on_change`` is called after every one.

    ``on_interrupt`` is called when a signal ends a run, which then records what it has stored.
    """

    on_change: Callable[[], None] = lambda: None
    on_interrupt: Callable[[], None] = lambda: None
    stored_epochs: set[int] = field(default_factory=set)
    failures: dict[int, str] = field(default_factory=dict)
    interrupted: bool = False

    def stored(self, report: EpochReport) -> None:
        """An epoch was committed. CancelledError if it is the last one: a signal came."""
        self.stored_epochs.add(report.epoch)
        self.on_change()
        if self.interrupted:
            # Who waits for nothing is never cancelled: with a fast node every next epoch has been
            # read by the time it is due.
            raise asyncio.CancelledError

    def failed(self, epoch: int, reason: str) -> None:
        """An epoch failed."""
        self.failures[epoch] = reason
        self.on_change()


class Backfill:
    """Runs epochs of one installation; the database must be up.

    ``from_archive``: no node is asked, the archive has their answers.
    """

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        instance: dg.DagsterInstance,
        progress: BackfillProgress,
        *,
        from_archive: bool = False,
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._progress = progress
        pipeline = pipeline_of(settings, lambda: database_url, progress, from_archive=from_archive)
        self._clients = CancellableClients(pipeline.open_client)
        self._pipeline = replace(pipeline, open_client=self._clients)
        self._definitions = build_definitions(settings, self._pipeline)

    def newest_epoch(self) -> int:
        """The newest epoch whose rows are final on the node, -1 if there is none yet."""

        async def ask() -> int:
            async with self._pipeline.open_client() as client:
                reader = await EpochReader.open(client, self._pipeline.watch)
                return max(-1, newest_epoch_readable(await reader.finalized_epoch()))

        return asyncio.run(ask())

    def refresh_validators(self) -> None:
        """Read the watched validators and their labels.

        Raises:
            PartitionsFailedError: the run failed; with the reason.
        """
        job = self._definitions.resolve_job_def(REFRESH_VALIDATORS)
        result = execute(job, self._instance, {}, self._interrupt)
        if not result.success:
            raise PartitionsFailedError(f"validators could not be read: {reason_of(result)}")

    def run(self, epochs: Iterable[int]) -> None:
        """Materialize epochs, in as few runs as their order in the registry allows.

        What became of each is in the progress object; nothing is raised for epochs that fail.
        """
        wanted = sorted(set(epochs))
        network = self._settings.network
        register_epochs(self._instance, network, wanted)
        chunks = contiguous_chunks(
            registered_epochs(self._instance, network),
            wanted,
            self._settings.backfill.max_epochs_per_run,
        )
        job = self._definitions.resolve_job_def(MATERIALIZE_EPOCHS)
        for chunk in chunks:
            tags = {**range_tags(chunk), NETWORK_TAG: network}
            result = execute(job, self._instance, tags, self._interrupt)
            if not result.success:
                self._account_for(chunk, reason_of(result))

    def _interrupt(self) -> None:
        self._progress.interrupted = True
        self._progress.on_interrupt()
        self._clients.cancel()

    def _account_for(self, chunk: Sequence[int], reason: str) -> None:
        """The reason of a run that failed as a whole, for its epochs without one of their own."""
        for epoch in chunk:
            known = epoch in self._progress.stored_epochs or epoch in self._progress.failures
            if not known:
                self._progress.failed(epoch, reason)

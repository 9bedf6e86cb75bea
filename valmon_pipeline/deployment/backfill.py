"""Materialize epochs within this process, as Dagster runs that the UI shows like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import dagster as dg

from valmon_pipeline.assets.batch_size import epochs_per_run
from valmon_pipeline.assets.failed_epochs import epochs_blamed
from valmon_pipeline.assets.run_tags import NETWORK_TAG
from valmon_pipeline.config import Settings
from valmon_pipeline.dagster_adapter.in_process_run import execute, reason_of
from valmon_pipeline.definitions import (
    MATERIALIZE_EPOCHS,
    REFRESH_VALIDATORS,
    build_definitions,
)
from valmon_pipeline.deployment.cancellation import CancellableClients
from valmon_pipeline.errors import PartitionsFailedError
from valmon_pipeline.partitions import (
    contiguous_chunks,
    range_tags,
    register_epochs,
    registered_epochs,
    stretches_around,
)
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.reading.epoch_reader import EpochReader, newest_epoch_readable
from valmon_pipeline.storage.step_frames import StoredStep


@dataclass(slots=True)
class BackfillProgress:
    """The fate of each epoch so far; ``on_change`` is called after every one.

    ``read_epochs`` were read and are stored with their batch. ``corrections`` counts the values
    that differ from those stored before, ``standings`` the epochs whose standings were stored.
    ``on_interrupt`` is called when a signal ends a run.
    """

    on_change: Callable[[], None] = lambda: None
    on_interrupt: Callable[[], None] = lambda: None
    read_epochs: set[int] = field(default_factory=set)
    stored_epochs: set[int] = field(default_factory=set)
    standings: set[int] = field(default_factory=set)
    corrections: int = 0
    failures: dict[int, str] = field(default_factory=dict)

    def read(self, epoch: int) -> None:
        """An epoch was read."""
        self.read_epochs.add(epoch)
        self.on_change()

    def stored(self, step: str, stored: StoredStep) -> None:
        """A step was committed."""
        self.corrections += stored.corrections
        if step == "standings":
            self.standings.update(stored.epochs)

    def finished(self, epochs: Collection[int]) -> None:
        """All steps of epochs were committed."""
        self.stored_epochs.update(epochs)
        self.read_epochs.update(epochs)
        self.on_change()

    def failed(self, epoch: int, reason: str) -> None:
        """An epoch failed."""
        self.failures[epoch] = reason
        self.on_change()


class Backfill:
    """Runs epochs of one installation; the database must be up. Use it with ``with``.

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database's connections, if any were opened."""
        if "warehouse" in vars(self._pipeline):
            self._pipeline.warehouse.database.close()

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

    def run(self, epochs: Iterable[int], job_name: str = MATERIALIZE_EPOCHS) -> None:
        """Run the job over epochs, in as few runs as their order in the registry allows.

        If epochs of a run fail, runs over the stretches around them follow. What became of each is
        in the progress object; nothing is raised for epochs that fail.
        """
        wanted = sorted(set(epochs))
        network = self._settings.network
        register_epochs(self._instance, network, wanted)
        chunks = contiguous_chunks(
            registered_epochs(self._instance, network),
            wanted,
            epochs_per_run(self._settings),
        )
        job = self._definitions.resolve_job_def(job_name)
        while chunks:
            chunk = chunks.pop(0)
            tags = {**range_tags(chunk), NETWORK_TAG: network}
            result = execute(job, self._instance, tags, self._interrupt)
            if result.success:
                self._progress.finished(chunk)
                continue
            # A run that blames no epoch had no node or no database: halves of it would not, either.
            reasons = epochs_blamed(result.all_events) or dict.fromkeys(chunk, reason_of(result))
            for epoch, reason in reasons.items():
                self._progress.failed(epoch, reason)
            chunks = [*stretches_around(chunk, reasons), *chunks]

    def _interrupt(self) -> None:
        self._progress.on_interrupt()
        self._clients.cancel()

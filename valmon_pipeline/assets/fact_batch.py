"""The step ``facts`` without Dagster: read a batch of epochs, compute and join their frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import pandas as pd

from valmon_pipeline.assets.metadata import Metadata, describe_epoch
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.captured_answers import AnswerStore
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.beacon.subject import epoch_subject
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.checks import CheckResult
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.fact_frames import FactFrames, compute_fact_frames
from valmon_pipeline.epoch.facts import FactSource, missing_facts
from valmon_pipeline.epoch.score_frames import ScoreFrames
from valmon_pipeline.reading.batch_reader import EPOCH_DEADLINE_SECONDS, BatchReader, ReadEpoch
from valmon_pipeline.reading.epoch_reader import EpochReader
from valmon_pipeline.reading.raw_answers import keep
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.standings_due import MATERIALIZED_AGAIN
from valmon_pipeline.storage.step_frames import FactStep, StepStore, StoredStep

_MILLISECONDS_PER_DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch that was read: what there is to say of each table, its checks, and what it took.

    ``sources`` say where each fact came from.
    """

    epoch: int
    node: str
    described: Mapping[str, Metadata]
    checks: Sequence[CheckResult]
    unknown_ids: tuple[int | str, ...]
    seconds: float
    requests: int
    bytes_received: int
    finalized: bool
    sources: tuple[FactSource, ...] = ()

    @property
    def missing(self) -> list[FactSource]:
        """The facts that are not known of the epoch, and why."""
        return missing_facts(self.sources)


@dataclass(frozen=True, slots=True)
class FactBatch:
    """A batch that was read: the step to store, and a report on each of its epochs."""

    step: FactStep
    reports: Sequence[EpochReport]


@dataclass(frozen=True)
class FactReader:
    """Reads batches of facts from the nodes.

    ``archive`` is where the answers about stored epochs are kept; None: they are not. The other
    settings are those of ``BatchReader``; ``reason`` is entered with every value that changes in
    an epoch that is stored already. ``on_stored`` is called when a batch was committed.
    """

    open_client: OpenClient
    store: StepStore
    watch: Watch
    archive: AnswerArchive | None = None
    captured: AnswerStore | None = None
    provisional: bool = False
    every_node: bool = False
    deadline_seconds: float = EPOCH_DEADLINE_SECONDS
    reason: str = MATERIALIZED_AGAIN
    on_read: Callable[[int], None] = field(default=lambda epoch: None)
    on_stored: Callable[[Sequence[EpochReport], StoredStep], None] = field(
        default=lambda reports, stored: None
    )

    def read(self, epochs: Sequence[int]) -> FactBatch:
        """Read a batch; nothing is stored.

        Raises:
            EpochsFailedError: some epochs cannot be read or computed.
            BeaconApiError: no node is ready to be read from at all.
            StorageError: the database is away, or holds the data of another network.
        """
        at = datetime.now(UTC)

        def compute(spec: ChainSpec, answers: EpochAnswers) -> FactFrames:
            return compute_fact_frames(spec, answers, watch=self.watch, at=at)

        def bind(reader: EpochReader) -> None:
            self.store.bind_network(network_identity(reader))

        reader = BatchReader(
            self.open_client,
            self.watch,
            compute,
            on_reader=bind,
            captured=self.captured,
            provisional=self.provisional,
            every_node=self.every_node,
            deadline_seconds=self.deadline_seconds,
            on_read=self.on_read,
        )
        found = sorted(reader.read(epochs), key=lambda one: one.epoch)
        parts = {one.epoch: one.made for one in found}
        reports = [_report(one) for one in found]

        def on_stored(stored: StoredStep) -> None:
            for one in found:
                if self.archive is not None and one.raw is not None and one.epoch in stored.epochs:
                    keep(self.archive, epoch_subject(one.epoch), one.raw, final=one.finalized)
            self.on_stored(reports, stored)

        tables = joined(list(parts.values()))
        step = FactStep(
            tuple(parts),
            tables,
            self.reason,
            networks={e: part.network for e, part in parts.items() if part.network is not None},
            on_stored=on_stored,
            parts=parts,
        )
        return FactBatch(step, reports)


def joined(parts: Collection[FactFrames] | Collection[ScoreFrames]) -> dict[str, pd.DataFrame]:
    """The frames of several epochs (ascending) as one frame per table."""
    tables = list(dict.fromkeys(table for part in parts for table in part.tables))
    return {
        table: frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        for table in tables
        for frames in [[part.tables[table] for part in parts]]
    }


def _report(read: ReadEpoch[FactFrames]) -> EpochReport:
    return EpochReport(
        epoch=read.epoch,
        node=read.node,
        described=describe_epoch(read.made.tables),
        checks=read.made.checks,
        unknown_ids=read.unknown_ids,
        seconds=read.seconds,
        requests=read.requests,
        bytes_received=read.bytes_received,
        finalized=read.finalized,
        sources=read.sources,
    )


def network_identity(reader: EpochReader) -> NetworkIdentity:
    """The network of the reader's node: what the store compares with its own."""
    spec, genesis = reader.spec, reader.genesis
    return NetworkIdentity(
        config_name=spec.config_name,
        genesis_time=genesis.genesis_time,
        genesis_validators_root=genesis.genesis_validators_root,
        slots_per_epoch=spec.slots_per_epoch,
        slot_duration_ms=spec.slot_duration_ms,
        partition_epochs=max(1, _MILLISECONDS_PER_DAY // spec.epoch_duration_ms),
    )

"""Materialize epochs: read, compute, check and store each in one transaction of its own.

This is the one operation behind live work, backfills, history by day and tests. One epoch's failure
leaves what was stored for it before, and does not touch the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import pandas as pd

from valmon_pipeline.assets.graceful_stop import run_until_signalled, to_the_end
from valmon_pipeline.assets.label_history import no_labels
from valmon_pipeline.assets.metadata import Metadata, describe_epoch
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.captured_answers import AnswerStore, Captured, capturing
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.beacon.subject import asking_about, epoch_subject
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.checks import CheckResult
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.epoch_frames import EpochFrames, compute_epoch_frames
from valmon_pipeline.epoch.facts import FactSource, missing_facts
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    ChainRuleViolationError,
    ContractViolationError,
    StorageError,
    ValmonError,
)
from valmon_pipeline.frames import contract_of
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.reading.epoch_reader import EpochReader
from valmon_pipeline.reading.node_session import NodeSession, is_fault_of_node
from valmon_pipeline.reading.raw_answers import keep, raw_answers
from valmon_pipeline.storage.corrections import MATERIALIZED_AGAIN
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.stored_facts import stored_facts
from valmon_pipeline.storage.warehouse import Warehouse

logger = logging.getLogger(__name__)

EPOCH_DEADLINE_SECONDS: Final = 120.0
STATE_DEADLINE_SECONDS: Final = 600.0
"""For an epoch with a state, whose 0.3 GB take two minutes over 20 Mbit/s."""
_PROBE_SECONDS: Final = 5.0
_VAIN_BEFORE_REST: Final = 3
_EPOCHS_OF_REST: Final = 32
_MILLISECONDS_PER_DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One stored epoch: what there is to say of each table, its checks, and what it took. The
    frames are not kept.

    ``corrections`` counts the values that differ from those that were stored of it before.
    ``sources`` say where each fact came from. ``kept``: the epoch was stored with facts that the
    node does not know any more, and stays as it was.
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
    corrections: int
    sources: tuple[FactSource, ...] = ()
    kept: bool = False

    @property
    def missing(self) -> list[FactSource]:
        """The facts that are not known of the epoch, and why."""
        return missing_facts(self.sources)


@dataclass(slots=True)
class RunOutcome:
    """The epochs a run stored, and the reason for each that it could not.

    ``broken_contracts`` maps a table to the epochs whose frame it refused, with the reason.
    ``gone`` says which of node and database is away, if that is why epochs were not tried.
    """

    stored: list[int] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    broken_contracts: dict[str, dict[int, str]] = field(default_factory=dict)
    gone: str | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading an epoch gave: answers or the error, and what it took."""

    answers: EpochAnswers | Exception
    started: float
    requests: int
    bytes_received: int
    raw: bytes | None
    captured: Captured

    @property
    def missing(self) -> frozenset[str]:
        """The facts that are not known; none of an epoch that could not be read."""
        if isinstance(self.answers, Exception):
            return frozenset()
        return frozenset(source.fact.value for source in missing_facts(self.answers.sources))


class _VainQuestions:
    """Decides about asking other nodes what one does not know: not for every epoch of a long
    outage, if none of them knows it either."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._skips = 0

    def is_worthwhile(self) -> bool:
        """True if now is the time to ask; counts the epochs that are let pass."""
        self._skips = max(0, self._skips - 1)
        return self._skips == 0

    def tried(self, *, in_vain: bool) -> None:
        """Remember what came of asking."""
        self._in_a_row = self._in_a_row + 1 if in_vain else 0
        if self._in_a_row >= _VAIN_BEFORE_REST:
            self._in_a_row, self._skips = 0, _EPOCHS_OF_REST


class EpochMaterializer:
    """Materializes epochs with one node at a time and one warehouse.

    While an epoch is computed and stored, the next one is being read: at most two epochs are in
    memory. When the node fails at an epoch, the next one is read from the start of that epoch.
    Another one is also asked about an epoch of which the first does not know everything; the fuller
    answers are stored, each epoch from one node. ``every_node`` does so however often it is in
    vain.

    What was read of an epoch that is not complete, or failed, is kept in ``captured``: a later
    attempt starts from there. What is stored and known is never replaced by NULL while its block
    is canonical.

    With ``provisional``, epochs are stored as soon as their window has closed, before they are
    final. ``correction_reason`` is entered with every value that changes in an epoch that is
    stored already. ``store_counts`` is called at the end, and with True after every epoch.
    """

    def __init__(
        self,
        open_client: OpenClient,
        warehouse: Warehouse,
        watch: Watch,
        *,
        deadline_seconds: float = EPOCH_DEADLINE_SECONDS,
        provisional: bool = False,
        correction_reason: str = MATERIALIZED_AGAIN,
        archive: AnswerArchive | None = None,
        captured: AnswerStore | None = None,
        every_node: bool = False,
        store_counts: Callable[[bool], None] = lambda if_due: None,
    ) -> None:
        self._open_client = open_client
        self._warehouse = warehouse
        self._watch = watch
        self._deadline_seconds = deadline_seconds
        self._provisional = provisional
        self._correction_reason = correction_reason
        self._archive = archive
        self._captured = captured
        self._every_node = every_node
        self._store_counts = store_counts
        self._labels = no_labels()

    def run(
        self,
        epochs: Sequence[int],
        on_stored: Callable[[EpochReport], None] = lambda report: None,
        on_failed: Callable[[int, str], None] = lambda epoch, reason: None,
    ) -> RunOutcome:
        """Materialize epochs in the order given, each in a transaction of its own.

        The labels that are stored when the run begins are those it groups validators by.

        An epoch that fails is recorded and the next one is tried, unless the node or the database
        is gone altogether: then the remaining epochs fail with that reason.

        Raises:
            BeaconApiError: no node is ready to be read from at all.
            StorageError: the database is away, or holds the data of another network.
        """
        try:
            return run_until_signalled(self._run(epochs, on_stored, on_failed))
        finally:
            self._store_counts(False)

    async def _run(
        self,
        epochs: Sequence[int],
        on_stored: Callable[[EpochReport], None],
        on_failed: Callable[[int, str], None],
    ) -> RunOutcome:
        outcome = RunOutcome()
        vain = _VainQuestions()
        self._labels = self._warehouse.read("validator_labels")

        def fail(epoch: int, reason: str) -> None:
            outcome.failures[epoch] = reason
            on_failed(epoch, reason)

        def bind(reader: EpochReader) -> None:
            self._warehouse.bind_network(network_identity(reader))

        async with NodeSession(self._open_client, self._watch, bind, self._captured) as session:
            reading = self._start_reading(session, epochs[:1])
            for position, epoch in enumerate(epochs):
                assert reading is not None
                read = await reading
                following = epochs[position + 1 :]
                if read.missing and (self._every_node or vain.is_worthwhile()):
                    lacking = len(read.missing)
                    read = await self._fullest(session, epoch, read)
                    vain.tried(in_vain=len(read.missing) == lacking)
                reasons: list[str] = []
                while True:
                    reading = self._start_reading(session, following[:1])
                    stored = await to_the_end(
                        asyncio.to_thread(self._compute_and_store, session.reader.spec, read)
                    )
                    if isinstance(stored, EpochReport):
                        break
                    reasons.append(_reason(stored, epoch, session.name))
                    if not is_fault_of_node(stored):
                        break
                    # Nothing may be under way at a node that is left.
                    await _cancelled(reading)
                    if not await session.replace(stored):
                        reading = self._start_reading(session, following[:1])
                        break
                    read = await self._read(session.reader, epoch)
                session.epoch_is_over()
                if isinstance(stored, EpochReport):
                    outcome.stored.append(stored.epoch)
                    on_stored(stored)
                    # A task is cancelled where it waits: only here, if the next epoch is read.
                    await asyncio.sleep(0)
                    continue
                fail(epoch, "; ".join(reasons))
                if isinstance(stored, ContractViolationError) and stored.table is not None:
                    outcome.broken_contracts.setdefault(stored.table, {})[epoch] = str(stored)
                if gone := await self._what_is_gone(session.reader.client, stored):
                    outcome.gone = gone
                    await _cancelled(reading)
                    for skipped in following:
                        fail(skipped, f"not tried: {gone}")
                    break
        return outcome

    async def _fullest(self, session: NodeSession, epoch: int, read: _Read) -> _Read:
        """The answers of the first node that knows more than ``read``, else ``read``."""
        best = read

        async def knows_more(reader: EpochReader) -> bool:
            nonlocal best
            other = await self._read(reader, epoch)
            if isinstance(other.answers, Exception) or len(other.missing) >= len(best.missing):
                return False
            best = other
            return True

        await session.prefer(knows_more)
        return best

    def _start_reading(
        self, session: NodeSession, epochs: Sequence[int]
    ) -> asyncio.Task[_Read] | None:
        """Read the first of ``epochs``, if there is one, while something else is done."""
        return asyncio.create_task(self._read(session.reader, epochs[0])) if epochs else None

    async def _read(self, reader: EpochReader, epoch: int) -> _Read:
        started = time.monotonic()
        before = replace(reader.client.statistics)
        answers: EpochAnswers | Exception
        raw: bytes | None = None
        with capturing() as captured:
            try:
                with (
                    reader.client.deadline(self._deadline_seconds),
                    asking_about(epoch_subject(epoch)),
                ):
                    answers = await reader.read(epoch, provisional=self._provisional)
                    raw = raw_answers(reader.client, reader.spec, answers)
            except Exception as error:  # noqa: BLE001 - the epoch fails; its neighbours go on
                answers = error
        after = replace(reader.client.statistics)
        return _Read(
            answers,
            started,
            after.requests - before.requests,
            after.bytes_received - before.bytes_received,
            raw,
            captured,
        )

    def _compute_and_store(self, spec: ChainSpec, read: _Read) -> EpochReport | Exception:
        if isinstance(read.answers, Exception):
            return read.answers
        try:
            if read.missing:
                self._keep_answers(read, read.answers)
            if self._knows_more(read, read.answers):
                return self._report(read, read.answers, kept=True)
            frames = compute_epoch_frames(
                spec,
                read.answers,
                watch=self._watch,
                labels=self._labels,
                at=datetime.now(UTC),
            )
            stored = self._warehouse.replace_epoch(
                read.answers.epoch,
                self._with_live_snapshots(frames),
                network=frames.network,
                correction_reason=self._correction_reason,
            )
        except Exception as error:  # noqa: BLE001 - the epoch fails with it; its neighbours go on
            return error
        if self._archive is not None and read.raw is not None:
            subject = epoch_subject(read.answers.epoch)
            keep(self._archive, subject, read.raw, final=read.answers.finalized)
        self._store_counts(True)
        return self._report(
            read, read.answers, frames=frames, corrections=stored.get("corrections", 0)
        )

    def _report(
        self,
        read: _Read,
        answers: EpochAnswers,
        *,
        frames: EpochFrames | None = None,
        corrections: int = 0,
        kept: bool = False,
    ) -> EpochReport:
        return EpochReport(
            epoch=answers.epoch,
            node=answers.node,
            described={} if frames is None else describe_epoch(frames.tables),
            checks=() if frames is None else frames.checks,
            unknown_ids=answers.unknown_ids,
            seconds=time.monotonic() - read.started,
            requests=read.requests,
            bytes_received=read.bytes_received,
            finalized=answers.finalized,
            corrections=corrections,
            sources=answers.sources,
            kept=kept,
        )

    def _knows_more(self, read: _Read, answers: EpochAnswers) -> bool:
        """Whether the epoch is stored with facts that the answers lack."""
        if not read.missing:
            return False
        stored = stored_facts(self._warehouse.database, answers.epoch)
        root = answers.canonical.root_at(answers.canonical.last_slot)
        return stored is not None and stored.would_lose(root, read.missing)

    def _with_live_snapshots(self, frames: EpochFrames) -> Mapping[str, pd.DataFrame]:
        """The tables, with the balances of live snapshots where no registry was read: a snapshot
        that was taken at a boundary is not replaced by NULL."""
        snapshots = frames.tables["validator_snapshots"]
        unknown = snapshots["balance"].isna()
        if not unknown.any():
            return frames.tables
        slots = snapshots.loc[unknown, "slot"].unique().tolist()
        stored = self._warehouse.read("validator_snapshots", epochs=[frames.epoch], slots=slots)
        key = ["epoch", "slot", "validator_index"]
        known = snapshots.set_index(key).combine_first(
            stored[stored["balance"].notna()].set_index(key)
        )
        columns = contract_of("validator_snapshots").columns
        merged = known.reset_index()[list(columns)]
        ready = conform("validator_snapshots", {name: merged[name] for name in columns})
        return {**frames.tables, "validator_snapshots": ready}

    def _keep_answers(self, read: _Read, answers: EpochAnswers) -> None:
        """Keep what was read of an epoch that is not complete, for a later attempt."""
        if self._captured is None:
            return
        root = answers.canonical.root_at(answers.canonical.last_slot)
        self._captured.keep(
            read.captured.answers(answers.epoch, answers.node, root, is_kept=_is_about_the_past)
        )

    async def _what_is_gone(self, client: BeaconClient, error: Exception) -> str | None:
        """Why trying further epochs makes no sense: the node or the database is away."""
        try:
            if isinstance(error, StorageError):
                await asyncio.to_thread(self._warehouse.database.ping)
            elif isinstance(error, BeaconUnreachableError):
                with client.deadline(_PROBE_SECONDS):
                    await client.syncing()
        except (BeaconApiError, StorageError) as away:
            return str(away)
        return None


def _is_about_the_past(path: str) -> bool:
    """Whether an answer says the same whenever it is given: it is not about the head of now."""
    return "/head" not in path.replace("/states/head/committees", "") and "/node/" not in path


async def _cancelled(reading: asyncio.Task[_Read] | None) -> None:
    """End a reading that is of no use any more, before its client is closed."""
    if reading is not None:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def network_identity(reader: EpochReader) -> NetworkIdentity:
    """Which network the reader's node is of: what the warehouse compares with its own."""
    spec, genesis = reader.spec, reader.genesis
    return NetworkIdentity(
        config_name=spec.config_name,
        genesis_time=genesis.genesis_time,
        genesis_validators_root=genesis.genesis_validators_root,
        slots_per_epoch=spec.slots_per_epoch,
        slot_duration_ms=spec.slot_duration_ms,
        partition_epochs=max(1, _MILLISECONDS_PER_DAY // spec.epoch_duration_ms),
    )


def _reason(error: Exception, epoch: int, node: str) -> str:
    """What to tell people; a bug in valmon also leaves its traceback in the log."""
    if isinstance(error, ChainRuleViolationError):
        # Raised by pure functions, which do not know whose answers they were given.
        return f"the answers of {node} about epoch {epoch} contradict each other: {error}"
    if isinstance(error, ValmonError):
        return str(error)
    logger.error("unexpected error while materializing epoch %d", epoch, exc_info=error)
    return f"unexpected {type(error).__name__}: {error} (a bug in valmon: see the log)"

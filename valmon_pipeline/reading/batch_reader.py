"""Reads the epochs of a batch, one after the other, from one node at a time.

While an epoch is computed, the next one is being read. When the node fails at an epoch, another
node is asked about that epoch from its start; the answers of two nodes are never mixed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from valmon_pipeline.beacon.captured_answers import AnswerStore, Captured, capturing
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.beacon.subject import asking_about, epoch_subject
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.facts import FactSource, missing_facts
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    ChainRuleViolationError,
    EpochsFailedError,
    ValmonError,
)
from valmon_pipeline.reading.epoch_reader import EpochReader
from valmon_pipeline.reading.graceful_stop import run_until_signalled, to_the_end
from valmon_pipeline.reading.node_session import NodeSession, is_fault_of_node
from valmon_pipeline.reading.raw_answers import raw_answers

logger = logging.getLogger(__name__)

EPOCH_DEADLINE_SECONDS: Final = 120.0
STATE_DEADLINE_SECONDS: Final = 600.0
"""For an epoch with a state, whose 0.3 GB take two minutes over 20 Mbit/s."""
CAPTURED_BYTES: Final = 128_000_000
"""Answers of a batch that are held in case it fails: those of some 30 epochs of mainnet."""
_PROBE_SECONDS: Final = 5.0
_VAIN_BEFORE_REST: Final = 3
_EPOCHS_OF_REST: Final = 32

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadEpoch(Generic[T]):
    """What reading an epoch gave, and what it took. The answers are not among it: a batch has many
    epochs.

    ``made`` is what was computed of them. ``window_root`` is the root of the last block of the
    epoch's window. ``raw`` is the archive of the answers, None if they are not archived;
    ``captured`` are the answers as they came, as long as there is room for them.
    """

    epoch: int
    node: str
    window_root: bytes
    finalized: bool
    unknown_ids: tuple[int | str, ...]
    sources: tuple[FactSource, ...]
    made: T
    seconds: float
    requests: int
    bytes_received: int
    raw: bytes | None
    captured: Captured


@dataclass(frozen=True, slots=True)
class _Read:
    """Answers or the error, and what it took."""

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


class BatchReader(Generic[T]):
    """Reads epochs, and has ``compute`` make something of each in a thread of its own.

    Another node is also asked about an epoch of which the first does not know everything; the
    fuller answers are taken. ``every_node`` does so however often it is in vain. With
    ``provisional``, epochs are read as soon as their window has closed, before they are final.

    ``on_reader`` sees the reader of every node before it is read. What was read of an epoch that
    is not complete is kept in ``captured``, and of a batch that fails all of it: a later attempt
    starts from there. ``on_read`` is called with each epoch that was read.
    """

    def __init__(
        self,
        open_client: OpenClient,
        watch: Watch,
        compute: Callable[[ChainSpec, EpochAnswers], T],
        *,
        on_reader: Callable[[EpochReader], None] = lambda reader: None,
        captured: AnswerStore | None = None,
        provisional: bool = False,
        every_node: bool = False,
        deadline_seconds: float = EPOCH_DEADLINE_SECONDS,
        on_read: Callable[[int], None] = lambda epoch: None,
    ) -> None:
        self._open_client = open_client
        self._watch = watch
        self._compute = compute
        self._on_reader = on_reader
        self._captured = captured
        self._provisional = provisional
        self._every_node = every_node
        self._deadline_seconds = deadline_seconds
        self._on_read = on_read

    def read(self, epochs: Sequence[int]) -> list[ReadEpoch[T]]:
        """Read ``epochs`` in the order given.

        Every epoch is tried, so that all that fail are named; unless the node is gone altogether:
        then those that were not tried fail with that reason.

        Raises:
            EpochsFailedError: some epochs could not be read or computed.
            BeaconApiError: no node is ready to be read from at all.
            StorageError: the captured answers cannot be read or kept.
        """
        return run_until_signalled(self._read_all(epochs))

    async def _read_all(self, epochs: Sequence[int]) -> list[ReadEpoch[T]]:
        found: list[ReadEpoch[T]] = []
        reasons: dict[int, str] = {}
        vain = _VainQuestions()
        async with NodeSession(
            self._open_client, self._watch, self._on_reader, self._captured
        ) as session:
            reading = self._start_reading(session, epochs[:1])
            for position, epoch in enumerate(epochs):
                assert reading is not None
                read = await reading
                following = epochs[position + 1 :]
                if read.missing and (self._every_node or vain.is_worthwhile()):
                    lacking = len(read.missing)
                    read = await self._fullest(session, epoch, read)
                    vain.tried(in_vain=len(read.missing) == lacking)
                tried: list[str] = []
                while True:
                    reading = self._start_reading(session, following[:1])
                    made = await to_the_end(
                        asyncio.to_thread(self._made, session.reader.spec, read)
                    )
                    if isinstance(made, ReadEpoch):
                        break
                    tried.append(_reason(made, epoch, session.name))
                    if not is_fault_of_node(made):
                        break
                    # Nothing may be under way at a node that is left.
                    await _cancelled(reading)
                    if not await session.replace(made):
                        reading = self._start_reading(session, following[:1])
                        break
                    read = await self._read(session.reader, epoch)
                session.epoch_is_over()
                if isinstance(made, ReadEpoch):
                    found.append(made)
                    _make_room(found)
                    self._on_read(epoch)
                    # A task is cancelled where it waits: only here, if the next epoch is read.
                    await asyncio.sleep(0)
                    continue
                reasons[epoch] = "; ".join(tried)
                if gone := await _what_is_gone(session.reader.client, made):
                    await _cancelled(reading)
                    reasons |= dict.fromkeys(following, f"not tried: {gone}")
                    break
        if reasons:
            for read_epoch in found:
                self._keep(read_epoch)
            raise EpochsFailedError(
                f"{len(reasons)} of {len(epochs)} epochs cannot be materialized", reasons
            )
        return found

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

    def _made(self, spec: ChainSpec, read: _Read) -> ReadEpoch[T] | Exception:
        if isinstance(read.answers, Exception):
            return read.answers
        try:
            answers = read.answers
            made = ReadEpoch(
                answers.epoch,
                answers.node,
                answers.canonical.root_at(answers.canonical.last_slot),
                answers.finalized,
                answers.unknown_ids,
                answers.sources,
                self._compute(spec, answers),
                time.monotonic() - read.started,
                read.requests,
                read.bytes_received,
                read.raw,
                read.captured,
            )
            if read.missing:
                self._keep(made)
        except Exception as error:  # noqa: BLE001 - the epoch fails with it; its neighbours go on
            return error
        return made

    def _keep(self, read: ReadEpoch[T]) -> None:
        """Keep what was read of an epoch, for a later attempt."""
        if self._captured is None:
            return
        self._captured.keep(
            read.captured.answers(
                read.epoch, read.node, read.window_root, is_kept=_is_about_the_past
            )
        )


def _make_room(found: Sequence[ReadEpoch[T]]) -> None:
    """Forget the answers of the oldest epochs once they take more than ``CAPTURED_BYTES``: should
    the batch fail, they are asked for again."""
    held = 0
    for read in reversed(found):
        held += sum(len(response.content) for _, response in read.captured.pairs)
        if held > CAPTURED_BYTES:
            read.captured.pairs.clear()


async def _what_is_gone(client: BeaconClient, error: Exception) -> str | None:
    """Why trying further epochs makes no sense: the node is away."""
    if not isinstance(error, BeaconUnreachableError):
        return None
    try:
        with client.deadline(_PROBE_SECONDS):
            await client.syncing()
    except BeaconApiError as away:
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


def _reason(error: Exception, epoch: int, node: str) -> str:
    """What to tell people; a bug in valmon also leaves its traceback in the log."""
    if isinstance(error, ChainRuleViolationError):
        # Raised by pure functions, which do not know whose answers they were given.
        return f"the answers of {node} about epoch {epoch} contradict each other: {error}"
    if isinstance(error, ValmonError):
        return str(error)
    logger.error("unexpected error while materializing epoch %d", epoch, exc_info=error)
    return f"unexpected {type(error).__name__}: {error} (a bug in valmon: see the log)"

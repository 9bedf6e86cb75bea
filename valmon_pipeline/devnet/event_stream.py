"""The node's event stream (``/eth/v1/events``), replayed with the clock.

A recorded stream has no times. An event belongs to the slot that it names, or to that of the event
before it, and comes at the beginning of the slot, attestations after a third of it. The order is
that of the recording, repetitions and all.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from valmon_pipeline.devnet.answer import RefusalError
from valmon_pipeline.devnet.clock import Clock, LiveClock
from valmon_pipeline.devnet.recording_error import RecordingError

TOPICS: Final = frozenset(
    {
        "attestation",
        "attester_slashing",
        "blob_sidecar",
        "block",
        "block_gossip",
        "bls_to_execution_change",
        "chain_reorg",
        "contribution_and_proof",
        "data_column_sidecar",
        "finalized_checkpoint",
        "head",
        "light_client_finality_update",
        "light_client_optimistic_update",
        "payload_attributes",
        "proposer_slashing",
        "single_attestation",
        "voluntary_exit",
    }
)
_ATTESTATION_SHARE: Final = 1 / 3
_KEEP_ALIVE_SECONDS: Final = 15.0
# How long a stream may take to notice that the server stops.
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its topic, its text on the wire, and when it comes, counted in slots."""

    topic: str
    text: bytes
    slot: float


class _Named(msgspec.Struct):
    """Where events name their slot: at the top, or in an attestation's data."""

    slot: str | None = None
    data: _Named | None = None


_slot_decoder: Final = msgspec.json.Decoder(_Named)


def events_path(recording_path: Path) -> Path:
    """Return where the event stream of a recording lies: ``x.jsonl.zst`` → ``x.events.sse.zst``."""
    return recording_path.with_name(
        recording_path.name.removesuffix(".zst").removesuffix(".jsonl") + ".events.sse.zst"
    )


def read_events(path: Path) -> list[Event]:
    """Return the events of a recorded stream in their order; empty when there is no such file.

    Raises :class:`RecordingError` naming the file when it is not a compressed event stream.
    """
    if not path.exists():
        return []
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
            text = reader.read()
        return _parse(text)
    except (OSError, zstandard.ZstdError, msgspec.DecodeError, ValueError) as error:
        raise RecordingError(f"{path}: not a recorded event stream: {error}") from error


def _parse(text: bytes) -> list[Event]:
    events: list[Event] = []
    latest = 0.0
    for block in text.split(b"\n\n"):
        fields = dict(line.split(b": ", 1) for line in block.splitlines() if b": " in line)
        if b"event" not in fields or b"data" not in fields:
            continue  # a comment, or the end of a stream that was cut off
        topic = fields[b"event"].decode()
        latest = max(latest, _slot(topic, fields[b"data"]))
        events.append(Event(topic, block + b"\n\n", latest))
    return events


def _slot(topic: str, data: bytes) -> float:
    named = _slot_decoder.decode(data) if topic in _NAMING_A_SLOT else _Named()
    if named.slot is not None:
        return float(int(named.slot))
    if named.data is not None and named.data.slot is not None:
        return int(named.data.slot) + _ATTESTATION_SHARE
    return 0.0


# Slashings and exits hold slots and epochs too, but older ones.
_NAMING_A_SLOT: Final = frozenset({"attestation", "block", "chain_reorg", "head"})


class EventStream:
    """Streams events to any number of subscribers."""

    def __init__(self, events: Sequence[Event], clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._is_stopping = False

    def stop(self) -> None:
        """End all streams; a server waits for its open responses before it stops."""
        self._is_stopping = True

    async def subscribe(self, topics: frozenset[str]) -> AsyncIterator[bytes]:
        """Yield the events of ``topics`` from now on; on a stopped clock there are none."""
        clock = self._clock
        if isinstance(clock, LiveClock):
            start = bisect_right(self._events, clock.position(), key=attrgetter("slot"))
            for event in self._events[start:]:
                if event.topic not in topics:
                    continue
                async for comment in self._wait(clock.seconds_until(event.slot)):
                    yield comment
                if self._is_stopping or event.slot >= clock.last_slot + 1:
                    break
                yield event.text
        async for comment in self._wait(float("inf")):
            yield comment

    async def _wait(self, seconds: float) -> AsyncIterator[bytes]:
        """Wait, with a comment now and then so that a dead connection is noticed."""
        loop = asyncio.get_running_loop()
        end, next_comment = loop.time() + seconds, loop.time() + _KEEP_ALIVE_SECONDS
        while not self._is_stopping and (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, _POLL_SECONDS))
            if loop.time() >= next_comment:
                next_comment += _KEEP_ALIVE_SECONDS
                yield b": keep-alive\n\n"


def requested_topics(values: Sequence[str]) -> frozenset[str]:
    """Return the topics of a subscription; refuses none at all, and unknown ones."""
    if not values:
        raise RefusalError(400, " must have required property 'topics'")
    for value in values:
        if value not in TOPICS:
            raise RefusalError(400, f"Invalid topic: {value}")
    return frozenset(values)

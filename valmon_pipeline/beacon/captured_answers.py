"""Answers that were kept while they were current, used in place of a request.

A default node answers many questions about an epoch only while the epoch is young. Sensors ask
them then, with the very requests that the epoch's reader makes later; the reader's client finds
the kept answer by its request. An answer that rests on the chain names the head it was given at:
it counts only while that block is canonical.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Protocol

import httpx
import msgspec
import zstandard

from valmon_pipeline.beacon.archive import Exchange, RequestKey
from valmon_pipeline.beacon.transports.archive import exchange_of

_LEVEL: Final = 3
_HEAD: Final = "/states/head/"
_NAMES_ROOT: Final = re.compile(r"/0x[0-9a-f]{64}$")
_BLOCK: Final = "GET /eth/v2/beacon/blocks/0x"
_CAPTURING: ContextVar[Captured | None] = ContextVar("beacon_capturing", default=None)
_USED: ContextVar[set[str] | None] = ContextVar("beacon_captured_used", default=None)


@dataclass(frozen=True, slots=True)
class CapturedAnswer:
    """One kept answer about ``epoch``.

    ``request`` identifies the request within the epoch, ``body`` is the compressed line of an
    archive. ``block_root`` is the root of the head when it was given; None for an answer that
    names its block in the request and is true whatever the chain does.
    """

    epoch: int
    request: str
    node: str
    block_root: bytes | None
    body: bytes = field(repr=False)

    @classmethod
    def of(
        cls, epoch: int, exchange: Exchange, node: str, block_root: bytes | None
    ) -> CapturedAnswer:
        """An answer of ``node``, ready to be kept."""
        line = msgspec.json.encode(msgspec.structs.replace(exchange, node=node)) + b"\n"
        body = zstandard.ZstdCompressor(level=_LEVEL).compress(line)
        return cls(epoch, request_name(exchange.key), node, block_root, body)

    @property
    def exchange(self) -> Exchange:
        """The answer as it was given."""
        line = zstandard.ZstdDecompressor().decompress(self.body)
        return msgspec.json.decode(line, type=Exchange)


@dataclass(slots=True)
class Captured:
    """Answers that were collected; they become lines of an archive only if they are kept."""

    pairs: list[tuple[httpx.Request, httpx.Response]] = field(default_factory=list)
    _outer: Captured | None = None

    def hand_over(self) -> None:
        """Give what was collected to whoever captures around this: the answers were right."""
        if self._outer is not None:
            self._outer.pairs += self.pairs

    def answers(
        self, epoch: int, node: str, block_root: bytes | None, *, is_kept: Callable[[str], bool]
    ) -> list[CapturedAnswer]:
        """Return the answers whose path ``is_kept``, as answers of ``node`` about ``epoch``.

        A block that is asked for by root is true whatever the chain does.
        """
        kept = []
        for request, response in self.pairs:
            exchange = exchange_of(request, response)
            if is_kept(exchange.path):
                rests_on = None if _NAMES_ROOT.search(exchange.path) else block_root
                kept.append(CapturedAnswer.of(epoch, exchange, node, rests_on))
        return kept


class AnswerStore(Protocol):
    """Where captured answers are kept for all processes and machines."""

    def load(self, epochs: Collection[int]) -> list[CapturedAnswer]:
        """Return everything kept about ``epochs``."""

    def keep(self, answers: Sequence[CapturedAnswer]) -> None:
        """Keep answers; one to the same request about the same epoch is replaced."""


class Shelf:
    """The captured answers that a client looks through before it asks its node.

    Those about the ``epoch`` in hand come first; of its neighbours only answers count whose
    request names a slot, an epoch or a root. ``canonical`` are the roots that the chain is known
    to contain: answers given at another head are ignored. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self.epoch = -1
        self.canonical: set[bytes] = set()
        self._by_epoch: dict[int, dict[str, CapturedAnswer]] = {}

    @property
    def epochs(self) -> set[int]:
        """The epochs whose answers are here, if there are any."""
        return set(self._by_epoch)

    def put(self, epochs: Iterable[int], answers: Iterable[CapturedAnswer]) -> None:
        """Add what is kept about ``epochs``."""
        for epoch in epochs:
            self._by_epoch.setdefault(epoch, {})
        for answer in answers:
            self._by_epoch.setdefault(answer.epoch, {})[answer.request] = answer

    def drop_before(self, epoch: int) -> None:
        """Forget the answers about older epochs."""
        self._by_epoch = {known: kept for known, kept in self._by_epoch.items() if known >= epoch}

    def blocks(self) -> list[bytes]:
        """Return the roots of the blocks that are here."""
        return [
            bytes.fromhex(request.removeprefix(_BLOCK))
            for kept in self._by_epoch.values()
            for request in kept
            if request.startswith(_BLOCK)
        ]

    def find(self, key: RequestKey) -> Exchange | None:
        """Return the kept answer to a request, or None."""
        if not any(self._by_epoch.values()):
            return None
        name = request_name(key)
        found = self._by_epoch.get(self.epoch, {}).get(name)
        if found is None and _HEAD not in key.path:
            candidates = (kept.get(name) for kept in self._by_epoch.values())
            found = next((answer for answer in candidates if answer is not None), None)
        if found is None:
            return None
        if found.block_root is not None and found.block_root not in self.canonical:
            return None
        if (used := _USED.get()) is not None:
            used.add(found.node)
        return found.exchange


def request_name(key: RequestKey) -> str:
    """Return the text that identifies a request; a body counts by its hash."""
    query = f"?{key.query}" if key.query else ""
    body = f" {hashlib.sha256(key.body).hexdigest()[:32]}" if key.body else ""
    return f"{key.method} {key.path}{query}{body}"


@contextmanager
def capturing() -> Iterator[Captured]:
    """Collect the successful answers to everything that is asked within, tasks included.

    What is collected within another capture is not the other's unless it is handed over.
    """
    kept = Captured(_outer=_CAPTURING.get())
    token = _CAPTURING.set(kept)
    try:
        yield kept
    finally:
        _CAPTURING.reset(token)


def capture(request: httpx.Request, response: httpx.Response) -> None:
    """Hand an answer to whoever is capturing here."""
    if (kept := _CAPTURING.get()) is not None:
        kept.pairs.append((request, response))


@contextmanager
def captured_nodes() -> Iterator[set[str]]:
    """Collect the nodes whose captured answers are used within, tasks included."""
    used: set[str] = set()
    token = _USED.set(used)
    try:
        yield used
    finally:
        _USED.reset(token)

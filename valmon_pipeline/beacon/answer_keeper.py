"""Holds the answers of one node, compressed, until it is known whether they are worth archiving."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
import zstandard

from valmon_pipeline.beacon.archive import Exchange, RequestKey
from valmon_pipeline.beacon.subject import current_subject

_SUBJECTS_KEPT: Final = 4
"""The epoch being read, the one being stored, its predecessor, and one that failed in between."""
_GENERAL: Final = frozenset(
    {
        "/eth/v1/config/spec",
        "/eth/v1/beacon/genesis",
        "/eth/v1/node/syncing",
        "/eth/v1/beacon/headers/head",
        "/eth/v1/beacon/states/head/finality_checkpoints",
    }
)
_LEVEL: Final = 3
_SERVER_ERROR: Final = 500
_TOO_MANY_REQUESTS: Final = 429

_Frames = dict[RequestKey, bytes]


class AnswerKeeper:
    """Takes exchanges like an ``ArchiveWriter`` and gives them back by subject.

    Each exchange is a line of an archive in a zstd frame of its own, so that frames put together
    are an archive. Neighbouring subjects share answers: what was asked once is not asked again.
    Who the node is and how far counts for every subject, in the latest answer; other answers about
    no subject are not kept.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._general: _Frames = {}
        self._by_subject: dict[str, _Frames] = {}
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)

    def append(self, exchange: Exchange) -> None:
        """Keep an exchange, unless it only says that the node could not answer."""
        if exchange.status >= _SERVER_ERROR or exchange.status == _TOO_MANY_REQUESTS:
            return
        subject = current_subject()
        general = exchange.path in _GENERAL
        if subject is None and not general:
            return
        line = msgspec.json.encode(msgspec.structs.replace(exchange, node=self._node)) + b"\n"
        frame = self._compressor.compress(line)
        if subject is None or general:
            self._general[exchange.key] = frame
            return
        self._by_subject.setdefault(subject, {})[exchange.key] = frame
        while len(self._by_subject) > _SUBJECTS_KEPT:
            del self._by_subject[next(iter(self._by_subject))]

    def archive_of_node(self) -> bytes:
        """Return an archive of who the node is and how far, e.g. of its finalized epoch."""
        return b"".join(self._general.values())

    def archive_of(self, subject: str, shared_paths: Collection[str] = ()) -> bytes:
        """Return an archive of a subject; ``shared_paths`` may have been asked about another."""
        frames = dict(self._general)
        for other in self._by_subject.values():
            frames.update((key, frame) for key, frame in other.items() if key.path in shared_paths)
        frames.update(self._by_subject.get(subject, {}))
        return b"".join(frames.values())

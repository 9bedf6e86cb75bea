"""SSZ states of a recording: ``states/index.jsonl``, and a file for each of its lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec
import zstandard

from valmon_pipeline.devnet.recording_error import RecordingError

_INDEX: Final = "index.jsonl"


class _IndexLine(msgspec.Struct):
    """One recorded state: its slot, its fork's name in lower case, and its size in bytes."""

    slot: int
    bytes: int
    version: str | None = None
    eth_consensus_version: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedState:
    """Where a state lies and how it was served: ``version`` is its ``Eth-Consensus-Version``."""

    slot: int
    version: str
    path: Path
    size: int

    def content(self) -> bytes:
        """Return the state byte for byte.

        Raises :class:`RecordingError` naming the file when it is missing, damaged or cut off.
        """
        try:
            packed = self.path.read_bytes()
            content = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        except (OSError, zstandard.ZstdError) as error:
            raise RecordingError(f"{self.path}: not a compressed beacon state: {error}") from error
        if len(content) != self.size:
            raise RecordingError(
                f"{self.path}: {len(content)} bytes, but {_INDEX} beside it says {self.size}"
            )
        return content


class RecordedStates:
    """The states of a recording by slot. They stay on disk until they are asked for."""

    def __init__(self, by_slot: Mapping[int, RecordedState]) -> None:
        self.by_slot = dict(sorted(by_slot.items()))

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Read the index of a folder; a folder without one holds no states.

        Raises :class:`RecordingError` naming the line of the index that cannot be read.
        """
        index = folder / _INDEX
        if not index.exists():
            return cls({})
        found = {}
        for number, line in enumerate(index.read_bytes().splitlines(), start=1):
            try:
                entry = msgspec.json.decode(line, type=_IndexLine)
            except msgspec.DecodeError as error:
                raise RecordingError(f"{index}, line {number}: {error}") from error
            version = entry.version or entry.eth_consensus_version
            if version is None:
                raise RecordingError(f"{index}, line {number}: the state's version is missing")
            path = folder / (entry.file or f"state-{entry.slot}.ssz.zst")
            found[entry.slot] = RecordedState(entry.slot, version, path, entry.bytes)
        return cls(found)

    def __len__(self) -> int:
        return len(self.by_slot)

    def at(self, slot: int) -> RecordedState | None:
        """Return the state after ``slot``, or None."""
        return self.by_slot.get(slot)

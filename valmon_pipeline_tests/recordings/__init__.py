"""A second recorded devnet, shorter than the one that ships with the package, with its states.

``ssz/recording.jsonl.zst``: 2,561 answers of a Lodestar v1.22.0 node (preset ``minimal``, 128
validators, Electra from epoch 4), epochs 1–14. ``ssz/states``: the whole beacon state at the first
slot of each of them, byte for byte, listed in ``index.jsonl``.

``mainnet/recording.jsonl.zst``: 2,179 answers of a Lodestar v1.39.1 node, preset ``mainnet``, all
asked while they were current (no phase ``final``): slots 0–352, Fulu from epoch 3, 320 validators;
24 empty slots, among them 31, 95 (last of an epoch) and 352 (first of one). ``mainnet/states``:
the states of each epoch's first and last slot. The answer to ``rewards/attestations/1`` is 500.

``lodestar-by-age.jsonl``: which requests about an epoch Lodestar v1.39.1 answered when the head was
so many epochs further (200, or status and message); preset ``minimal``, Fulu from epoch 3.

``unpatched/recording.jsonl.zst``: 691 answers of a Lodestar v1.22.0 node as it was released, slots
128–159: rewards are fractions or balances, most states before finality are 404.

``specification/blocks.jsonl.zst``: made-up blocks of every fork from Phase 0 to Fulu (preset
``minimal``; every list empty, with one element, and with two), serialized by the executable
specification, ``eth-consensus-specs`` 1.7.0b4. Blocks of the n-th fork are of epoch 10 n + 3.

Never edit them: ground truth.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import zstandard

from valmon_pipeline.beacon.archive import Exchange, read_exchanges
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.recorded_states import RecordedState, RecordedStates

SSZ: Final = Path(__file__).parent / "ssz"
RECORDING: Final = SSZ / "recording.jsonl.zst"
MAINNET: Final = Path(__file__).parent / "mainnet" / "recording.jsonl.zst"
UNPATCHED: Final = Path(__file__).parent / "unpatched" / "recording.jsonl.zst"
BY_AGE: Final = Path(__file__).parent / "lodestar-by-age.jsonl"
SPECIFICATION: Final = Path(__file__).parent / "specification"
STATE_SLOTS: Final = tuple(range(8, 113, 8))


@cache
def answers() -> dict[str, Exchange]:
    """The final (or static) answer of each path asked by GET without a query."""
    return {
        exchange.path: exchange
        for exchange in read_exchanges(RECORDING)
        if exchange.method == "GET"
        and not exchange.query_string
        and exchange.status == 200
        and exchange.phase in ("final", "static")
    }


@cache
def state_bytes(slot: int) -> bytes:
    """The state after ``slot`` as the node served it."""
    return _state(slot).content()


def state_version(slot: int) -> str:
    """The ``Eth-Consensus-Version`` it was served with."""
    return _state(slot).version


def _state(slot: int) -> RecordedState:
    state = RecordedStates.of_folder(SSZ / "states").at(slot)
    assert state is not None, slot
    return state


@dataclass(frozen=True)
class SpecificationBlock:
    """A signed block as the executable specification serializes it, and its JSON."""

    fork: Fork
    blinded: bool
    ssz: bytes
    json: Any

    def __str__(self) -> str:
        return f"{self.fork.name.lower()}{'-blinded' * self.blinded}-{len(self.ssz)}"


@cache
def specification_blocks() -> tuple[SpecificationBlock, ...]:
    """The blocks of ``specification/blocks.jsonl.zst``; see the module's docstring."""
    packed = (SPECIFICATION / "blocks.jsonl.zst").read_bytes()
    lines = zstandard.ZstdDecompressor().decompress(packed).splitlines()
    return tuple(
        SpecificationBlock(
            Fork[row["fork"].upper()],
            row["blinded"],
            bytes.fromhex(row["ssz"].removeprefix("0x")),
            row["json"],
        )
        for row in map(json.loads, lines)
    )

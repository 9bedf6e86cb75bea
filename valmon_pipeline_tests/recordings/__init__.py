"""A second recorded devnet, shorter than the one that ships with the package, with its states.

``ssz/recording.jsonl.zst``: 2,561 answers of a Lodestar v1.22.0 node (preset ``minimal``, 128
validators, Electra from epoch 4), epochs 1–14. ``ssz/states``: the whole beacon state at the first
slot of each of them, byte for byte, listed in ``index.jsonl``. Never edit them: ground truth.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

import zstandard

from valmon_pipeline.beacon.archive import Exchange, read_exchanges

SSZ: Final = Path(__file__).parent / "ssz"
RECORDING: Final = SSZ / "recording.jsonl.zst"
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
    packed = (SSZ / "states" / f"state-{slot}.ssz.zst").read_bytes()
    return zstandard.ZstdDecompressor().decompressobj().decompress(packed)


@cache
def state_version(slot: int) -> str:
    """The ``Eth-Consensus-Version`` it was served with."""
    lines = (SSZ / "states" / "index.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return str(next(one["eth_consensus_version"] for one in entries if one["slot"] == slot))

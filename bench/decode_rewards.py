"""Decoding the attestation rewards of a million validators into columns, against structs.

Both sides read the same bytes in the same process, in turn: ``valmon`` is what the client does with
an answer, ``structs`` is msgspec alone decoding it into structs with integer fields. The ratio of
the medians of CPU time is the figure; it has to stay below 1.5.

Run: ``python bench/decode_rewards.py [ROWS]``
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import msgspec
import numpy as np

from valmon_pipeline.beacon.decode import attestation_rewards

ROUNDS = 7
LIMIT = 1.5


class Row(msgspec.Struct, gc=False):
    validator_index: int
    head: int
    target: int
    source: int
    inactivity: int


class IdealRow(msgspec.Struct, gc=False):
    effective_balance: int
    head: int
    target: int
    source: int
    inactivity: int


class Data(msgspec.Struct):
    ideal_rewards: list[IdealRow]
    total_rewards: list[Row]


class Answer(msgspec.Struct):
    data: Data


def answer(rows: int) -> bytes:
    """A node's answer: balances of 32 to 2048 ETH, one validator in twenty missed its vote."""
    random = np.random.default_rng(1)
    increments = np.where(random.random(rows) < 0.9, 32, random.integers(33, 2049, rows))
    missed = random.random(rows) < 0.05
    columns = {
        "validator_index": np.arange(rows),
        "head": np.where(missed, 0, increments * 74),
        "target": np.where(missed, -increments * 141, increments * 140),
        "source": np.where(missed, -increments * 76, increments * 75),
        "inactivity": np.zeros(rows, np.int64),
    }
    total = (
        dict(zip(columns, map(str, row), strict=True))
        for row in zip(*(column.tolist() for column in columns.values()), strict=True)
    )
    ideal = (
        {
            "effective_balance": str(n * 10**9),
            "head": str(n * 74),
            "target": str(n * 140),
            "source": str(n * 75),
            "inactivity": "0",
        }
        for n in range(2049)
    )
    return msgspec.json.encode(
        {
            "execution_optimistic": False,
            "finalized": True,
            "data": {"ideal_rewards": list(ideal), "total_rewards": list(total)},
        }
    )


def cpu_seconds(decode: Callable[[bytes], object], content: bytes) -> float:
    started = time.process_time()
    decode(content)
    return time.process_time() - started


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    content = answer(rows)
    structs = msgspec.json.Decoder(Answer, strict=False).decode
    assert len(attestation_rewards(content)) == rows
    times = [
        (cpu_seconds(attestation_rewards, content), cpu_seconds(structs, content))
        for _ in range(ROUNDS)
    ]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"rows {rows:,}, {len(content) / 1e6:.0f} MB of JSON, median of {ROUNDS} rounds, CPU")
    print(f"structs {theirs:.3f} s, valmon {ours:.3f} s, ratio {ours / theirs:.2f} (< {LIMIT})")
    if ours / theirs >= LIMIT:
        sys.exit(1)


if __name__ == "__main__":
    main()

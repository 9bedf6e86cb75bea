"""Made-up beacon states of mainnet's shape (preset mainnet, Fulu), for benchmarks.

python -m bench.state_sample SLOT ACTIVE FILE
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from valmon_pipeline.beacon.state_ssz.layout import state_layout
from valmon_pipeline.chain.beacon_state import VALIDATOR
from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.devnet.simulator import config

ETHER: Final = 10**9
GENESIS_ROOT: Final = bytes(range(32))
CONFIG: Final = config("mainnet", electra_epoch=0, fulu_epoch=0)


def sample_state(slot: int, active: int, *, exited_share: float = 1.2) -> bytearray:
    """The state after ``slot`` with ``active`` validators and ``exited_share`` times as many gone.

    One active validator in twenty holds 33 to 2048 ETH. 0.5 % did not attest in the epoch before,
    0.2 % missed the target and 2 % the head; one in 2,000 still has an inactivity score. One in
    100,000 was slashed. Of those gone, one in ten can still be withdrawn. Which ones is random, but
    the same every time.
    """
    spec = ChainSpec.from_config(CONFIG)
    random = np.random.default_rng(1)
    count = active + int(active * exited_share)
    gone = np.zeros(count, np.bool_)
    gone[random.choice(count, count - active, replace=False)] = True
    epoch = spec.epoch_of(slot)

    rows = np.zeros(count, VALIDATOR)
    rows["pubkey"] = random.integers(0, 256, (count, 48), np.uint8)
    rows["withdrawal_credentials"] = random.integers(0, 256, (count, 32), np.uint8)
    large = random.random(count) < 0.05
    balance = np.where(large, random.integers(33, 2049, count), 32) * ETHER
    waiting = random.random(count) < 0.1
    rows["effective_balance"] = np.where(gone & ~waiting, 0, balance)
    rows["slashed"] = ~gone & (random.random(count) < 1e-5)
    rows["activation_epoch"] = random.integers(0, max(1, epoch - 10), count)
    rows["exit_epoch"] = np.where(gone, np.uint64(max(1, epoch - 5)), np.uint64(FAR_FUTURE_EPOCH))
    locked_until = np.where(waiting, np.uint64(epoch + 100), np.uint64(0))
    rows["withdrawable_epoch"] = np.where(gone, locked_until, np.uint64(FAR_FUTURE_EPOCH))
    draw = random.random(count)
    flags = np.full(count, 7, np.uint8)
    flags[draw < 0.027] = 3
    flags[draw < 0.007] = 1
    flags[draw < 0.005] = 0
    flags[gone] = 0
    scores = np.where(draw < 0.0005, 20, 0)
    extra = random.integers(0, 20_000_000, count)
    balances = np.where(gone & ~waiting, 0, rows["effective_balance"] + extra.astype(np.uint64))

    layout = state_layout(spec, Fork.FULU)
    lists: dict[str, Any] = {
        "validators": rows,
        "balances": balances.astype("<u8"),
        "previous_epoch_participation": flags,
        "current_epoch_participation": flags,
        "inactivity_scores": scores.astype("<u8"),
        "latest_execution_payload_header": np.zeros(584, np.uint8),
        "pending_deposits": np.zeros(192 * 30_000, np.uint8),
    }
    variable = [name for name, place in layout.places.items() if place.row_size]
    content = bytearray(layout.fixed_size + sum(lists[name].nbytes for name in lists))
    at = layout.fixed_size
    for name in variable:
        struct.pack_into("<I", content, layout.places[name].at, at)
        if name in lists:
            size = lists[name].nbytes
            content[at : at + size] = memoryview(lists[name]).cast("B")
            at += size

    def write(name: str, new: bytes) -> None:
        place = layout.places[name]
        content[place.at : place.at + len(new)] = new

    write("genesis_validators_root", GENESIS_ROOT)
    write("slot", struct.pack("<Q", slot))
    version = spec.fork_versions[Fork.FULU]
    write("fork", version + version + struct.pack("<Q", spec.fork_epochs[Fork.FULU]))
    write("justification_bits", b"\x0f")
    for name, back in (
        ("previous_justified_checkpoint", 2),
        ("current_justified_checkpoint", 1),
        ("finalized_checkpoint", 2),
    ):
        write(name, struct.pack("<Q", epoch - back))
    return content


def sample_state_made_apart(slot: int, active: int) -> bytearray:
    """The same, made by another process: this one's memory holds nothing but the state."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state.ssz"
        command = [sys.executable, "-m", "bench.state_sample", str(slot), str(active), str(path)]
        subprocess.run(command, check=True)
        content = bytearray(path.stat().st_size)
        with path.open("rb") as file:
            file.readinto(content)
    return content


if __name__ == "__main__":
    Path(sys.argv[3]).write_bytes(sample_state(int(sys.argv[1]), int(sys.argv[2])))

"""From a state's bytes to everybody's flags, rewards, scores and ranks: CPU seconds and memory.

    python -m bench.network_state [ACTIVE]

The state is made up, of mainnet's shape: 1,000,000 active validators (or ACTIVE) of a registry of
2.2 times as many. The same process measures its limits beside it: reading every byte of the state
once, and copying the columns that are used. Medians of the rounds, CPU.
"""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from bench.state_sample import CONFIG, GENESIS_ROOT, sample_state_made_apart
from valmon_pipeline.beacon.state_ssz.decode import ExpectedState, decode_state
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import state_rewards
from valmon_pipeline.epoch.network_epoch import counted_rewards, network_epoch, network_epoch_of

ROUNDS: Final = 5
SLOT: Final = 400_001 * 32 + 31
GOAL_SECONDS: Final = 2.0
USED: Final = (
    *("effective_balance", "slashed", "activation_eligibility_epoch"),
    *("activation_epoch", "exit_epoch", "withdrawable_epoch"),
)


def median_cpu(run: Callable[[], object]) -> float:
    """Median CPU seconds of a call; its result is dropped within the measurement."""
    times = []
    for _ in range(ROUNDS):
        gc.collect()
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return statistics.median(times)


def peak_mb() -> float:
    """Most memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def copy_columns(state: BeaconState) -> list[object]:
    """Copies of what the computation uses of a state."""
    return [
        *(state.validators[name].copy() for name in USED),
        state.balances.copy(),
        state.previous_epoch_participation.copy(),
        state.current_epoch_participation.copy(),
        state.inactivity_scores.copy(),
    ]


def main() -> None:
    active = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    spec = ChainSpec.from_config(CONFIG)
    content = sample_state_made_apart(SLOT, active)
    expected = ExpectedState(SLOT, GENESIS_ROOT)
    before = peak_mb()

    def decode() -> BeaconState:
        return decode_state(spec, Fork.FULU, content, expected)

    whole = median_cpu(lambda: network_epoch(spec, decode()))
    peak = peak_mb()
    state = decode()
    whole_words = np.frombuffer(content, "<u8", len(content) // 8)
    read = median_cpu(lambda: np.bitwise_xor.reduce(whole_words))
    copied = median_cpu(lambda: copy_columns(state))
    decoded = median_cpu(decode)
    rewards = median_cpu(lambda: state_rewards(spec, state))
    kept = state_rewards(spec, state)
    counted = median_cpu(lambda: counted_rewards(kept))
    columns = median_cpu(lambda: network_epoch_of(kept, counted_rewards(kept), None)) - counted
    print(
        f"{active:,} active of {len(state):,} validators, {len(content) / 1e6:.0f} MB of SSZ, "
        f"median of {ROUNDS} rounds, CPU"
    )
    print(f"  every byte read {read:.3f} s, used columns copied {copied:.3f} s")
    print(
        f"  checked {decoded:.3f} s, rewards {rewards:.3f} s, counted {counted:.3f} s, "
        f"columns and ranks {columns:.3f} s"
    )
    print(f"  ratio to reading {whole / read:.1f}, to copying {whole / copied:.1f}")
    print(f"  memory peak {peak:.0f} MB; before, with the state's bytes, {before:.0f} MB")
    print(f"whole epoch {whole:.3f} s (target: at most {GOAL_SECONDS})")
    if whole > GOAL_SECONDS:
        sys.exit(1)


if __name__ == "__main__":
    main()

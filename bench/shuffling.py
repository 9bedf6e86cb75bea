"""Committees and proposers of one epoch of mainnet's shape, by the specification: CPU seconds.

    python -m bench.shuffling [--validators 1000000]

A made-up list of active validators, one in twenty with more than 32 ETH, shuffled into 64 × 32
committees with 90 rounds; the 32 proposers of the epoch and the 512 seats of a sync committee,
drawn by effective balance under the rules of Electra, where some twenty candidates are rejected for
each that is taken. Target: under 3 s of CPU for the committees of a million validators.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from bench.state_sample import CONFIG, ETHER
from valmon_pipeline.chain.balance_weighted_selection import balance_weighted_selection
from valmon_pipeline.chain.committee_shuffling import committees_by_shuffling
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.proposer_selection import proposers_by_seed
from valmon_pipeline.chain.spec import ChainSpec

EPOCH = 400_000
SEED = bytes(range(32))


def main() -> int:
    """Print the figures; exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validators", type=int, default=1_000_000)
    validators = parser.parse_args().validators
    spec = ChainSpec.from_config(CONFIG)
    random = np.random.default_rng(7)
    active = np.sort(random.choice(2 * validators, validators, replace=False))
    large = random.random(validators) < 0.05
    balance = np.where(large, random.integers(33, 2049, validators), 32) * ETHER

    started = time.process_time()
    committees = committees_by_shuffling(spec, EPOCH, active, SEED)
    of_committees = time.process_time() - started

    started = time.process_time()
    proposers = proposers_by_seed(spec, EPOCH, active, balance, SEED)
    of_proposers = time.process_time() - started

    started = time.process_time()
    seats = balance_weighted_selection(
        spec, Fork.ELECTRA, active, balance, SEED, spec.sync_committee_size
    )
    of_seats = time.process_time() - started

    print(
        f"{validators:,} active validators, {spec.shuffle_round_count} rounds: "
        f"{len(committees.slot)} committees, {len(proposers)} proposers, {len(seats)} seats"
    )
    print(f"committees CPU {of_committees:.2f} s (target < 3)")
    print(
        f"proposers CPU {of_proposers:.2f} s (no target), "
        f"sync seats CPU {of_seats:.2f} s (no target)"
    )
    return int(of_committees >= 3)


if __name__ == "__main__":
    sys.exit(main())

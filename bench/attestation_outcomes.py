"""Attestation outcomes of one epoch of mainnet's shape: CPU seconds and memory.

    python bench/attestation_outcomes.py [--validators 1000000]

Synthetic committees (64 × 32) and blocks (8 Electra attestations each): most votes arrive in the
next block in one aggregate over all committees; the other seven repeat, correct and delay them.
Decides every duty of the epoch from the blocks of two epochs. Target: under 3 s of CPU and under
1 GB for a million validators.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np

from valmon_pipeline.chain.attestations import attestation_outcomes
from valmon_pipeline.chain.blocks import Attestation, Block, BlockHeader
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.scoring.effectiveness import attestation_effectiveness

MAINNET = {
    "CONFIG_NAME": "mainnet",
    "PRESET_BASE": "mainnet",
    "SLOTS_PER_EPOCH": 32,
    "SECONDS_PER_SLOT": 12,
    "EPOCHS_PER_SYNC_COMMITTEE_PERIOD": 256,
    "EPOCHS_PER_SLASHINGS_VECTOR": 8192,
    "SYNC_COMMITTEE_SIZE": 512,
    "MAX_COMMITTEES_PER_SLOT": 64,
    "TARGET_COMMITTEE_SIZE": 128,
    "MIN_ATTESTATION_INCLUSION_DELAY": 1,
    "EFFECTIVE_BALANCE_INCREMENT": 10**9,
    "MAX_EFFECTIVE_BALANCE": 32 * 10**9,
    "MAX_EFFECTIVE_BALANCE_ELECTRA": 2048 * 10**9,
    "MIN_ACTIVATION_BALANCE": 32 * 10**9,
    "EJECTION_BALANCE": 16 * 10**9,
    "BASE_REWARD_FACTOR": 64,
    "MIN_EPOCHS_TO_INACTIVITY_PENALTY": 4,
    "INACTIVITY_SCORE_BIAS": 4,
    "INACTIVITY_SCORE_RECOVERY_RATE": 16,
    "INACTIVITY_PENALTY_QUOTIENT_BELLATRIX": 2**24,
    "MIN_SLASHING_PENALTY_QUOTIENT_ELECTRA": 4096,
    "PROPORTIONAL_SLASHING_MULTIPLIER_BELLATRIX": 3,
    "WHISTLEBLOWER_REWARD_QUOTIENT_ELECTRA": 4096,
    "ELECTRA_FORK_EPOCH": 0,
}
EPOCH = 400_000
COMMITTEES_PER_SLOT = 64
ATTESTATIONS_PER_BLOCK = 8
SHARE_IN_NEXT_BLOCK = 0.97


def root(slot: int) -> bytes:
    """A root for the block of a slot."""
    return slot.to_bytes(32, "big")


def committees_of(spec: ChainSpec, validators: int, random: np.random.Generator) -> Committees:
    """A random shuffling of all validators into the epoch's committees."""
    count = COMMITTEES_PER_SLOT * spec.slots_per_epoch
    cuts = validators * np.arange(count + 1) // count
    first = spec.first_slot(EPOCH)
    return Committees.from_rows(
        np.repeat(np.arange(first, first + spec.slots_per_epoch), COMMITTEES_PER_SLOT),
        np.tile(np.arange(COMMITTEES_PER_SLOT), spec.slots_per_epoch),
        np.diff(cuts),
        random.permutation(validators),
    )


def aggregate(
    spec: ChainSpec, committees: Committees, slot: int, share: float, random: np.random.Generator
) -> Attestation:
    """Votes of a share of a slot's attesters, over all its committees."""
    length = int(committees.length[committees.slot == slot].sum())
    bits = np.append(random.random(length) < share, True)
    return Attestation(
        slot=slot,
        committee_index=0,
        beacon_block_root=root(slot),
        source_epoch=EPOCH - 1,
        target_epoch=EPOCH,
        target_root=root(spec.first_slot(EPOCH)),
        aggregation_bits=np.packbits(bits, bitorder="little").tobytes(),
        committee_bits=b"\xff" * (spec.max_committees_per_slot // 8),
    )


def window_of(
    spec: ChainSpec, committees: Committees, random: np.random.Generator
) -> tuple[list[BlockHeader], list[Block]]:
    """Full blocks in every slot of two epochs, with 8 attestations each that concern the first."""
    headers, blocks = [], []
    first, last = spec.first_slot(EPOCH), spec.last_slot(EPOCH + 1)
    for slot in range(first, last + 1):
        # The previous slot first, then whichever is oldest, so that every block is full.
        attested = [max(first, slot - 1 - age) for age in range(ATTESTATIONS_PER_BLOCK)]
        attested = [min(s, spec.last_slot(EPOCH)) for s in attested] if slot > first else []
        headers.append(BlockHeader(slot, root(slot), root(slot - 1), 0))
        blocks.append(
            Block(
                slot=slot,
                proposer_index=0,
                parent_root=root(slot - 1),
                fork=Fork.ELECTRA,
                attestations=tuple(
                    aggregate(spec, committees, s, SHARE_IN_NEXT_BLOCK, random) for s in attested
                ),
                sync_committee_bits=None,
            )
        )
    return headers, blocks


def main() -> int:
    """Print the figures; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validators", type=int, default=1_000_000)
    validators = parser.parse_args().validators
    spec = ChainSpec.from_config(MAINNET)
    random = np.random.default_rng(7)
    committees = committees_of(spec, validators, random)
    headers, blocks = window_of(spec, committees, random)

    started = time.process_time()
    given = Committees.from_rows(
        committees.slot, committees.committee_index, committees.length, committees.validator_index
    )
    chain = CanonicalChain.from_headers(
        headers, first_slot=spec.first_slot(EPOCH), last_slot=spec.last_slot(EPOCH + 1)
    )
    outcomes = attestation_outcomes(spec, EPOCH, given, chain, blocks)
    effectiveness = attestation_effectiveness(
        outcomes.slot, outcomes.earliest_inclusion_slot, outcomes.inclusion_slot
    )
    seconds = time.process_time() - started
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    aggregates = sum(len(block.attestations) for block in blocks)
    print(f"{validators:,} duties, {len(blocks)} blocks, {aggregates} aggregates")
    print(
        f"included {outcomes.included.mean():.4%}, effectiveness {effectiveness.mean():.4f}, "
        f"head timely {outcomes.head_timely.mean():.4%}"
    )
    print(f"CPU {seconds:.2f} s (target < 3), peak memory {megabytes:.0f} MB (target < 1000)")
    return int(seconds >= 3 or megabytes >= 1000)


if __name__ == "__main__":
    sys.exit(main())

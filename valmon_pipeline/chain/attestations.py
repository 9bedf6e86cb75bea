"""What became of every attestation duty of an epoch, decided from the blocks of the chain.

Sources: consensus-specs, ``process_attestation`` (inclusion window) and
``get_attestation_participation_flag_indices`` (flags) of ``specs/altair/beacon-chain.md`` and
``specs/deneb/beacon-chain.md`` (EIP-7045).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from valmon_pipeline.chain.aggregates import attesting_duties
from valmon_pipeline.chain.blocks import Attestation, Block
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import BoolArray, Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ChainRuleViolationError


@dataclass(frozen=True, slots=True)
class AttestationOutcomes:
    """One row per duty of an epoch (d), in the order of ``Committees.validator_index``.

    ``inclusion_slot`` is the first canonical block that contains the vote and ``inclusion_delay``
    its distance from ``slot``; both are -1 if no block of the window does.
    ``earliest_inclusion_slot`` is the first block that could have, -1 if the window has none: no
    opportunity. Correctness and timely flags hold if any inclusion has them, and are False for a
    vote that was not included.
    """

    validator_index: Int64Array
    slot: Int64Array
    committee_index: Int64Array
    committee_position: Int64Array
    committee_length: Int64Array
    included: BoolArray
    inclusion_slot: Int64Array
    inclusion_delay: Int64Array
    earliest_inclusion_slot: Int64Array
    target_correct: BoolArray
    head_correct: BoolArray
    source_timely: BoolArray
    target_timely: BoolArray
    head_timely: BoolArray

    def __len__(self) -> int:
        return len(self.validator_index)


@dataclass(frozen=True, slots=True)
class AttestationVerdict:
    """What one attestation in one block is worth to each of its attesters."""

    target_correct: bool
    head_correct: bool
    source_timely: bool
    target_timely: bool
    head_timely: bool


def attestation_outcomes(
    spec: ChainSpec,
    epoch: int,
    committees: Committees,
    chain: CanonicalChain,
    blocks: Sequence[Block],
) -> AttestationOutcomes:
    """Outcomes of the attestation duties of ``epoch``, whose inclusion window must have closed.

    ``committees`` are those of the epoch, ``chain`` covers S_E…L_{E+1}, and ``blocks`` are the
    canonical blocks of slots S_E + 1…L_{E+1}, ascending; other blocks are ignored. The fork of the
    including block decides the format of its attestations, the inclusion window and the flags.

    Raises:
        ChainRuleViolationError: committees, chain and blocks contradict each other or the rules.
        UnsupportedForkError: the epoch or the one after it is before Altair or since Gloas.
    """
    spec.require_supported(epoch)
    spec.require_supported(epoch + 1)
    committees.require_epoch(spec, epoch)
    opens, closes = spec.first_slot(epoch) + 1, spec.last_slot(epoch + 1)
    _require_window(epoch, chain, opens, closes)
    window = blocks_of_chain(spec, chain, blocks, opens, closes)

    duties = len(committees.validator_index)
    slot = committees.duty_slot
    inclusion_slot = np.full(duties, -1, dtype=np.int64)
    target_correct, head_correct, source_timely, target_timely, head_timely = (
        np.zeros(duties, dtype=np.bool_) for _ in range(5)
    )
    for block in window:
        for attestation in block.attestations:
            if spec.epoch_of(attestation.slot) != epoch:
                continue
            verdict = attestation_verdict(spec, epoch, chain, block, attestation)
            rows = attesting_duties(spec, committees, attestation, block.fork)
            # Blocks ascend, so the first inclusion that is written is the earliest.
            inclusion_slot[rows[inclusion_slot[rows] == -1]] = block.slot
            for column, holds in (
                (target_correct, verdict.target_correct),
                (head_correct, verdict.head_correct),
                (source_timely, verdict.source_timely),
                (target_timely, verdict.target_timely),
                (head_timely, verdict.head_timely),
            ):
                if holds:
                    column[rows] = True

    included = inclusion_slot >= 0
    return AttestationOutcomes(
        validator_index=committees.validator_index,
        slot=slot,
        committee_index=committees.duty_committee_index,
        committee_position=committees.duty_position,
        committee_length=committees.duty_committee_length,
        included=included,
        inclusion_slot=inclusion_slot,
        inclusion_delay=np.where(included, inclusion_slot - slot, -1),
        earliest_inclusion_slot=_earliest_inclusion_slot(spec, epoch, chain, slot),
        target_correct=target_correct,
        head_correct=head_correct,
        source_timely=source_timely,
        target_timely=target_timely,
        head_timely=head_timely,
    )


def _require_window(epoch: int, chain: CanonicalChain, opens: int, closes: int) -> None:
    if chain.first_slot > opens - 1 or chain.last_slot < closes:
        raise ChainRuleViolationError(
            f"the chain is given for slots {chain.first_slot}…{chain.last_slot}, but the "
            f"attestations of epoch {epoch} need {opens - 1}…{closes}"
        )


def blocks_of_chain(
    spec: ChainSpec, chain: CanonicalChain, blocks: Sequence[Block], first_slot: int, last_slot: int
) -> list[Block]:
    """Those of ``blocks`` (ascending) in a range of slots, checked to be the blocks of ``chain``.

    ``chain`` must cover the range and the slot before it.

    Raises:
        ChainRuleViolationError: a block without a header, a header without a block, another parent
            than the chain's, or a fork that ``spec`` does not know for the slot.
    """
    window = [block for block in blocks if first_slot <= block.slot <= last_slot]
    given = [block.slot for block in window]
    expected = [slot for slot in chain.slot.tolist() if first_slot <= slot <= last_slot]
    if given != expected:
        raise ChainRuleViolationError(
            f"the blocks of slots {first_slot}…{last_slot} do not match their headers: without a "
            f"block {sorted(set(expected) - set(given))}, without a header "
            f"{sorted(set(given) - set(expected))}, or not ascending"
        )
    for block in window:
        if block.parent_root != chain.root_at(block.slot - 1):
            raise ChainRuleViolationError(
                f"the block of slot {block.slot} has parent 0x{block.parent_root.hex()}, but the "
                f"canonical root before it is 0x{chain.root_at(block.slot - 1).hex()}: block and "
                "headers come from different chains; ask the node again"
            )
        if block.fork is not spec.fork_at_slot(block.slot):
            raise ChainRuleViolationError(
                f"the block of slot {block.slot} is a {block.fork.name} block, but the chain is at "
                f"{spec.fork_at_slot(block.slot).name}: node and config/spec disagree"
            )
    return window


def attestation_verdict(
    spec: ChainSpec, epoch: int, chain: CanonicalChain, block: Block, attestation: Attestation
) -> AttestationVerdict:
    """Correctness and timeliness of ``attestation`` in ``block``; the source of any is correct.

    The slot of ``attestation`` is of ``epoch``, and ``chain`` covers it from its first.

    Raises:
        ChainRuleViolationError: the target is of another epoch, or the slot lies outside the
            inclusion window.
    """
    delay = block.slot - attestation.slot
    if attestation.target_epoch != epoch:
        raise ChainRuleViolationError(
            f"attestation of slot {attestation.slot} in the block of slot {block.slot} has target "
            f"epoch {attestation.target_epoch}, but its slot is of epoch {epoch}"
        )
    before_deneb = block.fork < Fork.DENEB
    if delay < spec.min_attestation_inclusion_delay or (
        before_deneb and delay > spec.slots_per_epoch
    ):
        raise ChainRuleViolationError(
            f"attestation of slot {attestation.slot} in the block of slot {block.slot} "
            f"({block.fork.name}) lies outside its inclusion window"
        )
    target_correct = attestation.target_root == chain.root_at(spec.first_slot(epoch))
    head_correct = target_correct and attestation.beacon_block_root == chain.root_at(
        attestation.slot
    )
    return AttestationVerdict(
        target_correct=target_correct,
        head_correct=head_correct,
        source_timely=delay <= isqrt(spec.slots_per_epoch),
        # Before Deneb the delay is limited too, but there the window itself ends at that limit.
        target_timely=target_correct,
        head_timely=head_correct and delay == spec.min_attestation_inclusion_delay,
    )


def _earliest_inclusion_slot(
    spec: ChainSpec, epoch: int, chain: CanonicalChain, slot: Int64Array
) -> Int64Array:
    """For each duty the first block that may include it, -1 if the window closes without one."""
    earliest = chain.next_block_slot(slot + (spec.min_attestation_inclusion_delay - 1))
    closes = np.full(len(slot), spec.last_slot(epoch + 1), dtype=np.int64)
    # An epoch has one fork, so the last slot of the window decides for all blocks that late; those
    # within ``epoch`` itself are never beyond the older, shorter window.
    if spec.fork_at_epoch(epoch + 1) < Fork.DENEB:
        closes = np.minimum(closes, slot + spec.slots_per_epoch)
    return np.where(earliest <= closes, earliest, -1)

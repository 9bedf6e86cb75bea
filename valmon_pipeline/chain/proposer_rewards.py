"""What every block of an epoch earned its proposer, by part, from the blocks themselves.

Sources: consensus-specs, ``process_attestation`` of ``specs/altair/beacon-chain.md``,
``process_sync_aggregate`` there, ``slash_validator`` of phase0 and of
``specs/electra/beacon-chain.md`` (the proposer is the whistleblower, too).

For attestations only flags count that no earlier block had brought. So the votes of two epochs are
followed from the first block that can contain them, or from the flags of a state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from valmon_pipeline.chain.aggregates import attesting_duties
from valmon_pipeline.chain.attestations import (
    AttestationVerdict,
    attestation_verdict,
    blocks_of_chain,
)
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.network_epoch import (
    HEAD_TIMELY,
    SOURCE_TIMELY,
    TARGET_TIMELY,
    UInt8Array,
)
from valmon_pipeline.chain.registry import BoolArray, Int64Array, ValidatorRegistry
from valmon_pipeline.chain.rewards import base_reward_per_increment
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.sync_committee import sync_bits, sync_proposer_reward
from valmon_pipeline.chain.weights import (
    PROPOSER_WEIGHT,
    TIMELY_HEAD_WEIGHT,
    TIMELY_SOURCE_WEIGHT,
    TIMELY_TARGET_WEIGHT,
    WEIGHT_DENOMINATOR,
)
from valmon_pipeline.errors import ChainRuleViolationError

_WEIGHTS: Final = {
    SOURCE_TIMELY: TIMELY_SOURCE_WEIGHT,
    TARGET_TIMELY: TIMELY_TARGET_WEIGHT,
    HEAD_TIMELY: TIMELY_HEAD_WEIGHT,
}
_REWARD_DENOMINATOR: Final = (
    (WEIGHT_DENOMINATOR - PROPOSER_WEIGHT) * WEIGHT_DENOMINATOR // PROPOSER_WEIGHT
)


@dataclass(frozen=True, slots=True)
class KnownParticipation:
    """Flags of all validators after the block of ``slot``, or the last one before it.

    ``flags`` (n, position = validator index) by epoch, for that of ``slot`` and the one before.
    """

    slot: int
    flags: Mapping[int, UInt8Array]

    @classmethod
    def of_state(cls, spec: ChainSpec, state: BeaconState) -> KnownParticipation:
        """The participation that ``state`` has recorded."""
        epoch = spec.epoch_of(state.slot)
        return cls(
            state.slot,
            {
                epoch - 1: state.previous_epoch_participation,
                epoch: state.current_epoch_participation,
            },
        )


@dataclass(frozen=True, slots=True)
class ProposerRewards:
    """Gwei per block (b), ascending by ``slot``, under the names of the beacon API."""

    slot: Int64Array
    proposer_index: Int64Array
    attestations: Int64Array
    sync_aggregate: Int64Array
    proposer_slashings: Int64Array
    attester_slashings: Int64Array

    def __len__(self) -> int:
        return len(self.slot)

    @property
    def total(self) -> Int64Array:
        """The sum of all parts (b), gwei."""
        slashings = self.proposer_slashings + self.attester_slashings
        return self.attestations + self.sync_aggregate + slashings


def proposer_rewards(
    spec: ChainSpec,
    epoch: int,
    committees: Mapping[int, Committees],
    chain: CanonicalChain,
    blocks: Sequence[Block],
    registry: ValidatorRegistry,
    total_active_balance: int,
    *,
    participation: KnownParticipation | None = None,
    slashed_before: BoolArray | None = None,
) -> ProposerRewards:
    """Return what the blocks of ``epoch`` (E) earned, as far as ``chain`` covers E.

    For the first block of E + 1 alone, call it for E + 1 with a chain that ends there.

    - ``committees`` by epoch: of E and, unless it is 0, of E - 1.
    - ``chain`` from the first slot of E - 1 on. ``blocks``: all of its canonical blocks after that
      slot, ascending; or, given ``participation``, all after its slot, which is of E - 1 or E: only
      those are returned. Others are ignored.
    - ``registry`` (n): the whole network's in the state of the first slot of E, whose effective
      balances (gwei) hold for all of E, and ``total_active_balance`` (gwei) that of E.
    - ``slashed_before`` (n): the slashed flags before the block of the first slot of E, whose own
      slashings the registry already contains. Needed only if that block slashes attesters.

    Raises:
        ChainRuleViolationError: something of that is missing, or contradicts the rest.
        UnsupportedForkError: E, or E - 1 unless ``participation`` is of E, is before Altair or
            since Gloas.
    """
    first_epoch = max(0, epoch - 1)
    start = spec.first_slot(first_epoch) if participation is None else participation.slot
    if not first_epoch <= spec.epoch_of(start) <= epoch:
        raise ChainRuleViolationError(
            f"the rewards of blocks of epoch {epoch} follow from the participation at a slot of "
            f"epoch {first_epoch} or {epoch}, not at slot {start}"
        )
    for one in range(spec.epoch_of(start), epoch + 1):
        spec.require_supported(one)
    if chain.first_slot > spec.first_slot(first_epoch) or chain.last_slot < start:
        raise ChainRuleViolationError(
            f"the chain is given for slots {chain.first_slot}…{chain.last_slot}, but the rewards "
            f"of blocks of epoch {epoch} need it from slot {spec.first_slot(first_epoch)}"
        )
    last = min(chain.last_slot, spec.last_slot(epoch))
    votes = {
        one: _Votes.at_start(spec, one, committees, registry, participation)
        for one in range(first_epoch, epoch + 1)
    }
    slashings = _Slashings(spec, epoch, registry, slashed_before)
    per_increment = base_reward_per_increment(spec, total_active_balance)
    per_seat = sync_proposer_reward(spec, total_active_balance)
    rows = []
    for block in blocks_of_chain(spec, chain, blocks, start + 1, last):
        numerators = [*_new_weighted_increments(spec, chain, block, votes)]
        if block.slot < spec.first_slot(epoch):
            continue
        rows.append(
            (
                block.slot,
                block.proposer_index,
                # Each attestation is rewarded, and rounded, for itself.
                sum(one * per_increment // _REWARD_DENOMINATOR for one in numerators),
                per_seat * int(sync_bits(spec, block).sum()),
                *slashings.rewards_of(block),
            )
        )
    return ProposerRewards(*np.array(rows, dtype=np.int64).reshape(-1, 6).T)


@dataclass(frozen=True, slots=True)
class _Votes:
    """The duties (d) of an epoch: increments of effective balance, and flags up to some block."""

    committees: Committees
    increments: Int64Array
    flags: UInt8Array

    @classmethod
    def at_start(
        cls,
        spec: ChainSpec,
        epoch: int,
        committees: Mapping[int, Committees],
        registry: ValidatorRegistry,
        participation: KnownParticipation | None,
    ) -> _Votes:
        if epoch not in committees:
            raise ChainRuleViolationError(
                f"the committees of epoch {epoch} are needed to know whose votes a block was the "
                "first to contain"
            )
        of_epoch = committees[epoch]
        of_epoch.require_epoch(spec, epoch)
        members = of_epoch.validator_index
        balance = registry.effective_balance[registry.rows_of(members)]
        known = None if participation is None else participation.flags.get(epoch)
        if known is None:
            flags = np.zeros(len(members), dtype=np.uint8)
        elif int(members.max(initial=-1)) < len(known):
            flags = known[members]
        else:
            raise ChainRuleViolationError(
                f"participation of epoch {epoch} is known of {len(known)} validators, but "
                f"validator {int(members.max())} has a duty in it"
            )
        return cls(of_epoch, balance // spec.effective_balance_increment, flags)

    def add(self, rows: Int64Array, verdict: AttestationVerdict) -> int:
        """Set the flags of some duties; the new ones' increments, each times its weight."""
        earned = (
            SOURCE_TIMELY * verdict.source_timely
            | TARGET_TIMELY * verdict.target_timely
            | HEAD_TIMELY * verdict.head_timely
        )
        new = earned & ~self.flags[rows]
        self.flags[rows] |= earned
        increments = self.increments[rows]
        return sum(
            weight * int(increments[new & flag != 0].sum()) for flag, weight in _WEIGHTS.items()
        )


def _new_weighted_increments(
    spec: ChainSpec, chain: CanonicalChain, block: Block, votes: Mapping[int, _Votes]
) -> Iterator[int]:
    """For each attestation of ``block`` that concerns ``votes`` what is new in it; its flags are
    set on the way."""
    for attestation in block.attestations:
        epoch = spec.epoch_of(attestation.slot)
        if epoch not in votes:
            continue  # of an earlier epoch, in a block before those that are asked for
        verdict = attestation_verdict(spec, epoch, chain, block, attestation)
        duties = attesting_duties(spec, votes[epoch].committees, attestation, block.fork)
        yield votes[epoch].add(duties, verdict)


class _Slashings:
    """Who is slashed in the course of an epoch, block after block."""

    def __init__(
        self,
        spec: ChainSpec,
        epoch: int,
        registry: ValidatorRegistry,
        slashed_before: BoolArray | None,
    ) -> None:
        self._first_slot = spec.first_slot(epoch)
        self._quotient = spec.whistleblower_reward_quotient[spec.fork_at_epoch(epoch)]
        self._registry = registry
        self._slashable = (registry.activation_epoch <= epoch) & (
            epoch < registry.withdrawable_epoch
        )
        self._slashed = registry.slashed.copy()
        self._slashed_before = slashed_before

    def rewards_of(self, block: Block) -> tuple[int, int]:
        """Gwei for the proposer slashings and for the attester slashings of ``block``."""
        operations = block.operations
        if block.slot == self._first_slot:
            self._undo(block)
        named = [index for indices in operations.attester_slashings for index in indices]
        return self._slash(operations.proposer_slashings), self._slash(named)

    def _undo(self, block: Block) -> None:
        """Go back to before the first block of the epoch, whose slashings the registry contains."""
        if self._slashed_before is not None:
            self._slashed = self._slashed_before.copy()
        elif block.operations.attester_slashings:
            raise ChainRuleViolationError(
                f"the block of slot {block.slot} slashes attesters in the first slot of its epoch, "
                "and may name some that were slashed before: give slashed_before, the flags of the "
                "state before that block"
            )
        else:
            # The block is valid: whom a proposer slashing names was not slashed before.
            self._slashed[self._rows(block.operations.proposer_slashings)] = False

    def _slash(self, named: Collection[int]) -> int:
        rows = self._rows(named)
        rows = rows[self._slashable[rows] & ~self._slashed[rows]]
        self._slashed[rows] = True
        return int((self._registry.effective_balance[rows] // self._quotient).sum())

    def _rows(self, named: Collection[int]) -> Int64Array:
        """The rows of those named, each once. Who is not in the registry cannot be slashed."""
        if not named:
            return np.empty(0, dtype=np.int64)
        wanted = np.array(sorted(named), dtype=np.int64)
        return np.flatnonzero(np.isin(self._registry.validator_index, wanted))

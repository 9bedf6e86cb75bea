"""What a simulated block holds, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator.state import BoolArray, Checkpoint, Int64Array


@dataclass(frozen=True, slots=True)
class AttestationData:
    """What voters of a slot saw."""

    slot: int
    beacon_block_root: str
    source: Checkpoint
    target: Checkpoint


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Equal votes of some committees of one slot.

    ``committees`` are their indices within the slot, ascending; ``bits`` (the sum of their lengths)
    tell who voted, ``voters`` are those validators. ``committees_per_slot`` is that of the epoch.
    """

    data: AttestationData
    committees: tuple[int, ...]
    bits: BoolArray
    voters: Int64Array


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An entry of the payload's ``withdrawals``."""

    index: int
    validator_index: int
    address: str
    amount: int


@dataclass(frozen=True, slots=True)
class DepositOperation:
    """A deposit of the bridge (Deneb) or a deposit request (since Electra)."""

    pubkey: bytes
    withdrawal_credentials: bytes
    amount: int
    signature: str
    index: int


@dataclass(frozen=True, slots=True)
class VoluntaryExitOperation:
    """A signed voluntary exit."""

    validator_index: int
    epoch: int


@dataclass(frozen=True, slots=True)
class CredentialChangeOperation:
    """A change of BLS credentials to an execution address (20 bytes)."""

    validator_index: int
    address: bytes


@dataclass(frozen=True, slots=True)
class WithdrawalRequest:
    """A request of the execution layer; amount 0 asks for a full exit."""

    source_address: bytes
    pubkey: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class ConsolidationRequest:
    """A request of the execution layer; equal keys ask for a switch to compounding."""

    source_address: bytes
    source_pubkey: bytes
    target_pubkey: bytes


@dataclass(frozen=True, slots=True)
class Operations:
    """Everything in a block beside attestations, the sync aggregate and withdrawals."""

    proposer_slashings: tuple[int, ...] = ()
    attester_slashings: tuple[tuple[int, ...], ...] = ()
    deposits: tuple[DepositOperation, ...] = ()
    voluntary_exits: tuple[VoluntaryExitOperation, ...] = ()
    credential_changes: tuple[CredentialChangeOperation, ...] = ()
    deposit_requests: tuple[DepositOperation, ...] = ()
    withdrawal_requests: tuple[WithdrawalRequest, ...] = ()
    consolidation_requests: tuple[ConsolidationRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class ProposerRewards:
    """What a block paid its proposer, gwei."""

    attestations: int = 0
    sync_aggregate: int = 0
    proposer_slashings: int = 0
    attester_slashings: int = 0

    @property
    def total(self) -> int:
        """The sum, gwei."""
        return (
            self.attestations
            + self.sync_aggregate
            + self.proposer_slashings
            + self.attester_slashings
        )


@dataclass(frozen=True, slots=True)
class SimulatedBlock:
    """A block: what it holds, and what it paid.

    ``sync_committee`` and ``sync_bits`` are by seat; ``participant_reward`` is what each seat
    earned or lost. ``initial_penalties`` are those of slashings in it, gwei by validator index, and
    ``switched_excess`` what a switch to compounding moved to the deposit queue.
    """

    slot: int
    root: str
    parent_root: str
    state_root: str
    proposer_index: int
    fork: Fork
    number: int
    attestations: tuple[Aggregate, ...]
    sync_committee: Int64Array
    sync_bits: BoolArray
    participant_reward: int
    withdrawals: tuple[Withdrawal, ...]
    operations: Operations
    proposer_rewards: ProposerRewards
    initial_penalties: Mapping[int, int]
    switched_excess: Mapping[int, int]
    deposit_count: int
    max_committees_per_slot: int

    def sync_rewards(self) -> dict[int, int]:
        """The reward of each member of the sync committee, all seats netted, gwei."""
        members, seat = np.unique(self.sync_committee, return_inverse=True)
        net = np.zeros(len(members), np.int64)
        signed = np.where(self.sync_bits, self.participant_reward, -self.participant_reward)
        np.add.at(net, seat, signed)
        return dict(zip(members.tolist(), net.tolist(), strict=True))

"""What the client's methods return, apart from the types of ``chain``.

Columns are int64 arrays of equal length; rewards and balances are gwei, negative for penalties.
"""

from __future__ import annotations

from dataclasses import dataclass

from valmon_pipeline.chain.blocks import Deposit
from valmon_pipeline.chain.registry import BoolArray, Int64Array


@dataclass(frozen=True, slots=True)
class Genesis:
    """Identity of a network. ``genesis_time`` is in Unix seconds."""

    genesis_time: int
    genesis_validators_root: bytes
    genesis_fork_version: bytes


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """How far a node is. ``is_optimistic``: its head is not verified by an execution client."""

    head_slot: int
    sync_distance: int
    is_syncing: bool
    is_optimistic: bool
    el_offline: bool


@dataclass(frozen=True, slots=True)
class ProposerDuties:
    """Who proposes in each slot of one epoch, ascending by slot. Slot 0 has no proposer."""

    slot: Int64Array
    validator_index: Int64Array

    def __len__(self) -> int:
        return len(self.slot)


@dataclass(frozen=True, slots=True)
class AttesterDuties:
    """Attestation duties of the requested active validators, ascending by ``validator_index``."""

    validator_index: Int64Array
    slot: Int64Array
    committee_index: Int64Array
    committee_position: Int64Array
    committee_length: Int64Array

    def __len__(self) -> int:
        return len(self.validator_index)


@dataclass(frozen=True, slots=True)
class AttestationRewards:
    """Rewards for attestations of one target epoch as the node reports them.

    The first five columns have a row per validator, ascending and unique; a validator that was not
    eligible has no row or an all-zero one. The ``ideal_`` columns have a row per effective balance
    the node chose to list, ascending and unique: a cross-check, not a source.
    ``inactivity_known`` (None: everywhere) is False where ``inactivity`` means nothing: what was
    computed from blocks does not know the scores of validators.
    """

    validator_index: Int64Array
    source: Int64Array
    target: Int64Array
    head: Int64Array
    inactivity: Int64Array
    ideal_effective_balance: Int64Array
    ideal_source: Int64Array
    ideal_target: Int64Array
    ideal_head: Int64Array
    inactivity_known: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.validator_index)


@dataclass(frozen=True, slots=True)
class BlockRewards:
    """What one block paid its proposer on the consensus layer, in gwei."""

    proposer_index: int
    total: int
    attestations: int
    sync_aggregate: int
    proposer_slashings: int
    attester_slashings: int


@dataclass(frozen=True, slots=True)
class SyncCommitteeRewards:
    """Rewards of one block for sync committee members: all seats of a validator in one row.

    Ascending and unique by ``validator_index``. The proposer's part is not in it.
    """

    validator_index: Int64Array
    reward: Int64Array

    def __len__(self) -> int:
        return len(self.validator_index)


@dataclass(frozen=True, slots=True)
class PendingDeposit:
    """A deposit in the queue of a beacon state (Electra). ``slot`` is 0 for what did not come from
    a request: an excess balance, or the old deposit bridge."""

    deposit: Deposit
    slot: int


@dataclass(frozen=True, slots=True)
class PendingConsolidations:
    """The queue of consolidations of a beacon state (Electra), in its order."""

    source_index: Int64Array
    target_index: Int64Array

    def __len__(self) -> int:
        return len(self.source_index)

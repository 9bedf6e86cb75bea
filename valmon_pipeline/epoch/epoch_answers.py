"""What a node said about one epoch: the input of everything that is computed of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from valmon_pipeline.beacon.answers import (
    AttestationRewards,
    BlockRewards,
    PendingConsolidations,
    PendingDeposit,
    ProposerDuties,
    SyncCommitteeRewards,
)
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.state_rewards import StateRewards


@dataclass(frozen=True, slots=True)
class PendingQueues:
    """The queues of deposits and consolidations in the states at the first slots of E and E+1."""

    deposits_at_start: tuple[PendingDeposit, ...]
    deposits_at_end: tuple[PendingDeposit, ...]
    consolidations_at_start: PendingConsolidations
    consolidations_at_end: PendingConsolidations


@dataclass(frozen=True, slots=True)
class SlashingSums:
    """What correlation penalties at the end of an epoch go by, gwei: the effective balances that
    were slashed in the last EPOCHS_PER_SLASHINGS_VECTOR epochs, and the total active balance."""

    slashed_balance: int
    total_active_balance: int


@dataclass(frozen=True, slots=True)
class EpochAnswers:
    """One node's answers about one epoch; every part belongs to the same canonical chain.

    ``registry_at_start`` and ``registry_at_end`` are the states at the first slots of E and E+1.
    They hold the whole network if ``whole_registry``, else the watched validators. ``watched`` are
    the watched indices known at the end of E, ascending. ``unknown_ids`` were asked for but do not
    exist. ``finalized`` tells whether the window was final when it was read.

    ``block_rewards`` and ``sync_rewards`` go from the first slot of E to that of E+1, both
    included: of watched proposers, of neighbours of a missed proposal of theirs, and of the
    committees with watched members. ``previous_attestation_rewards`` are those of target epoch E-1,
    which the end of E credits; None if the node cannot tell them any more. ``queues`` were only
    asked for if balances moved that nothing else explains.

    ``network_rewards`` is what everybody earned by the state of the last slot of E+1, where that is
    asked for (``whole_network``) and the node serves it; ``network_unavailable`` says why it was
    asked for and not given. ``slashing_sums`` were only asked for of states, and if correlation
    penalties of watched validators are due at the end of E.
    """

    epoch: int
    node: str
    finalized: bool
    canonical: CanonicalChain
    blocks: Mapping[int, Block]
    committees: Committees
    proposer_duties: ProposerDuties
    sync_committee: Int64Array
    registry_at_start: ValidatorRegistry
    registry_at_end: ValidatorRegistry
    whole_registry: bool
    watched: Int64Array
    unknown_ids: tuple[int | str, ...]
    attestation_rewards: AttestationRewards
    block_rewards: Mapping[int, BlockRewards]
    sync_rewards: Mapping[int, SyncCommitteeRewards]
    finalized_epoch_at_transition: int
    previous_attestation_rewards: AttestationRewards | None
    queues: PendingQueues | None = None
    network_rewards: StateRewards | None = None
    network_unavailable: str | None = None
    slashing_sums: SlashingSums | None = None

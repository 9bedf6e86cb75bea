"""What is known of one epoch: the input of everything that is computed of it."""

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
from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.state_rewards import StateRewards
from valmon_pipeline.epoch.facts import Fact, FactSource


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
    """What is known of one epoch; every part belongs to the same canonical chain.

    Only the blocks are indispensable; every other fact may be None, and then ``sources`` says why.

    ``registry_at_start`` and ``registry_at_end`` are the states at the first slots of E and E+1.
    They hold the whole network if ``whole_registry``, else the watched validators. Where one of
    them is None, ``life_cycles`` is the registry of a later state: its public keys, credentials and
    life-cycle epochs tell who was active; its balances and ``slashed`` flags are of another time
    and are not used. ``watched`` are the watched indices known at the end of E, ascending.
    ``unknown_ids`` were asked for but do not exist. ``finalized`` tells whether the window was
    final when it was read.

    ``committees`` may hold negative validator indices, each once: members that are not watched and
    that the source did not name. ``proposer_duties`` are those of every slot, or None; blocks name
    their own proposers. ``outcomes`` are what became of the committees' duties. ``sync_committee``
    has a validator index per seat, ``sync_committee_at_end`` those of the first block of E+1.

    ``block_rewards`` and ``sync_rewards`` go from the first slot of E to that of E+1, both
    included: of watched proposers, of neighbours of a missed proposal of theirs, and of the
    committees with watched members. A slot that is not in them is not known.
    ``seat_reward`` is what a seat of the sync committee earns in a block of E, gwei, and
    ``seat_reward_at_end`` that in the first block of E+1.

    ``previous_attestation_rewards`` are those of target epoch E-1, which the end of E credits.
    ``reported_attestation_rewards`` are those of target epoch E as the node reports them, where
    ``attestation_rewards`` are the specification's.
    ``queues`` are only asked for if balances moved that nothing else explains.

    ``network_rewards`` is what everybody earned by the state of the last slot of E+1, where that is
    asked for (``whole_network``) and the node serves it. ``slashing_sums`` are only asked for of
    states, and if correlation penalties of watched validators are due at the end of E.
    """

    epoch: int
    node: str
    finalized: bool
    canonical: CanonicalChain
    blocks: Mapping[int, Block]
    committees: Committees | None
    outcomes: AttestationOutcomes | None
    proposer_duties: ProposerDuties | None
    sync_committee: Int64Array | None
    registry_at_start: ValidatorRegistry | None
    registry_at_end: ValidatorRegistry | None
    whole_registry: bool
    watched: Int64Array
    unknown_ids: tuple[int | str, ...]
    attestation_rewards: AttestationRewards | None
    block_rewards: Mapping[int, BlockRewards]
    sync_rewards: Mapping[int, SyncCommitteeRewards]
    finalized_epoch_at_transition: int | None
    previous_attestation_rewards: AttestationRewards | None
    reported_attestation_rewards: AttestationRewards | None = None
    life_cycles: ValidatorRegistry | None = None
    sync_committee_at_end: Int64Array | None = None
    seat_reward: int | None = None
    seat_reward_at_end: int | None = None
    queues: PendingQueues | None = None
    network_rewards: StateRewards | None = None
    slashing_sums: SlashingSums | None = None
    sources: tuple[FactSource, ...] = ()

    @property
    def network_unavailable(self) -> str | None:
        """Why the state of the whole network was asked for and not given; None if it was given, or
        not asked for."""
        return next(
            (
                source.reason
                for source in self.sources
                if source.fact is Fact.NETWORK_STATE and not source.is_known
            ),
            None,
        )

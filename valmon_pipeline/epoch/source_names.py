"""Names of the sources of facts, and the order in which they are tried: the one list of both.

The readers ask by it, ``fact_sources`` stores its names, and the survey of a node reports by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from valmon_pipeline.epoch.facts import Fact


class SourceName(StrEnum):
    """A request of the Beacon API, or a rule of the specification with what it is applied to."""

    BLOCKS = "blocks/{block}"
    REGISTRY = "states/{slot}/validators"
    HEAD_REGISTRY = "states/head/validators"
    HEAD_COMMITTEES = "states/head/committees"
    COMMITTEES = "states/{slot}/committees"
    SHUFFLING = "shuffling of debug/beacon/states/{slot}"
    HEAD_SYNC_COMMITTEE = "states/head/sync_committees"
    SYNC_COMMITTEE = "states/{slot}/sync_committees"
    PROPOSERS_IN_BLOCKS = "blocks"
    """Only where every slot has one."""
    PROPOSER_DUTIES = "validator/duties/proposer/{epoch}"
    FINALITY = "states/{slot}/finality_checkpoints"
    OUTCOMES = "specification: outcomes and registry"
    """Only where the whole registry is read."""
    ATTESTATION_REWARDS = "rewards/attestations/{epoch}"
    PARTICIPATION = "participation of debug/beacon/states/{slot}"
    BLOCK_REWARDS = "rewards/blocks/{root}"
    VOTES = "specification: votes of both epochs"
    """Only where the whole registry is read."""
    SEATS = "specification: seats and total active balance"
    """Only where the whole registry is read."""
    SYNC_REWARDS = "rewards/sync_committee/{root}"
    QUEUES = "states/{slot}/pending_*"
    STATE = "debug/beacon/states/{slot}"


LADDERS: Final[Mapping[Fact, tuple[SourceName, ...]]] = MappingProxyType(
    {
        Fact.BLOCKS: (SourceName.BLOCKS,),
        Fact.WITHDRAWALS: (SourceName.BLOCKS,),
        Fact.REGISTRY_AT_START: (SourceName.REGISTRY,),
        Fact.REGISTRY_AT_END: (SourceName.REGISTRY,),
        Fact.LIFE_CYCLES: (SourceName.HEAD_REGISTRY,),
        Fact.COMMITTEES: (
            SourceName.HEAD_COMMITTEES,
            SourceName.COMMITTEES,
            SourceName.SHUFFLING,
        ),
        Fact.SYNC_COMMITTEE: (
            SourceName.HEAD_SYNC_COMMITTEE,
            SourceName.SYNC_COMMITTEE,
            SourceName.STATE,
        ),
        Fact.PROPOSERS: (
            SourceName.PROPOSERS_IN_BLOCKS,
            SourceName.PROPOSER_DUTIES,
            SourceName.STATE,
        ),
        Fact.FINALITY: (SourceName.FINALITY,),
        Fact.ATTESTATION_REWARDS: (
            SourceName.OUTCOMES,
            SourceName.ATTESTATION_REWARDS,
            SourceName.PARTICIPATION,
        ),
        Fact.PREVIOUS_ATTESTATION_REWARDS: (
            SourceName.ATTESTATION_REWARDS,
            SourceName.PARTICIPATION,
        ),
        Fact.BLOCK_REWARDS: (SourceName.BLOCK_REWARDS, SourceName.VOTES),
        Fact.SYNC_REWARDS: (SourceName.SEATS, SourceName.SYNC_REWARDS),
        Fact.PENDING_QUEUES: (SourceName.QUEUES, SourceName.STATE),
        Fact.SLASHED_BALANCE: (SourceName.STATE,),
        Fact.NETWORK_STATE: (SourceName.STATE,),
    }
)
"""The sources of each fact, the preferred one first."""

"""The facts that an epoch's rows rest on, and the source that gave each of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Fact(StrEnum):
    """What is asked for about an epoch, under the names that are stored."""

    BLOCKS = "blocks"
    """The canonical blocks of the inclusion window: the only fact that is indispensable."""
    REGISTRY_AT_START = "registry_at_start"
    """Balances and statuses at the first slot of the epoch."""
    REGISTRY_AT_END = "registry_at_end"
    """The same at the first slot of the next epoch."""
    COMMITTEES = "committees"
    SYNC_COMMITTEE = "sync_committee"
    PROPOSERS = "proposers"
    """The proposer of every slot; blocks name their own."""
    FINALITY = "finality"
    """The finalized epoch at the transition that credits the epoch: it decides about a leak."""
    ATTESTATION_REWARDS = "attestation_rewards"
    PREVIOUS_ATTESTATION_REWARDS = "previous_attestation_rewards"
    """Those of the epoch before, which the end of this one credits."""
    BLOCK_REWARDS = "block_rewards"
    """What the blocks of watched proposers paid."""
    SYNC_REWARDS = "sync_rewards"
    WITHDRAWALS = "withdrawals"
    """What blocks withdrew; blocks that were read blinded do not say."""
    LIFE_CYCLES = "life_cycles"
    """Who exists, and since when, as a later state shows it: where a registry is missing."""
    PENDING_QUEUES = "pending_queues"
    SLASHED_BALANCE = "slashed_balance"
    NETWORK_STATE = "network_state"


@dataclass(frozen=True, slots=True)
class FactSource:
    """Where one fact of one epoch came from.

    ``source`` names the request or the rule that gave it, None if the fact is not known. ``node``
    answered that request. ``reason`` says why better sources gave nothing, in particular why the
    fact is not known. ``compared`` numbers of the node were held against the specification;
    ``deviating`` of them differ, by at most ``largest_deviation`` gwei: what is stored is what the
    specification says.
    """

    fact: Fact
    source: str | None
    node: str | None = None
    reason: str | None = None
    compared: int | None = None
    deviating: int | None = None
    largest_deviation: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether any source gave the fact."""
        return self.source is not None


def missing_facts(sources: Iterable[FactSource]) -> list[FactSource]:
    """The sources of the facts that are not known."""
    return [source for source in sources if not source.is_known]

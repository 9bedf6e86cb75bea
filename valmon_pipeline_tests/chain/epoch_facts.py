"""Everything valmon derives about one recorded epoch, computed once per test process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from valmon_pipeline.chain.attestations import AttestationOutcomes, attestation_outcomes
from valmon_pipeline.chain.registry import BoolArray, ValidatorRegistry
from valmon_pipeline.chain.rewards import (
    FlagBalances,
    is_inactivity_leak,
    participating_balances,
    total_active_balance,
)
from valmon_pipeline.chain.slashings import slashed_at_end_of_epoch
from valmon_pipeline_tests.recording import devnet


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """Outcomes of target epoch E and the state of E + 1 that rewards them.

    ``registry`` is that of the first slot of E + 1, but with ``slashed`` as of its last.
    """

    outcomes: AttestationOutcomes
    registry: ValidatorRegistry
    total_active_balance: int
    participating: FlagBalances
    leak: bool

    @property
    def duty_slashed(self) -> BoolArray:
        """For each duty whether its validator was slashed when votes were rewarded."""
        return self.registry.slashed[self.registry.rows_of(self.outcomes.validator_index)]


@cache
def epoch_facts(epoch: int) -> EpochFacts:
    """Derive an epoch of the recording from its committees, blocks and registry alone."""
    recording = devnet()
    spec = recording.spec
    blocks = recording.blocks(spec.first_slot(epoch) + 1, spec.last_slot(epoch + 1))
    outcomes = attestation_outcomes(
        spec, epoch, recording.committees(epoch), recording.window(epoch), blocks
    )
    registry = recording.registry(epoch + 1)
    slashed = slashed_at_end_of_epoch(spec, epoch + 1, registry, blocks)
    finalized = recording.finalized_epoch(spec.first_slot(epoch + 2))
    return EpochFacts(
        outcomes=outcomes,
        registry=replace(registry, slashed=slashed),
        total_active_balance=total_active_balance(spec, registry, epoch + 1),
        participating=participating_balances(outcomes, registry, slashed),
        leak=is_inactivity_leak(spec, epoch, finalized),
    )

"""Who is slashed by the end of an epoch, and what it costs.

Sources: consensus-specs, ``is_slashable_validator``, ``slash_validator``, ``process_slashings``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import BoolArray, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec

_INCREMENTS_LOST_SINCE_SLASHING: Final = 4
"""How far an effective balance may have fallen since its slashing, for all candidates to be
tried."""


def slashed_at_end_of_epoch(
    spec: ChainSpec, epoch: int, registry: ValidatorRegistry, blocks: Sequence[Block]
) -> BoolArray:
    """Slashed flags (n) in the state at the end of ``epoch``, before its transition.

    ``registry`` is that of the state at the epoch's first slot, which already contains the block of
    that slot; ``blocks`` must include the canonical blocks of the epoch's remaining slots, others
    are ignored. A slashing names validators of whom only the slashable ones are slashed: active or
    exiting, not yet withdrawable. Named validators that the registry does not hold are ignored.
    """
    named = [
        index
        for block in blocks
        if spec.first_slot(epoch) < block.slot <= spec.last_slot(epoch)
        for index in block.slashed_indices
    ]
    is_named = np.isin(registry.validator_index, np.array(named, dtype=np.int64))
    slashable = (registry.activation_epoch <= epoch) & (epoch < registry.withdrawable_epoch)
    return registry.slashed | (is_named & slashable)


def initial_slashing_penalty(spec: ChainSpec, epoch: int, effective_balance: int) -> int:
    """Gwei that a validator loses in the block of ``epoch`` that slashes it.

    Source: consensus-specs, ``slash_validator`` (MIN_SLASHING_PENALTY_QUOTIENT of the fork).
    """
    return effective_balance // spec.min_slashing_penalty_quotient[spec.fork_at_epoch(epoch)]


def is_correlation_penalty_due(
    spec: ChainSpec, epoch: int, registry: ValidatorRegistry
) -> BoolArray:
    """Whether each validator (n) pays its correlation penalty in the transition after ``epoch``.

    Source: consensus-specs, ``process_slashings``: halfway to its withdrawable epoch.
    """
    halfway = epoch + spec.epochs_per_slashings_vector // 2
    due: BoolArray = registry.slashed & (registry.withdrawable_epoch == halfway)
    return due


def slashed_balance_candidates(spec: ChainSpec, epoch: int, registry: ValidatorRegistry) -> range:
    """What may have been slashed in the EPOCHS_PER_SLASHINGS_VECTOR epochs up to ``epoch``, gwei.

    ``registry`` must hold the whole network. The state keeps the effective balances at the time of
    each slashing, the registry only today's, from which penalties took up to a few increments; and
    a withdrawable epoch that an exit queue moved hides when its validator was slashed.
    """
    slashed_in = registry.withdrawable_epoch - spec.epochs_per_slashings_vector
    recent = registry.slashed & (slashed_in > epoch - spec.epochs_per_slashings_vector)
    recent &= slashed_in <= epoch
    least = int(registry.effective_balance[recent].sum())
    increment = spec.effective_balance_increment
    most = least + int(recent.sum()) * _INCREMENTS_LOST_SINCE_SLASHING * increment
    return range(least, most + 1, increment)


def correlation_penalty(
    spec: ChainSpec,
    epoch: int,
    effective_balance: int,
    slashed_balance: int,
    total_active_balance: int,
) -> int:
    """Gwei that a slashed validator loses in the transition after ``epoch`` for all that were
    slashed about then: ``slashed_balance`` gwei.

    Source: consensus-specs, ``process_slashings`` of ``specs/bellatrix/beacon-chain.md`` and of
    ``specs/electra/beacon-chain.md`` (which no longer rounds down to whole increments).
    """
    fork = spec.fork_at_epoch(epoch)
    increment = spec.effective_balance_increment
    multiplied = slashed_balance * spec.proportional_slashing_multiplier[fork]
    adjusted = min(multiplied, total_active_balance)
    increments = effective_balance // increment
    if fork >= Fork.ELECTRA:
        return adjusted // (total_active_balance // increment) * increments
    return increments * adjusted // total_active_balance * increment

"""Which movements of balances the answers about an epoch leave unknown, validator by validator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.credentials import BLS_PREFIX
from valmon_pipeline.chain.registry import BoolArray, ValidatorRegistry
from valmon_pipeline.chain.slashings import slashed_at_end_of_epoch
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import is_eligible
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.sync_seats import sync_committee_of_slot
from valmon_pipeline.ledger.postings import Component
from valmon_pipeline.ledger.unknown import UnknownComponents


def unknown_components(
    spec: ChainSpec,
    answers: EpochAnswers,
    at_start: ValidatorRegistry,
    at_end: ValidatorRegistry,
) -> UnknownComponents:
    """What the answers leave unknown of each watched validator (n) between both registries."""
    first, end = spec.first_slot(answers.epoch), spec.first_slot(answers.epoch + 1)
    blocks = [
        answers.blocks[slot] for slot in answers.canonical.slot.tolist() if first < slot <= end
    ]
    unpaid = [block for block in blocks if block.slot not in answers.block_rewards]
    withdrawals = _withdrawals_unknown(answers, blocks, at_end)
    return UnknownComponents.of_facts(
        len(answers.watched),
        {
            Component.ATTESTATION: _attestation_unknown(spec, answers, at_start),
            Component.SYNC: _sync_unknown(spec, answers, blocks),
            Component.PROPOSER: _proposed(answers, unpaid),
            Component.WHISTLEBLOWER: _proposed(
                answers, [block for block in unpaid if block.slashed_indices]
            ),
            Component.PARTIAL_WITHDRAWALS: withdrawals,
            Component.FULL_WITHDRAWALS: withdrawals,
        },
    )


def _attestation_unknown(
    spec: ChainSpec, answers: EpochAnswers, at_start: ValidatorRegistry
) -> BoolArray:
    """Whoever is eligible for rewards of the previous target epoch, and is not listed."""
    epoch = answers.epoch
    if epoch == 0:  # the first transition pays nothing
        return np.zeros(len(answers.watched), dtype=np.bool_)
    blocks = [answers.blocks[slot] for slot in answers.canonical.slot.tolist()]
    slashed = slashed_at_end_of_epoch(spec, epoch, at_start, blocks)
    eligible = is_eligible(replace(at_start, slashed=slashed), epoch - 1)
    unknown = np.isin(answers.watched, at_start.validator_index[eligible])
    rewards = answers.previous_attestation_rewards
    if rewards is not None:
        unknown &= ~np.isin(answers.watched, rewards.validator_index)
    return unknown


def _sync_unknown(spec: ChainSpec, answers: EpochAnswers, blocks: list[Block]) -> BoolArray:
    """The members of the committee of a block whose rewards are not known; everybody, where the
    committee is not known either."""
    unknown = np.zeros(len(answers.watched), dtype=np.bool_)
    for block in blocks:
        if block.slot in answers.sync_rewards:
            continue
        committee = sync_committee_of_slot(spec, answers, block.slot)
        if committee is None:
            unknown[:] = True
        else:
            unknown |= np.isin(answers.watched, committee)
    return unknown


def _proposed(answers: EpochAnswers, blocks: list[Block]) -> BoolArray:
    proposers = np.array([block.proposer_index for block in blocks], dtype=np.int64)
    return np.isin(answers.watched, proposers)


def _withdrawals_unknown(
    answers: EpochAnswers, blocks: list[Block], at_end: ValidatorRegistry
) -> BoolArray:
    """Whoever has an address to withdraw to, if a block was read without its withdrawals."""
    if all(block.operations.withdrawals is not None for block in blocks):
        return np.zeros(len(answers.watched), dtype=np.bool_)
    prefix = at_end.withdrawal_credentials[at_end.rows_of(answers.watched), 0]
    has_address: BoolArray = prefix != BLS_PREFIX
    return has_address

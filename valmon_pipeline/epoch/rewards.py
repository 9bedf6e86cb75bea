"""Group ``rewards``: what was earned, next to what could have been earned. All amounts are gwei."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import median_low
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.beacon.answers import BlockRewards
from valmon_pipeline.chain.attestations import AttestationOutcomes
from valmon_pipeline.chain.registry import BoolArray, Int64Array
from valmon_pipeline.chain.rewards import (
    AttestationPenalties,
    AttestationRewardColumns,
    attainable_attestation_rewards,
    attestation_penalties,
    ideal_attestation_rewards,
    is_inactivity_leak,
)
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import is_eligible
from valmon_pipeline.chain.sync_committee import SyncParticipation
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_totals import NetworkTotals, slashed_when_rewarded
from valmon_pipeline.epoch.sync_seats import sync_rewards_of_epoch
from valmon_pipeline.frames.conform import conform

NEIGHBOURS_PER_SIDE: Final = 4
"""Blocks before and after a missed proposal that its value is estimated from."""


def rewarded_validators(spec: ChainSpec, answers: EpochAnswers) -> Int64Array:
    """Watched validators that are eligible and that the node reported rewards for, ascending."""
    registry = replace(answers.registry_at_end, slashed=slashed_when_rewarded(spec, answers))
    eligible = registry.validator_index[is_eligible(registry, answers.epoch)]
    ours = np.intersect1d(answers.watched, eligible)
    return np.intersect1d(ours, answers.attestation_rewards.validator_index)


def attestation_rewards_frame(
    spec: ChainSpec,
    answers: EpochAnswers,
    outcomes: AttestationOutcomes,
    totals: NetworkTotals | None,
) -> pd.DataFrame:
    """Frame ``attestation_rewards``: a row per watched, eligible validator that has an answer.

    Actual rewards are the node's. Ideal rewards are computed from the network's sums; where those
    are unknown (few watched validators on a large network) they are the node's ideal row for the
    same effective balance, or NULL if it lists none.
    """
    validators = rewarded_validators(spec, answers)
    registry = answers.registry_at_end
    rows = registry.rows_of(validators)
    effective_balance = registry.effective_balance[rows]
    reported = answers.attestation_rewards
    at = np.searchsorted(reported.validator_index, validators)
    source, target, head = reported.source[at], reported.target[at], reported.head[at]
    inactivity = reported.inactivity[at]

    ideal, known = _ideal_rewards(spec, answers, totals, effective_balance)
    prices_known = totals is not None
    attainable = _attainable(
        spec,
        validators,
        outcomes,
        ideal,
        None
        if totals is None
        else attestation_penalties(spec, effective_balance, totals.total_active_balance),
        slashed_when_rewarded(spec, answers)[rows],
    )
    # Where no price is known, only a penalty that could have been avoided leaves the sum known.
    source_known = known & (prices_known | (attainable.source >= 0))
    target_known = known & (prices_known | (attainable.target >= 0))
    return conform(
        "attestation_rewards",
        {
            "epoch": np.full(len(validators), answers.epoch),
            "validator_index": validators,
            "effective_balance": effective_balance,
            "source_reward": source,
            "target_reward": target,
            "head_reward": head,
            "inactivity_penalty": -inactivity,
            "total_reward": source + target + head + inactivity,
            "ideal_source": np.ma.array(ideal.source, mask=~known),
            "ideal_target": np.ma.array(ideal.target, mask=~known),
            "ideal_head": np.ma.array(ideal.head, mask=~known),
            "ideal_total": np.ma.array(ideal.total, mask=~known),
            "attainable_source": np.ma.array(attainable.source, mask=~source_known),
            "attainable_target": np.ma.array(attainable.target, mask=~target_known),
            "attainable_head": np.ma.array(attainable.head, mask=~known),
            "attainable_total": np.ma.array(attainable.total, mask=~(source_known & target_known)),
            "missed_source": np.ma.array(ideal.source - source, mask=~known),
            "missed_target": np.ma.array(ideal.target - target, mask=~known),
            "missed_head": np.ma.array(ideal.head - head, mask=~known),
        },
    )


def _ideal_rewards(
    spec: ChainSpec,
    answers: EpochAnswers,
    totals: NetworkTotals | None,
    effective_balance: Int64Array,
) -> tuple[AttestationRewardColumns, BoolArray]:
    """Ideal rewards of each effective balance (n), and which of them are known (n)."""
    if totals is not None:
        leak = is_inactivity_leak(spec, answers.epoch, answers.finalized_epoch_at_transition)
        ideal = ideal_attestation_rewards(
            spec,
            effective_balance,
            totals.total_active_balance,
            totals.participating,
            inactivity_leak=leak,
        )
        return ideal, np.ones(len(effective_balance), dtype=np.bool_)
    return reported_ideal_rewards(answers, effective_balance)


def reported_ideal_rewards(
    answers: EpochAnswers, effective_balance: Int64Array
) -> tuple[AttestationRewardColumns, BoolArray]:
    """The node's ideal rows for each effective balance (n), and whether it lists that balance."""
    reported = answers.attestation_rewards
    listed = reported.ideal_effective_balance
    if len(listed) == 0:
        nothing = np.zeros(len(effective_balance), dtype=np.int64)
        return (
            AttestationRewardColumns(nothing, nothing, nothing),
            np.zeros(len(nothing), dtype=np.bool_),
        )
    at = np.minimum(np.searchsorted(listed, effective_balance), len(listed) - 1)
    known: BoolArray = listed[at] == effective_balance
    return (
        AttestationRewardColumns(
            reported.ideal_source[at], reported.ideal_target[at], reported.ideal_head[at]
        ),
        known,
    )


def _attainable(
    spec: ChainSpec,
    validators: Int64Array,
    outcomes: AttestationOutcomes,
    ideal: AttestationRewardColumns,
    penalties: AttestationPenalties | None,
    slashed: BoolArray,
) -> AttestationRewardColumns:
    """The most each validator (n) could earn.

    Without the network's sums a penalty has no price: -1 gwei then stands for one that could not be
    avoided. (In a leak, with all ideals zero, a price of zero would look avoided.)
    """
    slot, earliest = _opportunities(spec, validators, outcomes)
    if penalties is None:
        some = np.ones(len(validators), dtype=np.int64)
        penalties = AttestationPenalties(some, some)
    return attainable_attestation_rewards(spec, slot, earliest, ideal, penalties, slashed)


def _opportunities(
    spec: ChainSpec, validators: Int64Array, outcomes: AttestationOutcomes
) -> tuple[Int64Array, Int64Array]:
    """Duty slot and earliest inclusion of each validator (n); -1 for those without a duty.

    Only slashed validators are rewarded (in fact fined) without a duty: after their exit.
    """
    order = np.argsort(outcomes.validator_index, kind="stable")
    members = outcomes.validator_index[order]
    at = np.minimum(np.searchsorted(members, validators), len(members) - 1)
    has_duty = members[at] == validators
    slot = np.where(has_duty, outcomes.slot[order][at], -1)
    return slot, np.where(has_duty, outcomes.earliest_inclusion_slot[order][at], -1)


def block_rewards_frame(spec: ChainSpec, answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``block_rewards``: a row per proposal due from a watched validator.

    A missed one is worth about what its neighbours earned: the lower median of the nearest blocks
    on both sides, without what they got for slashings.
    """
    duties = answers.proposer_duties
    ours = np.isin(duties.validator_index, answers.watched)
    slots = duties.slot[ours].tolist()
    rewards = [answers.block_rewards.get(slot, _NOTHING) for slot in slots]
    proposed = [slot in answers.blocks for slot in slots]
    estimates = [
        None if done else _estimate(answers, slot)
        for slot, done in zip(slots, proposed, strict=True)
    ]
    return conform(
        "block_rewards",
        {
            "epoch": np.full(len(slots), answers.epoch),
            "slot": np.array(slots, dtype=np.int64),
            "proposer_index": np.array(
                [
                    reward.proposer_index if done else duty
                    for reward, done, duty in zip(
                        rewards, proposed, duties.validator_index[ours].tolist(), strict=True
                    )
                ],
                dtype=np.int64,
            ),
            "total": _column(reward.total for reward in rewards),
            "attestations": _column(reward.attestations for reward in rewards),
            "sync_aggregate": _column(reward.sync_aggregate for reward in rewards),
            "proposer_slashings": _column(reward.proposer_slashings for reward in rewards),
            "attester_slashings": _column(reward.attester_slashings for reward in rewards),
            "outcome": np.where(proposed, "proposed", "missed"),
            "missed_estimate": np.ma.array(
                [estimate or 0 for estimate in estimates],
                mask=[estimate is None for estimate in estimates],
                dtype=np.int64,
            ),
        },
    )


def _estimate(answers: EpochAnswers, slot: int) -> int | None:
    """What a block in ``slot`` would have earned, gwei; None without blocks near it."""
    near = [
        answers.block_rewards[neighbour].attestations
        + answers.block_rewards[neighbour].sync_aggregate
        for neighbour in neighbours(answers.canonical.slot, slot)
        if neighbour in answers.block_rewards
    ]
    return median_low(near) if near else None


def sync_rewards_frame(
    spec: ChainSpec,
    answers: EpochAnswers,
    participation: SyncParticipation,
    per_seat: int | None,
) -> pd.DataFrame:
    """Frame ``sync_rewards``: rewards of watched members, summed over the epoch's blocks.

    ``per_seat`` is what a seat earns in a block, gwei; None if unknown.
    """
    members = np.intersect1d(answers.watched, participation.validator_index)
    reward = np.zeros(len(members), dtype=np.int64)
    for _, rows in sync_rewards_of_epoch(spec, answers):
        at = np.searchsorted(members, rows.validator_index)
        at = np.minimum(at, len(members) - 1)
        ours = members[at] == rows.validator_index
        np.add.at(reward, at[ours], rows.reward[ours])
    rows_of_members = np.searchsorted(participation.validator_index, members)
    unknown = np.full(len(members), per_seat is None)
    return conform(
        "sync_rewards",
        {
            "epoch": np.full(len(members), answers.epoch),
            "validator_index": members,
            "reward": reward,
            "ideal_reward": np.ma.array(
                participation.due[rows_of_members] * (per_seat or 0), mask=unknown
            ),
            "seats": participation.seats[rows_of_members],
            "seat_reward": np.ma.array(np.full(len(members), per_seat or 0), mask=unknown),
        },
    )


_NOTHING: Final = BlockRewards(0, 0, 0, 0, 0, 0)


def _column(values: Iterable[int]) -> Int64Array:
    return np.fromiter(values, dtype=np.int64)


def neighbours(block_slots: Int64Array, slot: int) -> list[int]:
    """Slots of the nearest blocks before and after ``slot``, of ``block_slots`` (ascending)."""
    at = int(np.searchsorted(block_slots, slot))
    near: list[int] = block_slots[
        max(0, at - NEIGHBOURS_PER_SIDE) : at + NEIGHBOURS_PER_SIDE
    ].tolist()
    return near

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
from valmon_pipeline.chain.registry import BoolArray, Int64Array, ValidatorRegistry
from valmon_pipeline.chain.rewards import (
    AttestationPenalties,
    AttestationRewardColumns,
    attainable_attestation_rewards,
    attestation_penalties,
    ideal_attestation_rewards,
)
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import is_eligible
from valmon_pipeline.chain.sync_committee import SyncParticipation
from valmon_pipeline.epoch.duties import slot_proposers
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_totals import NetworkTotals, leak_of, slashed_when_rewarded
from valmon_pipeline.frames.conform import conform, empty_frame
from valmon_pipeline.scoring.rollup import MaskedIntegers

NEIGHBOURS_PER_SIDE: Final = 4
"""Blocks before and after a missed proposal that its value is estimated from."""


def eligible_validators(
    spec: ChainSpec, answers: EpochAnswers, at_end: ValidatorRegistry
) -> Int64Array:
    """Watched validators that get rewards or penalties for attestations of the epoch, ascending.

    ``at_end`` is the registry at the end of the epoch.
    """
    registry = replace(at_end, slashed=slashed_when_rewarded(spec, answers, at_end))
    eligible = registry.validator_index[is_eligible(registry, answers.epoch)]
    return np.intersect1d(answers.watched, eligible)


def attestation_rewards_frame(
    spec: ChainSpec,
    answers: EpochAnswers,
    outcomes: AttestationOutcomes | None,
    totals: NetworkTotals,
) -> pd.DataFrame:
    """Frame ``attestation_rewards``: a row per watched, eligible validator; none where the registry
    at the end of the epoch is not known.

    Actual rewards are the node's, NULL where it lists none. Ideal rewards are computed from the
    network's sums; where those are unknown (few watched validators on a large network) they are the
    node's ideal row for the same effective balance, or NULL if it lists none.
    """
    registry = answers.registry_at_end
    if registry is None:
        return empty_frame("attestation_rewards")
    validators = eligible_validators(spec, answers, registry)
    rows = registry.rows_of(validators)
    effective_balance = registry.effective_balance[rows]
    source, target, head, inactivity = _reported_rewards(answers, validators)

    ideal, known = _ideal_rewards(spec, answers, totals, effective_balance)
    total_active_balance = totals.total_active_balance
    attainable = _attainable(
        spec,
        validators,
        outcomes,
        ideal,
        None
        if total_active_balance is None
        else attestation_penalties(spec, effective_balance, total_active_balance),
        slashed_when_rewarded(spec, answers, registry)[rows],
    )
    # Without the duties nothing tells what was attainable. Where no price is known, only a penalty
    # that could have been avoided leaves the sum known.
    attainable_known = known & (outcomes is not None)
    prices_known = total_active_balance is not None
    source_known = attainable_known & (prices_known | (attainable.source >= 0))
    target_known = attainable_known & (prices_known | (attainable.target >= 0))
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
            "attainable_head": np.ma.array(attainable.head, mask=~attainable_known),
            "attainable_total": np.ma.array(attainable.total, mask=~(source_known & target_known)),
            "missed_source": np.ma.array(ideal.source, mask=~known) - source,
            "missed_target": np.ma.array(ideal.target, mask=~known) - target,
            "missed_head": np.ma.array(ideal.head, mask=~known) - head,
        },
    )


def _reported_rewards(answers: EpochAnswers, validators: Int64Array) -> tuple[MaskedIntegers, ...]:
    """Source, target, head and inactivity reward of each validator (n), masked where the node lists
    none."""
    reported = answers.attestation_rewards
    if reported is None or not len(reported):
        nothing = _maybe([None] * len(validators))
        return nothing, nothing, nothing, nothing
    at = np.minimum(np.searchsorted(reported.validator_index, validators), len(reported) - 1)
    absent = reported.validator_index[at] != validators
    known = reported.inactivity_known
    unpenalized = absent if known is None else absent | ~known[at]
    columns = (reported.source, reported.target, reported.head)
    return (
        *(np.ma.MaskedArray(column[at], mask=absent) for column in columns),
        np.ma.MaskedArray(reported.inactivity[at], mask=unpenalized),
    )


def _ideal_rewards(
    spec: ChainSpec,
    answers: EpochAnswers,
    totals: NetworkTotals,
    effective_balance: Int64Array,
) -> tuple[AttestationRewardColumns, BoolArray]:
    """Ideal rewards of each effective balance (n), and which of them are known (n)."""
    leak = leak_of(spec, answers)
    if (
        totals.total_active_balance is not None
        and totals.participating is not None
        and leak is not None
    ):
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
    if reported is None or not len(reported.ideal_effective_balance):
        nothing = np.zeros(len(effective_balance), dtype=np.int64)
        return (
            AttestationRewardColumns(nothing, nothing, nothing),
            np.zeros(len(nothing), dtype=np.bool_),
        )
    listed = reported.ideal_effective_balance
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
    outcomes: AttestationOutcomes | None,
    ideal: AttestationRewardColumns,
    penalties: AttestationPenalties | None,
    slashed: BoolArray,
) -> AttestationRewardColumns:
    """The most each validator (n) could earn; without ``outcomes`` as if it had no duty.

    Without the network's sums a penalty has no price: -1 gwei then stands for one that could not be
    avoided. (In a leak, with all ideals zero, a price of zero would look avoided.)
    """
    slot, earliest = _opportunities(validators, outcomes)
    if penalties is None:
        some = np.ones(len(validators), dtype=np.int64)
        penalties = AttestationPenalties(some, some)
    return attainable_attestation_rewards(spec, slot, earliest, ideal, penalties, slashed)


def _opportunities(
    validators: Int64Array, outcomes: AttestationOutcomes | None
) -> tuple[Int64Array, Int64Array]:
    """Duty slot and earliest inclusion of each validator (n); -1 for those without a duty.

    Only slashed validators are rewarded (in fact fined) without a duty: after their exit.
    """
    if outcomes is None:
        without = np.full(len(validators), -1, dtype=np.int64)
        return without, without
    order = np.argsort(outcomes.validator_index, kind="stable")
    members = outcomes.validator_index[order]
    at = np.minimum(np.searchsorted(members, validators), len(members) - 1)
    has_duty = members[at] == validators
    slot = np.where(has_duty, outcomes.slot[order][at], -1)
    return slot, np.where(has_duty, outcomes.earliest_inclusion_slot[order][at], -1)


def block_rewards_frame(spec: ChainSpec, answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``block_rewards``: a row per proposal due from a watched validator; where the proposers
    are not known, per block of one.

    A missed one is worth about what its neighbours earned: the lower median of the nearest blocks
    on both sides, without what they got for slashings.
    """
    owned, owners = slot_proposers(spec, answers)
    ours = np.isin(owners.filled(-1), answers.watched)
    slots, proposers = owned[ours].tolist(), owners.filled(-1)[ours].tolist()
    proposed = [slot in answers.blocks for slot in slots]
    rewards = [
        answers.block_rewards.get(slot) if done else _NOTHING
        for slot, done in zip(slots, proposed, strict=True)
    ]
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
                    reward.proposer_index if done and reward is not None else proposer
                    for reward, done, proposer in zip(rewards, proposed, proposers, strict=True)
                ],
                dtype=np.int64,
            ),
            **{
                name: _maybe(getattr(reward, name, None) for reward in rewards)
                for name in (
                    *("total", "attestations", "sync_aggregate"),
                    *("proposer_slashings", "attester_slashings"),
                )
            },
            "outcome": np.where(proposed, "proposed", "missed"),
            "missed_estimate": _maybe(estimates),
        },
    )


def _estimate(answers: EpochAnswers, slot: int) -> int | None:
    """What a block in ``slot`` would have earned, gwei; None without blocks near it, and where the
    reward of one of them is not known."""
    slots = answers.canonical.slot
    # Nobody proposed the genesis block.
    near = [answers.block_rewards.get(near) for near in neighbours(slots[slots > 0], slot)]
    paid = [reward.attestations + reward.sync_aggregate for reward in near if reward is not None]
    return median_low(paid) if paid and len(paid) == len(near) else None


def sync_rewards_frame(
    spec: ChainSpec,
    answers: EpochAnswers,
    participation: SyncParticipation | None,
    per_seat: int | None,
) -> pd.DataFrame:
    """Frame ``sync_rewards``: rewards of watched members, summed over the epoch's blocks, NULL
    where those of one of them are not known; no row where the committee is not known.

    ``per_seat`` is what a seat earns in a block, gwei; None if unknown.
    """
    if participation is None:
        return empty_frame("sync_rewards")
    first, end = spec.first_slot(answers.epoch), spec.first_slot(answers.epoch + 1)
    members = np.intersect1d(answers.watched, participation.validator_index)
    reward = np.zeros(len(members), dtype=np.int64)
    slots = answers.canonical.slot
    paying = slots[(slots >= max(first, 1)) & (slots < end)].tolist()
    for slot in paying if len(members) else ():
        rows = answers.sync_rewards.get(slot)
        if rows is None:
            continue
        at = np.searchsorted(members, rows.validator_index)
        at = np.minimum(at, len(members) - 1)
        ours = members[at] == rows.validator_index
        np.add.at(reward, at[ours], rows.reward[ours])
    all_known = answers.sync_rewards.keys() >= set(paying)
    rows_of_members = np.searchsorted(participation.validator_index, members)
    unknown = np.full(len(members), per_seat is None)
    return conform(
        "sync_rewards",
        {
            "epoch": np.full(len(members), answers.epoch),
            "validator_index": members,
            "reward": np.ma.array(reward, mask=np.full(len(members), not all_known)),
            "ideal_reward": np.ma.array(
                participation.due[rows_of_members] * (per_seat or 0), mask=unknown
            ),
            "seats": participation.seats[rows_of_members],
            "seat_reward": np.ma.array(np.full(len(members), per_seat or 0), mask=unknown),
        },
    )


_NOTHING: Final = BlockRewards(0, 0, 0, 0, 0, 0)


def _maybe(values: Iterable[int | None]) -> MaskedIntegers:
    """Integers, masked where there is None."""
    listed = list(values)
    return np.ma.MaskedArray(
        np.array([value or 0 for value in listed], dtype=np.int64),
        mask=np.array([value is None for value in listed], dtype=np.bool_),
    )


def neighbours(block_slots: Int64Array, slot: int) -> list[int]:
    """Slots of the nearest blocks before and after ``slot``, of ``block_slots`` (ascending)."""
    at = int(np.searchsorted(block_slots, slot))
    near: list[int] = block_slots[
        max(0, at - NEIGHBOURS_PER_SIDE) : at + NEIGHBOURS_PER_SIDE
    ].tolist()
    return near

"""What the seats of the sync committee earn in a block, and whose seats they are."""

from __future__ import annotations

import numpy as np

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.sync_committee import sync_participant_reward, sync_participation
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_totals import NetworkTotals


def seat_reward(spec: ChainSpec, answers: EpochAnswers, totals: NetworkTotals) -> int | None:
    """Gwei per seat and block of the epoch: as the answers say, as computed, or as the node's rows
    imply; None if nothing tells."""
    if answers.seat_reward is not None:
        return answers.seat_reward
    if totals.total_active_balance_at_start is not None:
        return sync_participant_reward(spec, totals.total_active_balance_at_start)
    return reported_seat_reward(spec, answers)


def reported_seat_reward(spec: ChainSpec, answers: EpochAnswers) -> int | None:
    """The reward per seat and block that the node's rows imply, or None if they imply none.

    A member's reward is its net seats (signed minus missed) times the reward per seat, except where
    its balance ran out; the value that most rows agree on is taken.
    """
    if answers.sync_committee is None:
        return None
    end = spec.first_slot(answers.epoch + 1)
    candidates = []
    for slot, rewards in answers.sync_rewards.items():
        if slot >= end:
            continue
        members = sync_participation(spec, answers.sync_committee, [answers.blocks[slot]])
        net = members.participated - members.missed
        rows = np.flatnonzero(
            np.isin(members.validator_index, rewards.validator_index) & (net != 0)
        )
        reported = np.searchsorted(rewards.validator_index, members.validator_index[rows])
        candidates.append(rewards.reward[reported] // net[rows])
    if not sum(map(len, candidates)):
        return None
    values, counts = np.unique(np.concatenate(candidates), return_counts=True)
    return int(values[counts.argmax()])


def sync_committee_of_slot(spec: ChainSpec, answers: EpochAnswers, slot: int) -> Int64Array | None:
    """The committee that signs in the block of a slot of the epoch, or of the first one of the next
    epoch, which may begin another period; None where it is not known."""
    at_end = answers.sync_committee_at_end
    if slot == spec.first_slot(answers.epoch + 1) and at_end is not None:
        return at_end
    period = spec.epochs_per_sync_committee_period
    if spec.epoch_of(slot) // period != answers.epoch // period:
        return None
    return answers.sync_committee

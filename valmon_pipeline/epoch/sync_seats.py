"""What a seat of the sync committee earns in a block: computed, or as the node's rows imply."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from valmon_pipeline.beacon.answers import SyncCommitteeRewards
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.sync_committee import sync_participant_reward, sync_participation
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_totals import NetworkTotals


def seat_reward(spec: ChainSpec, answers: EpochAnswers, totals: NetworkTotals | None) -> int | None:
    """Gwei per seat and block of the epoch; None if neither way tells."""
    if totals is not None and totals.total_active_balance_at_start is not None:
        return sync_participant_reward(spec, totals.total_active_balance_at_start)
    return reported_seat_reward(spec, answers)


def reported_seat_reward(spec: ChainSpec, answers: EpochAnswers) -> int | None:
    """The reward per seat and block that the node's rows imply, or None if they imply none.

    A member's reward is its net seats (signed minus missed) times the reward per seat, except where
    its balance ran out; the value that most rows agree on is taken.
    """
    candidates = []
    for slot, rewards in sync_rewards_of_epoch(spec, answers):
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


def sync_rewards_of_epoch(
    spec: ChainSpec, answers: EpochAnswers
) -> Iterator[tuple[int, SyncCommitteeRewards]]:
    """Slot and rows of each block of the epoch itself, without the first one of the next."""
    end = spec.first_slot(answers.epoch + 1)
    return ((slot, rows) for slot, rows in answers.sync_rewards.items() if slot < end)

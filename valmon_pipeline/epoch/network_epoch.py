"""The epoch of the whole network as one object, from a state's rewards and the committees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.network_epoch import Float32Array, NetworkEpoch
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import StateRewards, state_rewards
from valmon_pipeline.epoch.network_totals import are_named
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline.scoring.effectiveness import reward_effectiveness
from valmon_pipeline.scoring.ranking import percentile_rank_among

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CountedRewards:
    """The rewards that validators of the network got, each with how many got it (m), gwei.

    First the groups of ``StateRewards.groups``, then the ``fined`` validators (an inactivity
    penalty is a validator's own), which are counted in no group.
    """

    effective_balance: Int64Array
    validators: Int64Array
    reward: Int64Array
    ideal_reward: Int64Array
    reward_effectiveness: Float64Array
    fined: Int64Array

    def rows_of(self, rewards: StateRewards, validators: Int64Array | slice) -> Int64Array:
        """The row of each of the given validators (n)."""
        rows = rewards.group[validators].astype(np.int64)
        groups = len(rewards.groups.validators)
        if isinstance(validators, slice):
            rows[self.fined] = groups + np.arange(len(self.fined))
        elif len(self.fined):
            at = np.minimum(np.searchsorted(self.fined, validators), len(self.fined) - 1)
            found = self.fined[at] == validators
            rows[found] = groups + at[found]
        return rows


def counted_rewards(rewards: StateRewards) -> CountedRewards:
    """Every different reward of the eligible validators, with how many got it."""
    groups = rewards.groups
    fined = np.flatnonzero(rewards.inactivity_penalty)
    of_fined = rewards.group[fined].astype(np.int64)
    reward = np.concatenate(
        [groups.total, groups.total[of_fined] - rewards.inactivity_penalty[fined]]
    )
    ideal = np.concatenate([groups.ideal, groups.ideal[of_fined]])
    counts = groups.validators * groups.eligible
    counts -= np.bincount(of_fined, minlength=len(counts))
    return CountedRewards(
        effective_balance=np.concatenate(
            [groups.effective_balance, groups.effective_balance[of_fined]]
        ),
        validators=np.concatenate([counts, np.ones(len(fined), np.int64)]),
        reward=reward,
        ideal_reward=ideal,
        reward_effectiveness=reward_effectiveness(reward, ideal),
        fined=fined,
    )


def network_epoch(
    spec: ChainSpec, state: BeaconState, committees: Committees | None = None
) -> NetworkEpoch:
    """Return the epoch before that of ``state``, the state of an epoch's last slot.

    ``committees`` of that epoch; without them nobody's duty is known. For 2.2 million validators
    the result takes 0.19 GB; it does not hold on to the state.

    Raises:
        ChainRuleViolationError: ``state`` is of another slot, has impossible numbers, or its active
            validators are not those of the committees.
    """
    rewards = state_rewards(spec, state)
    return network_epoch_of(rewards, counted_rewards(rewards), committees)


def network_epoch_of(
    rewards: StateRewards, counted: CountedRewards, committees: Committees | None
) -> NetworkEpoch:
    """The same from rewards that were computed before. Committees that do not name everybody are as
    good as none."""
    groups, group = rewards.groups, rewards.group
    ranks = percentile_rank_among(
        counted.reward_effectiveness, counted.reward_effectiveness, counted.validators
    )

    def scored(values: Float64Array) -> Float32Array:
        narrow = values.astype(np.float32)
        of_validators: Float32Array = narrow[: len(groups.validators)][group]
        of_validators[counted.fined] = narrow[len(groups.validators) :]
        return of_validators

    count = len(rewards.status)
    slot = np.full(count, -1, np.int16)
    index = np.full(count, -1, np.int16)
    position = np.full(count, -1, np.int32)
    if committees is not None and are_named(committees.validator_index):
        members = committees.validator_index
        require_same_validators(rewards, members)
        length = committees.length
        slot[members] = np.repeat(committees.slot - committees.slot[0], length)
        index[members] = np.repeat(committees.committee_index, length)
        position[members] = np.arange(len(members)) - np.repeat(committees.offset, length)
    return NetworkEpoch(
        epoch=rewards.epoch,
        state_slot=rewards.state_slot,
        status=rewards.status,
        active=rewards.active,
        eligible=groups.eligible[group],
        slashed=rewards.slashed,
        flags=rewards.flags,
        balance=rewards.balance,
        effective_balance=groups.effective_balance[group],
        inactivity_score=rewards.inactivity_score,
        source_reward=groups.source[group],
        target_reward=groups.target[group],
        head_reward=groups.head[group],
        inactivity_penalty=rewards.inactivity_penalty,
        ideal_reward=groups.ideal[group],
        duty_slot_in_epoch=slot,
        committee_index=index,
        committee_position=position,
        reward_effectiveness=scored(counted.reward_effectiveness),
        percentile_rank=scored(ranks),
    )


def require_same_validators(rewards: StateRewards, members: Int64Array) -> None:
    """Refuse committees of another chain: whoever is active has exactly one duty.

    Raises:
        ChainRuleViolationError: the ``members`` (unique) are not the active validators.
    """
    known = members[members < len(rewards.active)]
    if len(known) < len(members) or not rewards.active[known].all():
        stranger = int(members.max()) if len(known) < len(members) else None
        if stranger is None:
            stranger = int(known[int(np.argmin(rewards.active[known]))])
        raise ChainRuleViolationError(
            f"validator {stranger} has a duty in epoch {rewards.epoch}, but is not active in it by "
            f"the state of slot {rewards.state_slot}: committees and state are of two chains"
        )
    if len(members) != int(np.count_nonzero(rewards.active)):
        raise ChainRuleViolationError(
            f"{len(members)} validators have a duty in epoch {rewards.epoch}, but "
            f"{int(np.count_nonzero(rewards.active))} are active in it by the state of slot "
            f"{rewards.state_slot}: committees and state are of two chains"
        )

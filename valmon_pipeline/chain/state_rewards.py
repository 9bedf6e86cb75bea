"""What every validator of the network earned in an epoch, from one beacon state.

The state is that of the last slot of epoch E + 1, before the transition that rewards the votes of
target epoch E: their participation is complete, and effective balances, activity and slashed flags
are those that the rewards use. Sources: consensus-specs, altair: ``get_flag_index_deltas``,
``get_inactivity_penalty_deltas``, ``process_inactivity_updates``.

A reward depends on the effective balance, the flags and whether there is one at all, so that a
network has some thousand different rewards: they are computed once per such *group*, with Python's
integers, and looked up by validator. Only inactivity penalties are a validator's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from valmon_pipeline.chain.beacon_state import BeaconState, RowArray, UInt64Array
from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH, NEVER
from valmon_pipeline.chain.finality import finalized_epoch_after_transition
from valmon_pipeline.chain.inactivity import inactivity_penalties, updated_inactivity_scores
from valmon_pipeline.chain.network_epoch import (
    HEAD_TIMELY,
    SOURCE_TIMELY,
    TARGET_TIMELY,
    UInt8Array,
)
from valmon_pipeline.chain.registry import BoolArray, Int64Array
from valmon_pipeline.chain.rewards import (
    FlagBalances,
    attestation_penalties,
    earned_attestation_rewards,
    ideal_attestation_rewards,
    is_inactivity_leak,
)
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import ValidatorStatus
from valmon_pipeline.errors import ChainRuleViolationError

_INT64_MAX: Final = 2**63 - 1
_CHUNK: Final = 1 << 15
"""Validators at a time: their rows (4 MB) stay in the cache while column after column is taken."""

_ALL_FLAGS: Final = SOURCE_TIMELY | TARGET_TIMELY | HEAD_TIMELY
_ELIGIBLE: Final = _ALL_FLAGS + 1
_GROUPS_PER_INCREMENT: Final = 2 * _ELIGIBLE


@dataclass(frozen=True, slots=True)
class RewardGroups:
    """The different rewards of an epoch (k groups), gwei, all 0 in a group that is not eligible.

    ``effective_balance``: what its validators have; ``validators``: how many they are. ``source``,
    ``target`` and ``head`` are negative where fined; ``ideal`` is what all three flags earn.
    """

    eligible: BoolArray
    effective_balance: Int64Array
    validators: Int64Array
    source: Int64Array
    target: Int64Array
    head: Int64Array
    ideal: Int64Array

    @property
    def total(self) -> Int64Array:
        """Rewards without inactivity penalties (k), gwei."""
        return self.source + self.target + self.head


@dataclass(frozen=True, slots=True)
class StateRewards:
    """Rewards of target ``epoch`` for all validators (n), position = validator index.

    ``active``: had a duty in ``epoch``; ``status`` is ``ValidatorStatus.code`` in it.
    ``flags`` are those of the state, ``slashed`` and ``balance`` (gwei), too; the flags of slashed
    validators earn nothing. ``inactivity_score`` is the updated one, ``inactivity_penalty`` a
    positive amount in gwei. ``group``: the position in ``groups``.

    ``finalized_epoch`` is that of the transition that applies the rewards, ``total_active_balance``
    that of ``epoch + 1``; ``participating`` sums who earned each flag.
    """

    epoch: int
    state_slot: int
    finalized_epoch: int
    inactivity_leak: bool
    total_active_balance: int
    participating: FlagBalances
    status: UInt8Array
    active: BoolArray
    slashed: BoolArray
    flags: UInt8Array
    balance: Int64Array
    inactivity_score: Int64Array
    inactivity_penalty: Int64Array
    group: npt.NDArray[Any]
    groups: RewardGroups


def state_rewards(spec: ChainSpec, state: BeaconState) -> StateRewards:
    """Return the rewards for the epoch before that of ``state``.

    No array of the result holds on to the state's buffer. Besides the result, memory is needed for
    a few columns of ``_CHUNK`` validators.

    Raises:
        ChainRuleViolationError: ``state`` is not that of the last slot of an epoch after the first,
            or a number in it is one that no state has.
    """
    current = spec.epoch_of(state.slot)
    if state.slot != spec.last_slot(current) or current == 0:
        raise ChainRuleViolationError(
            f"rewards are computed from the state of the last slot of an epoch since epoch 1, not "
            f"from that of slot {state.slot}"
        )
    epoch = current - 1
    increments = _increments(spec, state.validators)
    registry = _registry_facts(spec, state, epoch, increments)
    total = max(spec.effective_balance_increment, registry.total_active_balance)
    participating = registry.participating(spec)
    finalized = finalized_epoch_after_transition(
        current,
        state.justification_bits,
        state.checkpoints,
        previous_target_justified=3 * participating.target >= 2 * total,
        current_target_justified=3 * registry.current_target >= 2 * total,
    )
    leak = is_inactivity_leak(spec, epoch, finalized)
    groups = _groups(spec, registry.members, total, participating, leak)
    scores = np.empty(len(state), np.int64)
    penalties = np.zeros(len(state), np.int64)
    for rows in _chunks(len(state)):
        _inactivity(
            spec,
            current,
            leak,
            _int64(state.inactivity_scores[rows], "inactivity_scores", rows),
            registry.group[rows],
            groups,
            scores[rows],
            penalties[rows],
        )
    return StateRewards(
        epoch=epoch,
        state_slot=state.slot,
        finalized_epoch=finalized,
        inactivity_leak=leak,
        total_active_balance=total,
        participating=participating,
        status=registry.status,
        active=registry.active,
        slashed=registry.slashed,
        flags=state.previous_epoch_participation.copy(),
        balance=_int64(state.balances, "balances", slice(0, len(state))),
        inactivity_score=scores,
        inactivity_penalty=penalties,
        group=registry.group,
        groups=groups,
    )


@dataclass(slots=True)
class _RegistryFacts:
    """What the registry and the participation say, before anything is known of the rewards.

    ``members`` (k) counts the validators of each group.
    """

    status: UInt8Array
    active: BoolArray
    slashed: BoolArray
    group: npt.NDArray[Any]
    members: Int64Array
    total_active_balance: int
    current_target: int

    def participating(self, spec: ChainSpec) -> FlagBalances:
        """Balances behind each flag: groups hold the flags of the unslashed and active only."""
        group = np.flatnonzero(self.members)

        def balance(flag: int) -> int:
            voted = group[group & flag != 0]
            increments = (voted // _GROUPS_PER_INCREMENT).tolist()
            counts = self.members[voted].tolist()
            total = sum(one * count for one, count in zip(increments, counts, strict=True))
            return spec.effective_balance_increment * int(total)

        return FlagBalances(balance(SOURCE_TIMELY), balance(TARGET_TIMELY), balance(HEAD_TIMELY))


def _increments(spec: ChainSpec, validators: RowArray) -> npt.NDArray[np.uint32]:
    """Effective balances (n) in increments."""
    most = spec.max_effective_balance_electra
    increment = np.uint64(spec.effective_balance_increment)
    increments = np.empty(len(validators), np.uint32)
    for rows in _chunks(len(validators)):
        balance = validators["effective_balance"][rows]
        if balance.max(initial=0) > most:
            raise _refusal("effective_balance", balance, balance > most, rows, f"at most {most}")
        whole = balance // increment
        if not np.array_equal(whole * increment, balance):
            raise _refusal(
                "effective_balance",
                balance,
                whole * increment != balance,
                rows,
                f"a multiple of {increment}, EFFECTIVE_BALANCE_INCREMENT",
            )
        increments[rows] = whole
    return increments


def _registry_facts(
    spec: ChainSpec, state: BeaconState, epoch: int, increments: npt.NDArray[np.uint32]
) -> _RegistryFacts:
    count = len(state)
    group_count = _GROUPS_PER_INCREMENT * (int(increments.max(initial=0)) + 1)
    facts = _RegistryFacts(
        status=np.empty(count, np.uint8),
        active=np.empty(count, np.bool_),
        slashed=np.empty(count, np.bool_),
        group=np.empty(count, np.uint16 if group_count <= 1 << 16 else np.uint32),
        members=np.zeros(group_count, np.int64),
        total_active_balance=0,
        current_target=0,
    )
    active_increments = current_target = 0
    for rows in _chunks(count):
        validators = state.validators[rows]
        eligibility, activation, exits, withdrawable = (
            _epochs(validators, name, rows)
            for name in (
                "activation_eligibility_epoch",
                "activation_epoch",
                "exit_epoch",
                "withdrawable_epoch",
            )
        )
        balance = increments[rows].astype(np.int64)
        slashed = validators["slashed"] != 0
        active = (activation <= epoch) & (epoch < exits)
        active_now = (activation <= epoch + 1) & (epoch + 1 < exits)
        eligible = active | (slashed & (epoch + 1 < withdrawable))
        # Increments of 32768 validators are far from overflowing.
        active_increments += int(balance[active_now].sum())
        voted = state.current_epoch_participation[rows] & TARGET_TIMELY != 0
        current_target += int(balance[voted & active_now & ~slashed].sum())
        flags = state.previous_epoch_participation[rows] * (active & ~slashed)
        group = balance * _GROUPS_PER_INCREMENT + (_ELIGIBLE + flags) * eligible
        facts.group[rows] = group
        facts.members += np.bincount(group, minlength=group_count)
        facts.active[rows] = active
        facts.slashed[rows] = slashed
        facts.status[rows] = _status(
            epoch, eligibility, activation, exits, withdrawable, slashed, active, balance
        )
    facts.total_active_balance = active_increments * spec.effective_balance_increment
    facts.current_target = current_target * spec.effective_balance_increment
    return facts


def _status(
    epoch: int,
    eligibility: Int64Array,
    activation: Int64Array,
    exits: Int64Array,
    withdrawable: Int64Array,
    slashed: BoolArray,
    active: BoolArray,
    balance: Int64Array,
) -> UInt8Array:
    """``chain.status.validator_status`` of some validators (n), for a million at a time: later
    conditions overwrite earlier ones."""
    status = np.full(len(active), ValidatorStatus.WITHDRAWAL_DONE.code, np.uint8)
    status[balance > 0] = ValidatorStatus.WITHDRAWAL_POSSIBLE.code
    locked = epoch < withdrawable
    status[locked] = ValidatorStatus.EXITED_UNSLASHED.code
    status[locked & slashed] = ValidatorStatus.EXITED_SLASHED.code
    status[active] = ValidatorStatus.ACTIVE_EXITING.code
    status[active & slashed] = ValidatorStatus.ACTIVE_SLASHED.code
    status[active & (exits == NEVER)] = ValidatorStatus.ACTIVE_ONGOING.code
    pending = activation > epoch
    status[pending] = ValidatorStatus.PENDING_QUEUED.code
    status[pending & (eligibility == NEVER)] = ValidatorStatus.PENDING_INITIALIZED.code
    return status


def _groups(
    spec: ChainSpec,
    members: Int64Array,
    total_active_balance: int,
    participating: FlagBalances,
    leak: bool,
) -> RewardGroups:
    number = np.arange(len(members), dtype=np.int64)
    eligible = number & _ELIGIBLE != 0
    increment = spec.effective_balance_increment
    balances = np.arange(len(members) // _GROUPS_PER_INCREMENT, dtype=np.int64) * increment
    ideal = ideal_attestation_rewards(
        spec, balances, total_active_balance, participating, inactivity_leak=leak
    ).of_rows(number // _GROUPS_PER_INCREMENT)
    penalties = attestation_penalties(spec, balances, total_active_balance).of_rows(
        number // _GROUPS_PER_INCREMENT
    )
    earned = earned_attestation_rewards(
        number & SOURCE_TIMELY != 0,
        number & TARGET_TIMELY != 0,
        number & HEAD_TIMELY != 0,
        ideal,
        penalties,
        # Slashed validators are in groups without flags.
        np.zeros(len(members), np.bool_),
    )
    return RewardGroups(
        eligible=eligible,
        effective_balance=balances[number // _GROUPS_PER_INCREMENT],
        validators=members,
        source=earned.source * eligible,
        target=earned.target * eligible,
        head=earned.head * eligible,
        ideal=ideal.total * eligible,
    )


def _inactivity(
    spec: ChainSpec,
    current_epoch: int,
    leak: bool,
    score: Int64Array,
    group: npt.NDArray[Any],
    groups: RewardGroups,
    new_score: Int64Array,
    penalty: Int64Array,
) -> None:
    """Fill in the updated scores and the penalties (n) of some validators."""
    if (
        not leak
        and spec.inactivity_score_bias <= spec.inactivity_score_recovery_rate
        and not score.any()
    ):
        new_score[:] = 0  # whoever gains the bias recovers it at once
        return
    eligible = groups.eligible[group]
    voted = group & TARGET_TIMELY != 0
    new_score[:] = updated_inactivity_scores(spec, score, eligible, voted, leak)
    fined = np.flatnonzero(eligible & ~voted & (new_score > 0))
    if len(fined):
        balance = groups.effective_balance[group[fined]]
        penalty[fined] = inactivity_penalties(spec, current_epoch, balance, new_score[fined])


def _epochs(validators: RowArray, name: str, rows: slice) -> Int64Array:
    """Epochs (n) with ``NEVER`` for those that were never set."""
    # A copy first: a column of rows is neither aligned nor contiguous.
    column = validators[name].copy()
    epochs: Int64Array = column.view(np.int64)
    far_future = column == FAR_FUTURE_EPOCH
    epochs[far_future] = NEVER
    if epochs.min(initial=0) < 0:
        raise _refusal(
            name, column, epochs < 0, rows, f"an epoch below 2**63, or {FAR_FUTURE_EPOCH}"
        )
    return epochs


def _int64(column: UInt64Array, name: str, rows: slice) -> Int64Array:
    signed = column.astype(np.int64)
    # Half of the range is room for what is added.
    if signed.min(initial=0) < 0 or signed.max(initial=0) > _INT64_MAX // 2:
        raise _refusal(name, column, column > _INT64_MAX // 2, rows, "an integer below 2**62")
    return signed


def _refusal(
    name: str, column: Any, wrong: BoolArray, rows: slice, rule: str
) -> ChainRuleViolationError:
    row = int(np.argmax(wrong))
    return ChainRuleViolationError(
        f"the state's {name} of validator {rows.start + row} is {int(column[row])}, "
        f"expected {rule}. Ask another node."
    )


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, _CHUNK):
        yield slice(start, min(start + _CHUNK, count))

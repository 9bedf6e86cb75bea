from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.chain.rewards import (
    AttestationPenalties,
    AttestationRewardColumns,
    FlagBalances,
    attainable_attestation_rewards,
    attestation_penalties,
    base_reward_per_increment,
    ideal_attestation_rewards,
    is_inactivity_leak,
    participating_balances,
    total_active_balance,
)
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.epoch_facts import epoch_facts
from valmon_pipeline_tests.chain.presets import GNOSIS, MAINNET, MINIMAL
from valmon_pipeline_tests.chain.registries import ETH, registry
from valmon_pipeline_tests.recording import FIRST_EPOCH, LAST_EPOCH, devnet

TAB = 34_000_000 * ETH
PARTICIPATING = FlagBalances(33_830_000 * ETH, 33_796_000 * ETH, 33_320_000 * ETH)
WORKED_BY_HAND = {
    # ETH: source, target, head, missed source, missed target
    1: (75, 140, 74, 75, 140),
    31: (2_341, 4_343, 2_306, 2_353, 4_370),
    32: (2_416, 4_483, 2_380, 2_429, 4_511),
    100: (7_552, 14_012, 7_438, 7_590, 14_096),
    2048: (154_678, 286_971, 152_346, 155_456, 288_704),
    0: (0, 0, 0, 0, 0),
}
BALANCES = np.array([eth * ETH for eth in WORKED_BY_HAND], dtype=np.int64)


def test_rewards_and_penalties_worked_by_hand() -> None:
    assert base_reward_per_increment(MAINNET, TAB) == 347
    ideal = ideal_attestation_rewards(MAINNET, BALANCES, TAB, PARTICIPATING, inactivity_leak=False)
    penalty = attestation_penalties(MAINNET, BALANCES, TAB)
    columns = (ideal.source, ideal.target, ideal.head, penalty.source, penalty.target)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    assert rows == list(WORKED_BY_HAND.values())
    assert ideal.total.tolist() == [sum(row[:3]) for row in rows]


def test_a_leak_pays_nothing_but_penalties_stay() -> None:
    ideal = ideal_attestation_rewards(MAINNET, BALANCES, TAB, PARTICIPATING, inactivity_leak=True)
    assert ideal.total.tolist() == [0] * len(BALANCES)


def test_gnosis_uses_its_own_base_reward_factor() -> None:
    assert base_reward_per_increment(GNOSIS, TAB) == 10**9 * 25 // 184_390_889


def test_a_leak_begins_in_the_fifth_epoch_without_finality() -> None:
    assert [is_inactivity_leak(MAINNET, 100, finalized) for finalized in (98, 96, 95)] == [
        False,
        False,
        True,
    ]


def test_the_leak_of_the_recording() -> None:
    leak = [epoch for epoch in range(FIRST_EPOCH, LAST_EPOCH + 1) if epoch_facts(epoch).leak]
    assert leak == list(range(21, 27))


def test_nobody_active_counts_as_one_increment() -> None:
    future = registry(index=[0], activation=[9])
    assert total_active_balance(MINIMAL, future, 5) == ETH
    nothing = FlagBalances(0, 0, 0)
    ideal = ideal_attestation_rewards(
        MAINNET, np.array([2048 * ETH]), TAB, nothing, inactivity_leak=False
    )
    assert ideal.source.tolist() == [2048 * 347 * 14 * 1 // (34_000_000 * 64)]


def test_total_active_balance_counts_the_slashed_until_they_exit() -> None:
    validators = registry(
        index=range(4),
        effective_balance=[32 * ETH, 2048 * ETH, 31 * ETH, 17 * ETH],
        slashed=[False, True, False, False],
        exit_epoch=[9, 9, 5, 6],
    )
    assert total_active_balance(MINIMAL, validators, 5) == (32 + 2048 + 17) * ETH


@given(
    st.lists(st.integers(0, 2**62), min_size=1, max_size=20),
    st.integers(10**9, 2**63 - 1),
    st.integers(0, 2**63 - 1),
)
def test_no_amount_overflows(balances: list[int], active: int, participating: int) -> None:
    participating = min(participating, active)
    column = np.array(balances, dtype=np.int64)
    ideal = ideal_attestation_rewards(
        MINIMAL, column, active, FlagBalances(participating, participating, participating), False
    )
    penalty = attestation_penalties(MINIMAL, column, active)
    per_increment = base_reward_per_increment(MINIMAL, active)
    for row, balance in enumerate(balances):
        base = balance // ETH * per_increment
        share = max(ETH, participating) // ETH
        assert ideal.target[row] == base * 26 * share // (active // ETH * 64)
        assert penalty.source[row] == base * 14 // 64


def test_sums_of_balances_do_not_wrap() -> None:
    whales = registry(index=range(5), effective_balance=[2**62] * 5)
    assert total_active_balance(MINIMAL, whales, 0) == 5 * 2**62


def test_a_negative_effective_balance_is_refused() -> None:
    with pytest.raises(ChainRuleViolationError, match="-1 gwei is negative"):
        attestation_penalties(MAINNET, np.array([32 * ETH, -1]), TAB)


def test_participation_leaves_out_the_slashed_and_needs_everyones_balance() -> None:
    facts = epoch_facts(6)
    complete, nobody = facts.registry, np.zeros(len(facts.registry), dtype=np.bool_)
    including_slashed = participating_balances(facts.outcomes, complete, nobody)
    assert including_slashed.source - facts.participating.source == 32 * ETH
    watched = registry(index=[0, 1, 2])
    with pytest.raises(ChainRuleViolationError, match="not in the registry of 3 validators"):
        participating_balances(facts.outcomes, watched, np.zeros(3, dtype=np.bool_))


def test_what_was_attainable_depends_on_when_the_next_block_came() -> None:
    slot = np.full(6, 40)
    earliest = np.array([41, 42, 43, -1, 41, 55])
    slashed = np.array([False, False, False, False, True, False])
    ideal = AttestationRewardColumns(np.full(6, 14), np.full(6, 26), np.full(6, 13))
    penalty = AttestationPenalties(np.full(6, 15), np.full(6, 27))
    best = attainable_attestation_rewards(MINIMAL, slot, earliest, ideal, penalty, slashed)
    assert best.source.tolist() == [14, 14, -15, -15, -15, -15]
    assert best.target.tolist() == [26, 26, 26, -27, -27, 26]
    assert best.head.tolist() == [13, 0, 0, 0, 0, 0]


def test_a_later_minimum_delay_moves_the_timely_head() -> None:
    spec = replace(MINIMAL, min_attestation_inclusion_delay=2)
    ideal = AttestationRewardColumns(np.array([14]), np.array([26]), np.array([13]))
    penalty = AttestationPenalties(np.array([15]), np.array([27]))
    best = attainable_attestation_rewards(
        spec, np.array([40]), np.array([42]), ideal, penalty, np.array([False])
    )
    assert best.head.tolist() == [13]


@pytest.mark.parametrize("epoch", range(FIRST_EPOCH, LAST_EPOCH + 1))
def test_actual_is_at_most_attainable_is_at_most_ideal(epoch: int) -> None:
    facts, spec = epoch_facts(epoch), devnet().spec
    outcomes = facts.outcomes
    rows = facts.registry.rows_of(outcomes.validator_index)
    balance = facts.registry.effective_balance[rows]
    ideal = ideal_attestation_rewards(
        spec, balance, facts.total_active_balance, facts.participating, facts.leak
    )
    penalty = attestation_penalties(spec, balance, facts.total_active_balance)
    best = attainable_attestation_rewards(
        spec,
        outcomes.slot,
        outcomes.earliest_inclusion_slot,
        ideal,
        penalty,
        facts.duty_slashed,
    )
    node = devnet().attestation_rewards(epoch).total
    for component in ("source", "target", "head"):
        actual = np.array([node[index][component] for index in outcomes.validator_index.tolist()])
        assert (actual <= getattr(best, component)).all(), component
        assert (getattr(best, component) <= getattr(ideal, component)).all(), component
    # Whoever was included in the earliest block with a right vote got all that was attainable.
    perfect = (
        (outcomes.inclusion_slot == outcomes.earliest_inclusion_slot)
        & outcomes.head_correct
        & outcomes.target_correct
    )
    total = np.array(
        [sum(node[i].values()) - node[i]["inactivity"] for i in outcomes.validator_index.tolist()]
    )
    assert (total[perfect] == best.total[perfect]).all()

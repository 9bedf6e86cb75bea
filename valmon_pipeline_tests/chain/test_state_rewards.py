"""Rewards from a state: equal to what a node pays, and to the specification written as loops."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import StateRewards, state_rewards
from valmon_pipeline.chain.status import is_active, is_eligible, validator_status
from valmon_pipeline.devnet.simulator import Simulation
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline_tests.chain.presets import MAINNET_CONFIG
from valmon_pipeline_tests.chain.states import ETH, made_up_state, simulated_state
from valmon_pipeline_tests.devnet.simulator.busy_chain import LAST_EPOCH, busy_chain

MAINNET = ChainSpec.from_config(MAINNET_CONFIG)
EPOCH = 400_000
LAST_SLOT = MAINNET.last_slot(EPOCH + 1)


def rewards_of(simulation: Simulation, epoch: int) -> StateRewards:
    spec = ChainSpec.from_config(simulation.config)
    return state_rewards(spec, simulated_state(simulation, spec.last_slot(epoch + 1)))


def registry_of(state: BeaconState) -> ValidatorRegistry:
    def epochs(name: str) -> Any:
        return np.minimum(state.validators[name], np.uint64(2**63 - 1)).astype(np.int64)

    return ValidatorRegistry(
        validator_index=np.arange(len(state)),
        balance=state.balances.astype(np.int64),
        effective_balance=state.validators["effective_balance"].astype(np.int64),
        slashed=state.validators["slashed"].astype(bool),
        activation_eligibility_epoch=epochs("activation_eligibility_epoch"),
        activation_epoch=epochs("activation_epoch"),
        exit_epoch=epochs("exit_epoch"),
        withdrawable_epoch=epochs("withdrawable_epoch"),
        pubkey=state.validators["pubkey"],
        withdrawal_credentials=state.validators["withdrawal_credentials"],
    )


@pytest.mark.parametrize("fulu_epoch", [10, None], ids=["fulu", "electra"])
def test_every_epoch_of_a_busy_chain_is_paid_as_its_node_pays_it(fulu_epoch: int | None) -> None:
    simulation = busy_chain(fulu_epoch=fulu_epoch)
    spec = ChainSpec.from_config(simulation.config)
    leaks = slashed = left = compounding = 0
    for epoch in range(LAST_EPOCH - 2):
        found, paid = rewards_of(simulation, epoch), simulation.rewarded(epoch)
        of_group = found.groups
        count = len(found.status)
        for name in ("source", "target", "head"):
            of_validators = getattr(of_group, name)[found.group]
            assert of_validators.tolist() == getattr(paid.deltas, name).tolist(), (epoch, name)
        assert (-found.inactivity_penalty).tolist() == paid.deltas.inactivity.tolist()
        assert of_group.eligible[found.group].tolist() == paid.deltas.eligible.tolist()
        assert found.inactivity_leak == paid.participation.leak
        assert found.total_active_balance == paid.participation.total_active_balance
        after = simulation.record(spec.first_slot(epoch + 2))
        assert found.finalized_epoch == after.finalized.epoch
        assert found.inactivity_score.tolist() == after.column("inactivity_score")[:count].tolist()
        leaks += found.inactivity_leak
        slashed += int(np.count_nonzero(found.slashed))
        left += int(np.count_nonzero(~of_group.eligible[found.group]))
        compounding += int((of_group.effective_balance[found.group] > 32 * ETH).sum())
    assert min(leaks, slashed, left, compounding) > 3


def test_statuses_and_duties_are_those_of_the_registry() -> None:
    simulation = busy_chain()
    spec = ChainSpec.from_config(simulation.config)
    statuses = set()
    for epoch in range(0, LAST_EPOCH - 2, 3):
        state = simulated_state(simulation, spec.last_slot(epoch + 1))
        found, registry = state_rewards(spec, state), registry_of(state)
        assert found.status.tolist() == validator_status(registry, epoch).tolist()
        assert found.active.tolist() == is_active(registry, epoch).tolist()
        eligible = found.groups.eligible[found.group]
        assert eligible.tolist() == is_eligible(registry, epoch).tolist()
        assert found.balance.tolist() == registry.balance.tolist()
        statuses |= set(found.status.tolist())
    assert len(statuses) >= 7


def deltas_of_the_specification(
    spec: ChainSpec, state: BeaconState, leak: bool
) -> list[tuple[int, int, int, int, int]]:
    """Source, target, head, inactivity penalty and new score of each validator, by loops."""
    current = spec.epoch_of(state.slot)
    previous = current - 1
    rows = [
        (dict(zip(state.validators.dtype.names or (), row, strict=True)), int(flags), int(score))
        for row, flags, score in zip(
            state.validators.tolist(),
            state.previous_epoch_participation,
            state.inactivity_scores,
            strict=True,
        )
    ]

    def active(row: dict[str, Any], epoch: int) -> bool:
        return bool(row["activation_epoch"] <= epoch < row["exit_epoch"])

    increment = spec.effective_balance_increment
    total = max(
        increment, sum(row["effective_balance"] for row, _, _ in rows if active(row, current))
    )
    per_increment = increment * spec.base_reward_factor // isqrt(total)
    result = []
    for row, flags, score in rows:
        eligible = active(row, previous) or (
            row["slashed"] and previous + 1 < row["withdrawable_epoch"]
        )
        if not eligible:
            result.append((0, 0, 0, 0, score))
            continue
        base = row["effective_balance"] // increment * per_increment
        counts = active(row, previous) and not row["slashed"]
        deltas = []
        for bit, weight in enumerate((14, 26, 14)):
            if counts and flags >> bit & 1:
                voted = max(
                    increment,
                    sum(
                        other["effective_balance"]
                        for other, its_flags, _ in rows
                        if active(other, previous) and not other["slashed"] and its_flags >> bit & 1
                    ),
                )
                numerator = base * weight * (voted // increment)
                deltas.append(0 if leak else numerator // (total // increment * 64))
            else:
                deltas.append(0 if bit == 2 else -(base * weight // 64))
        timely = bool(counts and flags >> 1 & 1)
        score = score - min(1, score) if timely else score + spec.inactivity_score_bias
        if not leak:
            score -= min(spec.inactivity_score_recovery_rate, score)
        quotient = spec.inactivity_penalty_quotient[Fork.ELECTRA]
        numerator = row["effective_balance"] * score
        penalty = 0 if timely else numerator // (spec.inactivity_score_bias * quotient)
        result.append((deltas[0], deltas[1], deltas[2], penalty, score))
    return result


EPOCHS_NEAR = st.sampled_from(
    [0, EPOCH - 1, EPOCH, EPOCH + 1, EPOCH + 2, EPOCH + 3, FAR_FUTURE_EPOCH]
)
VALIDATORS = st.fixed_dictionaries(
    {
        "effective_balance": st.sampled_from([0, 1, 17, 31, 32, 64, 2047, 2048]).map(ETH.__mul__),
        "slashed": st.sampled_from([0, 0, 0, 1]),
        "activation_eligibility_epoch": EPOCHS_NEAR,
        "activation_epoch": st.one_of(st.just(0), EPOCHS_NEAR),
        "exit_epoch": st.one_of(st.just(FAR_FUTURE_EPOCH), EPOCHS_NEAR),
        "withdrawable_epoch": EPOCHS_NEAR,
        "flags": st.integers(0, 7),
        "score": st.sampled_from([0, 0, 1, 3, 15, 16, 17, 1000, 2**40]),
    }
)


@settings(max_examples=200, deadline=None)
@given(st.lists(VALIDATORS, min_size=1, max_size=12), st.booleans())
def test_any_state_is_paid_as_the_specification_says(
    validators: list[dict[str, Any]], leak: bool
) -> None:
    finalized = EPOCH - (5 if leak else 2)
    # Nobody votes in the current epoch and no bits are set: finality stays where it is.
    rows = [{**row, "current_flags": 0} for row in validators]
    state = made_up_state(LAST_SLOT, rows, justification_bits=0, finalized=finalized)
    found = state_rewards(MAINNET, state)
    assert found.inactivity_leak == leak
    groups, group = found.groups, found.group
    columns = (
        groups.source[group],
        groups.target[group],
        groups.head[group],
        found.inactivity_penalty,
        found.inactivity_score,
    )
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == (
        deltas_of_the_specification(MAINNET, state, leak)
    )
    assert int(groups.validators.sum()) == len(validators)


def test_products_beyond_64_bits_are_exact() -> None:
    rows = [{"effective_balance": 2048 * ETH, "flags": 0, "score": 2**45}, {}]
    state = made_up_state(LAST_SLOT, rows, finalized=EPOCH - 2, justification_bits=0)
    penalty = state_rewards(MAINNET, state).inactivity_penalty
    assert penalty.tolist() == [2048 * ETH * (2**45 + 4 - 16) // (4 * 2**24), 0]
    assert 2048 * ETH * 2**45 > 2**63
    rows[0]["score"] = 2**61
    with pytest.raises(ChainRuleViolationError, match="no validator has"):
        state_rewards(
            MAINNET, made_up_state(LAST_SLOT, rows, finalized=EPOCH - 2, justification_bits=0)
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"effective_balance": 2049 * ETH}, "effective_balance of validator 1 is 2049000000000"),
        ({"effective_balance": 32 * ETH + 1}, "effective_balance of validator 1 is 32000000001"),
        ({"exit_epoch": 2**63 + 5}, "exit_epoch of validator 1 is 9223372036854775813"),
        ({"balance": 2**63}, "balances of validator 1 is 9223372036854775808"),
        ({"score": 2**64 - 1}, "inactivity_scores of validator 1 is 18446744073709551615"),
    ],
)
def test_numbers_that_no_state_has_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ChainRuleViolationError, match=message):
        state_rewards(MAINNET, made_up_state(LAST_SLOT, [{}, wrong]))


@pytest.mark.parametrize("slot", [LAST_SLOT - 1, LAST_SLOT + 1, 31])
def test_only_the_last_slot_of_an_epoch_tells_the_one_before(slot: int) -> None:
    with pytest.raises(ChainRuleViolationError, match=f"not from that of slot {slot}"):
        state_rewards(MAINNET, made_up_state(slot, [{}]))


def test_the_order_of_validators_does_not_matter_across_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{"flags": n % 8, "effective_balance": (n % 40) * ETH, "score": n} for n in range(100)]
    state = made_up_state(LAST_SLOT, rows, finalized=EPOCH - 7, justification_bits=0)
    whole = state_rewards(MAINNET, state)
    monkeypatch.setattr("valmon_pipeline.chain.state_rewards._CHUNK", 7)
    chunked = state_rewards(MAINNET, state)
    assert chunked.groups.source[chunked.group].tolist() == (
        whole.groups.source[whole.group].tolist()
    )
    assert chunked.inactivity_penalty.tolist() == whole.inactivity_penalty.tolist()
    monkeypatch.setattr("valmon_pipeline.chain.state_rewards._CHUNK", 1)
    assert state_rewards(MAINNET, state).status.tolist() == whole.status.tolist()


def test_the_result_does_not_hold_on_to_the_state() -> None:
    state = made_up_state(LAST_SLOT, [{}] * 10)
    found = state_rewards(MAINNET, state)
    for name in ("status", "flags", "balance", "inactivity_score", "group"):
        for column in (state.validators, state.balances, state.previous_epoch_participation):
            assert not np.shares_memory(getattr(found, name), column)
    assert replace(found).epoch == EPOCH

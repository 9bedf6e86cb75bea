"""The epoch of the whole network: on recorded states, and against the scores of single frames."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import zstandard

from valmon_pipeline.beacon.state_ssz.decode import ExpectedState, decode_state
from valmon_pipeline.chain.attestations import attestation_outcomes
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.slashings import slashed_at_end_of_epoch
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import state_rewards
from valmon_pipeline.epoch.network_epoch import counted_rewards, network_epoch
from valmon_pipeline.errors import ChainRuleViolationError
from valmon_pipeline.scoring.effectiveness import reward_effectiveness
from valmon_pipeline.scoring.ranking import percentile_rank, quantiles, quantiles_of_counted
from valmon_pipeline_tests import recordings
from valmon_pipeline_tests.chain.states import ETH, made_up_state, simulated_state
from valmon_pipeline_tests.devnet.simulator.busy_chain import LAST_EPOCH, busy_chain
from valmon_pipeline_tests.recording import Recording


@cache
def recorded() -> Recording:
    with recordings.RECORDING.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        return Recording(io.TextIOWrapper(reader, encoding="utf-8"))


def recorded_state_at_end(epoch: int) -> BeaconState:
    """The recorded state at the first slot of ``epoch``, brought to its last slot: with the flags
    of the votes for the epoch before, and the slashings, of all of its blocks."""
    chain, first = recorded(), epoch * 8
    spec, before = chain.spec, epoch - 1
    fork = Fork[recordings.state_version(first).upper()]
    content = recordings.state_bytes(first)
    state = decode_state(spec, fork, content, ExpectedState(first, content[8:40]))
    blocks = chain.blocks(first - 8, spec.last_slot(epoch))
    outcomes = attestation_outcomes(
        spec, before, chain.committees(before), chain.window(before), blocks
    )
    flags = np.zeros(len(state), np.uint8)
    flags[outcomes.validator_index] = (
        outcomes.source_timely + 2 * outcomes.target_timely + 4 * outcomes.head_timely
    )
    # What the state holds already is part of it.
    so_far = state.previous_epoch_participation
    assert (so_far | flags).tolist() == flags.tolist()
    validators = state.validators.copy()
    registry = chain.registry(epoch)
    slashed = slashed_at_end_of_epoch(spec, epoch, registry, chain.blocks(first, first + 7))
    validators["slashed"] = slashed
    return replace(
        state,
        slot=spec.last_slot(epoch),
        validators=validators,
        previous_epoch_participation=flags,
    )


@pytest.mark.parametrize("epoch", range(1, 13))
def test_rewards_equal_those_of_the_recorded_node(epoch: int) -> None:
    chain = recorded()
    state = recorded_state_at_end(epoch + 1)
    found = network_epoch(chain.spec, state, chain.committees(epoch))
    paid = chain.attestation_rewards(epoch)
    assert len(paid.total) > 120
    for index in range(len(found)):
        node = paid.total.get(index, {"source": 0, "target": 0, "head": 0, "inactivity": 0})
        assert {
            "source": int(found.source_reward[index]),
            "target": int(found.target_reward[index]),
            "head": int(found.head_reward[index]),
            "inactivity": -int(found.inactivity_penalty[index]),
        } == node, index
        assert found.eligible[index] == (index in paid.total)
        ideal = paid.ideal[int(found.effective_balance[index])]
        if found.eligible[index]:
            assert found.ideal_reward[index] == ideal["source"] + ideal["target"] + ideal["head"]


@pytest.mark.parametrize("epoch", [2, 9, 20, 29, 33, 40, LAST_EPOCH - 3])
def test_scores_and_ranks_are_those_of_everybodys_rewards(epoch: int) -> None:
    simulation = busy_chain()
    spec = ChainSpec.from_config(simulation.config)
    found = network_epoch(spec, simulated_state(simulation, spec.last_slot(epoch + 1)))
    assert found.total_reward[~found.eligible].tolist() == [0] * int((~found.eligible).sum())
    scores = reward_effectiveness(found.total_reward, found.ideal_reward)
    ranks = percentile_rank(scores)
    np.testing.assert_array_equal(found.reward_effectiveness, scores.astype(np.float32))
    np.testing.assert_array_equal(found.percentile_rank, ranks.astype(np.float32))


def test_validators_fined_for_inactivity_are_ranked_by_what_is_left() -> None:
    spec = ChainSpec.from_config(busy_chain().config)
    rows = [{"flags": 7}, {"flags": 1, "score": 2_000}, {"flags": 1, "score": 9_000}, {"flags": 1}]
    slot = spec.last_slot(21)
    state = made_up_state(slot, rows, finalized=18, justification_bits=0)
    found = network_epoch(spec, state)
    assert [bool(fined) for fined in found.inactivity_penalty] == [False, True, True, False]
    np.testing.assert_array_equal(
        found.percentile_rank, np.array([0.875, 0.375, 0.125, 0.625], np.float32)
    )
    rewards = state_rewards(spec, state)
    counted = counted_rewards(rewards)
    assert int(counted.validators.sum()) == 4
    rows_of_some = counted.rows_of(rewards, np.array([3, 1]))
    assert counted.reward[rows_of_some].tolist() == found.total_reward[[3, 1]].tolist()
    every = counted.rows_of(rewards, slice(None))
    assert counted.reward[every].tolist() == found.total_reward.tolist()
    effectiveness = reward_effectiveness(found.total_reward, found.ideal_reward)
    assert quantiles_of_counted(
        counted.reward_effectiveness, counted.validators
    ).tolist() == pytest.approx(quantiles(effectiveness).tolist(), abs=0)


def test_duties_are_those_of_the_committees() -> None:
    simulation = busy_chain()
    spec = ChainSpec.from_config(simulation.config)
    epoch = 3
    committees = recorded().committees(epoch)
    state = recorded_state_at_end(epoch + 1)
    found = network_epoch(spec, state, committees)
    assert found.active.all()
    for row in range(len(committees.slot)):
        start, length = int(committees.offset[row]), int(committees.length[row])
        members = committees.validator_index[start : start + length]
        assert set(found.duty_slot_in_epoch[members]) == {int(committees.slot[row]) - 8 * epoch}
        assert set(found.committee_index[members]) == {int(committees.committee_index[row])}
        assert found.committee_position[members].tolist() == list(range(length))
    without = network_epoch(spec, state)
    assert set(without.duty_slot_in_epoch.tolist()) == {-1}


def test_committees_of_another_chain_are_refused() -> None:
    chain = recorded()
    state = recorded_state_at_end(4)
    committees = chain.committees(3)
    validators = state.validators.copy()
    validators["exit_epoch"][17] = 3
    gone = replace(state, validators=validators)
    with pytest.raises(ChainRuleViolationError, match="validator 17 has a duty in epoch 3, but"):
        network_epoch(chain.spec, gone, committees)
    fewer = replace(committees, validator_index=committees.validator_index[:-1])
    with pytest.raises(ChainRuleViolationError, match=r"127 validators have a duty .* 128 are"):
        network_epoch(chain.spec, state, replace(fewer, length=np.append(fewer.length[:-1], [3])))
    smaller = replace(
        made_up_state(state.slot, [{"effective_balance": 32 * ETH}] * 100), slot=state.slot
    )
    with pytest.raises(ChainRuleViolationError, match="validator 127 has a duty"):
        network_epoch(chain.spec, smaller, committees)

"""Ground truth: what valmon derives from blocks against what the recorded node reported.

For every epoch, validator and block, to the gwei. Where flags alone would say something else than
the rewards, a class explains the difference, and exactly the members of the class differ.
"""

from __future__ import annotations

import numpy as np
import pytest

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.rewards import attestation_penalties, ideal_attestation_rewards
from valmon_pipeline.chain.status import ValidatorStatus, is_active, is_eligible, validator_status
from valmon_pipeline_tests.chain.epoch_facts import epoch_facts
from valmon_pipeline_tests.recording import FIRST_EPOCH, LAST_EPOCH, devnet

EPOCHS = range(FIRST_EPOCH, LAST_EPOCH + 1)
every_epoch = pytest.mark.parametrize("epoch", EPOCHS)
Duties = set[tuple[int, int]]
"""(epoch, validator index) of each duty."""


@every_epoch
def test_duties_of_committees_are_those_the_node_gave_its_validators(epoch: int) -> None:
    committees = devnet().committees(epoch)
    columns = (
        committees.duty_slot,
        committees.duty_committee_index,
        committees.duty_position,
        committees.duty_committee_length,
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    ours = dict(zip(committees.validator_index.tolist(), rows, strict=True))
    assert ours == devnet().attester_duties(epoch)


@every_epoch
def test_rewards_follow_from_blocks_for_every_duty(epoch: int) -> None:
    facts, spec = epoch_facts(epoch), devnet().spec
    outcomes, slashed = facts.outcomes, facts.duty_slashed
    rows = facts.registry.rows_of(outcomes.validator_index)
    balance = facts.registry.effective_balance[rows]
    ideal = ideal_attestation_rewards(
        spec, balance, facts.total_active_balance, facts.participating, facts.leak
    )
    penalty = attestation_penalties(spec, balance, facts.total_active_balance)
    derived = {
        "source": np.where(outcomes.source_timely & ~slashed, ideal.source, -penalty.source),
        "target": np.where(outcomes.target_timely & ~slashed, ideal.target, -penalty.target),
        "head": np.where(outcomes.head_timely & ~slashed, ideal.head, 0),
    }
    node = devnet().attestation_rewards(epoch).total
    for component, column in derived.items():
        ours = dict(zip(outcomes.validator_index.tolist(), column.tolist(), strict=True))
        assert ours == {index: node[index][component] for index in ours}, component


@every_epoch
def test_every_ideal_row_of_the_node_is_reproduced(epoch: int) -> None:
    facts, node = epoch_facts(epoch), devnet().attestation_rewards(epoch).ideal
    balances = np.array(sorted(node), dtype=np.int64)
    electra = devnet().spec.fork_at_epoch(epoch + 1) >= Fork.ELECTRA
    assert balances.tolist() == [eth * 10**9 for eth in range(2049 if electra else 33)]
    ideal = ideal_attestation_rewards(
        devnet().spec, balances, facts.total_active_balance, facts.participating, facts.leak
    )
    for component in ("source", "target", "head"):
        expected = [node[balance][component] for balance in balances.tolist()]
        assert getattr(ideal, component).tolist() == expected, component


@every_epoch
def test_the_eligible_are_exactly_those_with_a_reward_row(epoch: int) -> None:
    registry = epoch_facts(epoch).registry
    eligible = registry.validator_index[is_eligible(registry, epoch)]
    assert set(eligible.tolist()) == set(devnet().attestation_rewards(epoch).total)


@pytest.mark.parametrize("component", ["source", "target", "head"])
def test_where_flags_and_the_sign_of_rewards_differ_a_class_explains_it(component: str) -> None:
    """A flag earns and its absence costs, but for the head nothing — except for two classes."""
    differ: Duties = set()
    slashed: Duties = set()
    leaked: Duties = set()
    for epoch in EPOCHS:
        facts, node = epoch_facts(epoch), devnet().attestation_rewards(epoch).total
        outcomes = facts.outcomes
        for index, has_flag, is_slashed in zip(
            outcomes.validator_index.tolist(),
            getattr(outcomes, f"{component}_timely").tolist(),
            facts.duty_slashed.tolist(),
            strict=True,
        ):
            sign = np.sign(node[index][component])
            if sign != (1 if has_flag else 0 if component == "head" else -1):
                differ.add((epoch, index))
            if has_flag and is_slashed:
                slashed.add((epoch, index))
            elif has_flag and facts.leak:
                leaked.add((epoch, index))

    assert differ == slashed | leaked
    # Slashed: its votes are on chain in time, but count as absent. 100 was slashed in epoch 7, at
    # whose end epoch 6 is rewarded, and voted until it exited; 121 and 122 never voted at all.
    last_timely = 10 if component == "head" else 11
    assert slashed == {(epoch, 100) for epoch in range(6, last_timely + 1)}
    # Leak: nothing is earned for any flag, whoever voted.
    assert {epoch for epoch, _ in leaked} == set(range(21, 27))


def test_rows_without_a_duty_are_the_slashed_who_exited() -> None:
    lingering: Duties = set()
    for epoch in EPOCHS:
        facts, node = epoch_facts(epoch), devnet().attestation_rewards(epoch).total
        on_duty = set(facts.outcomes.validator_index.tolist())
        for index in set(node) - on_duty:
            row = facts.registry.rows_of(np.array([index]))
            assert facts.registry.slashed[row].all()
            assert not is_active(facts.registry, epoch)[row].any()
            lingering.add((epoch, index))
            balance = facts.registry.effective_balance[row]
            penalty = attestation_penalties(devnet().spec, balance, facts.total_active_balance)
            assert node[index]["source"] == -int(penalty.source[0])
            assert node[index]["target"] == -int(penalty.target[0])
            assert node[index]["head"] == 0
    assert {index for _, index in lingering} == {100, 121, 122}
    assert len(lingering) == 88


def test_the_recording_contains_what_these_tests_are_about() -> None:
    late, missed, wrong_head, skipped = 0, 0, 0, 0
    for epoch in EPOCHS:
        outcomes = epoch_facts(epoch).outcomes
        late += int((outcomes.inclusion_delay > 2).sum())
        missed += int((~outcomes.included).sum())
        wrong_head += int((outcomes.target_correct & ~outcomes.head_correct).sum())
        skipped += int((outcomes.earliest_inclusion_slot - outcomes.slot > 1).sum())
        # Nobody voted for a wrong target here; test_attestations.py covers that.
        assert outcomes.target_correct.tolist() == outcomes.included.tolist()
    assert (late, missed, wrong_head, skipped) == (91, 691, 105, 741)


@pytest.mark.parametrize("epoch", range(FIRST_EPOCH, LAST_EPOCH + 3))
def test_statuses_are_those_the_node_reports(epoch: int) -> None:
    names = list(ValidatorStatus)
    codes = validator_status(devnet().registry(epoch), epoch).tolist()
    assert [names[code].value for code in codes] == devnet().statuses(epoch)

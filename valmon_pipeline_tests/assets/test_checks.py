"""Each check fails when a fact is wrong in its way, it alone, and it names the offender.

What a node says wrongly is mostly noticed before: blocks, registries and the specification settle
it (see ``reading`` and ``epoch.settlement``). So the lies here are told of the facts themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.assets.label_history import merge_labels, no_labels
from valmon_pipeline.beacon.answers import AttestationRewards
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.epoch_frames import compute_epoch_frames
from valmon_pipeline_tests.assets.epochs import AT, CHECKS, FEW, NETWORK, Computed, compute

EPOCH = 11  # slots 88 to 95, all but 91 with blocks

Change = Callable[[EpochAnswers], EpochAnswers]


@dataclass(frozen=True, slots=True)
class Lie:
    """One value of one fact that is not true, and the one check that must notice.

    What was paid shows in a balance as well: if it is ``booked``, the ledger notices too.
    """

    check: str
    change: Change
    example: dict[str, str]
    watch: Watch = NETWORK
    booked: bool = False


def edited(column: Any, row: int, value: Any) -> Any:
    """The column with another value in a row."""
    changed = column.copy()
    assert changed[row] != value
    changed[row] = value
    return changed


def of_registry(name: str, index: int, field: str, change: Callable[[int], int]) -> Change:
    def lie(answers: EpochAnswers) -> EpochAnswers:
        registry = getattr(answers, name)
        assert isinstance(registry, ValidatorRegistry)
        row = int(np.searchsorted(registry.validator_index, index))
        column = getattr(registry, field)
        wrong: dict[str, Any] = {field: edited(column, row, change(int(column[row])))}
        changed: dict[str, Any] = {name: replace(registry, **wrong)}
        return replace(answers, **changed)

    return lie


def of_rewards(change: Callable[[AttestationRewards], AttestationRewards]) -> Change:
    def lie(answers: EpochAnswers) -> EpochAnswers:
        rewards = answers.attestation_rewards
        assert rewards is not None
        return replace(answers, attestation_rewards=change(rewards))

    return lie


def of_reported(change: Callable[[AttestationRewards], AttestationRewards]) -> Change:
    """What the node reports beside the rewards that are stored."""

    def lie(answers: EpochAnswers) -> EpochAnswers:
        rewards = answers.reported_attestation_rewards
        assert rewards is not None
        return replace(answers, reported_attestation_rewards=change(rewards))

    return lie


def of_validator(field: str, index: int, gwei: int) -> Change:
    def change(rewards: AttestationRewards) -> AttestationRewards:
        row = int(np.searchsorted(rewards.validator_index, index))
        wrong: dict[str, Any] = {field: edited(getattr(rewards, field), row, gwei)}
        return replace(rewards, **wrong)

    return of_rewards(change)


def without_validator(index: int) -> Change:
    def change(rewards: AttestationRewards) -> AttestationRewards:
        kept = rewards.validator_index != index
        fields = ("validator_index", "source", "target", "head", "inactivity")
        others: dict[str, Any] = {name: getattr(rewards, name)[kept] for name in fields}
        return replace(rewards, **others)

    return of_reported(change)


def one_gwei_more_source(answers: EpochAnswers) -> EpochAnswers:
    rewards = answers.attestation_rewards
    assert rewards is not None
    return of_validator("source", 0, int(rewards.source[0]) + 1)(answers)


def another_ideal(rewards: AttestationRewards) -> AttestationRewards:
    row = int(np.searchsorted(rewards.ideal_effective_balance, 32_000_000_000))
    target = rewards.ideal_target
    return replace(rewards, ideal_target=edited(target, row, int(target[row]) + 2))


def another_proposer(answers: EpochAnswers) -> EpochAnswers:
    duties = answers.proposer_duties
    assert duties is not None
    row = int(np.searchsorted(duties.slot, 90))
    indices = edited(duties.validator_index, row, 0)
    return replace(answers, proposer_duties=replace(duties, validator_index=indices))


def another_sync_reward(answers: EpochAnswers) -> EpochAnswers:
    rows = answers.sync_rewards[89]
    changed = replace(rows, reward=edited(rows.reward, 0, int(rows.reward[0]) + 1))
    return replace(answers, sync_rewards={**answers.sync_rewards, 89: changed})


def rewards_of_another(answers: EpochAnswers) -> EpochAnswers:
    changed = replace(answers.block_rewards[89], proposer_index=127)
    return replace(answers, block_rewards={**answers.block_rewards, 89: changed})


LEDGER_CHECK = "balance_ledger.every_gwei_is_accounted_for"

LIES = [
    Lie(
        "attestation_duties.every_active_validator_has_one_duty",
        of_registry("registry_at_start", 90, "activation_epoch", lambda epoch: 40),
        {"validator_index": "90", "found": "duty though not active"},
        FEW,  # with the whole registry, the total active balance would be wrong as well
    ),
    Lie(
        "proposer_duties.proposers_match_blocks",
        another_proposer,
        {"slot": "90", "duty": "0"},
    ),
    Lie(
        "attestation_outcomes.flags_match_rewards",
        of_reported(lambda rewards: replace(rewards, head=edited(rewards.head, 0, 0))),
        {"validator_index": "0", "head_timely": "True", "head_reward": "0"},
    ),
    Lie(
        "attestation_rewards.every_eligible_validator_has_a_reward",
        without_validator(0),
        {"validator_index": "0"},
    ),
    Lie(
        "attestation_rewards.ideal_rewards_match_node",
        of_rewards(another_ideal),
        {"effective_balance": "32000000000"},
    ),
    Lie(
        "attestation_rewards.rewards_within_attainable",
        one_gwei_more_source,
        {"validator_index": "0"},
    ),
    Lie("sync_rewards.rewards_match_seats", another_sync_reward, {}, booked=True),
    Lie(
        "block_rewards.rewards_go_to_proposers",
        rewards_of_another,
        {"proposer_index": "127"},
        booked=True,
    ),
    Lie(
        LEDGER_CHECK,
        of_registry("registry_at_end", 40, "balance", lambda gwei: gwei - 1),
        {"validator_index": "40", "residual": "-1"},
    ),
]


GROUPS_ADD_UP = "epoch_summaries.groups_add_up"
# The recorded chain has no states to lie about; see test_network_state.
OF_STATES = {
    "attestation_rewards.rewards_match_state",
    "network_epochs.network_state_was_read",
}


@pytest.fixture(scope="module")
def truth(true_node_url: str) -> dict[Watch, Computed]:
    """What is true of the epoch, whoever is watched."""
    return {watch: compute(true_node_url, watch, [EPOCH]) for watch in (NETWORK, FEW)}


def told(truth: dict[Watch, Computed], watch: Watch, change: Change) -> Computed:
    """What is computed of facts one of which is not true."""
    spec, answers = truth[watch].spec, change(truth[watch].answers[EPOCH])
    frames = compute_epoch_frames(spec, answers, watch=watch, labels=no_labels(), at=AT)
    return Computed(spec, {EPOCH: answers}, {EPOCH: frames})


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.check)
def test_a_wrong_value_fails_its_check_and_only_that(
    truth: dict[Watch, Computed], lie: Lie
) -> None:
    computed = told(truth, lie.watch, lie.change)
    failing = computed.failing_checks()
    expected = {lie.check, LEDGER_CHECK} if lie.booked else {lie.check}
    assert set(failing) == {(EPOCH, check) for check in expected}
    result = failing[EPOCH, lie.check]
    assert result.failing == len(result.examples) == 1
    assert lie.example.items() <= dict(result.examples[0]).items()
    stored = computed.frames[EPOCH].tables["check_results"].set_index("check_name")
    assert set(stored.index) == CHECKS
    assert set(stored.index[~stored["passed"]]) == expected
    assert stored.loc[lie.check, "failing_count"] == 1
    assert stored.loc[lie.check, "detail"] == result.detail != ""


def test_every_check_has_its_lie() -> None:
    assert {lie.check for lie in LIES} | {GROUPS_ADD_UP} | OF_STATES == CHECKS


def test_labels_that_overlap_fail_the_check_of_the_groups(true_node_url: str) -> None:
    """No node can tell that lie: it takes somebody who edits the table of labels."""
    labels = merge_labels(no_labels(), [(0, "operator", "a"), (5, "operator", "b")], 0)
    twice = pd.concat([labels, labels.head(1).assign(from_epoch=EPOCH, value="b")])
    computed = compute(true_node_url, NETWORK, [EPOCH], twice)
    assert set(computed.failing_checks()) == {(EPOCH, GROUPS_ADD_UP)}
    result = computed.failing_checks()[EPOCH, GROUPS_ADD_UP]
    everybody = len(computed.answers[EPOCH].watched)
    assert {
        "category": "operator",
        "column": "validators",
        "sum": str(everybody + 1),
        "everybody": str(everybody),
    } in result.examples


def test_at_most_five_offenders_are_named_and_all_are_counted(
    truth: dict[Watch, Computed],
) -> None:
    nothing = of_reported(lambda rewards: replace(rewards, head=np.zeros_like(rewards.head)))
    computed = told(truth, NETWORK, nothing)
    result = computed.failing_checks()[EPOCH, "attestation_outcomes.flags_match_rewards"]
    assert result.failing > 100
    assert len(result.examples) == 5


def test_rounding_of_a_node_fails_no_check(truth: dict[Watch, Computed]) -> None:
    def rounded(rewards: AttestationRewards) -> AttestationRewards:
        return replace(rewards, ideal_source=rewards.ideal_source + 1)

    assert told(truth, NETWORK, of_rewards(rounded)).failing_checks() == {}

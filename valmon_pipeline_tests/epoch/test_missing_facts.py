"""Fewer answers give equal values or NULL, never another value, and never cost the epoch."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from valmon_pipeline.assets.label_history import no_labels
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.checks import NOTHING_TO_COMPARE
from valmon_pipeline.epoch.epoch_frames import EpochFrames, compute_epoch_frames
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.frames.fact_sources import FACTS
from valmon_pipeline_tests.assets.epochs import AT, Computed
from valmon_pipeline_tests.epoch.missing import (
    AFTER_AN_OUTAGE,
    TAKEN,
    broken_contracts,
    contradictions,
    without,
)

WATCH = Watch(network=False)
PAIRED_EPOCHS = (3, 20, 39)


def later_registry(computed: Computed) -> ValidatorRegistry:
    registry = computed.answers[max(computed.answers)].registry_at_end
    assert registry is not None
    return registry


def partial_frames(
    computed: Computed, epoch: int, taken: Collection[str], later: ValidatorRegistry | None
) -> EpochFrames:
    answers = without(computed.answers[epoch], taken, later)
    return compute_epoch_frames(computed.spec, answers, watch=WATCH, labels=no_labels(), at=AT)


def full_frames(computed: Computed, epoch: int) -> EpochFrames:
    return computed.frames[epoch]


def problems(
    computed: Computed,
    epoch: int,
    taken: Collection[str],
    later: ValidatorRegistry | None,
) -> list[str]:
    full = full_frames(computed, epoch)
    found = partial_frames(computed, epoch, taken, later)
    passed = {check.name for check in full.checks if check.passed}
    return [
        *broken_contracts(found),
        *contradictions(full, found, queues_taken="queues" in taken),
        *(
            f"check {check.name}: {check.detail}"
            for check in found.checks
            if check.name in passed and check.failed
        ),
    ]


def test_the_facts_that_are_stored_are_those_that_are_asked_for() -> None:
    assert tuple(fact.value for fact in Fact) == FACTS


@pytest.mark.parametrize("taken", TAKEN)
def test_a_missing_fact_costs_its_columns_and_changes_no_value(
    computed: Computed, taken: str
) -> None:
    later = later_registry(computed)
    found = {epoch: problems(computed, epoch, [taken], later) for epoch in computed.answers}
    assert {epoch: told for epoch, told in found.items() if told} == {}


def test_a_check_that_has_nothing_to_compare_has_not_passed(computed: Computed) -> None:
    epoch = PAIRED_EPOCHS[0]
    frames = partial_frames(computed, epoch, AFTER_AN_OUTAGE, None)
    rows = frames.tables["check_results"].set_index("check_name")
    idle = {f"{check.asset}.{check.name}" for check in frames.checks if not check.compared}
    assert "attestation_duties.every_active_validator_has_one_duty" in idle
    assert idle < set(rows.index)
    assert set(rows.index[rows["passed"].isna()]) == idle
    assert set(rows.loc[sorted(idle), "detail"]) == {NOTHING_TO_COMPARE}
    assert rows.loc[rows["passed"].eq(True), "detail"].eq("").all()


@pytest.mark.slow
@pytest.mark.parametrize("epoch", PAIRED_EPOCHS)
def test_two_missing_facts_change_no_value(computed: Computed, epoch: int) -> None:
    later = later_registry(computed)
    for taken in combinations(TAKEN, 2):
        assert problems(computed, epoch, taken, later) == [], taken


@pytest.mark.parametrize("is_known_who_lives", [True, False])
def test_after_an_outage_only_what_blocks_and_committees_tell_is_left(
    computed: Computed, *, is_known_who_lives: bool
) -> None:
    later = later_registry(computed) if is_known_who_lives else None
    for epoch in computed.answers:
        full = full_frames(computed, epoch)
        assert problems(computed, epoch, AFTER_AN_OUTAGE, later) == [], epoch
        found = partial_frames(computed, epoch, AFTER_AN_OUTAGE, later).tables
        for table in ("attestation_duties", "blocks", "proposer_duties", "sync_duties"):
            assert found[table].equals(full.tables[table]), (epoch, table)
        outcomes = full.tables["attestation_outcomes"].drop(columns=["miss_cause", "cost"])
        assert found["attestation_outcomes"][outcomes.columns].equals(outcomes), epoch
        assert found["balance_ledger"].empty
        assert found["attestation_rewards"].empty
        assert found["validator_snapshots"]["balance"].isna().all()
        assert found["validator_snapshots"].empty == (not is_known_who_lives)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_missing_the_epoch_is_computed(computed: Computed, data: st.DataObject) -> None:
    epoch = data.draw(st.sampled_from(sorted(computed.answers)))
    taken = data.draw(st.sets(st.sampled_from(sorted(TAKEN))))
    later = data.draw(st.sampled_from([later_registry(computed), None]))
    assert problems(computed, epoch, sorted(taken), later) == []


def test_an_epoch_says_which_facts_it_lacks_and_why(computed: Computed) -> None:
    taken = ("committees", "finality")
    frames = partial_frames(computed, 7, taken, None).tables
    sources = frames["fact_sources"].set_index("fact")
    lacking = sources[sources["source"].isna()]
    assert sorted(lacking.index) == sorted(taken)
    assert set(lacking["reason"]) == {"taken away"}
    assert frames["network_epochs"]["missing_facts"].tolist() == [len(taken)]
    assert len(sources) == len(Fact)


def test_sums_say_over_how_much_they_were_taken(computed: Computed) -> None:
    for epoch in computed.answers:
        full = full_frames(computed, epoch).tables["epoch_summaries"].iloc[0]
        rewarded = partial_frames(computed, epoch, ["some sync_rewards", "block_rewards"], None)
        sums = rewarded.tables["epoch_summaries"].iloc[0]
        assert full["rewards_known"] >= full["duties"]
        assert full["sync_due_rewarded"] == full["sync_due"]
        assert full["proposals_rewarded"] == full["proposals_proposed"]
        assert sums["proposals_rewarded"] == sums["proposal_reward"] == 0
        assert sums["proposals_due"] == full["proposals_due"]
        unknown = rewarded.tables["sync_rewards"]["reward"].isna().any()
        assert sums["sync_due_rewarded"] == (0 if unknown else full["sync_due"])
        assert sums["ledger_unknown_rows"] >= full["ledger_unknown_rows"]
        nothing = partial_frames(computed, epoch, ["registry_at_end"], None)
        sums = nothing.tables["epoch_summaries"].iloc[0]
        assert sums["validators"] == full["validators"]
        assert sums["rewards_known"] == sums["reward"] == 0
        assert sums[["opening_balance", "closing_balance"]].isna().all()

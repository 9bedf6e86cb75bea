"""What is not known opens no alert, resolves none, and does not hide what is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.kinds import ChangeKind
from valmon_pipeline.alerting.rule import BAD, GOOD, UNKNOWN
from valmon_pipeline.alerting.rules import EPOCH_RULES
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline_tests.alerting.epochs import Run, Tables, epoch_facts, good, labels_of, told

COMMITTEES, PROPOSERS = ("committees",), ("proposers",)
STATES = ("registry_at_start", "registry_at_end")
EVERYTHING = tuple(fact.value for fact in Fact if fact is not Fact.BLOCKS)


def without_duties(tables: Tables) -> None:
    """The committees of the epoch are not known."""
    tables["attestation_outcomes"] = tables["attestation_outcomes"].iloc[:0]
    sums = tables["epoch_summaries"]
    for name in sums.columns.drop(["epoch", "category", "value"]):
        sums[name] = sums[name] * 0


def without_states(tables: Tables) -> None:
    """Neither registry is known, and no later one proves a status."""
    snapshots = tables["validator_snapshots"]
    snapshots["status"] = pd.Series([None] * len(snapshots), dtype="str")
    tables["balance_ledger"] = tables["balance_ledger"].iloc[:0]


def without_anything(tables: Tables) -> None:
    """Nothing but the blocks is known."""
    without_duties(tables)
    without_states(tables)
    tables["sync_duties"] = tables["sync_duties"].iloc[:0]
    tables["proposer_duties"]["validator_index"] = pd.array([None] * 8, dtype="Int32")
    tables["proposer_duties"]["outcome"] = "missed"


def judged(kind: str, change: Callable[[Tables], None]) -> dict[int, np.int8]:
    """The verdict of a rule on each validator of an epoch."""
    made = EPOCH_RULES[kind].judge(epoch_facts(10, change=change), AlertRules().settings(kind))
    return dict(zip(made.subjects.tolist(), made.verdict, strict=True))


def test_each_rule_about_epochs_says_which_facts_it_needs() -> None:
    needs = [rule.needs for rule in EPOCH_RULES.values()]
    assert all(needs)
    assert frozenset[str]().union(*needs) <= {fact.value for fact in Fact}


def test_epochs_of_which_only_the_blocks_are_known_open_nothing() -> None:
    run = Run()
    run.add(*good(range(10, 12)))
    for epoch in range(12, 40):
        facts = epoch_facts(epoch, unknown=EVERYTHING, leak=True, change=without_anything)
        evaluation = run.add(facts)
        assert told(evaluation) == []
        assert evaluation.findings == []
        assert evaluation.blind == set(EPOCH_RULES)


@pytest.mark.parametrize("is_group", [False, True])
def test_an_alert_outlasts_epochs_without_duties_and_resolves_afterwards(is_group: bool) -> None:
    members = range(6) if is_group else [7]
    labels = labels_of({"operator:a": range(6)}) if is_group else None
    subject = "operator:a" if is_group else "validator:7"
    run = Run(labels=labels)
    for epoch in range(10, 13):
        run.add(epoch_facts(epoch, 200, missing=members))
    assert ("missed_attestations", subject) in run.live()
    for epoch in range(13, 40):
        facts = epoch_facts(epoch, 200, unknown=COMMITTEES, change=without_duties)
        assert told(run.add(facts)) == []
    assert ("missed_attestations", subject) in run.live()
    run.add(epoch_facts(40, 200))
    assert ("missed_attestations", subject) in run.live()
    run.add(epoch_facts(41, 200))
    assert run.live() == []


def test_an_alert_about_a_label_outlasts_epochs_without_summaries() -> None:
    run = Run()
    run.add(*(epoch_facts(epoch, missing=range(10)) for epoch in (10, 11)))
    assert ("missed_attestation_share", "all:all") in run.live()

    def nobody(tables: Tables) -> None:
        without_duties(tables)
        tables["epoch_summaries"] = tables["epoch_summaries"].iloc[:0]

    for epoch in range(12, 40):
        run.add(epoch_facts(epoch, unknown=COMMITTEES, change=nobody))
    assert ("missed_attestation_share", "all:all") in run.live()


def test_misses_are_in_a_row_across_an_epoch_without_duties() -> None:
    run = Run()
    run.add(*good([9]), *(epoch_facts(epoch, missing=[7]) for epoch in (10, 11)))
    run.add(epoch_facts(12, unknown=COMMITTEES, change=without_duties))
    opened = run.add(epoch_facts(13, missing=[7]))
    assert told(opened) == [(ChangeKind.OPENED, "missed_attestations", "validator:7")]
    assert opened.changes[0].alert.finding.cost == 3000


def test_an_epoch_that_is_stored_again_without_its_duties_retracts_nothing() -> None:
    run = Run(labels=labels_of({"operator:a": range(6)}))
    run.add(*(epoch_facts(epoch, 200, missing=range(6)) for epoch in (10, 11, 12)))
    assert ("missed_attestations", "operator:a") in run.live()
    again = run.add(epoch_facts(12, 200, unknown=COMMITTEES, change=without_duties))
    assert told(again) == []


def test_a_miss_without_a_stored_cause_may_be_excused() -> None:
    def change(tables: Tables) -> None:
        outcomes = tables["attestation_outcomes"]
        outcomes["included"] = outcomes["validator_index"] > 1
        outcomes["miss_cause"] = pd.Series([None, "not_included"] + [None] * 18, dtype="str")

    verdicts = judged("missed_attestations", change)
    assert [verdicts[index] for index in range(3)] == [UNKNOWN, BAD, GOOD]


def test_a_group_is_judged_by_the_misses_whose_cause_is_known() -> None:
    def change(tables: Tables) -> None:
        sums = tables["epoch_summaries"]
        sums["included"], sums["misses_not_included"] = 8, 2

    kind = "missed_attestation_share"
    facts = epoch_facts(10, change=change)
    made = EPOCH_RULES[kind].judge(facts, AlertRules().settings(kind))
    assert made.value.tolist() == [2 / 10]


def test_a_missed_slot_without_an_owner_is_nobodys_and_clears_nobody() -> None:
    def change(tables: Tables) -> None:
        duties = tables["proposer_duties"]
        duties.loc[[2, 5], "outcome"] = "missed"
        duties.loc[5, "validator_index"] = pd.NA

    verdicts = judged("missed_proposal", change)
    assert verdicts.pop(2) == BAD
    assert set(verdicts.values()) == {UNKNOWN}


def test_a_score_that_no_duty_of_the_epoch_is_part_of_is_not_judged_again() -> None:
    def poor(tables: Tables) -> None:
        tables["validator_standings"]["time_weighted_score"] = 0.5
        without_duties(tables)

    run = Run()
    for epoch in range(10, 20):
        assert told(run.add(epoch_facts(epoch, unknown=COMMITTEES, change=poor))) == []


@pytest.mark.parametrize("end", ["start", "end"])
@pytest.mark.parametrize("kind", ["slashing", "exit"])
def test_a_status_that_is_not_known_is_no_change_of_it(kind: str, end: str) -> None:
    def change(tables: Tables) -> None:
        snapshots = tables["validator_snapshots"]
        slot = 80 if end == "start" else 88
        hidden = (snapshots["slot"] == slot) & (snapshots["validator_index"] == 4)
        snapshots["status"] = snapshots["status"].mask(hidden)
        if end == "start":
            gone = (snapshots["slot"] == 88) & (snapshots["validator_index"] == 4)
            status = "active_slashed" if kind == "slashing" else "active_exiting"
            snapshots.loc[gone, "status"] = status

    verdicts = judged(kind, change)
    assert verdicts.pop(4) == UNKNOWN
    assert set(verdicts.values()) == {GOOD}


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("slashing", "proposer_slashing"),
        ("slashing", "attester_slashing"),
        ("exit", "voluntary_exit"),
    ],
)
def test_where_no_status_is_known_the_blocks_tell(kind: str, event: str) -> None:
    def change(tables: Tables) -> None:
        without_states(tables)
        tables["block_events"] = pd.DataFrame(
            {
                "epoch": 10,
                "event_type": [event, event, "deposit"],
                "validator_index": pd.array([4, 5, 6], dtype="Int32"),
                "effective": pd.array([None, False, True], dtype="boolean"),
            }
        )

    verdicts = judged(kind, change)
    assert verdicts.pop(4) == BAD
    assert set(verdicts.values()) == {UNKNOWN}


def test_a_balance_with_an_unknown_component_did_not_drop() -> None:
    def change(tables: Tables) -> None:
        ledger = tables["balance_ledger"]
        ledger["attestation"] = pd.array([-1_000_000_000] * 20, dtype="Int64")
        ledger["sync"] = pd.array([None, 0] + [0] * 18, dtype="Int64")

    verdicts = judged("balance_drop", change)
    assert [verdicts[index] for index in range(2)] == [UNKNOWN, BAD]


def test_a_ledger_with_an_unknown_component_is_neither_explained_nor_unexplained() -> None:
    def change(tables: Tables) -> None:
        ledger = tables["balance_ledger"]
        ledger["residual"] = pd.array([None, 9] + [0] * 18, dtype="Int64")
        classes = ["sync_unknown", "unexplained"] + [None] * 18
        ledger["residual_class"] = pd.Series(classes, dtype="str")

    verdicts = judged("ledger_residual", change)
    assert [verdicts[index] for index in range(3)] == [UNKNOWN, BAD, GOOD]


def test_who_has_no_duty_any_more_is_not_alerted_once_enough_is_known() -> None:
    def without_7(tables: Tables) -> None:
        duties = tables["attestation_outcomes"]
        tables["attestation_outcomes"] = duties[duties["validator_index"] != 7]

    run = Run()
    run.add(*(epoch_facts(epoch, missing=[7]) for epoch in range(10, 13)))
    epoch = 13
    for known in np.tile([True, False], run.rules.window_epochs).tolist():
        facts = (
            epoch_facts(epoch, change=without_7)
            if known
            else epoch_facts(epoch, unknown=COMMITTEES, change=without_duties)
        )
        run.add(facts)
        epoch += 1
    assert run.live() == []

"""When alerts open, grow, resolve and are retracted; and what pages nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from valmon_pipeline.alerting.configured import AlertRules, Override
from valmon_pipeline.alerting.kinds import AlertStatus, ChangeKind, Severity
from valmon_pipeline.alerting.life_cycle import acknowledged, resolved
from valmon_pipeline.alerting.rule import EpochFacts, RuleSettings
from valmon_pipeline.alerting.rules import EPOCH_RULES
from valmon_pipeline_tests.alerting.epochs import Run, Tables, epoch_facts, good, labels_of, told

OPENED, WORSENED = ChangeKind.OPENED, ChangeKind.WORSENED
RESOLVED, RETRACTED = ChangeKind.RESOLVED, ChangeKind.RETRACTED
ONLY_MISSES = AlertRules(
    overrides=[
        Override(
            "missed_attestation_share",
            None,
            RuleSettings(1, 1, 1, 1, Severity.INFO, enabled=False),
        )
    ]
)


def misses(validators: list[int], epochs: range, count: int = 20) -> list[EpochFacts]:
    return [epoch_facts(epoch, count, missing=validators) for epoch in epochs]


class TestHysteresis:
    def test_three_misses_in_a_row_open_one_alert_and_two_votes_resolve_it(self) -> None:
        run = Run()
        assert told(run.add(*good(range(10, 13)), *misses([7], range(13, 15)))) == []
        opened = run.add(epoch_facts(15, missing=[7]))
        assert told(opened) == [(OPENED, "missed_attestations", "validator:7")]
        finding = opened.changes[0].alert.finding
        assert finding.message == "validator 7: 3 attestations missed in a row"
        assert (finding.since_epoch, finding.epoch, finding.cost) == (13, 15, 3000)
        assert told(run.add(*misses([7], range(16, 20)))) == []
        assert run.alerts[0].finding.cost == 7000
        assert told(run.add(epoch_facts(20))) == []
        # A miss in between begins the count of good epochs anew.
        assert told(run.add(epoch_facts(21, missing=[7]), epoch_facts(22))) == []
        assert told(run.add(epoch_facts(23))) == [(RESOLVED, "missed_attestations", "validator:7")]

    def test_one_who_misses_every_other_vote_is_not_in_a_row(self) -> None:
        run = Run()
        for epoch in range(10, 30):
            assert told(run.add(epoch_facts(epoch, missing=[7] if epoch % 2 else []))) == []

    def test_between_threshold_and_clear_nothing_changes(self) -> None:
        def scored(score: float) -> Callable[[Tables], None]:
            def change(tables: Tables) -> None:
                scores = tables["validator_standings"]
                scores["time_weighted_score"] = np.where(scores.index == 5, score, 0.99)

            return change

        run = Run()
        changes = []
        for epoch, score in enumerate([0.79, 0.79, 0.81, 0.79, 0.84, 0.86, 0.84, 0.86], 10):
            changes += told(run.add(epoch_facts(epoch, change=scored(score))))
        name = "low_effectiveness"
        assert changes == [(OPENED, name, "validator:5"), (RESOLVED, name, "validator:5")]

    def test_who_has_no_duty_any_more_is_no_longer_alerted(self) -> None:
        run = Run(ONLY_MISSES)

        def without_7(tables: Tables) -> None:
            duties = tables["attestation_outcomes"]
            tables["attestation_outcomes"] = duties[duties["validator_index"] != 7]

        run.add(*misses([7], range(10, 13)))
        assert run.live() == [("missed_attestations", "validator:7")]
        for epoch in range(13, 13 + run.rules.window_epochs):
            run.add(epoch_facts(epoch, change=without_7))
        assert run.live() == []


class TestWhatIsNobodysFault:
    @pytest.mark.parametrize("cause", ["no_opportunity", "exit_boundary", "slashed"])
    def test_a_vote_that_was_not_to_be_had_is_no_miss(self, cause: str) -> None:
        run = Run()
        for epoch in range(10, 20):
            facts = epoch_facts(epoch, missing=range(20), cause=cause)
            assert told(run.add(facts)) == []

    @pytest.mark.parametrize("cause", ["next_block_missed", "late_block"])
    def test_a_head_lost_to_somebody_elses_block_is_no_miss(self, cause: str) -> None:
        def head_lost(tables: Tables) -> None:
            tables["attestation_outcomes"]["miss_cause"] = cause
            tables["attestation_outcomes"]["cost"] = 2500

        run = Run()
        for epoch in range(10, 20):
            assert told(run.add(epoch_facts(epoch, change=head_lost))) == []

    def test_a_leak_alone_pages_nobody(self) -> None:
        def leaking(tables: Tables) -> None:
            tables["balance_ledger"]["attestation"] = -100_000_000
            tables["validator_standings"]["time_weighted_score"] = 0.1
            tables["epoch_summaries"]["scored_reward"] = -500

        run = Run()
        for epoch in range(10, 20):
            assert told(run.add(epoch_facts(epoch, leak=True, change=leaking))) == []

    def test_misses_that_no_block_could_prevent_do_not_end_a_row_either(self) -> None:
        run = Run()
        run.add(*misses([7], range(10, 12)), epoch_facts(12, missing=[7], cause="no_opportunity"))
        assert run.live() == []
        run.add(epoch_facts(13, missing=[7]))
        assert run.live() == [("missed_attestations", "validator:7")]


class TestGroups:
    def test_a_cluster_outage_is_one_alert_of_bounded_size(self) -> None:
        labels = labels_of({"operator:a": range(5000), "region:x": range(9000)})
        run = Run(ONLY_MISSES, labels)
        everybody = list(range(5000))
        evaluation = run.add(*misses(everybody, range(10, 13), 6000))
        assert told(evaluation) == [(OPENED, "missed_attestations", "operator:a")]
        finding = evaluation.changes[0].alert.finding
        assert finding.validators == 5000
        assert finding.validator_indices == tuple(range(5000))
        assert finding.labels == ("operator:a", "region:x")
        assert len(finding.message) < 300
        assert finding.message.startswith("operator:a: 5000 validators (0, 1, 2,")
        # Most are back: those who are not are alerts of their own.
        run.add(epoch_facts(13, 6000, missing=[2, 3]))
        evaluation = run.add(epoch_facts(14, 6000, missing=[2, 3]))
        assert told(evaluation) == [(RESOLVED, "missed_attestations", "operator:a")]
        run.add(epoch_facts(15, 6000, missing=[2, 3]))
        assert run.live() == [
            ("missed_attestations", "validator:2"),
            ("missed_attestations", "validator:3"),
        ]

    def test_a_group_that_doubles_is_told_of_again(self) -> None:
        run = Run(ONLY_MISSES, labels_of({"operator:a": range(20)}))
        run.add(*misses(list(range(5)), range(10, 13)))
        assert run.live() == [("missed_attestations", "operator:a")]
        assert told(run.add(*misses(list(range(9)), range(13, 16)))) == []
        evaluation = run.add(*misses(list(range(10)), range(16, 19)))
        assert told(evaluation) == [(WORSENED, "missed_attestations", "operator:a")]
        assert "now 10 validators" in evaluation.changes[0].reason

    def test_few_of_a_group_are_alerts_of_their_own(self) -> None:
        run = Run(ONLY_MISSES, labels_of({"operator:a": range(20)}))
        run.add(*misses([1, 2], range(10, 13)))
        assert [subject for _, subject in run.live()] == ["validator:1", "validator:2"]

    def test_the_share_of_a_group_counts_even_if_nobody_misses_in_a_row(self) -> None:
        run = Run()
        run.add(epoch_facts(10, missing=[0, 1]), epoch_facts(11, missing=[2, 3]))
        assert run.live() == [("missed_attestation_share", "all:all")]
        run.add(*good(range(12, 14)))
        assert run.live() == []


class TestEvents:
    @staticmethod
    def without_block(*slots: int) -> Callable[[Tables], None]:
        def change(tables: Tables) -> None:
            duties = tables["proposer_duties"]
            duties.loc[duties["slot"].isin(slots), "outcome"] = "missed"

        return change

    @staticmethod
    def with_status(validator: int, before: str, after: str) -> Callable[[Tables], None]:
        def change(tables: Tables) -> None:
            snapshots = tables["validator_snapshots"]
            whose = snapshots["validator_index"] == validator
            first = snapshots["slot"].min()
            snapshots.loc[whose & (snapshots["slot"] == first), "status"] = before
            snapshots.loc[whose & (snapshots["slot"] > first), "status"] = after

        return change

    def test_a_missed_proposal_pages_at_once_and_again_for_another(self) -> None:
        run = Run()
        opened = run.add(epoch_facts(10, change=self.without_block(82)))
        assert told(opened) == [(OPENED, "missed_proposal", "validator:2")]
        finding = opened.changes[0].alert.finding
        assert (finding.slot, finding.cost) == (82, 5_000_000)
        assert finding.severity is Severity.CRITICAL
        assert told(run.add(epoch_facts(11))) == []
        again = run.add(epoch_facts(12, change=self.without_block(98)))
        assert told(again) == [(WORSENED, "missed_proposal", "validator:2")]
        assert again.changes[0].alert.finding.cost == 10_000_000
        assert told(run.add(*good(range(13, 17)))) == [(RESOLVED, "missed_proposal", "validator:2")]

    def test_index_0_is_a_validator_like_any_other(self) -> None:
        run = Run()
        run.add(epoch_facts(10, missing=[0], change=self.without_block(80)))
        assert run.live() == [("missed_proposal", "validator:0")]

    def test_a_slashing_pages_once_and_stays_until_somebody_resolves_it(self) -> None:
        run = Run()
        slashed = self.with_status(4, "active_ongoing", "active_slashed")
        assert told(run.add(epoch_facts(10, change=slashed))) == [
            (OPENED, "slashing", "validator:4")
        ]
        was_slashed = self.with_status(4, "active_slashed", "active_slashed")
        for epoch in range(11, 25):
            assert told(run.add(epoch_facts(epoch, change=was_slashed))) == []
        change = resolved(run.alerts[0], "dealt with")
        assert change is not None
        run.alerts[0] = change.alert
        assert told(run.add(epoch_facts(25, change=was_slashed))) == []

    def test_an_exit_pages_once_and_its_last_epochs_do_not(self) -> None:
        run = Run()
        leaves = self.with_status(4, "active_ongoing", "active_exiting")
        assert told(run.add(epoch_facts(10, change=leaves))) == [(OPENED, "exit", "validator:4")]
        gone = self.with_status(4, "active_exiting", "exited_unslashed")
        assert told(run.add(epoch_facts(11, change=gone))) == []

    def test_an_unexplained_residual_is_told(self) -> None:
        def unexplained(tables: Tables) -> None:
            ledger = tables["balance_ledger"]
            ledger.loc[[6, 7], "residual"] = -3
            ledger.loc[6, "residual_class"] = "unexplained"
            ledger.loc[7, "residual_class"] = "pending_deposit"

        run = Run()
        run.add(epoch_facts(10, change=unexplained))
        assert run.live() == [("ledger_residual", "validator:6")]

    def test_a_drop_of_the_balance_is_told_but_a_withdrawal_is_none(self) -> None:
        def moved(tables: Tables) -> None:
            ledger = tables["balance_ledger"]
            ledger.loc[6, "attestation"] = -32_000_000
            ledger.loc[7, "withdrawals"] = -30_000_000_000

        run = Run()
        run.add(epoch_facts(10, change=moved))
        assert run.live() == [("balance_drop", "validator:6")]
        assert run.alerts[0].finding.cost == 32_000_000

    def test_missed_sync_signatures_are_told(self) -> None:
        def unsigned(tables: Tables) -> None:
            tables["sync_duties"]["missed"] = [4, 3]

        run = Run()
        run.add(*(epoch_facts(epoch, change=unsigned) for epoch in (10, 11)))
        assert run.live() == [("sync_participation", "validator:3")]


class TestOrder:
    def test_evaluating_an_epoch_twice_changes_nothing(self) -> None:
        run = Run(labels=labels_of({"operator:a": range(10, 20)}))
        run.add(
            *good(range(8, 10)),
            *(
                epoch_facts(
                    epoch,
                    missing=[3, *range(10, 17)],
                    change=TestEvents.without_block(8 * epoch + 1),
                )
                for epoch in range(10, 14)
            ),
        )
        before = list(run.alerts)
        assert len(before) > 3
        for epoch in (13, 13, 12, 10, 8):
            assert told(run.evaluate(epoch)) == []
        assert run.alerts == before

    def test_a_resolved_alert_is_not_opened_again_by_the_same_epoch(self) -> None:
        run = Run()
        run.add(epoch_facts(10, change=TestEvents.without_block(82)))
        change = resolved(run.alerts[0], "we know")
        assert change is not None
        run.alerts[0] = change.alert
        assert told(run.evaluate(10)) == []

    def test_an_older_epoch_opens_events_only_and_resolves_nothing(self) -> None:
        run = Run(ONLY_MISSES)
        run.add(*good([10]), *misses([7], range(14, 17)))
        assert run.live() == [("missed_attestations", "validator:7")]
        run.add(epoch_facts(12), epoch_facts(13))
        assert run.live() == [("missed_attestations", "validator:7")]
        late = epoch_facts(11, missing=[9], change=TestEvents.without_block(90))
        assert told(run.add(late)) == [(OPENED, "missed_proposal", "validator:2")]

    def test_a_reorganisation_retracts_what_it_undoes_and_nothing_else(self) -> None:
        run = Run()
        run.add(
            epoch_facts(10), epoch_facts(11, change=TestEvents.without_block(90, 91), missing=[5])
        )
        seen = acknowledged(run.alerts[0], "looking")
        assert seen is not None
        run.alerts[0] = seen.alert
        assert len(run.live()) == 2
        run.add(epoch_facts(11, change=TestEvents.without_block(91)))
        assert run.live() == [("missed_proposal", "validator:3")]
        assert run.alerts[0].status is AlertStatus.RETRACTED
        # The chain goes back once more: it is an alert again.
        again = run.add(epoch_facts(11, change=TestEvents.without_block(90, 91)))
        assert told(again) == [(OPENED, "missed_proposal", "validator:2")]


class TestSettings:
    def test_a_label_may_have_settings_of_its_own(self) -> None:
        sooner = RuleSettings(1, 1, 1, 1, Severity.CRITICAL)
        off = RuleSettings(1, 1, 3, 2, Severity.WARNING, enabled=False)
        kind = "missed_attestations"
        rules = AlertRules(
            overrides=[
                *ONLY_MISSES.overrides,
                Override(kind, "operator:a", sooner),
                Override(kind, "operator:b", off),
            ]
        )
        run = Run(rules, labels_of({"operator:a": [1, 2, 3], "operator:b": [4, 5, 6]}))
        run.add(epoch_facts(10, missing=[1, 4, 7]))
        assert run.live() == [("missed_attestations", "validator:1")]
        assert run.alerts[0].finding.severity is Severity.CRITICAL
        run.add(*misses([1, 4, 7], range(11, 14)))
        assert [subject for _, subject in run.live()] == ["validator:1", "validator:7"]

    def test_switching_a_rule_off_resolves_its_alerts(self) -> None:
        run = Run(ONLY_MISSES)
        run.add(*misses([7], range(10, 13)))
        kind = "missed_attestations"
        off = RuleSettings(1, 1, 3, 2, Severity.WARNING, enabled=False)
        run.rules = AlertRules(overrides=[*ONLY_MISSES.overrides, Override(kind, None, off)])
        run.add(epoch_facts(13, missing=[7]))
        assert run.live() == []

    def test_every_rule_about_epochs_reads_what_it_judges(self) -> None:
        """Each rule judges the columns that it says it reads, and no others."""
        whole = epoch_facts(10)
        for rule in EPOCH_RULES.values():
            read = {
                table: frame[[name for name in frame.columns if name in rule.reads.get(table, ())]]
                for table, frame in whole.tables.items()
            }
            rule.judge(replace(whole, tables=read), rule.defaults)
            assert all(table in whole.tables for table in rule.reads)

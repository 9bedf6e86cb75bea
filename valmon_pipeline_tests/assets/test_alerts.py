"""Alerts about simulated epochs as they are stored: once each, whatever is killed or repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from valmon_pipeline.alerting.backtest import PastAlert
from valmon_pipeline.alerting.configured import AlertRules, Override
from valmon_pipeline.alerting.digest import digest
from valmon_pipeline.alerting.kinds import ChangeKind, Severity
from valmon_pipeline.alerting.rule import SystemFacts
from valmon_pipeline.alerting.rules import EPOCH_RULES, MISSED_ATTESTATIONS, RULES
from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.assets.alert_backtest import backtest
from valmon_pipeline.assets.alert_checks import MESSAGES_CHECK, alert_check_events, messages_event
from valmon_pipeline.assets.alerts import (
    Alerting,
    AlertsOutcome,
    evaluate_due_epochs,
    evaluate_live_events,
    evaluate_system_facts,
)
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.devnet.simulator.incidents import (
    Offline,
    ProposerSlashing,
)
from valmon_pipeline.errors import StorageError
from valmon_pipeline.frames import conform
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.notify.reminders import ReminderRules, digest_facts
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage.alert_store import (
    AlertTransaction,
    StoredChange,
    alert_transaction,
)
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.outbox import claim, note_failed, retry_dead
from valmon_pipeline.storage.queries import alert_validators, count_dead_deliveries, list_alerts
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import NETWORK, Computed, compute
from valmon_pipeline_tests.assets.stored import fresh_warehouse

EPOCHS: Final = range(2, 12)
GENESIS: Final = 1_700_000_000
CLUSTER: Final = range(20, 32)
NOW: Final = datetime.fromtimestamp(GENESIS + 12 * 8 * 6, tz=UTC)


def labels() -> pd.DataFrame:
    """Operator a runs the cluster and some more."""
    return conform(
        "validator_labels",
        {
            "validator_index": np.arange(16, 40),
            "category": ["operator"] * 24,
            "from_epoch": np.zeros(24, np.int64),
            "value": ["a"] * 24,
            "until_epoch": np.ma.array(np.zeros(24, np.int64), mask=True),
        },
    )


@pytest.fixture(scope="module")
def computed() -> Computed:
    """A chain on which a validator misses, a cluster goes dark, and somebody is slashed."""
    simulation = Simulation(
        config("minimal"),
        64,
        seed=4,
        incidents=[
            Offline([7], range(3, 8)),
            Offline(CLUSTER, range(4, 8)),
            ProposerSlashing(43, 9),
        ],
    )
    simulation.advance_to_epoch(16)
    with simulated_node(simulation) as node:
        return compute(node.url, NETWORK, EPOCHS, labels())


@pytest.fixture
def warehouse(database_url: str, computed: Computed) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        spec = computed.spec
        warehouse.bind_network(
            NetworkIdentity("minimal", GENESIS, bytes(32), spec.slots_per_epoch, 6000, 7)
        )
        warehouse.replace_table("validator_labels", labels())
        yield warehouse


def store(
    warehouse: Warehouse, computed: Computed, epochs: Sequence[int], at: datetime | None = None
) -> None:
    """Store epochs, as if they were computed ``at``, and make their standings."""
    for epoch in epochs:
        tables = dict(computed.frames[epoch].tables)
        if at is not None:
            moments = pd.Series([pd.Timestamp(at)], dtype="datetime64[us, UTC]")
            tables["network_epochs"] = tables["network_epochs"].assign(materialized_at=moments)
        warehouse.replace_epoch(epoch, tables)
    make_due_standings(warehouse, StandingRules())


def evaluate(warehouse: Warehouse, now: datetime = NOW) -> AlertsOutcome:
    return evaluate_due_epochs(warehouse, Alerting(), now)


def evaluated(outcome: AlertsOutcome) -> list[int]:
    return [evaluation.epoch for evaluation in outcome.evaluations]


def rows(warehouse: Warehouse) -> list[tuple[str, str, int, str]]:
    alerts = warehouse.read("alerts")
    names = ("alert_type", "subject", "epoch", "status")
    return sorted(zip(*(alerts[name].tolist() for name in names), strict=True))


ALL_RULES: Final = tuple(EPOCH_RULES.values())
OF_MISSES: Final = MISSED_ATTESTATIONS.name
EXPECTED: Final = {
    ("missed_attestations", "validator:7"),
    ("missed_attestations", "operator:a"),
    ("missed_attestation_share", "operator:a"),
    ("missed_attestation_share", "all:all"),
    ("slashing", "validator:9"),
}


def test_each_incident_is_one_alert_with_its_history(
    warehouse: Warehouse, computed: Computed
) -> None:
    for epoch in EPOCHS:
        store(warehouse, computed, [epoch])
        evaluate(warehouse)
    found = rows(warehouse)
    assert {(kind, subject) for kind, subject, _, _ in found} >= EXPECTED
    status = {(kind, subject): status for kind, subject, _, status in found}
    assert status["slashing", "validator:9"] == "open"
    assert {status[key] for key in EXPECTED if key[0] != "slashing"} == {"resolved"}
    assert ("missed_attestations", "validator:7", 5, "resolved") in found
    assert ("missed_attestations", "operator:a", 6, "resolved") in found
    alerts = warehouse.read("alerts")
    is_outage = (alerts["alert_type"] == "missed_attestations") & (
        alerts["subject"] == "operator:a"
    )
    (outage,) = alerts[is_outage].to_dict("records")
    assert outage["validators"] == len(CLUSTER)
    assert alert_validators(warehouse, outage["alert_id"]) == list(CLUSTER)
    listed = list_alerts(warehouse, live_only=False, limit=100, validator=CLUSTER[-1])
    assert outage["alert_id"] in set(listed["alert_id"])
    assert set(listed["subject"]) <= {"operator:a", f"validator:{CLUSTER[-1]}"}
    assert outage["cost_gwei"] > 0
    assert outage["labels"] == "operator:a"
    changes = warehouse.read("alert_changes")
    told = changes.loc[changes["alert_id"] == outage["alert_id"], "change"].tolist()
    assert told == ["opened", "resolved"]


def test_storing_and_evaluating_again_changes_nothing(
    warehouse: Warehouse, computed: Computed
) -> None:
    for epoch in EPOCHS:
        store(warehouse, computed, [epoch])
        evaluate(warehouse)
    undisturbed = rows(warehouse)
    changes = warehouse.read("alert_changes").drop(columns="at")

    # Stored again, everything is evaluated again, and nothing comes of it.
    store(warehouse, computed, EPOCHS, at=NOW)
    outcome = evaluate(warehouse)
    assert evaluated(outcome) == list(EPOCHS)
    assert outcome.changes == []
    assert rows(warehouse) == undisturbed
    pd.testing.assert_frame_equal(warehouse.read("alert_changes").drop(columns="at"), changes)
    assert evaluated(evaluate(warehouse)) == []


class Killed(BaseException):
    """Nothing catches this, as nothing catches a kill."""


def test_what_a_kill_leaves_undone_the_next_run_does_once(
    warehouse: Warehouse, computed: Computed
) -> None:
    told: list[tuple[int, str]] = []

    def kill(transaction: AlertTransaction, changes: Sequence[StoredChange]) -> None:
        raise Killed

    def tell(transaction: AlertTransaction, changes: Sequence[StoredChange]) -> None:
        told.extend((one.change.alert.alert_id, one.change.kind.value) for one in changes)

    store(warehouse, computed, range(2, 6))
    with pytest.raises(Killed):
        evaluate_due_epochs(warehouse, Alerting(on_stored=kill), NOW)
    # Of the epoch that was being evaluated there is nothing: neither alerts nor the note.
    assert len(warehouse.read("alerts")) == 0
    assert len(warehouse.read("alert_changes")) == 0
    before = warehouse.read("alert_evaluations")["epoch"].tolist()
    evaluate_due_epochs(warehouse, Alerting(on_stored=tell), NOW)
    assert warehouse.read("alert_evaluations")["epoch"].tolist() == [2, 3, 4, 5]
    assert before < [2, 3, 4, 5]
    assert len(told) == len(set(told)) == len(warehouse.read("alert_changes"))


def test_history_pages_nobody(warehouse: Warehouse, computed: Computed) -> None:
    store(warehouse, computed, EPOCHS)
    assert evaluated(evaluate(warehouse, NOW + timedelta(days=1))) == []
    assert rows(warehouse) == []
    # Of what is partly history, the epochs within the horizon are evaluated.
    later = NOW + timedelta(seconds=48 * 10)
    horizon = Alerting(AlertRules(horizon_epochs=12))
    assert evaluated(evaluate_due_epochs(warehouse, horizon, later)) == [10, 11]


def test_an_epoch_waits_for_its_standings(warehouse: Warehouse, computed: Computed) -> None:
    frames = dict(computed.frames[2].tables)
    frames["network_epochs"] = frames["network_epochs"].assign(
        materialized_at=pd.Series([pd.Timestamp(NOW)], dtype="datetime64[us, UTC]")
    )
    warehouse.replace_epoch(2, frames)
    assert evaluated(evaluate(warehouse)) == []
    make_due_standings(warehouse, StandingRules())
    assert evaluated(evaluate(warehouse)) == [2]


def test_each_rule_is_a_check_of_each_epoch_with_its_offenders(
    warehouse: Warehouse, computed: Computed
) -> None:
    store(warehouse, computed, EPOCHS)
    found = {
        (event.check_name, int(event.partition or "")): event
        for evaluation in evaluate(warehouse).evaluations
        for event in alert_check_events("minimal", evaluation)
    }
    failed = [epoch for (name, epoch), event in found.items() if not event.passed]
    assert failed
    (slashed,) = [
        event for (name, _), event in found.items() if name == "slashing" and not event.passed
    ]
    assert slashed.severity is dg.AssetCheckSeverity.ERROR
    offenders = slashed.metadata["offenders"]
    assert isinstance(offenders, dg.TableMetadataValue)
    assert [record.data["subject"] for record in offenders.records] == ["validator:9"]
    misses = {epoch: event for (name, epoch), event in found.items() if name == OF_MISSES}
    assert sorted(misses) == list(EPOCHS)
    assert [epoch for epoch, event in misses.items() if not event.passed] == [5, 6, 7]
    assert misses[6].severity is dg.AssetCheckSeverity.WARN
    assert misses[2].metadata["judged"] == dg.MetadataValue.int(64)


def test_a_rule_that_evaluated_nothing_reports_no_result(
    warehouse: Warehouse, computed: Computed
) -> None:
    store(warehouse, computed, EPOCHS)
    events = [
        event
        for evaluation in evaluate(warehouse).evaluations
        for event in alert_check_events("minimal", evaluation)
    ]
    # Nobody signs for a sync committee in these epochs unless it is seated.
    seated = set(warehouse.read("sync_duties")["epoch"])
    assert {
        int(e.partition or "") for e in events if e.check_name == "sync_participation"
    } <= seated
    switched_off = Override(OF_MISSES, None, replace(RULES[OF_MISSES].defaults, enabled=False))
    store(warehouse, computed, EPOCHS, at=NOW)
    alerting = Alerting(AlertRules(overrides=(switched_off,)))
    again = evaluate_due_epochs(warehouse, alerting, NOW)
    names = {
        event.check_name
        for evaluation in again.evaluations
        for event in alert_check_events("minimal", evaluation)
    }
    assert OF_MISSES not in names
    assert "slashing" in names


def test_messages_that_nobody_got_are_a_check_until_they_are_sent_again(
    warehouse: Warehouse, computed: Computed
) -> None:
    def check() -> dg.AssetCheckEvaluation:
        return messages_event("minimal", count_dead_deliveries(warehouse))

    alerting = Alerting(on_stored=Notifier([Channel("hook", "")], Templates("minimal")))
    store(warehouse, computed, EPOCHS)
    evaluate_due_epochs(warehouse, alerting, NOW)
    assert (check().check_name, check().passed) == (MESSAGES_CHECK, True)

    claimed = claim(warehouse.database, "hook", NOW, timedelta(seconds=40))
    assert claimed
    note_failed(warehouse.database, claimed, "status 500", None)
    failed = check()
    assert not failed.passed
    assert failed.severity is dg.AssetCheckSeverity.ERROR
    assert failed.metadata["messages_given_up"] == dg.MetadataValue.int(len(claimed))

    with alert_transaction(warehouse.database, "test", NOW) as transaction:
        retry_dead(transaction)
    assert check().passed


def live_event(
    epoch: int, slot: int, validator: int, kind: str = "proposal_missed"
) -> pd.DataFrame:
    return conform(
        "live_events",
        {
            "epoch": np.array([epoch]),
            "slot": np.array([slot]),
            "position": np.array([validator]),
            "event_type": [kind],
            "validator_index": np.array([validator]),
            "detail": [f"no block in slot {slot}"],
            "seen_at": pd.DatetimeIndex([NOW]),
        },
    )


def test_what_is_seen_live_pages_once_and_is_retracted_by_the_epoch(
    warehouse: Warehouse, computed: Computed
) -> None:
    store(warehouse, computed, [2])
    evaluate(warehouse)
    warehouse.replace_rows({"live_events": live_event(3, 25, 50)})
    for _ in range(2):
        evaluate_live_events(warehouse, Alerting(), [2, 3, 4], NOW)
        assert rows(warehouse) == [("missed_proposal", "validator:50", 3, "open")]
    # As it is stored, no block of validator 50 is missing in epoch 3.
    store(warehouse, computed, [3])
    (change,) = evaluate(warehouse).changes
    assert change.change.kind is ChangeKind.RETRACTED
    assert rows(warehouse) == [("missed_proposal", "validator:50", 3, "retracted")]
    assert evaluate_live_events(warehouse, Alerting(), [2, 3, 4], NOW) == []


def test_what_an_epoch_takes_back_is_told_to_whoever_was_told(
    warehouse: Warehouse, computed: Computed
) -> None:
    alerting = Alerting(on_stored=Notifier([Channel("hook", "")], Templates("minimal")))
    warehouse.replace_rows({"live_events": live_event(3, 25, 50)})
    evaluate_live_events(warehouse, alerting, [3], NOW)
    store(warehouse, computed, [3])
    evaluate_due_epochs(warehouse, alerting, NOW)
    messages = warehouse.read("alert_deliveries")
    assert messages["kind"].tolist() == ["opened", "retracted"]
    assert messages["title"].tolist() == [
        "[minimal] critical: Block proposal missed – validator:50",
        "[minimal] not so: Block proposal missed – validator:50",
    ]
    assert "the chain it was seen on was left behind" in messages["body"].iloc[1]


def test_the_node_the_data_and_the_pipeline_are_alerts_and_recover(warehouse: Warehouse) -> None:
    def look(**facts: Any) -> list[tuple[str, str]]:
        found = replace(SystemFacts(12, 0, 3.0, False, 0, ""), **facts)
        changes = evaluate_system_facts(warehouse, Alerting(), found, NOW)
        return [(one.change.kind.value, one.change.alert.finding.subject) for one in changes]

    assert look() == []
    assert look(slots_behind=8) == [("opened", "node")]
    assert look(slots_behind=20) == []
    assert look(slots_behind=6) == []
    assert look(slots_behind=4) == [("resolved", "node")]
    assert look(disagreement="a and b follow different chains") == [("opened", "node")]
    assert look(disagreement="a and b follow different chains") == []
    assert look() == [("resolved", "node")]
    assert look(node_problem="refused", seconds_since_seen=200.0) == [("opened", "node")]
    assert look(seconds_since_seen=200.0) == [("opened", "pipeline")]
    assert look(epochs_late=5) == [
        ("resolved", "node"),
        ("opened", "data"),
        ("resolved", "pipeline"),
    ]
    assert look(epochs_late=2) == [("resolved", "data")]
    alerts = warehouse.read("alerts")
    assert set(alerts["status"]) == {"resolved"}
    assert alerts["resolved_at"].notna().all()
    assert Severity.CRITICAL.value in set(alerts["severity"])


def test_the_database_itself_refuses_a_second_live_alert(
    warehouse: Warehouse, computed: Computed
) -> None:
    facts = SystemFacts(12, 9, 3.0, False, 0, "")
    (opened,) = evaluate_system_facts(warehouse, Alerting(), facts, NOW)
    with (
        pytest.raises(StorageError),
        alert_transaction(warehouse.database, "open it again", NOW) as transaction,
    ):
        transaction.store([opened.change])
    assert len(warehouse.read("alerts")) == 1


class TestBacktest:
    """The same epochs, looked at afterwards."""

    @pytest.fixture(autouse=True)
    def stored(self, warehouse: Warehouse, computed: Computed) -> None:
        store(warehouse, computed, EPOCHS)

    def told(self, past: Sequence[PastAlert]) -> list[tuple[str, str, int, int]]:
        """Rule, subject, first epoch and that of the end, -1 without one."""
        found = [(one.alert.finding, one.over_epoch or -1) for one in past]
        return sorted((it.kind, it.subject, it.epoch, over) for it, over in found)

    def test_it_tells_what_was_paged(self, warehouse: Warehouse) -> None:
        past, judged = backtest(warehouse, AlertRules(), ALL_RULES, EPOCHS)
        assert judged == len(EPOCHS)
        assert warehouse.read("alerts").empty
        evaluate(warehouse)
        alerts = rows(warehouse)
        assert [(kind, subject, epoch) for kind, subject, epoch, _ in alerts] == [
            (kind, subject, epoch) for kind, subject, epoch, _ in self.told(past)
        ]
        ended = {(kind, subject) for kind, subject, _, status in alerts if status == "resolved"}
        assert {(kind, subject) for kind, subject, _, over in self.told(past) if over > 0} == ended
        changes = warehouse.read("alert_changes")
        assert sum(one.messages for one in past) == len(changes)

    def test_one_rule_with_other_settings(self, warehouse: Warehouse) -> None:
        kind = "missed_attestations"
        at_once = replace(RULES[kind].defaults, open_after=1)
        rules = AlertRules(overrides=(Override(kind, None, at_once),))
        past, _ = backtest(warehouse, rules, [MISSED_ATTESTATIONS], EPOCHS)
        seven = next(one for one in past if one.alert.finding.subject == "validator:7")
        assert (seven.alert.finding.epoch, seven.over_epoch) == (3, 9)
        assert {one.alert.finding.kind for one in past} == {kind}

    def test_what_was_wrong_before_opens_in_the_first_epoch(self, warehouse: Warehouse) -> None:
        past, judged = backtest(warehouse, AlertRules(), [MISSED_ATTESTATIONS], [6, 7])
        assert judged == 2
        assert ("missed_attestations", "validator:7", 6, -1) in self.told(past)

    def test_epochs_that_are_not_stored_are_left_out(self, warehouse: Warehouse) -> None:
        assert backtest(warehouse, AlertRules(), ALL_RULES, range(100, 120)) == ([], 0)
        assert backtest(warehouse, AlertRules(), ALL_RULES, []) == ([], 0)


def test_the_digest_says_how_groups_did_and_what_is_open(
    warehouse: Warehouse, computed: Computed
) -> None:
    for epoch in EPOCHS:
        store(warehouse, computed, [epoch])
        evaluate(warehouse)
    rules = ReminderRules("minimal", ["team"], 8, "operator", None)
    # Changes of alerts are dated by the clock of the evaluation.
    message = digest(digest_facts(warehouse, rules, NOW + timedelta(minutes=1)))
    everybody, worst = message.body.splitlines()[1:3]
    assert message.body.startswith("epochs 2 to 11: 10 stored\n")
    assert everybody.startswith("everybody: 64 validators, ")
    assert worst.startswith("operator:a: 24 validators, ")
    live = warehouse.read("alerts")["status"].eq("open").sum()
    assert message.title == f"[minimal] daily digest: {live} alerts open"
    assert "- critical: validator 9: slashed" in message.body
    assert " opened, " in message.body

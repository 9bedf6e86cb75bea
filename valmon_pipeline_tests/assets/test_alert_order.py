"""Alerts come out the same whatever the order in which epochs are loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import pytest

from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.digest import digest
from valmon_pipeline.alerting.life_cycle import Alert
from valmon_pipeline.alerting.rules import EPOCH_RULES
from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.assets.alert_backtest import backtest
from valmon_pipeline.assets.alert_order import LONGEST_WAIT, QUIET, LoadingWatch
from valmon_pipeline.assets.alerts import Alerting, AlertsOutcome, evaluate_due_epochs
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.notify.reminders import ReminderRules, digest_facts
from valmon_pipeline.storage.alert_store import DueEpoch, alert_transaction
from valmon_pipeline.storage.queries import alert_validators, list_alerts
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epochs import Computed
from valmon_pipeline_tests.assets.test_alerts import (
    CLUSTER,
    EPOCHS,
    NOW,
    computed,
    evaluated,
    store,
    warehouse,
)

__all__ = ["computed", "warehouse"]

ALL: Final = list(EPOCHS)
ORDERS: Final[dict[str, Callable[[], list[list[int]]]]] = {
    "forwards": lambda: [[epoch] for epoch in ALL],
    "backwards": lambda: [[epoch] for epoch in reversed(ALL)],
    "newest first": lambda: [ALL[-1:], ALL[:4], ALL[4:-1]],
    "shuffled": lambda: [[epoch] for epoch in np.random.default_rng(3).permutation(ALL).tolist()],
}


class Service:
    """A service that loads epochs piece by piece while its sensor looks for alerts."""

    def __init__(self, warehouse: Warehouse, computed: Computed, alerting: Alerting) -> None:
        self.warehouse, self.computed, self.alerting = warehouse, computed, alerting
        self.now = NOW
        self.loading: set[int] = set()
        self.watch = LoadingWatch(NOW)

    def load(self, pieces: Sequence[Sequence[int]]) -> None:
        """Request all, then store one piece after the other; the sensor ticks after each."""
        self.loading = {epoch for piece in pieces for epoch in piece}
        for piece in pieces:
            store(self.warehouse, self.computed, piece, at=self.now)
            self.loading -= set(piece)
            self.tick()

    def tick(self, later: timedelta = timedelta(seconds=1)) -> AlertsOutcome:
        self.now += later
        must_wait = partial(self.watch.must_wait, epochs_under_way=lambda: self.loading)
        return evaluate_due_epochs(self.warehouse, self.alerting, self.now, must_wait=must_wait)


@pytest.fixture
def service(warehouse: Warehouse, computed: Computed) -> Service:
    # As far as these epochs: ``ALL`` begins where the horizon does.
    return Service(warehouse, computed, Alerting(AlertRules(horizon_epochs=10)))


def table_rows(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Everything about alerts that does not depend on the time of evaluation."""
    names = (
        *("alert_type", "subject", "severity", "labels", "epoch", "since_epoch", "last_epoch"),
        *("slot", "message", "cost_gwei", "status", "resolution"),
    )
    alerts = list_alerts(warehouse, live_only=False, limit=1000)
    return sorted(
        (*(row[name] for name in names), alert_validators(warehouse, row["alert_id"]))
        for row in alerts.to_dict("records")
    )


def backtest_rows(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    past, _ = backtest(warehouse, AlertRules(), tuple(EPOCH_RULES.values()), ALL)
    return sorted(_row(one.alert, one.resolution or None) for one in past)


def _row(alert: Alert, resolution: str | None) -> tuple[Any, ...]:
    finding = alert.finding
    return (
        *(finding.kind, finding.subject, finding.severity.value, "\n".join(finding.labels)),
        *(finding.epoch, finding.since_epoch, alert.last_epoch, finding.slot, finding.message),
        *(finding.cost, alert.status.value, resolution, list(finding.validator_indices)),
    )


@pytest.mark.parametrize("order", ORDERS)
def test_the_table_equals_the_backtest(service: Service, order: str) -> None:
    service.load(ORDERS[order]())
    assert table_rows(service.warehouse) == backtest_rows(service.warehouse)
    assert {subject for _, subject, *_ in table_rows(service.warehouse)} >= {
        *("operator:a", "validator:7", "validator:9", "all:all")
    }


@pytest.mark.parametrize("order", ["forwards", "backwards"])
def test_epochs_that_are_stored_again_meanwhile_change_nothing(
    service: Service, order: str
) -> None:
    pieces = ORDERS[order]()
    service.load([*pieces[:6], *pieces[:6], *pieces[6:], *pieces[3:5]])
    assert table_rows(service.warehouse) == backtest_rows(service.warehouse)


@pytest.mark.parametrize("order", ["forwards", "backwards", "newest first"])
def test_an_epoch_that_stays_missing_is_waited_for_and_left_out(
    service: Service, order: str
) -> None:
    service.load([[epoch for epoch in piece if epoch != 6] for piece in ORDERS[order]()])
    waiting = service.tick().waiting
    assert waiting is not None
    assert (waiting.epoch, waiting.gap) == (7, range(6, 7))
    service.tick(QUIET)
    assert table_rows(service.warehouse) == backtest_rows(service.warehouse)
    assert service.warehouse.read("alert_evaluations")["epoch"].tolist() == [
        epoch for epoch in ALL if epoch != 6
    ]


def test_an_epoch_waits_while_older_ones_are_loaded_but_not_for_ever(service: Service) -> None:
    service.load([ALL[:3]])
    service.loading = {5, 6}
    store(service.warehouse, service.computed, [7], at=service.now)
    waited = timedelta(0)
    while waited < LONGEST_WAIT - timedelta(minutes=1):
        assert evaluated(service.tick(timedelta(minutes=1))) == []
        waited += timedelta(minutes=1)
    assert evaluated(service.tick(timedelta(minutes=1))) == [7]


def test_a_gap_between_two_batches_is_no_missing_epoch() -> None:
    """All runs of a batch have ended, and the next ones are not requested yet."""
    loading: set[int] = {3}
    watch = LoadingWatch(NOW - timedelta(hours=1))
    due = DueEpoch(9, NOW - timedelta(minutes=10), True, range(3, 9), True)
    assert watch.must_wait(due, NOW, lambda: loading)
    loading.clear()
    assert watch.must_wait(due, NOW + timedelta(seconds=5), lambda: loading)
    assert not watch.must_wait(due, NOW + QUIET, lambda: loading)


def test_a_service_that_has_just_started_waits_for_runs_to_be_requested() -> None:
    watch = LoadingWatch(NOW)
    due = DueEpoch(9, NOW - timedelta(minutes=10), True, range(3, 9), True)
    assert watch.must_wait(due, NOW + timedelta(seconds=5), set)
    assert not watch.must_wait(due, NOW + QUIET, set)


def test_the_first_epoch_of_all_waits_only_for_what_is_being_loaded() -> None:
    loading: set[int] = set()
    watch = LoadingWatch(NOW)
    first = DueEpoch(9, NOW, True, range(9), True, is_first=True)
    assert not watch.must_wait(first, NOW, lambda: loading)
    loading.add(3)
    assert watch.must_wait(first, NOW, lambda: loading)
    loading.clear()
    assert watch.must_wait(first, NOW + timedelta(seconds=5), lambda: loading)
    assert not watch.must_wait(first, NOW + QUIET, lambda: loading)


def test_an_epoch_waits_for_its_own_standings_while_its_run_goes_on() -> None:
    watch = LoadingWatch(NOW)
    stored = NOW - timedelta(minutes=10)
    assert watch.must_wait(DueEpoch(9, stored, True, range(0), False), NOW, lambda: {9})
    assert not watch.must_wait(DueEpoch(9, stored, True, range(0), True), NOW, lambda: {9})


class TestDowntime:
    """The service is down while a cluster goes dark and comes back."""

    @pytest.fixture
    def service(self, warehouse: Warehouse, computed: Computed) -> Service:
        notifier = Notifier([Channel("hook", "")], Templates("minimal"))
        service = Service(warehouse, computed, Alerting(AlertRules(horizon_epochs=10), notifier))
        service.load([[2], [3]])
        return service

    def come_back(self, service: Service, epoch: int) -> None:
        """Start again in ``epoch``, and load what is missing, the newest first."""
        network = service.warehouse.network()
        assert network is not None
        seconds = network.genesis_time + 48 * epoch
        service.now = datetime.fromtimestamp(seconds, tz=UTC)
        service.load([ALL[-1:], [4, 5, 6], [7, 8, 9], [10]])

    def test_an_outage_of_that_time_is_in_the_table_and_in_the_digest(
        self, service: Service
    ) -> None:
        self.come_back(service, 1000)
        assert table_rows(service.warehouse) == backtest_rows(service.warehouse)
        outage = next(
            row
            for row in list_alerts(service.warehouse, live_only=False, limit=100).to_dict("records")
            if (row["alert_type"], row["subject"]) == ("missed_attestations", "operator:a")
        )
        assert (outage["since_epoch"], outage["last_epoch"]) == (4, 7)
        assert outage["status"] == "resolved"
        rules = ReminderRules("minimal", ["team"], 8, "operator", None)
        body = digest(digest_facts(service.warehouse, rules, service.now)).body
        assert f"- warning: operator:a: {len(CLUSTER)} validators" in body
        assert "\nended: " in body

    def test_nobody_is_paged_about_what_was_over_before_the_horizon(self, service: Service) -> None:
        self.come_back(service, 1000)
        deliveries = service.warehouse.read("alert_deliveries")
        pending = deliveries[deliveries["status"] == "pending"]
        # Still open, hence held back: at the latest an hour later it is sent.
        live = list_alerts(service.warehouse, live_only=True, limit=100)
        assert set(pending["alert_id"]) == set(live["alert_id"])
        assert (pending["next_attempt_at"] > service.now).all()
        assert set(deliveries["kind"]) <= {"opened", "worsened"}
        assert "cancelled" in set(deliveries["status"])

    def test_what_is_still_open_is_sent_when_evaluation_reaches_the_horizon(
        self, service: Service
    ) -> None:
        self.come_back(service, 21)
        deliveries = service.warehouse.read("alert_deliveries")
        pending = deliveries[deliveries["status"] == "pending"]
        live = list_alerts(service.warehouse, live_only=True, limit=100)
        assert "slashing" in set(live["alert_type"])
        assert set(pending["alert_id"]) == set(live["alert_id"])
        assert (pending["next_attempt_at"] <= service.now).all()


def test_validators_of_a_group_join_and_leave_its_alert(service: Service) -> None:
    """Rows that stay are left as they are."""
    service.load([[epoch] for epoch in ALL[:6]])
    (number,) = [
        row["alert_id"]
        for row in list_alerts(service.warehouse, live_only=True, limit=100).to_dict("records")
        if (row["alert_type"], row["subject"]) == ("missed_attestations", "operator:a")
    ]
    database = service.warehouse.database
    with alert_transaction(database, "test", service.now) as transaction:
        alert = transaction.alert(number)
        assert alert is not None
        assert alert.finding.validator_indices == tuple(CLUSTER)
    written = _row_marks(service.warehouse, number)

    joined = (*CLUSTER[2:], 39)
    with alert_transaction(database, "test", service.now) as transaction:
        alert = transaction.alert(number)
        assert alert is not None
        changed = replace(alert, finding=replace(alert.finding, validator_indices=joined))
        transaction.refresh([changed])
    after = _row_marks(service.warehouse, number)
    assert sorted(after) == sorted(joined)
    assert all(after[validator] == written[validator] for validator in CLUSTER[2:])


def _row_marks(warehouse: Warehouse, alert_id: int) -> dict[int, str]:
    """The transaction that wrote each validator's row."""
    with warehouse.database.transaction("read the rows") as connection:
        rows = connection.exec_driver_sql(
            f"SELECT validator_index, xmin::text FROM {warehouse.schema}.alert_validators "
            f"WHERE alert_id = {alert_id}"
        )
        return {int(row[0]): str(row[1]) for row in rows}

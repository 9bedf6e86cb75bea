"""Listing, showing, acknowledging and resolving alerts."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.rule import SystemFacts
from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.assets.alerts import Alerting, evaluate_system_facts
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.notify.sender import Sender
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.beacon.scripted_node import Reply, ScriptedNode, scripted_node
from valmon_pipeline_tests.cli.conftest import InProcess
from valmon_pipeline_tests.cli.home import Finished

Alerts = Callable[..., Finished]


@pytest.fixture
def alerts(valmon: InProcess, warehouse: Warehouse, database_url: str) -> Alerts:
    """``valmon alerts …`` on a database with one open alert, number 1, about the node."""
    facts = SystemFacts(12, 9, 3.0, False, 0, "")
    evaluate_system_facts(warehouse, Alerting(), facts, datetime.now(UTC))

    def run(*arguments: str) -> Finished:
        variables = {"VALMON_NETWORK": warehouse.schema, "VALMON_DATABASE_URL": database_url}
        return valmon("alerts", *arguments, **variables)

    return run


def test_an_alert_is_listed_acknowledged_resolved_and_told_whole(alerts: Alerts) -> None:
    (listed,) = alerts("list", "--json").json["alerts"]
    assert (listed["alert_type"], listed["status"]) == ("node_unhealthy", "open")
    assert "9 slots behind" in alerts("list").out.replace("\n", " ")

    assert alerts("ack", "1", "--why", "on it", "--by", "ann").out == "alert 1 is acknowledged\n"
    assert alerts("ack", "1").out == "alert 1 is acknowledged already\n"
    assert (
        alerts("resolve", "1", "--why", "restarted", "--by", "ben").out == "alert 1 is resolved\n"
    )
    assert alerts("list").out == "no alerts\n"
    assert len(alerts("list", "--all", "--json").json["alerts"]) == 1

    shown = alerts("show", "1", "--json").json
    told = [(change["change"], change["reason"]) for change in shown["changes"]]
    assert told[1:] == [("acknowledged", "on it (ann)"), ("resolved", "restarted (ben)")]
    assert shown["alert"]["resolution"] == "restarted (ben)"
    assert shown["alert"]["acknowledged_at"] is not None
    assert "resolved: restarted" in alerts("show", "1").out


def test_who_resolved_an_alert_is_the_user_of_the_system_unless_told(alerts: Alerts) -> None:
    alerts("resolve", "1")
    assert alerts("resolve", "1").out == "alert 1 is resolved already\n"
    resolution = alerts("show", "1", "--json").json["alert"]["resolution"]
    assert resolution == f"resolved by hand ({getpass.getuser()})"


@pytest.mark.parametrize("command", ["show", "ack", "resolve"])
def test_an_alert_that_is_not_there_is_said_so(alerts: Alerts, command: str) -> None:
    done = alerts(command, "7")
    assert done.code == 2
    assert "there is no alert 7" in done.err


class TestDelivery:
    @pytest.fixture
    def channel(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedNode]:
        """A channel named hook."""
        with scripted_node() as node:
            monkeypatch.setenv("VALMON_ALERTS__CHANNELS", '[{"name": "hook"}]')
            address = f"{node.url.replace('http', 'json')}/hook"
            monkeypatch.setenv("VALMON_CHANNEL_HOOK_URL", address)
            yield node

    @pytest.fixture
    def told(self, channel: ScriptedNode, alerts: Alerts, warehouse: Warehouse) -> Alerts:
        """The same with a second alert, of which the channel is to be told."""
        notifier = Notifier([Channel("hook", "")], Templates("devnet"))
        facts = SystemFacts(12, 0, 3.0, False, 9, "")
        evaluate_system_facts(warehouse, Alerting(AlertRules(), notifier), facts, datetime.now(UTC))
        return alerts

    def give_up(self, warehouse: Warehouse) -> None:
        outcome = Sender({}).send_due(warehouse.database)
        assert outcome.dead == 1

    def test_whoever_was_told_of_an_alert_is_told_that_it_was_resolved(self, told: Alerts) -> None:
        assert told("resolve", "2").code == 0
        deliveries = told("show", "2", "--json").json["deliveries"]
        assert [(one["kind"], one["status"]) for one in deliveries] == [
            ("opened", "pending"),
            ("resolved", "pending"),
        ]

    def test_what_was_given_up_is_seen_and_sent_again(
        self, told: Alerts, warehouse: Warehouse
    ) -> None:
        self.give_up(warehouse)
        assert "1 messages were given up" in told("list").err
        shown = told("show", "2").out
        assert "opened to hook: dead, attempts: 1, last error: there is no such" in shown
        assert told("retry", "2").out == "1 messages are to be sent again\n"
        assert told("list").err == ""

    def test_a_channel_is_tried(self, channel: ScriptedNode, valmon: InProcess) -> None:
        channel.reply("/hook", Reply(200), Reply(403))
        assert "channel hook accepted the message" in valmon("alerts", "test", "hook").out
        refused = valmon("alerts", "test", "hook")
        assert refused.code == 1
        assert "channel hook: JSON did not accept it: HTTP 403" in refused.err
        unknown = valmon("alerts", "test", "pager")
        assert "there is no channel pager; there are: hook" in unknown.err

    def test_the_check_of_the_configuration_knows_wrong_addresses(
        self, channel: ScriptedNode, valmon: InProcess
    ) -> None:
        node = {"VALMON_BEACON_URL": "http://h", "VALMON_VALIDATORS": "1"}
        assert "channels      hook" in valmon("config", "check", **node).out
        wrong = valmon("config", "check", VALMON_CHANNEL_HOOK_URL="pigeon://sEcr3t", **node)
        assert wrong.code == 2
        assert "the address of channel hook is not one of pigeon:// that" in wrong.err
        assert "sEcr3t" not in wrong.out + wrong.err

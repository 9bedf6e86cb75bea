"""Listing, showing, acknowledging and resolving alerts."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from valmon_pipeline.alerting.live import SystemFacts
from valmon_pipeline.assets.alerts import Alerting, evaluate_system_facts
from valmon_pipeline.storage.warehouse import Warehouse
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

"""The daily digest, and the heartbeat that stops when valmon does."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from valmon_pipeline.alerting.digest import DigestFacts, GroupDay, digest
from valmon_pipeline.alerting.templates import LONGEST_BODY
from valmon_pipeline.config import SecretUrl
from valmon_pipeline.notify.errors import DeliveryError
from valmon_pipeline.notify.heartbeat import ping
from valmon_pipeline.notify.reminders import ReminderRules, Reminders
from valmon_pipeline.notify.sender import Sender, Timing
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.beacon.scripted_node import Reply
from valmon_pipeline_tests.notify.conftest import Desk, Hook, finding

RULES = ReminderRules("devnet", ["oncall"], 8, "operator", timedelta(minutes=5))
ONLY_BEATS = ReminderRules("devnet", [], 8, "operator", timedelta(minutes=5))


def test_a_heartbeat_is_sent_once_in_five_minutes(desk: Desk, hook: Hook) -> None:
    hook.node.reply("/beat/sEcr3t", Reply(200))
    url = SecretUrl(f"{hook.node.url}/beat/sEcr3t")
    sender = Sender({"heartbeat": ping(url)}, Timing(2, 5, lambda: desk.now))
    warehouse = Warehouse(desk.database)
    # Another process, or the same one started again, writes no second one.
    for minutes in (0, 1, 1, 3, 5):
        desk.later(minutes=minutes)
        for reminders in (Reminders(ONLY_BEATS), Reminders(ONLY_BEATS)):
            reminders.write_due(warehouse, desk.now)
        sender.send_due(desk.database)
    assert [one.method for one in hook.node.received] == ["GET"] * 3
    assert len(desk.rows()) == 1


@pytest.mark.parametrize("reply", [Reply(500), Reply(404), Reply(200, truncated=True)])
def test_a_heartbeat_that_is_not_accepted_is_told_without_the_address(
    hook: Hook, reply: Reply
) -> None:
    hook.node.reply("/beat/sEcr3t", reply)
    send = ping(SecretUrl(f"{hook.node.url}/beat/sEcr3t"))
    with pytest.raises(DeliveryError) as caught:
        send(digest(FACTS), "info")
    assert "sEcr3t" not in str(caught.value)


def test_the_address_of_the_heartbeat_is_not_logged(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.node.reply("/beat/sEcr3t", Reply(200))
    with caplog.at_level(logging.DEBUG):
        ping(SecretUrl(f"{hook.node.url}/beat/sEcr3t"))(digest(FACTS), "info")
    assert "sEcr3t" not in caplog.text


def test_an_address_that_no_request_can_be_made_for_is_a_failed_delivery(desk: Desk) -> None:
    Reminders(ONLY_BEATS).write_due(Warehouse(desk.database), desk.now)
    unusable = ping(SecretUrl("http://ä..b/sEcr3t"))
    outcome = Sender({"heartbeat": unusable}, Timing(60, 60, lambda: desk.now)).send_due(
        desk.database
    )
    assert (outcome.failed, outcome.problems) == (1, {"heartbeat": "InvalidURL"})


def test_a_digest_is_written_once_a_day_from_its_hour_on(desk: Desk) -> None:
    desk.open(finding(7))
    warehouse = Warehouse(desk.database)
    same = Reminders(RULES)
    for hours in (0, 1, 18.9, 0.2):  # it is noon, then 13:00, 07:54 and 08:06 on the next day
        desk.later(hours=hours)
        for reminders in (same, Reminders(RULES)):
            reminders.write_due(warehouse, desk.now)
    digests = [row for row in desk.rows() if row["kind"] == "digest"]
    assert [row["delivery_key"] for row in digests] == [
        "digest:2026-11-26:oncall",
        "digest:2026-11-27:oncall",
    ]
    assert digests[0]["title"] == "[devnet] daily digest: 1 alerts open"
    assert digests[0]["body"] == (
        "no epochs are stored\nalerts: 1 opened; 1 still open\n"
        "- warning: validator 7: 3 attestations missed in a row"
    )


def test_nobody_who_wants_a_digest_means_that_none_is_written(desk: Desk) -> None:
    Reminders(ReminderRules("devnet", [], 8, "operator", None)).write_due(
        Warehouse(desk.database), desk.now
    )
    assert desk.rows() == []


FACTS = DigestFacts(
    "devnet",
    range(10, 20),
    [
        GroupDay("everybody", 5000, 5000, 12, 0.98, 10**9),
        *(GroupDay(f"operator:{n}", 10, 10, 0, n / 100, 10**6) for n in range(50)),
        GroupDay("operator:new", 1, 0, 0, None, 0),
    ],
    {"opened": 200, "resolved": 3},
    [f"warning: validator {n}: 3 attestations missed in a row" for n in range(197)],
    [f"critical: validator {n}: block of slot {n} missed (epochs 9 to 9)" for n in range(30)],
    2,
)


def test_a_digest_is_of_bounded_size_and_begins_with_the_worst() -> None:
    message = digest(FACTS)
    lines = message.body.splitlines()
    assert lines[1] == (
        "everybody: 5,000 validators, 12 of 5,000 attestations missed, 98.00% of ideal, "
        "1,000,000,000 gwei earned"
    )
    assert lines[2].startswith("operator:0: ")
    assert "… and 41 more groups" in lines
    assert "alerts: 200 opened, 3 resolved; 197 still open" in lines
    assert len(message.body) <= LONGEST_BODY
    assert "–" in str(FACTS.groups[-1])


def test_a_digest_of_incomplete_epochs_says_so() -> None:
    assert "lack facts" not in digest(FACTS).body
    everybody = GroupDay("everybody", 5000, 5000, 12, None, None, incomplete_epochs=3)
    message = digest(replace(FACTS, groups=[everybody]))
    lines = message.body.splitlines()
    assert lines[1].startswith("3 of them lack facts, the figures are of what is known")
    assert lines[2].endswith("12 of 5,000 attestations missed, –, rewards not known")

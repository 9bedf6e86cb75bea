"""Sending to a webhook that hangs, fails, is gone, comes back: at least once, never for ever."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.life_cycle import resolved
from valmon_pipeline.alerting.templates import LONGEST_BODY, Message
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.notify import sender as sender_module
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.sender import ATTEMPTS, Sender, Timing, pause
from valmon_pipeline.notify.wiring import send_to
from valmon_pipeline.storage.alert_store import alert_transaction
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.outbox import claim, delete_old_deliveries, retry_dead
from valmon_pipeline_tests.beacon.scripted_node import Reply
from valmon_pipeline_tests.notify.conftest import Desk, Hook, finding

OK, BROKEN, HANGS = Reply(200), Reply(500), Reply(hangs=True)


def test_what_is_accepted_is_sent_once(desk: Desk, hook: Hook) -> None:
    hook.node.reply("/hook", OK)
    desk.open(finding(7))
    assert desk.send() == (1, 0, 0)
    assert desk.send() == (0, 0, 0)
    assert hook.titles == ["[devnet] warning: Attestations missed in a row – validator:7"]
    assert desk.statuses() == ["sent"]


def test_an_error_is_tried_again_after_growing_pauses(desk: Desk, hook: Hook) -> None:
    hook.node.reply("/hook", BROKEN, BROKEN, OK)
    desk.open(finding(7))
    assert desk.send() == (0, 1, 0)
    assert desk.rows()[0]["last_error"] == "JSON did not accept it: HTTP 500"
    assert desk.send() == (0, 0, 0)
    desk.later(seconds=15)
    assert desk.send() == (0, 1, 0)
    desk.later(seconds=29)
    assert desk.send() == (0, 0, 0)
    desk.later(seconds=1)
    assert desk.send() == (1, 0, 0)
    (row,) = desk.rows()
    assert (row["status"], row["attempts"], row["last_error"]) == ("sent", 3, None)


def test_pauses_double_up_to_an_hour() -> None:
    assert [pause(attempts) for attempts in (1, 2, 3)] == [
        timedelta(seconds=seconds) for seconds in (15, 30, 60)
    ]
    assert pause(ATTEMPTS) == pause(1000) == timedelta(hours=1)


def test_a_webhook_that_hangs_is_waited_for_so_long_and_holds_up_nobody(
    database: Database, hook: Hook
) -> None:
    hook.node.reply("/hook", HANGS)
    hook.node.reply("/other", OK)
    other = hook.address.replace("/hook", "/other")
    channels = [Channel("hangs", hook.address), Channel("works", other)]
    desk = Desk(database, channels, send_seconds=2)
    desk.open(finding(7), finding(8))
    assert desk.send() == (2, 1, 0)
    failed = [row for row in desk.rows() if row["channel"] == "hangs"]
    assert failed[0]["last_error"].startswith("no answer within ")
    # The second message was not tried, and is not counted as if it was.
    assert [row["attempts"] for row in failed] == [1, 0]


def test_a_channel_that_still_hangs_is_left_alone_until_it_comes_back(desk: Desk) -> None:
    released, accepted = threading.Event(), threading.Event()

    def hang(message: Message, severity: str) -> None:
        released.wait(60)
        accepted.set()

    timing = Timing(0.05, 0.2, lambda: desk.now)
    sender = Sender({"oncall": hang}, timing)
    desk.open(finding(7))
    assert sender.send_due(desk.database).failed == 1
    desk.later(minutes=1)
    assert sender.send_due(desk.database).problems == {"oncall": "it still hangs"}
    assert desk.rows()[0]["attempts"] == 1
    released.set()
    assert accepted.wait(60)
    while any(thread.name == "send to oncall" for thread in threading.enumerate()):
        time.sleep(0.01)
    desk.later(minutes=1)
    patient = Sender({"oncall": hang}, Timing(60, 60, lambda: desk.now))
    assert patient.send_due(desk.database).sent == 1


def test_a_webhook_that_is_gone_is_given_up_and_can_be_tried_again(
    desk: Desk, hook: Hook, database: Database
) -> None:
    gone = Desk(database, [Channel("oncall", "json://127.0.0.1:1/hook")])
    gone.open(finding(7))
    for _ in range(ATTEMPTS - 1):
        assert gone.send() == (0, 1, 0)
        gone.later(hours=1)
    assert gone.send() == (0, 0, 1)
    (row,) = gone.rows()
    assert (row["status"], row["attempts"]) == ("dead", ATTEMPTS)
    assert row["last_error"] == "JSON did not accept it: no connection, or no answer in time"
    gone.later(days=1)
    assert gone.send() == (0, 0, 0)

    hook.node.reply("/hook", OK)
    with alert_transaction(database, "test", gone.now) as transaction:
        assert retry_dead(transaction) == 1
    desk.now = gone.now
    assert desk.send() == (1, 0, 0)
    assert len(hook.titles) == 1


def test_killed_between_sending_and_noting_it_sends_again(
    desk: Desk, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook.node.reply("/hook", OK)
    desk.open(finding(7))

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(sender_module, "note_sent", die)
        with pytest.raises(Killed):
            desk.send()
    assert len(hook.titles) == 1
    assert desk.statuses() == ["pending"]

    again = desk.new_sender()
    assert again.send_due(desk.database).sent == 0  # the lease of the killed one is not over
    desk.later(minutes=10)
    assert again.send_due(desk.database).sent == 1
    assert hook.titles == 2 * hook.titles[:1]
    assert desk.statuses() == ["sent"]


def test_two_senders_do_not_send_the_same(desk: Desk) -> None:
    desk.open(finding(7))
    first = claim(desk.database, "oncall", desk.now, timedelta(minutes=1))
    assert len(first) == 1
    assert claim(desk.database, "oncall", desk.now, timedelta(minutes=1)) == []


def test_an_end_waits_for_its_beginning(desk: Desk, hook: Hook) -> None:
    hook.node.reply("/hook", BROKEN, OK)
    (alert,) = desk.open(finding(7))
    desk.send()
    desk.change(resolved(alert, "good"))
    assert desk.send() == (0, 0, 0)
    desk.later(seconds=15)
    assert desk.send() == (2, 0, 0)
    assert [title.split()[1] for title in hook.titles[1:]] == ["warning:", "over:"]


def test_many_messages_are_sent_as_one_of_bounded_size(desk: Desk, hook: Hook) -> None:
    hook.node.reply("/hook", OK)
    desk.open(*(finding(number) for number in range(60)), finding(400, Severity.CRITICAL))
    assert desk.send() == (61, 0, 0)
    assert hook.titles == ["[devnet] 61 messages: 61 opened"]
    (message,) = hook.messages
    assert message.startswith("[devnet] critical: Attestations missed in a row – validator:400\n")
    assert "more: valmon alerts list" in message
    assert len(message) <= LONGEST_BODY
    assert set(desk.statuses()) == {"sent"}


def test_a_channel_that_is_configured_no_more_gets_nothing(desk: Desk, database: Database) -> None:
    desk.open(finding(7))
    assert Desk(database, []).send() == (0, 0, 1)
    assert desk.rows()[0]["last_error"] == "there is no such channel any more"


@pytest.mark.parametrize("address", ["carrier-pigeon://sEcr3t", "sEcr3t", "json://", "slack://x"])
def test_an_address_that_apprise_does_not_know_is_told_without_it(address: str) -> None:
    with pytest.raises(ConfigurationError, match="the address of channel oncall") as caught:
        send_to(Channel("oncall", address))
    assert "sEcr3t" not in str(caught.value)


def test_no_secret_of_an_address_is_told(
    database: Database, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.node.reply("/hook/sEcr3t", BROKEN)
    address = hook.address.replace("://", "://user:sEcr3t@") + "/sEcr3t?+x=sEcr3t"
    channel = Channel("oncall", address)
    desk = Desk(database, [channel])
    desk.open(finding(7))
    caplog.set_level(0)
    outcome = desk.sender.send_due(database)
    assert outcome.problems == {"oncall": "JSON did not accept it: HTTP 500"}
    for told in (caplog.text, repr(channel), str(outcome), str(desk.rows())):
        assert "sEcr3t" not in told


def test_old_messages_are_deleted_but_not_what_waits(desk: Desk, hook: Hook) -> None:
    hook.node.reply("/hook", OK, BROKEN)
    desk.open(finding(7))
    desk.send()
    desk.open(finding(8))
    desk.send()
    assert delete_old_deliveries(desk.database, desk.now + timedelta(days=1)) == 1
    assert desk.statuses() == ["pending"]

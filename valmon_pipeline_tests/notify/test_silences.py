"""During a silence alerts are recorded, not told; what is wrong at its end is told then."""

from __future__ import annotations

from datetime import timedelta

import pytest

from valmon_pipeline.alerting.kinds import ChangeKind
from valmon_pipeline.alerting.life_cycle import Change, resolved
from valmon_pipeline.storage.alert_store import alert_transaction
from valmon_pipeline.storage.silences import Silence, add_silence, end_silence, list_silences
from valmon_pipeline_tests.beacon.scripted_node import Reply
from valmon_pipeline_tests.notify.conftest import Desk, Hook, finding


@pytest.fixture(autouse=True)
def accepting(hook: Hook) -> None:
    hook.node.reply("/hook", Reply(200))


def silence(desk: Desk, subject: str | None, hours: float = 2, rule: str | None = None) -> Silence:
    with alert_transaction(desk.database, "test", desk.now) as transaction:
        return add_silence(transaction, subject, rule, desk.now + timedelta(hours=hours), "why")


def end(desk: Desk, made: Silence) -> Silence | None:
    with alert_transaction(desk.database, "test", desk.now) as transaction:
        return end_silence(transaction, made.silence_id)


def test_what_is_still_wrong_at_the_end_is_told_then(desk: Desk, hook: Hook) -> None:
    silence(desk, "operator:a")
    desk.later(minutes=5)
    desk.open(finding(7))
    assert desk.send() == (0, 0, 0)
    desk.later(hours=2)
    assert desk.send() == (1, 0, 0)
    assert "validator:7" in hook.titles[0]


def test_what_is_over_by_the_end_is_not_told_at_all(desk: Desk, hook: Hook) -> None:
    silence(desk, "operator:a")
    (alert,) = desk.open(finding(7))
    desk.later(hours=1)
    desk.change(resolved(alert, "good"))
    desk.later(hours=2)
    assert desk.send() == (0, 0, 0)
    assert desk.statuses() == ["cancelled"]
    assert hook.titles == []


def test_the_newest_news_overtakes_what_was_held_back(desk: Desk, hook: Hook) -> None:
    silence(desk, "operator:a")
    (alert,) = desk.open(finding(7))
    desk.change(Change(ChangeKind.WORSENED, alert, "now 2 validators"))
    desk.later(hours=2)
    assert desk.send() == (1, 0, 0)
    assert "worse" in hook.titles[0]
    desk.change(resolved(alert, "good"))
    assert desk.send() == (1, 0, 0)


def test_an_end_of_what_was_told_before_is_told_during_a_silence(desk: Desk, hook: Hook) -> None:
    (alert,) = desk.open(finding(7))
    desk.send()
    silence(desk, "operator:a")
    desk.change(resolved(alert, "good"))
    assert desk.send() == (1, 0, 0)
    assert "over" in hook.titles[1]


def test_ending_it_early_tells_at_once_but_not_what_another_one_holds_back(
    desk: Desk, hook: Hook
) -> None:
    by_label, by_rule = silence(desk, "operator:a"), silence(desk, "validator:8", hours=5)
    desk.open(finding(7), finding(8))
    assert desk.send() == (0, 0, 0)
    ended = end(desk, by_label)
    assert ended is not None
    assert ended.ends_at == desk.now
    assert desk.send() == (1, 0, 0)
    assert "validator:7" in hook.titles[0]
    desk.later(hours=5)
    assert desk.send() == (1, 0, 0)
    assert end(desk, by_label) is None
    assert end(desk, by_rule) is None


@pytest.mark.parametrize(
    ("subject", "rule", "told"),
    [
        ("operator:b", None, 1),
        ("validator:7", None, 0),
        ("validator:70", None, 1),
        (None, "missed_attestations", 0),
        (None, "exit", 1),
        ("operator:a", "missed_attestations", 0),
        ("operator:a", "exit", 1),
    ],
)
def test_every_condition_has_to_be_met(
    desk: Desk, subject: str | None, rule: str | None, told: int
) -> None:
    silence(desk, subject, rule=rule)
    desk.open(finding(7))
    assert desk.send() == (told, 0, 0)


def test_a_group_is_silent_only_if_all_of_it_is(desk: Desk) -> None:
    silence(desk, "validator:7")
    desk.open(finding(7, subject="operator:a", validator_indices=(7, 8)))
    assert desk.send() == (1, 0, 0)


def test_silences_that_are_over_are_not_listed(desk: Desk) -> None:
    made = silence(desk, "operator:a")
    assert list_silences(desk.database, desk.now) == [made]
    assert list_silences(desk.database, desk.now + timedelta(hours=3)) == []

"""What is written to the outbox, for whom, and in which transaction."""

from __future__ import annotations

import pytest

from valmon_pipeline.alerting.kinds import ChangeKind, Severity
from valmon_pipeline.alerting.life_cycle import acknowledged, opened, resolved, retracted
from valmon_pipeline.alerting.templates import LONGEST_BODY, Templates
from valmon_pipeline.errors import StorageError
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.notifier import Notifier
from valmon_pipeline.storage.alert_store import alert_transaction
from valmon_pipeline.storage.database import Database
from valmon_pipeline_tests.alerting.epochs import Run, epoch_facts
from valmon_pipeline_tests.notify.conftest import NOW, Desk, finding


def test_an_opening_and_its_end_are_a_message_each(desk: Desk) -> None:
    (alert,) = desk.open(finding(7))
    desk.change(acknowledged(alert, "on it"))
    desk.change(resolved(alert, "good for 2 epochs"))
    assert [row["title"] for row in desk.rows()] == [
        "[devnet] warning: Attestations missed in a row – validator:7",
        "[devnet] over: Attestations missed in a row – validator:7",
    ]
    body = desk.rows()[0]["body"]
    for told in ("validator 7: 3 attestations missed", "epochs: 8 to 10", "3,000 gwei"):
        assert told in body


def test_what_finality_takes_back_is_told(desk: Desk) -> None:
    (alert,) = desk.open(finding(7))
    desk.change(retracted(alert, "epoch 10 shows nothing of it"))
    last = desk.rows()[-1]
    assert last["title"] == "[devnet] not so: Attestations missed in a row – validator:7"
    assert "retracted: epoch 10 shows nothing of it" in last["body"]


def test_messages_are_in_the_transaction_of_the_change(desk: Desk, database: Database) -> None:
    def change_and_fail() -> None:
        with alert_transaction(database, "test", NOW) as transaction:
            stored = transaction.store([opened(finding(7))])
            Notifier(desk.channels, desk.templates)(transaction, stored)
            raise StorageError("killed")

    with pytest.raises(StorageError, match="killed"):
        change_and_fail()
    assert desk.rows() == []


def test_the_same_change_is_written_once(desk: Desk, database: Database) -> None:
    stored = desk.change(opened(finding(7)))
    with alert_transaction(database, "test", NOW) as transaction:
        Notifier(desk.channels, desk.templates)(transaction, stored)
    assert len(desk.rows()) == 1


def test_channels_get_their_labels_from_their_severity_on(database: Database) -> None:
    desk = Desk(
        database,
        [
            Channel("a", "json://h", Severity.CRITICAL, frozenset({"operator:a"})),
            Channel("b", "json://h", labels=frozenset({"operator:b"})),
            Channel("node", "json://h", labels=frozenset({"node"})),
            Channel("all", "json://h"),
        ],
    )
    desk.open(
        finding(1),
        finding(2, Severity.CRITICAL),
        finding(3, labels=("operator:b",), subject="operator:b"),
        finding(4, labels=(), subject="node"),
    )
    told = [(row["channel"], row["alert_id"]) for row in desk.rows()]
    assert sorted(told) == [
        *[("a", 2), ("all", 1), ("all", 2), ("all", 3), ("all", 4)],
        *[("b", 3), ("node", 4)],
    ]


def test_an_end_is_told_only_where_the_beginning_was(database: Database) -> None:
    before = Desk(database, [Channel("old", "json://h")])
    (alert,) = before.open(finding(7))
    after = Desk(database, [Channel("old", "json://h"), Channel("new", "json://h")])
    after.change(resolved(alert, "good"))
    assert [row["channel"] for row in after.rows()] == ["old", "old"]


def test_five_thousand_validators_at_once_are_one_message_of_bounded_size(
    database: Database,
) -> None:
    desk = Desk(database, [Channel("pager", "json://h", Severity.WARNING)])
    run = Run()
    everybody = range(5000)
    changes = [
        change
        for epoch in range(10, 13)
        for change in run.add(epoch_facts(epoch, 5000, missing=everybody)).changes
        if change.alert.finding.subject != "all:all"
    ]
    desk.change(*changes)
    (row,) = desk.rows()
    assert "operator:(none): 5000 validators (0, 1, 2," in row["body"]
    assert "… and 4980 more" in row["body"]
    assert len(row["body"]) <= LONGEST_BODY


def test_a_template_with_a_mistake_gives_way_to_the_default_one(desk: Desk) -> None:
    desk.templates = Templates("devnet", texts={"opened": "$nobody", "body": "cost $"})
    desk.open(finding(7))
    (row,) = desk.rows()
    assert row["title"] == "[devnet] warning: Attestations missed in a row – validator:7"
    assert "3,000 gwei" in row["body"]


def test_templates_replace_the_default_texts(desk: Desk) -> None:
    desk.templates = Templates(
        "devnet", "https://v.example", {"opened": "$rule\n$subject", "body": "$$ $link"}
    )
    desk.open(finding(7))
    (row,) = desk.rows()
    assert (row["title"], row["body"]) == (
        "missed_attestations validator:7",
        "$ https://v.example",
    )


def test_long_texts_are_cut_off(desk: Desk) -> None:
    desk.templates = Templates("devnet", texts={"opened": "é" * 500})
    desk.open(finding(7, message="x" * 10_000))
    (row,) = desk.rows()
    assert len(row["title"]) == 200
    assert len(row["body"]) == LONGEST_BODY
    assert row["body"].endswith("…")


def test_every_change_that_is_told_has_a_title() -> None:
    alert = opened(finding(7)).alert
    for kind in set(ChangeKind) - {ChangeKind.ACKNOWLEDGED}:
        assert "validator:7" in Templates("n").message_about(kind, alert, "why").title

"""Reasons of sensors are logged when they change."""

from __future__ import annotations

from valmon_pipeline.automation.reason_log import ReasonLog
from valmon_pipeline.errors import BeaconUnreachableError, NodeNotReadyError, StorageError


class Lines:
    """A log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, message: str, /) -> None:
        self.lines.append(message)


def syncing(slot: int) -> NodeNotReadyError:
    return NodeNotReadyError(f"a: it is syncing at {slot}", summary=f"waiting: a, at slot {slot}")


def test_a_reason_is_logged_once_until_there_is_another_one() -> None:
    log, reasons = Lines(), ReasonLog()
    away = BeaconUnreachableError("a: refused", summary="waiting: a does not answer")
    shown = [
        reasons.note(error, log)
        for error in (syncing(1), syncing(2), syncing(20), away, away, syncing(21))
    ]
    assert log.lines == ["a: it is syncing at 1", "a: refused", "a: it is syncing at 21"]
    assert shown[:2] == ["waiting: a, at slot 1", "waiting: a, at slot 2"]


def test_after_a_good_tick_the_same_reason_is_news() -> None:
    log, reasons = Lines(), ReasonLog()
    for _ in range(2):
        assert reasons.note(StorageError("the database is away"), log) == "the database is away"
        reasons.all_is_well()
    assert log.lines == ["the database is away"] * 2

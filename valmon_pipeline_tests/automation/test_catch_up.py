"""Catch-up is complete, bounded, oldest first, and never starves the newest epoch."""

from __future__ import annotations

from collections.abc import Set

from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.automation.catch_up import (
    LONGEST_WAIT_EPOCHS,
    Attempt,
    CatchUpPlan,
    attempts_of,
    first_epoch_due,
    missing_epochs,
    newest_closed_epoch,
    plan_catch_up,
    spans_of,
)


def test_an_epoch_is_closed_when_there_is_a_block_two_epochs_later() -> None:
    assert newest_closed_epoch(95, 32) == 0
    assert newest_closed_epoch(96, 32) == 1
    assert newest_closed_epoch(63, 32) == -1


def test_the_first_epoch_due_is_configured_or_stored_or_the_newest() -> None:
    nothing = {"start_epoch": None, "first_stored": None, "kept_epochs": None}
    assert first_epoch_due(100, **nothing) == 100
    assert first_epoch_due(100, **{**nothing, "first_stored": 40}) == 40
    assert first_epoch_due(100, **{**nothing, "first_stored": 40, "start_epoch": 70}) == 70
    assert first_epoch_due(100, **{**nothing, "start_epoch": 0}) == 0
    assert first_epoch_due(100, **{**nothing, "start_epoch": 170}) == 100
    assert first_epoch_due(100, **{**nothing, "first_stored": 40, "kept_epochs": 10}) == 91


def test_the_newest_epoch_has_a_run_of_its_own_and_older_ones_come_oldest_first() -> None:
    missing = missing_epochs(10, 50, [10, 12, 13])
    assert len(missing) == 38
    plan = plan_catch_up(missing, 50, under_way={14}, attempts={}, limit=3)
    assert (plan.newest, plan.older) == (50, (11, 15, 16))


def test_nothing_is_due_when_everything_is_stored_or_under_way() -> None:
    plan = plan_catch_up(missing_epochs(1, 4, [1, 2, 3]), 4, under_way={4}, attempts={}, limit=9)
    assert plan == CatchUpPlan(None, ())


def test_an_epoch_that_failed_waits_longer_each_time() -> None:
    attempts: dict[int, Attempt] = {}
    requested = []
    for newest in range(5, 40):
        plan = plan_catch_up([5], newest, under_way=(), attempts=attempts, limit=1)
        if plan.newest == 5 or 5 in plan.older:
            requested.append(newest)
            attempts[5] = Attempt(len(requested), newest)
    assert requested == [5, 6, 8, 12, 20, 36]
    assert Attempt(60, 0).is_over(LONGEST_WAIT_EPOCHS)


def test_epochs_that_cannot_be_read_do_not_keep_the_others_waiting() -> None:
    unreadable, attempts, stored = set(range(10)), dict[int, Attempt](), set[int]()
    for newest in range(30, 60):
        plan = plan_catch_up(
            missing_epochs(0, newest, stored), newest, under_way=(), attempts=attempts, limit=4
        )
        assert plan.newest == newest
        for epoch in unreadable.intersection(plan.older):
            before = attempts.get(epoch)
            attempts[epoch] = Attempt(before.count + 1 if before else 1, newest)
        stored |= {newest, *plan.older} - unreadable
    assert stored == set(range(10, 60))


@given(
    st.integers(0, 30),
    st.integers(0, 60),
    st.sets(st.integers(0, 90)),
    st.sets(st.integers(0, 90)),
    st.integers(1, 40),
)
def test_a_plan_holds_only_what_is_missing(
    first: int, length: int, stored: Set[int], under_way: Set[int], limit: int
) -> None:
    newest = first + length
    plan = plan_catch_up(
        missing_epochs(first, newest, stored),
        newest,
        under_way=under_way,
        attempts={},
        limit=limit,
    )
    free = set(range(first, newest + 1)) - stored - under_way
    assert plan.newest == (newest if newest in free else None)
    assert list(plan.older) == sorted(free - {newest})[:limit]


def test_repeated_plans_store_every_epoch_once() -> None:
    stored: list[int] = []
    while missing := missing_epochs(3, 500, stored):
        plan = plan_catch_up(missing, 500, under_way=(), attempts={}, limit=32)
        stored += [*plan.older, *([plan.newest] if plan.newest is not None else [])]
    assert sorted(stored) == list(range(3, 501))


@given(
    st.dictionaries(st.integers(0, 50), st.builds(Attempt, st.integers(1, 3), st.integers(0, 4)))
)
def test_attempts_survive_the_cursor(attempts: dict[int, Attempt]) -> None:
    assert attempts_of(spans_of(attempts)) == attempts


def test_a_span_of_equal_attempts_takes_one_entry() -> None:
    assert spans_of(dict.fromkeys(range(7, 20_000), Attempt(2, 9))) == [[7, 19_999, 2, 9]]

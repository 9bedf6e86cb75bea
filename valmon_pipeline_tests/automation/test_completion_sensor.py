"""Incomplete epochs are read again, less and less often, a bounded number of times."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

from valmon_pipeline.automation.catch_up import Attempt
from valmon_pipeline.automation.completion_sensor import ATTEMPTS, plan_completion


def plan(
    incomplete: Collection[int],
    newest: int,
    attempts: Mapping[int, Attempt] | None = None,
    *,
    under_way: Collection[int] = (),
    limit: int = 10,
) -> list[int]:
    return plan_completion(
        incomplete, newest, under_way=under_way, attempts=attempts or {}, limit=limit
    )


def test_new_incomplete_epochs_are_read_again_at_once() -> None:
    assert plan([9, 8, 3], newest=10) == [9, 8, 3]


def test_epochs_of_runs_under_way_and_more_than_the_limit_wait() -> None:
    assert plan([9, 8, 7, 3], newest=10, under_way=[9], limit=2) == [8, 7]


def test_each_attempt_waits_longer_and_there_is_a_last_one() -> None:
    tried: list[int] = []
    for newest in range(10, 1_000):
        attempts = {9: Attempt(len(tried), tried[-1])} if tried else {}
        tried += [newest] * len(plan([9], newest, attempts))
    waits = [later - sooner for sooner, later in pairwise(tried)]
    assert len(tried) == ATTEMPTS
    assert waits == sorted(waits)
    assert waits[-1] >= 4 * waits[0]

"""Budgets of requests: within a process, and leased."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

import pytest

from valmon_pipeline.beacon.request_budget import (
    RETRY_SECONDS,
    VALID_SECONDS,
    LeasedBudget,
    LocalBudget,
    RequestBudget,
    RequestLimits,
    local_budget,
)
from valmon_pipeline.errors import StorageError


@dataclass
class Clock:
    """A clock that is set."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Given:
    """A lease as it is answered."""

    tokens: int
    debt: float = 0.0
    processes: int = 1
    others_in_flight: int = 0


@dataclass
class Leases:
    """Gives leases in turn, the last one for ever; an error is raised."""

    answers: list[Given | StorageError]
    peaks: list[int] = field(default_factory=list)
    given_back: list[int] = field(default_factory=list)

    def __call__(self, in_flight: int, unused: int) -> Given:
        self.peaks.append(in_flight)
        self.given_back.append(unused)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, StorageError):
            raise answer
        return answer


AWAY = StorageError("could not lease requests to a node: connection refused")


def admitted(budget: RequestBudget, most: int = 1000) -> int:
    """How many requests in a row are admitted now, each ended at once."""
    for count in range(most):
        if budget.enter() > 0:
            return count
        budget.leave()
    return most


def renew(budget: RequestBudget) -> bool:
    return asyncio.run(budget.renew())


class TestLocalBudget:
    def test_a_burst_is_admitted_and_then_as_many_as_the_rate_gives(self) -> None:
        clock = Clock()
        budget = LocalBudget(RequestLimits(10, 5, 100), now=clock)
        assert admitted(budget) == 5
        assert budget.enter() == pytest.approx(0.1)
        clock.now += 0.1
        assert admitted(budget) == 1
        clock.now += 3600
        assert admitted(budget) == 5

    def test_the_wait_that_it_says_is_enough(self) -> None:
        clock = Clock()
        budget = LocalBudget(RequestLimits(7, 1, 100), now=clock)
        for _ in range(1000):
            if wait := budget.enter():
                clock.now += wait
                assert budget.enter() == 0.0
            budget.leave()

    def test_no_more_are_under_way_than_allowed(self) -> None:
        budget = LocalBudget(RequestLimits(1e6, 1000, 2))
        assert [budget.enter() for _ in range(2)] == [0.0, 0.0]
        assert budget.enter() > 0
        budget.leave()
        assert budget.enter() == 0.0

    def test_clients_of_one_node_have_one_budget(self) -> None:
        limits = RequestLimits(1, 2, 3)
        assert local_budget("http://a", limits) is local_budget("http://a", limits)
        assert local_budget("http://a", limits) is not local_budget("http://b", limits)

    def test_threads_together_get_what_one_would(self) -> None:
        budget = LocalBudget(RequestLimits(0.1, 500, 1000))
        counts: list[int] = []
        threads = [
            threading.Thread(target=lambda: counts.append(admitted(budget))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(counts) == 500


class TestLeasedBudget:
    def test_nothing_is_admitted_without_a_lease(self) -> None:
        leases = Leases([Given(3)])
        budget = LeasedBudget("node", RequestLimits(6, 100, 10), leases)
        assert budget.enter() > 0
        assert renew(budget)
        assert admitted(budget) == 3
        assert renew(budget)
        assert admitted(budget) == 3
        assert len(leases.peaks) == 2

    def test_a_lease_that_is_not_used_up_is_not_renewed(self) -> None:
        leases = Leases([Given(3)])
        budget = LeasedBudget("node", RequestLimits(6, 100, 10), leases)
        assert renew(budget)
        assert not renew(budget)
        assert len(leases.peaks) == 1

    def test_tokens_of_a_debt_are_waited_for(self) -> None:
        clock = Clock()
        leases = Leases([Given(4, debt=2)])
        budget = LeasedBudget("node", RequestLimits(10, 100, 10), leases, now=clock)
        renew(budget)
        assert admitted(budget) == 2
        assert budget.enter() == pytest.approx(0.1)
        clock.now += 0.2
        assert admitted(budget) == 2

    def test_where_others_come_first_the_first_token_is_waited_for(self) -> None:
        leases = Leases([Given(4, debt=9)])
        budget = LeasedBudget("node", RequestLimits(10, 100, 10), leases, now=Clock())
        renew(budget)
        assert budget.enter() == pytest.approx(0.6)

    def test_tokens_that_were_not_used_for_a_while_are_given_back(self) -> None:
        clock = Clock()
        leases = Leases([Given(4)])
        budget = LeasedBudget("node", RequestLimits(10, 100, 10), leases, now=clock)
        renew(budget)
        assert budget.enter() == 0.0
        clock.now += VALID_SECONDS + 1
        assert budget.enter() > 0
        assert renew(budget)
        assert leases.given_back == [0, 3]

    def test_places_are_shared_with_those_who_use_them(self) -> None:
        def places(*leases: Given) -> int:
            budget = LeasedBudget("node", RequestLimits(100, 100, 10), Leases([*leases]))
            renew(budget)
            return sum(budget.enter() == 0.0 for _ in range(20))

        assert places(Given(50)) == 10
        assert places(Given(50, processes=2, others_in_flight=2)) == 8
        assert places(Given(50, processes=2, others_in_flight=10)) == 5
        assert places(Given(50, processes=30, others_in_flight=60)) == 1

    def test_the_most_requests_under_way_are_told_with_the_next_lease(self) -> None:
        leases = Leases([Given(3)])
        budget = LeasedBudget("node", RequestLimits(100, 100, 10), leases)
        renew(budget)
        assert [budget.enter() for _ in range(3)] == [0.0] * 3
        for _ in range(3):
            budget.leave()
        renew(budget)
        assert leases.peaks == [0, 3]

    def test_without_leases_a_process_goes_on_with_its_share(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = Clock()
        leases = Leases([Given(1, processes=4), AWAY, AWAY, Given(1)])
        budget = LeasedBudget("hosted", RequestLimits(20, 8, 10), leases, now=clock)
        renew(budget)
        assert admitted(budget) == 1
        renew(budget)
        assert admitted(budget) == 1  # what was left of its share of a burst
        for _ in range(3):
            clock.now += 0.2
            assert admitted(budget) == 1
        assert not renew(budget)
        clock.now += RETRY_SECONDS
        assert renew(budget)
        (record,) = caplog.records
        assert "node hosted cannot be shared with other processes" in record.getMessage()
        assert "connection refused" in record.getMessage()
        assert "goes on with 5 requests a second" in record.getMessage()
        clock.now += RETRY_SECONDS
        assert renew(budget)
        assert admitted(budget) == 1

    def test_a_lease_that_does_not_come_is_not_waited_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("valmon_pipeline.beacon.request_budget.PATIENCE_SECONDS", 0.05)
        release = threading.Event()

        def hangs(in_flight: int, unused: int) -> Given:
            release.wait(10)
            return Given(5)

        budget = LeasedBudget("node", RequestLimits(20, 3, 10), hangs)

        async def run() -> int:
            assert await budget.renew()
            count = admitted(budget)
            assert not await budget.renew()
            release.set()
            return count

        assert asyncio.run(run()) == 3
        assert admitted(budget) == 0

    def test_it_may_be_used_from_one_event_loop_after_the_other(self) -> None:
        budget = LeasedBudget("node", RequestLimits(1000, 2, 10), Leases([Given(2)]))
        for _ in range(20):
            assert renew(budget)
            assert admitted(budget) >= 1
            time.sleep(0.002)
            admitted(budget)

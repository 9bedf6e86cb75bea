"""What is asked for at a boundary, and that the reader finds it by its requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.beacon.decode import committees
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.clock import ManualClock
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.reading.capture import BoundaryCapture, CaptureReport, capture_blocks
from valmon_pipeline_tests.assets.epochs import client_opener
from valmon_pipeline_tests.reading.following import (
    ON_A_LARGE_NETWORK,
    ON_A_SMALL_NETWORK,
    SLOTS,
    SOME,
    recording,
)

EPOCH: Final = 4
SLOT: Final = EPOCH * SLOTS + 1


class Refusals:
    """Refuses requests whose path ends as said, and counts what is asked."""

    def __init__(self, *endings: str) -> None:
        self.endings = endings
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Response | None:
        self.asked.append(request.url.path)
        if self.endings and request.url.path.endswith(self.endings):
            return Response('{"code":500,"message":"not now"}', 500, media_type="application/json")
        return None


@contextmanager
def node_at(slot: int, faults: Refusals) -> Iterator[str]:
    clock = ManualClock()
    node = ReplayNode(recording(), live=True, now=clock, client="lodestar", faults=faults)
    with BackgroundReplayNode(node) as served:
        clock.move_to(node.clock, slot)
        yield served.url


def captured_at(
    url: str, boundary: BoundaryCapture, watch: Watch
) -> tuple[CaptureReport, ChainSpec]:
    async def look() -> tuple[CaptureReport, ChainSpec]:
        async with client_opener(url)() as client:
            spec = await client.spec()
            return await boundary.capture(client, spec, watch, await client.head()), spec

    return asyncio.run(look())


def test_each_question_of_a_boundary_is_asked_once() -> None:
    faults, boundary = Refusals(), BoundaryCapture()
    with node_at(SLOT, faults) as url:
        assert boundary.is_due(EPOCH)
        report, _ = captured_at(url, boundary, ON_A_LARGE_NETWORK)
        assert not boundary.is_due(EPOCH)
        asked = len(faults.asked)
        again, _ = captured_at(url, boundary, ON_A_LARGE_NETWORK)
        assert boundary.is_due(EPOCH + 1)
    assert report.problems == again.problems == ()
    assert again.answers == ()
    of_epoch = {answer.request.split("?")[0].split(" ")[1]: answer for answer in report.answers}
    state = f"/eth/v1/beacon/states/{EPOCH * SLOTS}"
    assert of_epoch.keys() == {
        "/eth/v1/beacon/states/head/committees",
        "/eth/v1/beacon/states/head/sync_committees",
        f"{state}/validators",
        f"{state}/finality_checkpoints",
        f"/eth/v2/validator/duties/proposer/{EPOCH}",
        f"/eth/v1/beacon/rewards/attestations/{EPOCH - 2}",
    }
    assert {answer.epoch for answer in report.answers} == {EPOCH, EPOCH - 2}
    assert of_epoch[f"/eth/v1/beacon/rewards/attestations/{EPOCH - 2}"].epoch == EPOCH - 2
    # The second look asked what each client asks, for the head and the specification, no more.
    assert len(faults.asked) - asked < 6


@pytest.mark.parametrize("watch", [ON_A_LARGE_NETWORK, ON_A_SMALL_NETWORK])
def test_committees_are_kept_with_the_members_that_are_needed(watch: Watch) -> None:
    with node_at(SLOT, Refusals()) as url:
        report, _ = captured_at(url, BoundaryCapture(), watch)
    (kept,) = (one for one in report.answers if "/committees" in one.request)
    found = committees(kept.exchange.content)
    members = found.validator_index
    assert len(members) == 320
    if watch is ON_A_SMALL_NETWORK:
        assert np.array_equal(np.sort(members), np.arange(320))
    else:
        named = members[members >= 0]
        assert set(named.tolist()) == set(SOME)
        assert len(kept.body) < 2_000


def test_what_a_node_refuses_is_asked_for_a_few_times_and_said() -> None:
    faults, boundary = Refusals("/sync_committees"), BoundaryCapture()
    with node_at(SLOT, faults) as url:
        problems: list[str] = []
        for _ in range(5):
            report, _ = captured_at(url, boundary, ON_A_LARGE_NETWORK)
            problems += report.problems
        assert not boundary.is_due(EPOCH)
    assert len(problems) == 3
    assert all(f"sync committee of epoch {EPOCH}" in problem for problem in problems)
    assert all("not now" in problem for problem in problems)


def test_rewards_are_kept_of_own_blocks_only() -> None:
    faults = Refusals()
    with node_at(SLOT, faults) as url:

        async def look(watched: set[int]) -> CaptureReport:
            async with client_opener(url)() as client:
                spec, head = await client.spec(), await client.head()
                own = np.array(sorted(watched | {head.proposer_index}), dtype=np.int64)
                if not watched:
                    own = own[:0]
                return await capture_blocks(client, spec, [head], own)

        foreign, own = asyncio.run(look(set())), asyncio.run(look({1}))
    assert ["/blocks/" in one.request for one in foreign.answers] == [True]
    assert len(own.answers) == 2
    assert any("/rewards/blocks/" in one.request for one in own.answers)
    # Both name their block, so that they are true whatever the chain does.
    assert {one.block_root for one in own.answers} == {None}

"""Requests as an observer hears of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.request_observer import endpoint_of
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.errors import BeaconUnreachableError


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/eth/v1/beacon/genesis", "/eth/v1/beacon/genesis"),
        ("/eth/v1/beacon/states/genesis/root", "/eth/v1/beacon/states/{}/root"),
        ("/eth/v1/beacon/states/8/validators", "/eth/v1/beacon/states/{}/validators"),
        ("/eth/v2/beacon/blocks/0xab12", "/eth/v2/beacon/blocks/{}"),
        ("/eth/v1/beacon/headers/head", "/eth/v1/beacon/headers/{}"),
        ("/eth/v1/validator/duties/proposer/77", "/eth/v1/validator/duties/proposer/{}"),
    ],
)
def test_endpoints_do_not_name_what_is_asked_for(path: str, endpoint: str) -> None:
    assert endpoint_of(path) == endpoint


class Observed:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str, str]] = []
        self.waits: list[float] = []

    def answered(self, node: str, endpoint: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.answers.append((node, endpoint, outcome))

    def waited_for_rate_limit(self, node: str, seconds: float) -> None:
        self.waits.append(seconds)


def test_every_attempt_is_told_with_its_outcome_and_no_secrets() -> None:
    observed = Observed()
    answers: Iterator[httpx.Response | Exception] = iter(
        [httpx.Response(503), httpx.ReadTimeout("slow"), httpx.Response(429)]
    )

    def answer(request: httpx.Request) -> httpx.Response:
        result = next(answers)
        if isinstance(result, Exception):
            raise result
        return result

    options = NodeOptions(
        "http://user:hunter2@node/hunter2",
        retry=RetryPolicy(attempts=3, first_wait=0.001, longest_wait=0.001),
        observer=observed,
    )

    async def ask() -> None:
        async with BeaconClient.open(
            replace(options, burst=1, requests_per_second=50),
            transport=httpx.MockTransport(answer),
        ) as client:
            await client.syncing()

    with pytest.raises(BeaconUnreachableError):
        asyncio.run(ask())
    assert [outcome for _, _, outcome in observed.answers] == ["503", "ReadTimeout", "429"]
    assert {endpoint for _, endpoint, _ in observed.answers} == {"/eth/v1/node/syncing"}
    assert all("hunter2" not in node for node, _, _ in observed.answers)
    assert len(observed.waits) == 3
    assert sum(observed.waits) > 0.015

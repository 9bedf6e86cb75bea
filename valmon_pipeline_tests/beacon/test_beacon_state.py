"""The client reads whole states over HTTP: once in memory, within a limit, and errors by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from valmon_pipeline.beacon.archive import ArchiveWriter, read_exchanges
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.chain.beacon_state import BeaconState
from valmon_pipeline.errors import (
    MalformedAnswerError,
    NodeNotReadyError,
    ObjectUnavailableError,
    UnsupportedForkError,
)
from valmon_pipeline_tests.beacon.scripted_node import Received, Reply, ScriptedNode
from valmon_pipeline_tests.recordings import answers, state_bytes, state_version

T = TypeVar("T")
SPEC = "/eth/v1/config/spec"
GENESIS = "/eth/v1/beacon/genesis"
STATE = "/eth/v2/debug/beacon/states/{}"


def state_reply(slot: int, content: bytes | None = None, **headers: str) -> Reply:
    return Reply(
        body=state_bytes(slot) if content is None else content,
        headers={
            "Content-Type": "application/octet-stream",
            "Eth-Consensus-Version": state_version(slot),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )


def ask(node: ScriptedNode, *slots: int, **options: Any) -> list[BeaconState]:
    async def states(client: BeaconClient) -> list[BeaconState]:
        genesis = await client.genesis()
        return [await client.beacon_state(slot, genesis) for slot in slots]

    return with_client(node, states, **options)


def with_client(
    node: ScriptedNode,
    question: Callable[[BeaconClient], Awaitable[T]],
    *,
    archive: ArchiveWriter | None = None,
    **options: Any,
) -> T:
    for path in (SPEC, GENESIS):
        node.reply(path, Reply(body=json.loads(answers()[path].content)))
    retry = RetryPolicy(attempts=3, first_wait=0.001)

    async def run() -> T:
        known = NodeOptions(node.url, retry=retry, **options)
        async with BeaconClient.open(known, archive=archive) as client:
            return await question(client)

    return asyncio.run(run())


def test_a_state_is_asked_for_in_ssz_without_compression(node: ScriptedNode) -> None:
    node.reply(STATE.format(112), state_reply(112))
    (state,) = ask(node, 112)
    assert (state.slot, len(state)) == (112, 129)
    request = node.received[-1]
    assert request.headers["accept"] == "application/octet-stream"
    assert request.headers["accept-encoding"] == "identity"


def test_a_state_longer_than_the_limit_is_refused_before_it_is_read(node: ScriptedNode) -> None:
    node.reply(STATE.format(112), state_reply(112))
    with pytest.raises(MalformedAnswerError, match=r"states/112 .*longer than the 1000 bytes"):
        ask(node, 112, max_state_bytes=1000)


def test_a_state_of_unannounced_length_is_read_up_to_the_limit() -> None:
    content = state_bytes(112)
    sent = 0

    async def parts() -> Any:
        nonlocal sent
        for at in range(0, len(content), 1000):
            sent += 1000
            yield content[at : at + 1000]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path in (SPEC, GENESIS):
            return httpx.Response(200, content=answers()[request.url.path].content)
        headers = dict(state_reply(112).headers)
        return httpx.Response(200, headers=headers, content=parts())

    def state(most: int) -> BeaconState:
        async def run() -> BeaconState:
            options = NodeOptions("http://node", max_state_bytes=most)
            transport = httpx.MockTransport(answer)
            async with BeaconClient.open(options, transport=transport) as client:
                return await client.beacon_state(112, await client.genesis())

        return asyncio.run(run())

    assert len(state(len(content))) == 129
    sent = 0
    with pytest.raises(MalformedAnswerError, match="longer than the 5500 bytes"):
        state(5500)
    assert sent == 6000


def test_a_connection_that_breaks_within_the_state_is_tried_again(node: ScriptedNode) -> None:
    whole = state_reply(112)
    broken = Reply(body=whole.body, headers=whole.headers, truncated=True)
    node.reply(STATE.format(112), broken, whole)
    (state,) = ask(node, 112)
    assert len(state) == 129


def test_a_state_cut_off_by_a_gateway_names_request_and_field(node: ScriptedNode) -> None:
    node.reply(STATE.format(112), state_reply(112, state_bytes(112)[:-100]))
    with pytest.raises(
        MalformedAnswerError, match=r"GET /eth/v2/debug/beacon/states/112 of .*: field .*expected"
    ):
        ask(node, 112)


def test_what_is_no_state_is_refused(node: ScriptedNode) -> None:
    node.reply(STATE.format(8), Reply(body={"data": {}}))
    with pytest.raises(MalformedAnswerError, match="answer is application/json, expected"):
        ask(node, 8)
    node.reply(STATE.format(16), state_reply(16, Eth_Execution_Optimistic="true"))
    with pytest.raises(NodeNotReadyError, match="states/16"):
        ask(node, 16)
    node.reply(STATE.format(24), state_reply(24, Eth_Consensus_Version="heze"))
    with pytest.raises(UnsupportedForkError, match=r"states/24 .*fork 'heze'"):
        ask(node, 24)


def test_a_node_without_the_endpoint_or_the_state_has_it_not(node: ScriptedNode) -> None:
    with pytest.raises(ObjectUnavailableError, match="states/8"):
        ask(node, 8)


def test_a_registry_smaller_than_that_of_the_state_before_is_refused(node: ScriptedNode) -> None:
    def of_another_slot(request: Received) -> Reply:
        content = bytearray(state_bytes(56))  # 128 validators
        content[40:48] = (72).to_bytes(8, "little")
        return state_reply(56, bytes(content))

    node.reply(STATE.format(64), state_reply(64))
    node.reply(STATE.format(72), of_another_slot)
    with pytest.raises(
        MalformedAnswerError,
        match=r"states/72 .*validators \(rows\) is 128, expected at least 129",
    ):
        ask(node, 64, 72)
    node.reply(STATE.format(56), state_reply(56))
    earlier, later = ask(node, 56, 64)
    assert (len(earlier), len(later)) == (128, 129)
    later, earlier = ask(node, 64, 56)
    assert (len(earlier), len(later)) == (128, 129)


def test_states_are_not_archived(node: ScriptedNode, tmp_path: Path) -> None:
    node.reply(STATE.format(112), state_reply(112))
    path = tmp_path / "archive.jsonl.zst"
    with ArchiveWriter(path) as archive:
        ask_states = ask(node, 112, archive=archive)
    assert len(ask_states[0]) == 129
    assert {exchange.path for exchange in read_exchanges(path)} == {SPEC, GENESIS}

"""Blocks as the node serves them: SSZ where it can, JSON where it cannot, the same block."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.answer_keeper import AnswerKeeper
from valmon_pipeline.beacon.archive import ArchiveWriter, ExchangeSink, read_exchanges
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.subject import asking_about, epoch_subject
from valmon_pipeline.beacon.transports.archive import ReplayTransport
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.errors import MalformedAnswerError, NodeNotReadyError, ObjectUnavailableError
from valmon_pipeline_tests.beacon.scripted_node import Received, Reply, ScriptedNode
from valmon_pipeline_tests.beacon.ssz_node import SszBlocksTransport
from valmon_pipeline_tests.recordings import RECORDING, answers

T = TypeVar("T")
SPEC = "/eth/v1/config/spec"
ASKED = "application/octet-stream;q=1,application/json;q=0.9"


def path_of(slot: int, *, blinded: bool = False) -> str:
    return f"/eth/v{1 if blinded else 2}/beacon/{'blinded_' * blinded}blocks/{slot}"


def recorded_slots() -> list[int]:
    """Slots with a block, of Deneb and Electra."""
    return [slot for slot in range(20, 60) if path_of(slot) in answers()]


SLOT, NEXT_SLOT = recorded_slots()[:2]


def recorded_spec() -> ChainSpec:
    return ChainSpec.from_config(json.loads(answers()[SPEC].content)["data"])


def run_with(
    question: Callable[[BeaconClient], Awaitable[T]],
    transport: httpx.AsyncBaseTransport,
    archive: ExchangeSink | None = None,
) -> T:
    async def run() -> T:
        async with BeaconClient.open(
            NodeOptions("http://node"), archive=archive, phase="final", transport=transport
        ) as client:
            return await question(client)

    return asyncio.run(run())


def json_node() -> httpx.AsyncBaseTransport:
    return ReplayTransport(read_exchanges(RECORDING))


def ssz_node() -> SszBlocksTransport:
    return SszBlocksTransport(recorded_spec(), json_node())


async def all_blocks(client: BeaconClient) -> list[Block]:
    return [
        *[await client.block(slot) for slot in recorded_slots()],
        *[await client.blinded_block(slot) for slot in recorded_slots()],
    ]


def ssz_answer(slot: int) -> tuple[bytes, dict[str, str]]:
    """What the node in SSZ answers for the block of a slot."""

    async def ask() -> httpx.Response:
        url = f"http://node{path_of(slot)}"
        request = httpx.Request("GET", url, headers={"accept": ASKED})
        return await ssz_node().handle_async_request(request)

    response = asyncio.run(ask())
    names = ("Content-Type", "Eth-Consensus-Version")
    return response.content, {name: response.headers[name] for name in names}


def scripted(node: ScriptedNode, slot: int, reply: Callable[[Received], Reply | None]) -> None:
    """Serve a recorded block as ``reply`` says, or in JSON."""
    node.reply(SPEC, Reply(body=answers()[SPEC].content))
    recorded = answers()[path_of(slot)].content
    node.reply(path_of(slot), lambda request: reply(request) or Reply(body=recorded))


def ask(node: ScriptedNode, question: Callable[[BeaconClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with BeaconClient.open(NodeOptions(node.url)) as client:
            return await question(client)

    return asyncio.run(run())


def accepted(node: ScriptedNode) -> list[str]:
    return [one.headers["accept"] for one in node.received if one.path != SPEC]


def accepts_ssz(request: Received) -> bool:
    return "octet-stream" in request.headers["accept"]


def test_blocks_in_ssz_are_the_same_as_in_json() -> None:
    node = ssz_node()
    blocks = run_with(all_blocks, node)
    assert blocks == run_with(all_blocks, json_node())
    assert len(blocks) > 50
    assert set(node.accepted) == {ASKED}
    assert len(node.accepted) == len(blocks)


def test_the_withdrawals_of_a_blinded_block_are_unknown() -> None:
    for transport in (ssz_node(), json_node()):
        for block in run_with(all_blocks, transport)[len(recorded_slots()) :]:
            assert block.operations.withdrawals is None


def test_blocks_are_found_by_root_and_refused_for_a_missed_slot() -> None:
    header = json.loads(answers()[f"/eth/v1/beacon/headers/{SLOT}"].content)
    root = bytes.fromhex(header["data"]["root"][2:])
    missed = next(slot for slot in range(20, 60) if path_of(slot) not in answers())

    async def question(client: BeaconClient) -> Block:
        with pytest.raises(ObjectUnavailableError):
            await client.block(missed)
        return await client.block(root)

    app = ReplayNode(RECORDING).app
    served = SszBlocksTransport(recorded_spec(), httpx.ASGITransport(app))
    assert run_with(question, served) == run_with(lambda c: c.block(SLOT), json_node())
    assert served.accepted == [ASKED] * 2


def test_a_node_that_prefers_json_is_asked_once_a_block(node: ScriptedNode) -> None:
    scripted(node, SLOT, lambda _: None)

    async def question(client: BeaconClient) -> None:
        assert await client.block(SLOT) == await client.block(SLOT)

    ask(node, question)
    assert [one.path for one in node.received] == [path_of(SLOT)] * 2
    assert accepted(node) == [ASKED] * 2


def malformed(slot: int) -> Callable[[Received], Reply | None]:
    content, headers = ssz_answer(slot)
    return lambda request: (
        Reply(body=content[:-1], headers=headers) if accepts_ssz(request) else (None)
    )


def unnamed(slot: int) -> Callable[[Received], Reply | None]:
    content, _ = ssz_answer(slot)
    headers = {"Content-Type": "application/octet-stream"}
    return lambda request: Reply(body=content, headers=headers) if accepts_ssz(request) else None


def unknown_fork(slot: int) -> Callable[[Received], Reply | None]:
    content, headers = ssz_answer(slot)
    headers = {**headers, "Eth-Consensus-Version": "gloas"}
    return lambda request: Reply(body=content, headers=headers) if accepts_ssz(request) else None


def refuses(status: int) -> Callable[[int], Callable[[Received], Reply | None]]:
    return lambda _: lambda request: Reply(status) if accepts_ssz(request) else None


@pytest.mark.parametrize(
    ("node_that", "reason"),
    [
        (refuses(406), "HTTP 406"),
        (refuses(415), "HTTP 415"),
        (malformed, r"field message.body.bls_to_execution_changes \(offset\) is "),
        (unnamed, "field version is None"),
        (unknown_fork, "blocks of fork gloas cannot be read in SSZ"),
    ],
)
def test_a_node_whose_ssz_cannot_be_used_is_asked_for_json_from_then_on(
    node: ScriptedNode,
    caplog: pytest.LogCaptureFixture,
    node_that: Callable[[int], Callable[[Received], Reply | None]],
    reason: str,
) -> None:
    scripted(node, SLOT, node_that(SLOT))

    async def question(client: BeaconClient) -> list[Block]:
        together = await asyncio.gather(client.block(SLOT), client.block(SLOT))
        return [*together, await client.block(SLOT), await client.block(SLOT)]

    with caplog.at_level(logging.WARNING):
        blocks = ask(node, question)
    assert set(map(repr, blocks)) == {repr(run_with(lambda c: c.block(SLOT), json_node()))}
    # The first two may be asked side by side, before either is answered.
    assert accepted(node).count("application/json") == 4
    assert accepted(node)[0] == ASKED
    assert len(accepted(node)) <= 6
    (record,) = caplog.records
    assert re.fullmatch(
        rf"GET \S+ of \S+: {reason}.*\. Blocks are asked for in JSON from now on, not in SSZ",
        record.getMessage(),
    )


def test_an_optimistic_block_in_ssz_is_not_used(node: ScriptedNode) -> None:
    content, headers = ssz_answer(SLOT)
    optimistic = {**headers, "Eth-Execution-Optimistic": "true"}
    scripted(node, SLOT, lambda _: Reply(body=content, headers=optimistic))
    with pytest.raises(NodeNotReadyError, match="execution_optimistic"):
        ask(node, lambda client: client.block(SLOT))


def test_the_block_of_another_slot_is_refused_in_ssz_too(node: ScriptedNode) -> None:
    content, headers = ssz_answer(SLOT)
    scripted(node, NEXT_SLOT, lambda _: Reply(body=content, headers=headers))
    with pytest.raises(MalformedAnswerError, match=f"answered with the block of slot {SLOT}"):
        ask(node, lambda client: client.block(NEXT_SLOT))


def test_an_archive_gives_back_every_byte_of_ssz(tmp_path: Path) -> None:
    archive = tmp_path / "answers.jsonl.zst"
    with ArchiveWriter(archive) as writer:
        blocks = run_with(all_blocks, ssz_node(), writer)
    kept = {exchange.path: exchange for exchange in read_exchanges(archive)}
    for slot in recorded_slots():
        content, headers = ssz_answer(slot)
        assert kept[path_of(slot)].content == content
        assert kept[path_of(slot)].headers == {name.lower(): headers[name] for name in headers}

    async def replayed() -> list[Block]:
        async with BeaconClient.replay(archive) as client:
            return await all_blocks(client)

    assert asyncio.run(replayed()) == blocks


def test_a_block_asked_for_in_json_after_its_ssz_is_archived_in_json(tmp_path: Path) -> None:
    class Broken(SszBlocksTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if "octet-stream" not in response.headers["content-type"]:
                return response
            return httpx.Response(200, headers=response.headers, content=response.content[:-1])

    archive = tmp_path / "answers.jsonl.zst"
    with ArchiveWriter(archive) as writer:
        block = run_with(lambda c: c.block(SLOT), Broken(recorded_spec(), json_node()), writer)

    async def replayed() -> Block:
        async with BeaconClient.replay(archive) as client:
            return await client.block(SLOT)

    assert asyncio.run(replayed()) == block


def test_the_kept_answers_about_an_epoch_hold_its_blocks_in_ssz(tmp_path: Path) -> None:
    keeper = AnswerKeeper("node")
    subject = epoch_subject(3)
    with asking_about(subject):
        blocks = run_with(all_blocks, ssz_node(), keeper)
    archive = AnswerArchive(tmp_path.as_uri(), "devnet")
    archive.write(subject, keeper.archive_of(subject))

    async def replayed() -> list[Block]:
        async with BeaconClient.archived(archive, subject) as client:
            return await all_blocks(client)

    assert asyncio.run(replayed()) == blocks


@pytest.mark.parametrize("live", [False, True])
def test_a_replay_node_serves_archived_ssz_to_whoever_accepts_it(
    tmp_path: Path, live: bool
) -> None:
    archive = tmp_path / "answers.jsonl.zst"
    slots = recorded_slots()

    async def everything(client: BeaconClient) -> list[Block]:
        await client.spec()
        await client.genesis()
        for slot in range(slots[0], slots[-1] + 1):
            await client.header(slot)
        return [await client.block(slot) for slot in slots]

    with ArchiveWriter(archive) as writer:
        blocks = run_with(everything, ssz_node(), writer)
    with BackgroundReplayNode(
        ReplayNode(archive, live=live, start_slot=slots[-1] if live else None)
    ) as node:

        async def asked() -> list[Block]:
            async with BeaconClient.open(NodeOptions(node.url)) as client:
                return [await client.block(slot) for slot in slots]

        assert asyncio.run(asked()) == blocks
        url = f"{node.url}{path_of(slots[0])}"
        refused = httpx.get(url, headers={"accept": "application/json"})
        assert refused.status_code == 406
        content = httpx.get(url, headers={"accept": ASKED}).content
        assert content == ssz_answer(slots[0])[0]


def test_a_replay_node_that_has_only_json_answers_in_json() -> None:
    with BackgroundReplayNode(ReplayNode(RECORDING)) as node:
        answer = httpx.get(f"{node.url}{path_of(SLOT)}", headers={"accept": ASKED})
    assert answer.status_code == 200
    assert "json" in answer.headers["content-type"]
    assert answer.json()["data"] == json.loads(answers()[path_of(SLOT)].content)["data"]

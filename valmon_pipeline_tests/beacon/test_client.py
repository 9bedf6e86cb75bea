"""The client against a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import zstandard

from valmon_pipeline.beacon.archive import ArchiveWriter
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.errors import (
    BeaconUnreachableError,
    MalformedAnswerError,
    ObjectUnavailableError,
    RequestRefusedError,
)
from valmon_pipeline_tests.beacon.scripted_node import Received, Reply, ScriptedNode
from valmon_pipeline_tests.beacon.test_decode import ROOT, VALIDATOR, changed

T = TypeVar("T")
QUICK = RetryPolicy(attempts=3, first_wait=0.001)
VERSION = "/eth/v1/node/version"
REGISTRY = "/eth/v1/beacon/states/8/validators"


def ask(node: ScriptedNode, question: Callable[[BeaconClient], Awaitable[T]], **options: Any) -> T:
    async def run() -> T:
        settings = {"retry": QUICK, "timeout_seconds": 2.0, **options}
        async with BeaconClient.open(NodeOptions(node.url, **settings)) as client:
            return await question(client)

    return asyncio.run(run())


def header(slot: int) -> dict[str, object]:
    message = {"slot": str(slot), "proposer_index": "1", "parent_root": ROOT}
    return {"root": ROOT, "canonical": True, "header": {"message": message}}


def registry_rows(ids: list[str]) -> list[dict[str, Any]]:
    """Rows of a node that knows the indices below 100; their keys are the index repeated."""
    rows = []
    for name in ids:
        index = int(name[2:4], 16) if name.startswith("0x") else int(name)
        if index < 100:
            row = changed(VALIDATOR, ["index"], str(index))
            rows.append(changed(row, ["validator", "pubkey"], "0x" + f"{index:02x}" * 48))
    return rows


def by_post(request: Received) -> Reply:
    return Reply(body={"data": registry_rows(json.loads(request.body)["ids"])})


class TestFaults:
    def test_a_refused_connection_names_the_endpoint_and_the_attempts(self) -> None:
        node = ScriptedNode("http://user:secret@127.0.0.1:9")
        with pytest.raises(BeaconUnreachableError) as raised:
            ask(node, BeaconClient.node_version)
        assert "GET /eth/v1/node/version of http://127.0.0.1:9" in str(raised.value)
        assert "3 attempts" in str(raised.value)
        assert "secret" not in str(raised.value)

    def test_a_truncated_body_is_asked_for_again(self, node: ScriptedNode) -> None:
        whole = {"data": {"version": "Node/v1"}}
        node.reply(VERSION, Reply(body=whole, truncated=True), Reply(body=whole))
        assert ask(node, BeaconClient.node_version) == "Node/v1"

    def test_a_body_that_stays_truncated_is_no_answer(self, node: ScriptedNode) -> None:
        node.reply(VERSION, Reply(body={"data": {"version": "Node/v1"}}, truncated=True))
        with pytest.raises(BeaconUnreachableError, match="3 attempts"):
            ask(node, BeaconClient.node_version)

    def test_json_that_stays_cut_off_is_malformed(self, node: ScriptedNode) -> None:
        node.reply(VERSION, Reply(body=b'{"data": {"version": "No'))
        with pytest.raises(MalformedAnswerError, match="not complete JSON"):
            ask(node, BeaconClient.node_version)
        assert len(node.received) == QUICK.attempts

    def test_a_page_instead_of_json_is_malformed(self, node: ScriptedNode) -> None:
        node.reply(VERSION, Reply(body=b"<html>", headers={"Content-Type": "text/html"}))
        with pytest.raises(MalformedAnswerError, match=r"no beacon node.*a web page"):
            ask(node, BeaconClient.node_version)

    def test_busy_then_ready(self, node: ScriptedNode) -> None:
        node.reply(
            VERSION,
            Reply(503),
            Reply(429, headers={"Retry-After": "0"}),
            Reply(body={"data": {"version": "Node/v1"}}),
        )
        assert ask(node, BeaconClient.node_version) == "Node/v1"

    def test_a_retry_after_beyond_the_deadline_ends_the_matter(self, node: ScriptedNode) -> None:
        node.reply(VERSION, Reply(429, headers={"Retry-After": "1"}))

        async def impatient(client: BeaconClient) -> str:
            with client.deadline(0.5):
                return await client.node_version()

        started = time.monotonic()
        with pytest.raises(BeaconUnreachableError, match=r"HTTP 429.*after 1 attempt\b"):
            ask(node, impatient)
        assert time.monotonic() - started < 0.5

    def test_a_permanent_500_ends_with_the_nodes_words(self, node: ScriptedNode) -> None:
        node.reply(VERSION, Reply(500, {"code": 500, "message": "REGEN_ERROR"}))
        with pytest.raises(BeaconUnreachableError, match=r"HTTP 500 \(REGEN_ERROR\), after 3 att"):
            ask(node, BeaconClient.node_version)

    def test_a_hanging_node_times_out(self, node: ScriptedNode) -> None:
        node.reply(VERSION, Reply(hangs=True))
        with pytest.raises(BeaconUnreachableError, match="ReadTimeout"):
            ask(node, BeaconClient.node_version, timeout_seconds=0.05)

    def test_the_deadline_bounds_everything(self, node: ScriptedNode) -> None:
        node.reply(VERSION, Reply(hangs=True))

        async def impatient(client: BeaconClient) -> None:
            with client.deadline(60), client.deadline(0.1), client.deadline(60):
                await client.node_version()

        started = time.monotonic()
        with pytest.raises(BeaconUnreachableError, match="TimeoutError"):
            ask(node, impatient)
        assert time.monotonic() - started < 1.5

    def test_too_much_is_refused(self, node: ScriptedNode) -> None:
        node.data(VERSION, {"version": "x" * 1000})
        with pytest.raises(MalformedAnswerError, match="longer than the 500 bytes"):
            ask(node, BeaconClient.node_version, max_answer_bytes=500)

    @pytest.mark.parametrize("status", [400, 404])
    def test_pruned_history_is_unavailable(self, node: ScriptedNode, status: int) -> None:
        node.reply(REGISTRY, Reply(status, {"code": status, "message": "State not found"}))
        with pytest.raises(ObjectUnavailableError, match=rf"HTTP {status} \(State not found\)"):
            ask(node, lambda client: client.validators(8, EVERYONE))

    @pytest.mark.parametrize("status", [401, 403, 413, 501])
    def test_other_refusals_are_refusals(self, node: ScriptedNode, status: int) -> None:
        node.reply(VERSION, Reply(status))
        with pytest.raises(RequestRefusedError, match=f"HTTP {status}"):
            ask(node, BeaconClient.node_version)


class TestBlocks:
    def test_a_missed_slot_has_no_header_but_index_0_is_a_proposer(
        self, node: ScriptedNode
    ) -> None:
        node.data("/eth/v1/beacon/headers/8", header(8))
        found = ask(node, lambda client: client.header(8))
        assert found is not None
        assert found.root.hex() == ROOT[2:]
        assert ask(node, lambda client: client.header(9)) is None

    def test_a_header_that_cannot_be_had_is_not_a_missed_slot(self, node: ScriptedNode) -> None:
        node.reply("/eth/v1/beacon/headers/8", Reply(400))
        with pytest.raises(ObjectUnavailableError):
            ask(node, lambda client: client.header(8))

    def test_the_block_of_another_slot_is_refused(self, node: ScriptedNode) -> None:
        node.data("/eth/v1/beacon/headers/9", header(8))
        with pytest.raises(MalformedAnswerError, match="block of slot 8"):
            ask(node, lambda client: client.header(9))

    def test_roots_are_asked_for_in_hexadecimal(self, node: ScriptedNode) -> None:
        node.data(f"/eth/v1/beacon/headers/{ROOT}", header(8))
        assert ask(node, lambda client: client.header(bytes.fromhex(ROOT[2:]))) is not None


class TestValidators:
    def test_no_ids_ask_nobody(self, node: ScriptedNode) -> None:
        def nobody(client: BeaconClient) -> Awaitable[list[int]]:
            async def run() -> list[int]:
                return [
                    len(await client.validators(8, [])),
                    len(await client.attestation_rewards(1, [])),
                    len(await client.sync_committee_rewards(8, [])),
                    len(await client.attester_duties(1, [])),
                ]

            return run()

        assert ask(node, nobody) == [0, 0, 0, 0]
        assert node.received == []

    def test_ids_are_posted_as_strings_each_once(self, node: ScriptedNode) -> None:
        node.reply(REGISTRY, by_post)
        registry = ask(node, lambda client: client.validators(8, np.array([5, 0, 5, 200])))
        assert registry.validator_index.tolist() == [0, 5]
        (request,) = node.received
        assert request.body == b'{"ids":["0","5","200"]}'
        assert request.headers["content-type"] == "application/json"

    def test_a_validator_named_by_index_and_by_key_comes_once(self, node: ScriptedNode) -> None:
        node.reply(REGISTRY, by_post)
        registry = ask(node, lambda client: client.validators(8, [7, "07" * 48, "0x" + "08" * 48]))
        assert registry.validator_index.tolist() == [7, 8]
        assert len(node.received) == 2

    def test_rows_nobody_asked_for_are_ignored(self, node: ScriptedNode) -> None:
        node.data(REGISTRY, registry_rows(["1", "2", "3"]))
        assert ask(node, lambda client: client.validators(8, [2])).validator_index.tolist() == [2]

    def test_many_ids_are_asked_in_parts(self, node: ScriptedNode) -> None:
        node.reply(REGISTRY, by_post)
        registry = ask(node, lambda client: client.validators(8, range(20_001)))
        assert registry.validator_index.tolist() == list(range(100))
        assert sorted(len(json.loads(request.body)["ids"]) for request in node.received) == [
            1,
            10_000,
            10_000,
        ]

    @pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 415, 501])
    def test_a_node_without_the_post_is_asked_by_get(self, node: ScriptedNode, status: int) -> None:
        def by_get(request: Received) -> Reply:
            if request.method == "POST":
                return Reply(status)
            ids = [parameter.removeprefix("id=") for parameter in request.query.split("&")]
            assert len(ids) <= 64
            return Reply(body={"data": registry_rows(ids)})

        node.reply(REGISTRY, by_get)

        async def twice(client: BeaconClient) -> list[int]:
            await client.validators(8, [1])
            return (await client.validators(8, range(100))).validator_index.tolist()  # type: ignore[no-any-return]

        assert ask(node, twice) == list(range(100))
        assert [request.method for request in node.received] == ["POST", "GET", "GET", "GET"]

    def test_an_unknown_state_is_unavailable_by_either_method(self, node: ScriptedNode) -> None:
        with pytest.raises(ObjectUnavailableError, match=r"GET .*HTTP 404"):
            ask(node, lambda client: client.validators(8, range(1000)))
        methods = [one.method for one in node.received if one.path == REGISTRY]
        assert methods == ["POST", "GET"]

    def test_everyone_is_asked_for_explicitly(self, node: ScriptedNode) -> None:
        node.data(REGISTRY, registry_rows(["3", "0"]))
        registry = ask(node, lambda client: client.validators(8, EVERYONE))
        assert registry.validator_index.tolist() == [0, 3]
        assert [request.method for request in node.received] == ["GET"]


class TestRewards:
    def test_everyone_is_an_explicit_empty_list(self, node: ScriptedNode) -> None:
        node.data(
            "/eth/v1/beacon/rewards/attestations/5", {"total_rewards": [], "ideal_rewards": []}
        )
        node.data("/eth/v1/beacon/rewards/sync_committee/41", [])

        async def rewards(client: BeaconClient) -> None:
            await client.attestation_rewards(5, EVERYONE)
            await client.sync_committee_rewards(41, EVERYONE)

        ask(node, rewards)
        assert [request.body for request in node.received] == [b"[]", b"[]"]

    def test_parts_are_joined_and_strangers_left_out(self, node: ScriptedNode) -> None:
        def reward(index: int) -> dict[str, str]:
            return {"validator_index": str(index), "source": "1", "target": "2", "head": "3",
                    "inactivity": "0"}  # fmt: skip

        ideal = {"effective_balance": "32000000000", "source": "1", "target": "2", "head": "3"}

        def rewards(request: Received) -> Reply:
            rows = [reward(int(index)) for index in json.loads(request.body)] + [reward(99_999)]
            return Reply(body={"data": {"total_rewards": rows, "ideal_rewards": [ideal]}})

        node.reply("/eth/v1/beacon/rewards/attestations/5", rewards)
        answer = ask(node, lambda client: client.attestation_rewards(5, range(10_001)))
        assert answer.validator_index.tolist() == list(range(10_001))
        assert answer.ideal_effective_balance.tolist() == [32_000_000_000]
        assert len(node.received) == 2


class TestStatistics:
    def test_requests_bytes_and_retries_are_counted(self, node: ScriptedNode) -> None:
        body = b'{"data":{"version":"Node/v1"}}'
        node.reply(VERSION, Reply(503), Reply(body=body))

        async def count(client: BeaconClient) -> tuple[int, int, int]:
            await client.node_version()
            statistics = client.statistics
            return statistics.requests, statistics.retries, statistics.bytes_received

        assert ask(node, count) == (2, 1, len(body))


def test_a_node_behind_a_prefix_with_a_login(node: ScriptedNode) -> None:
    node.data("/secret" + VERSION, {"version": "Node/v1"})
    address = node.url.replace("http://", "http://user:secret@") + "/secret/"
    assert ask(ScriptedNode(address), BeaconClient.node_version) == "Node/v1"
    assert node.received[0].headers["authorization"].startswith("Basic ")


def test_recorded_answers_replay_without_a_node_and_without_secrets(
    node: ScriptedNode, tmp_path: Path
) -> None:
    node.data("/secret" + VERSION, {"version": "Node/v1"})
    node.data("/secret" + REGISTRY, registry_rows(["0", "1"]))
    path = tmp_path / "answers.jsonl.zst"
    options = NodeOptions(node.url.replace("http://", "http://user:secret@") + "/secret?key=secret")

    async def everything(client: BeaconClient) -> tuple[str, list[int], bool]:
        registry = await client.validators(8, [0, 1])
        missed = await client.header(9) is None
        return await client.node_version(), registry.validator_index.tolist(), missed

    async def record() -> tuple[str, list[int], bool]:
        with ArchiveWriter(path) as writer:
            async with BeaconClient.open(options, archive=writer, phase="final") as client:
                return await everything(client)

    async def replay() -> tuple[str, list[int], bool]:
        async with BeaconClient.replay(path) as client:
            with pytest.raises(ObjectUnavailableError, match="the archive has no answer"):
                await client.genesis()
            return await everything(client)

    assert asyncio.run(record()) == asyncio.run(replay()) == ("Node/v1", [0, 1], True)
    assert b"secret" not in zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    assert "secret" not in repr(options)

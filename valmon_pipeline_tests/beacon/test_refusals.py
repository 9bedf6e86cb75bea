"""What each client's refusals mean, and what the client makes of them over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from valmon_pipeline.beacon.circuit_breaker import BreakerPolicy, BreakerState
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.consensus_client import ConsensusClient
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.beacon.refusals import classify
from valmon_pipeline.beacon.request_observer import endpoint_of
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.errors import (
    BeaconUnreachableError,
    MalformedAnswerError,
    NodeNotReadyError,
    ObjectUnavailableError,
    RefusalKind,
    RequestRefusedError,
)
from valmon_pipeline_tests.beacon.scripted_node import Received, Reply, ScriptedNode
from valmon_pipeline_tests.devnet.test_client_profiles import REQUESTS, TABLES
from valmon_pipeline_tests.moody_node import moody_node, options

T = TypeVar("T")
VERSION = "/eth/v1/node/version"
SYNCING = "/eth/v1/node/syncing"
REGISTRY = "/eth/v1/beacon/states/8/validators"
COMMITTEES = "/eth/v1/beacon/states/8/committees"
SYNC_COMMITTEE = "/eth/v1/beacon/states/8/sync_committees"
BLOCK = "/eth/v2/beacon/blocks/8"
PROPOSERS = "/eth/v1/validator/duties/proposer/1"
ATTESTERS = "/eth/v1/validator/duties/attester/1"
SYNC_DUTIES = "/eth/v1/validator/duties/sync/1"
REWARDS = "/eth/v1/beacon/rewards/attestations/1"
BLOCK_REWARDS = "/eth/v1/beacon/rewards/blocks/8"
SYNC_REWARDS = "/eth/v1/beacon/rewards/sync_committee/8"
LIVENESS = "/eth/v1/validator/liveness/1"
Client, Kind = ConsensusClient, RefusalKind


@pytest.mark.parametrize(
    ("client", "status", "path", "said", "kind"),
    [
        (
            Client.LODESTAR,
            500,
            REGISTRY,
            "Historical state regen is not enabled, set --serveHistoricalState to fetch this data",
            Kind.GONE,
        ),
        (Client.LODESTAR, 500, REWARDS, "State is unavailable for slot 15", Kind.NOT_FOUND),
        (Client.LODESTAR, 400, COMMITTEES, "No cached state available for stateId", Kind.GONE),
        (Client.LODESTAR, 500, COMMITTEES, "No shuffling found for epoch 1", Kind.GONE),
        (Client.LODESTAR, 500, SYNC_COMMITTEE, "Empty SyncCommitteeCache", Kind.GONE),
        (Client.LODESTAR, 500, BLOCK_REWARDS, "REGEN_ERROR_BLOCK_NOT_IN_FORKCHOICE", Kind.GONE),
        (
            Client.LODESTAR,
            500,
            BLOCK_REWARDS,
            "Pre-state is unavailable given block's parent root 0xab",
            Kind.GONE,
        ),
        (
            Client.LODESTAR,
            500,
            REGISTRY,
            "Failed to generate historical state for slot 8",
            Kind.GONE,
        ),
        (Client.LODESTAR, 404, REGISTRY, "State not found for id '8'", Kind.NOT_YET),
        (Client.LODESTAR, 404, BLOCK, "Block not found for id '8'", Kind.NOT_FOUND),
        (Client.LODESTAR, 500, REGISTRY, "out of cheese", Kind.FAILED),
        (Client.TEKU, 503, PROPOSERS, "Service unavailable", Kind.GONE),
        (
            Client.TEKU,
            503,
            ATTESTERS,
            "Beacon node is currently syncing and not serving requests",
            Kind.GONE,
        ),
        (
            Client.TEKU,
            400,
            REWARDS,
            "Invalid epoch range. Latest available epoch for reward calculation is 7",
            Kind.NOT_FOUND,
        ),
        (Client.TEKU, 404, REGISTRY, "Not found", Kind.GONE),
        (Client.TEKU, 503, SYNCING, "Service unavailable", Kind.OVERLOADED),
        (Client.TEKU, 204, REGISTRY, "", Kind.SYNCING),
        (
            Client.PRYSM,
            500,
            REGISTRY,
            "Could not get state: requested slot is in the future",
            Kind.NOT_YET,
        ),
        (
            Client.PRYSM,
            400,
            BLOCK,
            "could not reconstruct full execution payload to create signed beacon block",
            Kind.EXECUTION_CLIENT,
        ),
        (
            Client.PRYSM,
            404,
            REWARDS,
            "Attestation rewards are available after two epoch transitions to ensure",
            Kind.NOT_YET,
        ),
        (Client.PRYSM, 404, REGISTRY, "State not found", Kind.GONE),
        (Client.PRYSM, 400, REWARDS, "Validator index 4711 is too large", Kind.BAD_REQUEST),
        (Client.PRYSM, 503, REGISTRY, "request timed out", Kind.OVERLOADED),
        (Client.GRANDINE, 404, REWARDS, "", Kind.NO_SUCH_ROUTE),
        (Client.GRANDINE, 404, BLOCK, "block not found", Kind.NOT_FOUND),
        (
            Client.GRANDINE,
            500,
            BLOCK_REWARDS,
            "internal error: state not found in fork choice store",
            Kind.GONE,
        ),
        (Client.GRANDINE, 500, LIVENESS, "liveness tracking not enabled", Kind.NO_SUCH_ROUTE),
        (Client.LIGHTHOUSE, 404, REGISTRY, "NOT_FOUND: beacon state at slot 8", Kind.GONE),
        (
            Client.LIGHTHOUSE,
            404,
            BLOCK_REWARDS,
            "NOT_FOUND: Parent state is not available! MissingBeaconState(0xab)",
            Kind.GONE,
        ),
        (Client.LIGHTHOUSE, 404, BLOCK, "NOT_FOUND: beacon block at slot 8", Kind.NOT_FOUND),
        (Client.LIGHTHOUSE, 500, SYNC_DUTIES, "UNHANDLED_ERROR: x", Kind.GONE),
        (
            Client.LIGHTHOUSE,
            500,
            BLOCK,
            "BlockHashMissingFromExecutionLayer(0xab)",
            Kind.EXECUTION_CLIENT,
        ),
        (
            Client.LIGHTHOUSE,
            500,
            REGISTRY,
            "The task was dropped. The server is overloaded.",
            Kind.OVERLOADED,
        ),
        (Client.NIMBUS, 404, REWARDS, "", Kind.NO_SUCH_ROUTE),
        (
            Client.NIMBUS,
            400,
            PROPOSERS,
            "Trying to access a pruned historical state",
            Kind.GONE,
        ),
        (Client.UNKNOWN, 400, PROPOSERS, "Epoch is too far in the past", Kind.GONE),
        (Client.UNKNOWN, 503, REGISTRY, "beacon node is currently syncing", Kind.SYNCING),
        (Client.UNKNOWN, 503, PROPOSERS, "", Kind.OVERLOADED),
        (Client.UNKNOWN, 500, REGISTRY, "", Kind.FAILED),
        (Client.UNKNOWN, 404, REWARDS, "", Kind.NOT_FOUND),
        (Client.UNKNOWN, 400, REWARDS, "no", Kind.BAD_REQUEST),
        (Client.UNKNOWN, 429, REWARDS, "slow down", Kind.OVERLOADED),
        (Client.UNKNOWN, 302, REWARDS, "", Kind.REDIRECTED),
        (Client.UNKNOWN, 599, REWARDS, "", Kind.FAILED),
    ],
)
def test_a_refusal_means_what_its_client_means_by_it(
    client: ConsensusClient, status: int, path: str, said: str, kind: RefusalKind
) -> None:
    assert classify(client, status, path, endpoint_of(path), said).kind is kind


def test_nothing_that_a_client_refuses_by_its_age_is_taken_for_a_passing_trouble() -> None:
    for name, answers in TABLES.items():
        client = ConsensusClient.of_version(name)
        assert client is not Client.UNKNOWN
        for request, by_age in answers.items():
            path = REQUESTS[request][1].partition("?")[0]
            for status, said in by_age:
                if status != 200:
                    refusal = classify(client, status, path, endpoint_of(path), said)
                    assert not refusal.passes, (name, request, status, said)
                    assert refusal.kind is not Kind.SYNCING, (name, request, status, said)


@pytest.mark.parametrize(
    ("version", "client"),
    [
        ("Lighthouse/v5.3.0-d6ba8c3/x86_64-linux", Client.LIGHTHOUSE),
        ("teku/v25.1.0/linux-x86_64/-eclipseadoptium-openjdk64bitservervm-java-21", Client.TEKU),
        ("Lodestar/v1.39.1/1fc7f36", Client.LODESTAR),
        ("Prysm/v7.1.6 (linux amd64)", Client.PRYSM),
        ("Nimbus/v24.12.0-4e4402-stateofus", Client.NIMBUS),
        ("Grandine/2.0.0/x86_64-linux", Client.GRANDINE),
        ("", Client.UNKNOWN),
        ("Proxy/1", Client.UNKNOWN),
    ],
)
def test_a_client_is_known_by_its_version(version: str, client: ConsensusClient) -> None:
    assert ConsensusClient.of_version(version) is client


def ask(node: ScriptedNode, question: Callable[[BeaconClient], Awaitable[T]], **more: Any) -> T:
    async def run() -> T:
        settings = {"retry": RetryPolicy(attempts=3, first_wait=0.001), **more}
        async with BeaconClient.open(NodeOptions(node.url, **settings)) as client:
            return await question(client)

    return asyncio.run(run())


def requests(node: ScriptedNode, path: str) -> list[Received]:
    return [one for one in node.received if one.path == path]


def is_client(node: ScriptedNode, version: str) -> None:
    node.data(VERSION, {"version": version})


class TestOverHttp:
    def test_what_is_gone_for_good_is_asked_for_once(self, node: ScriptedNode) -> None:
        is_client(node, "Lodestar/v1.39.1")
        node.reply(
            REWARDS, Reply(500, {"code": 500, "message": "State is unavailable for slot 15"})
        )
        with pytest.raises(ObjectUnavailableError) as raised:
            ask(node, lambda client: client.attestation_rewards(1, EVERYONE))
        error = raised.value
        assert len(requests(node, REWARDS)) == 1
        assert (error.kind, error.status, error.path) == (Kind.NOT_FOUND, 500, REWARDS)
        assert error.said == "State is unavailable for slot 15"
        assert "Lodestar does not have the attestation rewards of epoch 1" in str(error)
        assert "another source or node" in str(error)

    def test_the_same_status_of_a_busy_node_is_asked_for_again(self, node: ScriptedNode) -> None:
        is_client(node, "Teku/v25.1")
        node.reply(BLOCK_REWARDS, Reply(503, {"message": "Service unavailable"}))
        with pytest.raises(BeaconUnreachableError, match=r"after 3 attempts.*too busy"):
            ask(node, lambda client: client.block_rewards(8))
        assert len(requests(node, BLOCK_REWARDS)) == 3

    def test_teku_says_busy_of_past_proposers_that_it_does_not_keep(
        self, node: ScriptedNode
    ) -> None:
        is_client(node, "teku/v25.1")
        node.reply(PROPOSERS, Reply(503, {"code": 503, "message": "Service unavailable"}))
        with pytest.raises(ObjectUnavailableError, match=r"the proposers of epoch 1"):
            ask(node, lambda client: client._get(PROPOSERS, lambda content: content))
        assert len(requests(node, PROPOSERS)) == 1

    def test_the_client_is_asked_for_its_name_once(self, node: ScriptedNode) -> None:
        is_client(node, "Lodestar/v1")
        node.reply(REWARDS, Reply(500, {"message": "State is unavailable for slot 15"}))

        async def twice(client: BeaconClient) -> None:
            for _ in range(2):
                with pytest.raises(ObjectUnavailableError):
                    await client.attestation_rewards(1, EVERYONE)

        ask(node, twice)
        assert len(requests(node, VERSION)) == 1

    def test_a_node_that_hides_its_name_is_judged_by_words_and_status(
        self, node: ScriptedNode
    ) -> None:
        node.reply(VERSION, Reply(403))
        node.reply(REWARDS, Reply(500, {"message": "State is unavailable for slot 15"}))
        with pytest.raises(ObjectUnavailableError, match="the node does not have"):
            ask(node, lambda client: client.attestation_rewards(1, EVERYONE))

    def test_the_execution_clients_absence_may_pass(self, node: ScriptedNode) -> None:
        is_client(node, "Prysm/v7")
        words = "could not reconstruct full execution payload to create signed beacon block"
        node.reply(BLOCK, Reply(400, {"message": words}))
        with pytest.raises(ObjectUnavailableError, match="needs its execution client") as raised:
            ask(node, lambda client: client.block(8))
        assert raised.value.kind is Kind.EXECUTION_CLIENT
        assert len(requests(node, BLOCK)) == 3

    def test_the_index_that_a_node_does_not_know_is_named(self, node: ScriptedNode) -> None:
        is_client(node, "Prysm/v7")
        node.reply(REWARDS, Reply(400, {"message": "Validator index 4711 is too large. Max is 9"}))
        with pytest.raises(ObjectUnavailableError, match="because of validator 4711") as raised:
            ask(node, lambda client: client.attestation_rewards(1, [4711]))
        assert raised.value.unknown_index == 4711

    def test_a_node_that_has_no_store_yet_is_not_ready(self, node: ScriptedNode) -> None:
        node.reply(SYNCING, Reply(204))
        with pytest.raises(NodeNotReadyError, match=r"HTTP 204.*starting or syncing"):
            ask(node, BeaconClient.syncing)

    def test_a_node_without_a_head_says_so(self, node: ScriptedNode) -> None:
        with pytest.raises(NodeNotReadyError, match="no head block yet"):
            ask(node, BeaconClient.head)

    def test_queues_that_are_gone_are_unknown(self, node: ScriptedNode) -> None:
        is_client(node, "Lodestar/v1")
        node.reply(
            "/eth/v1/beacon/states/8/pending_deposits",
            Reply(500, {"message": "Historical state regen is not enabled, set --x"}),
        )
        assert ask(node, lambda client: client.pending_deposits(8)) is None

    def test_a_healthy_node_is_not_left_alone_for_what_it_does_not_keep(self) -> None:
        recording = Recording.load(RECORDING_PATH)
        path = "/eth/v1/beacon/rewards/attestations/12"
        with (
            BackgroundReplayNode(ReplayNode(recording)) as truth,
            moody_node(recording, truth.url) as (url, mood),
        ):
            mood.refused[path] = 500
            mood.words = "Historical state regen is not enabled, set --serveHistoricalState"
            pool = NodePool([options(url)], policy=BreakerPolicy(1, 1e9))

            async def use() -> None:
                async with pool() as client:
                    await client.attestation_rewards(12, EVERYONE)

            with pytest.raises(ObjectUnavailableError):
                asyncio.run(use())
            assert set(pool.breaker_states().values()) == {BreakerState.CLOSED}
            assert mood.requests[path] == 1


class TestWrongAddress:
    @pytest.mark.parametrize(
        ("reply", "found"),
        [
            (Reply(200, b"", {"Content-Type": "text/plain"}), "HTTP 200 without a body"),
            (
                Reply(200, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600}}),
                "an execution client's JSON-RPC",
            ),
            (Reply(200, b"<!DOCTYPE html><html>", {"Content-Type": "text/html"}), "a web page"),
        ],
    )
    @pytest.mark.parametrize("question", [BeaconClient.syncing, BeaconClient.spec])
    def test_an_address_that_is_no_beacon_nodes_is_named_so(
        self,
        node: ScriptedNode,
        reply: Reply,
        found: str,
        question: Callable[[BeaconClient], Awaitable[object]],
    ) -> None:
        node.reply(SYNCING, reply)
        node.reply("/eth/v1/config/spec", reply)
        with pytest.raises(MalformedAnswerError, match="no beacon node's API") as raised:
            ask(node, question)
        message = str(raised.value)
        assert found in message
        assert "5052" in message
        assert "upgrade" not in message

    def test_a_missing_token_may_be_the_execution_clients(self, node: ScriptedNode) -> None:
        node.reply(SYNCING, Reply(401, b"missing token", {"Content-Type": "text/plain"}))
        with pytest.raises(RequestRefusedError, match=r"HTTP 401 \(missing token\)") as raised:
            ask(node, BeaconClient.syncing)
        assert "engine API" in str(raised.value)
        assert len(node.received) == 1

    def test_a_redirect_names_its_target_without_secrets(self, node: ScriptedNode) -> None:
        target = "https://other.example:8443/t0ken-of-mine/eth/v1/node/syncing?key=t0ken-of-mine"
        node.reply(SYNCING, Reply(308, b"", {"Location": target}))
        with pytest.raises(RequestRefusedError, match=r"https://other\.example:8443/…") as raised:
            ask(node, BeaconClient.syncing)
        assert raised.value.kind is Kind.REDIRECTED
        assert "t0ken" not in str(raised.value)
        assert "configure that address" in str(raised.value)

    def test_a_web_page_of_a_gateway_is_not_quoted(self, node: ScriptedNode) -> None:
        node.reply(BLOCK, Reply(404, b"<html><body>nginx</body></html>"))
        with pytest.raises(ObjectUnavailableError, match=r"HTTP 404 \(a web page\)"):
            ask(node, lambda client: client.block(8))

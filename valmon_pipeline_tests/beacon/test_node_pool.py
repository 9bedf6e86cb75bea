"""Several replay nodes, some of them in a bad way: which one is read from."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from valmon_pipeline.beacon.breaker_file import BreakerFile
from valmon_pipeline.beacon.circuit_breaker import BreakerPolicy, BreakerState
from valmon_pipeline.beacon.disagreements import DisagreementKind
from valmon_pipeline.beacon.node_health import ExpectedNetwork, NodeState
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    ConfigurationError,
    NodeNotReadyError,
    ObjectUnavailableError,
)
from valmon_pipeline_tests.moody_node import GENESIS, SPEC, SYNCING, Mood, moody_node, options

NOWHERE = "http://user:secret@127.0.0.1:9"
OTHER_ROOT = "0x" + "ab" * 32
BAD_MOODS: dict[str, tuple[dict[str, dict[str, Any]], NodeState, str]] = {
    "syncing": (
        {SYNCING: {"is_syncing": True, "sync_distance": "40"}},
        NodeState.SYNCING,
        "it is syncing, 40 slots behind",
    ),
    "optimistic": ({SYNCING: {"is_optimistic": True}}, NodeState.OPTIMISTIC, "not verified"),
    "behind": ({SYNCING: {"head_slot": "300"}}, NodeState.BEHIND, "slot 300, is 51 slots behind"),
    "malformed": ({SYNCING: {"head_slot": "many"}}, NodeState.UNUSABLE, "head_slot"),
}


@pytest.fixture(scope="module")
def _nodes() -> Iterator[list[tuple[str, Mood]]]:
    recording = Recording.load(RECORDING_PATH)
    with ExitStack() as stack:
        truth = stack.enter_context(BackgroundReplayNode(ReplayNode(recording)))
        yield [stack.enter_context(moody_node(recording, truth.url)) for _ in range(3)]


@pytest.fixture
def nodes(_nodes: list[tuple[str, Mood]]) -> list[tuple[str, Mood]]:
    """Three nodes in a good mood."""
    for _, mood in _nodes:
        mood.changed.clear()
        mood.refused.clear()
        mood.requests.clear()
        mood.everything_refused = None
    return _nodes


class Time:
    """The wall clock of a pool."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def pool_of(*urls: str, **more: Any) -> NodePool:
    return NodePool([options(url) for url in urls], **more)


def chosen(pool: NodePool, *avoid: str, error: Exception | None = None) -> str:
    """The node that is opened; "failed" if its use ends with ``error``."""

    async def use() -> str:
        async with pool(avoid) as client:
            if error is not None:
                raise error
            return client.name

    try:
        return asyncio.run(use())
    except BeaconApiError as raised:
        if raised is not error:
            raise
        return "failed"


@pytest.mark.parametrize(("changed", "state", "reason"), BAD_MOODS.values(), ids=BAD_MOODS)
def test_a_node_that_is_not_ready_is_passed_over(
    nodes: list[tuple[str, Mood]],
    changed: dict[str, dict[str, Any]],
    state: NodeState,
    reason: str,
) -> None:
    (first, mood), (second, _), (third, _) = nodes
    pool = pool_of(first, second, third)
    assert chosen(pool) == first
    mood.changed.update(changed)
    assert chosen(pool) == second
    health = asyncio.run(pool.reports())[0].health
    assert health.state is state
    assert reason in health.reason
    mood.changed.clear()
    assert chosen(pool) == first


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {GENESIS: {"genesis_validators_root": OTHER_ROOT}},
            f"genesis_validators_root is {OTHER_ROOT}",
        ),
        ({SPEC: {"BASE_REWARD_FACTOR": "65"}}, "its constants are not those of the network: base_"),
        ({SPEC: {"DENEB_FORK_EPOCH": "30"}}, "its constants are not those of the network: fork"),
    ],
    ids=["genesis", "constants", "forks"],
)
def test_a_node_of_another_network_is_never_read(
    nodes: list[tuple[str, Mood]], changed: dict[str, dict[str, Any]], reason: str
) -> None:
    (first, _), (second, mood), _ = nodes
    mood.changed.update(changed)
    pool = pool_of(first, second)
    health = asyncio.run(pool.reports())[1].health
    assert health.state is NodeState.OTHER_NETWORK
    assert reason in health.reason
    assert chosen(pool) == first
    with pytest.raises(NodeNotReadyError, match="network"):
        chosen(pool, first)


def stored_network(url: str) -> ExpectedNetwork:
    """The network of a node, as if it were stored."""

    async def ask() -> ExpectedNetwork:
        async with pool_of(url)() as client:
            return ExpectedNetwork.of(await client.spec(), await client.genesis())

    return asyncio.run(ask())


def test_what_is_stored_decides_about_the_network_not_the_first_node(
    nodes: list[tuple[str, Mood]],
) -> None:
    (first, mood), (second, _), _ = nodes
    network = stored_network(second)
    mood.changed[GENESIS] = {"genesis_validators_root": OTHER_ROOT}
    assert chosen(pool_of(first, second)) == first
    assert chosen(pool_of(first, second, stored_network=lambda: network)) == second


def test_a_fork_that_is_still_to_come_may_be_unknown_to_a_node(
    nodes: list[tuple[str, Mood]],
) -> None:
    (first, _), (second, mood), _ = nodes
    mood.changed[SPEC] = {"GLOAS_FORK_EPOCH": "5000"}
    assert all(report.health.is_ready for report in asyncio.run(pool_of(first, second).reports()))


def test_limits_of_blocks_may_be_listed_by_one_node_and_not_by_another(
    nodes: list[tuple[str, Mood]],
) -> None:
    (first, _), (second, mood), _ = nodes
    mood.changed[SPEC] = {"MAX_ATTESTATIONS_ELECTRA": "9"}
    assert all(report.health.is_ready for report in asyncio.run(pool_of(first, second).reports()))


def test_every_nodes_reason_is_given_without_secrets(nodes: list[tuple[str, Mood]]) -> None:
    (first, one), (second, other), _ = nodes
    one.changed[SYNCING] = {"is_optimistic": True}
    other.changed[SYNCING] = {"is_syncing": True}
    with pytest.raises(NodeNotReadyError) as raised:
        chosen(pool_of(NOWHERE, first, second))
    message = str(raised.value)
    assert "http://127.0.0.1:9: GET /eth/v1/" in message
    assert f"{first}: its head is not verified" in message
    assert f"{second}: it is syncing" in message
    assert "secret" not in message
    with pytest.raises(BeaconUnreachableError, match="no beacon node can be used"):
        chosen(pool_of(NOWHERE))
    with pytest.raises(ConfigurationError, match="no beacon node is configured"):
        chosen(pool_of())


def test_a_flapping_node_is_left_alone_for_a_while_and_then_preferred_again(
    nodes: list[tuple[str, Mood]],
) -> None:
    (first, mood), (second, _), _ = nodes
    clock = Time()
    pool = pool_of(first, second, policy=BreakerPolicy(3, 30), now=clock)
    mood.everything_refused = 503
    assert [chosen(pool) for _ in range(3)] == [second] * 3
    mood.requests.clear()
    assert chosen(pool) == second
    assert not mood.requests, "a node whose breaker is open was asked"
    clock.now += 30
    assert chosen(pool) == second
    assert mood.requests, "a half-open breaker gives one more chance"
    mood.everything_refused = None
    assert chosen(pool) == second
    clock.now += 30
    assert chosen(pool) == first


def test_a_node_that_fails_in_use_is_passed_over_though_its_probes_are_answered(
    nodes: list[tuple[str, Mood]], tmp_path: Path
) -> None:
    (first, _), (second, _), _ = nodes
    clock = Time()
    path = tmp_path / "nodes.json"

    def new_process() -> NodePool:
        return pool_of(
            first, second, breakers=BreakerFile(path), policy=BreakerPolicy(2, 30), now=clock
        )

    error = BeaconUnreachableError("cut off")
    assert [chosen(new_process(), error=error) for _ in range(2)] == ["failed"] * 2
    assert chosen(new_process()) == second
    report = asyncio.run(new_process().reports())[0]
    assert report.health.is_ready
    assert report.breaker_state is BreakerState.OPEN
    assert report.breaker.last_error == "cut off"
    clock.now += 30
    assert chosen(new_process()) == first
    assert asyncio.run(new_process().reports())[0].breaker_state is BreakerState.CLOSED


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_node_that_keeps_its_version_to_itself_is_used(
    nodes: list[tuple[str, Mood]], status: int
) -> None:
    (first, mood), *_ = nodes
    mood.refused["/eth/v1/node/version"] = status
    assert chosen(pool_of(first)) == first


def test_what_a_node_cannot_have_is_not_held_against_it(nodes: list[tuple[str, Mood]]) -> None:
    (first, _), (second, _), _ = nodes
    pool = pool_of(first, second, policy=BreakerPolicy(1, 30))
    assert chosen(pool, error=ObjectUnavailableError("pruned")) == "failed"
    assert chosen(pool) == first


def test_the_only_node_is_asked_even_if_its_breaker_is_open(
    nodes: list[tuple[str, Mood]],
) -> None:
    (first, mood), *_ = nodes
    pool = pool_of(first, policy=BreakerPolicy(1, 1e9))
    mood.everything_refused = 503
    with pytest.raises(BeaconUnreachableError):
        chosen(pool)
    mood.everything_refused = None
    assert chosen(pool) == first


def test_nodes_to_avoid_are_not_asked(nodes: list[tuple[str, Mood]]) -> None:
    (first, mood), (second, _), _ = nodes
    assert chosen(pool_of(first, second), first) == second
    assert not mood.requests
    with pytest.raises(BeaconUnreachableError, match="no other beacon node"):
        chosen(pool_of(first, second), first, second)


def test_two_accounts_at_one_host_have_names_of_their_own(
    nodes: list[tuple[str, Mood]], tmp_path: Path
) -> None:
    (url, _), *_ = nodes
    hosted = [url.replace("http://", f"http://{name}:hunter2@") for name in ("a", "b")]
    breakers = BreakerFile(tmp_path / "nodes.json")
    pool = pool_of(*hosted, breakers=breakers)
    assert chosen(pool, url) == f"{url} (2)"
    assert chosen(pool, error=BeaconUnreachableError("x")) == "failed"
    written = (tmp_path / "nodes.json").read_text()
    assert list(json.loads(written)) == [url]
    assert "hunter2" not in written


HEADERS = "/eth/v1/beacon/headers"
FINALITY = "/eth/v1/beacon/states/head/finality_checkpoints"


class TestDisagreements:
    def test_nodes_of_one_chain_agree(self, nodes: list[tuple[str, Mood]]) -> None:
        pool = pool_of(*(url for url, _ in nodes))
        assert asyncio.run(pool.disagreements()) == []
        assert {report.health.disagreement for report in asyncio.run(pool.reports())} == {""}

    def test_a_finalized_root_that_differs_names_both(self, nodes: list[tuple[str, Mood]]) -> None:
        (first, _), (second, mood), (third, _) = nodes
        pool = pool_of(first, second, third)
        epoch = asyncio.run(finalized(first))
        mood.changed[FINALITY] = {"finalized": {"epoch": str(epoch), "root": OTHER_ROOT}}
        found = asyncio.run(pool.disagreements())
        assert [(one.kind, one.nodes) for one in found] == [
            (DisagreementKind.FINALITY, (first, second)),
            (DisagreementKind.FINALITY, (second, third)),
        ]
        assert f"finalized different blocks for epoch {epoch}" in found[0].text
        assert OTHER_ROOT in found[0].text
        reports = asyncio.run(pool.reports())
        assert second in reports[0].health.disagreement
        assert reports[0].health.is_ready, "which of two is right is for people to find out"

    def test_another_finalized_epoch_is_no_contradiction(
        self, nodes: list[tuple[str, Mood]]
    ) -> None:
        (first, _), (second, mood), _ = nodes
        epoch = asyncio.run(finalized(first))
        mood.changed[FINALITY] = {"finalized": {"epoch": str(epoch - 1), "root": OTHER_ROOT}}
        assert asyncio.run(pool_of(first, second).disagreements()) == []

    def test_heads_that_do_not_join_within_two_epochs_are_named(
        self, nodes: list[tuple[str, Mood]]
    ) -> None:
        (first, _), (second, mood), _ = nodes
        slot = asyncio.run(slot_that_must_be_common(first))
        mood.changed[f"{HEADERS}/{slot}"] = {"root": OTHER_ROOT}
        (found,) = asyncio.run(pool_of(first, second).disagreements())
        assert (found.kind, found.nodes) == (DisagreementKind.HEADS, (first, second))
        assert f"block {OTHER_ROOT} of slot {slot}" in found.text

    def test_a_fork_that_came_at_another_epoch_is_named(
        self, nodes: list[tuple[str, Mood]]
    ) -> None:
        (first, _), (second, mood), _ = nodes
        mood.changed[SPEC] = {"DENEB_FORK_EPOCH": "30"}
        (found,) = asyncio.run(pool_of(first, second).disagreements())
        assert (found.kind, found.nodes) == (DisagreementKind.FORKS, (first, second))
        assert "DENEB" in found.text

    def test_a_node_that_does_not_say_contradicts_nobody(
        self, nodes: list[tuple[str, Mood]]
    ) -> None:
        (first, _), (second, mood), _ = nodes
        mood.refused[FINALITY] = 404
        assert asyncio.run(pool_of(first, second, NOWHERE).disagreements()) == []

    def test_they_are_compared_as_often_as_is_wanted(self, nodes: list[tuple[str, Mood]]) -> None:
        (first, _), (second, mood), _ = nodes
        clock = Time()
        pool = pool_of(first, second, now=clock)
        assert asyncio.run(pool.disagreements(at_most_every=60)) == []
        epoch = asyncio.run(finalized(first))
        mood.changed[FINALITY] = {"finalized": {"epoch": str(epoch), "root": OTHER_ROOT}}
        assert asyncio.run(pool.disagreements(at_most_every=60)) == []
        clock.now += 60
        assert asyncio.run(pool.disagreements(at_most_every=60))

    def test_an_only_node_is_not_asked(self, nodes: list[tuple[str, Mood]]) -> None:
        (first, mood), *_ = nodes
        assert asyncio.run(pool_of(first).disagreements()) == []
        assert not mood.requests


async def finalized(url: str) -> int:
    async with pool_of(url)() as client:
        return (await client.finality_checkpoints("head")).finalized.epoch


async def slot_that_must_be_common(url: str) -> int:
    """The newest slot with a block up to two epochs before the head."""
    async with pool_of(url)() as client:
        spec, slot = await client.spec(), (await client.syncing()).head_slot
        slot -= 2 * spec.slots_per_epoch
        while await client.header(slot) is None:
            slot -= 1
        return slot

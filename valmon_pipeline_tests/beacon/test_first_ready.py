from __future__ import annotations

import asyncio
from typing import Any

import pytest

from valmon_pipeline.beacon.client import NodeOptions
from valmon_pipeline.beacon.first_ready import open_first_ready
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.errors import BeaconUnreachableError, NodeNotReadyError
from valmon_pipeline_tests.beacon.scripted_node import ScriptedNode, scripted_node
from valmon_pipeline_tests.beacon.test_decode import ROOT

SYNCED = {"head_slot": "9", "sync_distance": "0", "is_syncing": False, "is_optimistic": False}
QUICK = RetryPolicy(attempts=2, first_wait=0.001)
NOWHERE = "http://user:secret@127.0.0.1:9"


def serve(node: ScriptedNode, **status: Any) -> None:
    node.data("/eth/v1/node/syncing", {**SYNCED, **status})
    node.data(
        "/eth/v1/beacon/genesis",
        {
            "genesis_time": "1",
            "genesis_validators_root": ROOT,
            "genesis_fork_version": "0x00000001",
        },
    )


def chosen(*urls: str, genesis_validators_root: bytes | None = None) -> str:
    async def run() -> str:
        nodes = [NodeOptions(url, timeout_seconds=2, retry=QUICK) for url in urls]
        client = await open_first_ready(nodes, genesis_validators_root=genesis_validators_root)
        async with client:
            return client.name

    return asyncio.run(run())


def test_the_first_node_that_is_ready_is_taken(node: ScriptedNode) -> None:
    serve(node)
    with scripted_node() as behind:
        serve(behind, is_syncing=True, sync_distance="40")
        assert chosen(NOWHERE, behind.url, node.url) == node.url


def test_every_nodes_reason_is_given(node: ScriptedNode) -> None:
    serve(node, is_optimistic=True)
    with scripted_node() as behind:
        serve(behind, is_syncing=True, sync_distance="40")
        with pytest.raises(NodeNotReadyError) as raised:
            chosen(NOWHERE, behind.url, node.url)
    message = str(raised.value)
    assert "http://127.0.0.1:9: GET /eth/v1/node/syncing" in message
    assert f"{behind.url}: it is syncing, 40 slots behind" in message
    assert f"{node.url}: its head is not verified" in message
    assert "secret" not in message


def test_a_node_of_another_network_is_not_ready(node: ScriptedNode) -> None:
    serve(node)
    with pytest.raises(NodeNotReadyError, match="another network"):
        chosen(node.url, genesis_validators_root=bytes(32))


def test_no_node_at_all() -> None:
    with pytest.raises(BeaconUnreachableError, match="no beacon node can be used"):
        chosen(NOWHERE)

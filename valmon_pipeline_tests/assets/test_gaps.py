"""Nothing is stored as missed that the chain does not prove."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.assets.loading import LoadOutcome
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import FEW, client_opener, node_options
from valmon_pipeline_tests.assets.stored import fresh_warehouse, stored_epochs, table_hashes

EPOCH = 10
"""Its first slot, 80, has a block; the block of slot 81 names it as its parent."""
LOST_ROOT = "0x361cfcd26c6a83f1b01599cb4a557d707734d5dafe7138d3ea40f32860edd4d5"
OF_A_BLOCK = re.compile(
    r"/eth/v\d/beacon/(headers|blocks|blinded_blocks|rewards/\w+)/(?P<id>[^/]+)"
)

Lost = Callable[[str], bool]


def losing(is_lost: Lost) -> Callable[[Request], Response | None]:
    """A node that does not know some blocks, by slot or by root; it answers like for no block."""

    def fault(request: Request) -> Response | None:
        match = OF_A_BLOCK.fullmatch(request.url.path)
        if match is None or not is_lost(match["id"]):
            return None
        body = {"code": 404, "message": f"Block not found for id '{match['id']}'"}
        return Response(json.dumps(body), 404, media_type="application/json")

    return fault


@contextmanager
def node_without(true_node: ReplayNode, is_lost: Lost) -> Iterator[str]:
    with BackgroundReplayNode(ReplayNode(true_node.recording, faults=losing(is_lost))) as node:
        yield node.url


@pytest.fixture
def own_warehouse(database_url: str) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        yield warehouse


def run(url: str, warehouse: Warehouse, *epochs: int) -> LoadOutcome:
    return EpochLoader(client_opener(url), warehouse, FEW).run(epochs)


def test_a_block_that_a_node_lost_refuses_the_epoch_and_no_other(
    true_node: ReplayNode, own_warehouse: Warehouse
) -> None:
    """After checkpoint sync the checkpoint block itself may be missing for ever."""
    with node_without(true_node, {"80", LOST_ROOT}.__contains__) as url:
        outcome = run(url, own_warehouse, 8, EPOCH, 11)
    assert outcome.stored == [8, 11]
    reason = outcome.failures[EPOCH]
    for name in ("slot 80", "block of slot 81", LOST_ROOT, "Ask another node", url):
        assert name in reason
    assert stored_epochs(own_warehouse) == [8, 11]


def test_a_second_node_that_has_the_block_gives_the_epoch(
    true_node: ReplayNode, true_node_url: str, own_warehouse: Warehouse
) -> None:
    with node_without(true_node, {"80", LOST_ROOT}.__contains__) as url:
        nodes = NodePool([node_options(url), node_options(true_node_url)], now=lambda: 1e12)
        outcome = EpochLoader(nodes, own_warehouse, FEW).run([EPOCH])
    assert outcome.stored == [EPOCH]
    first = own_warehouse.read("blocks", epochs=[EPOCH]).to_dict("records")[0]
    assert (first["slot"], first["status"], first["proposer_index"]) == (80, "proposed", 2)
    assert first["block_root"] == bytes.fromhex(LOST_ROOT[2:])


def test_a_window_that_a_node_lost_as_a_whole_is_not_stored_as_missed(
    true_node: ReplayNode, own_warehouse: Warehouse
) -> None:
    window = range(80, 96)
    roots = {
        true_node.recording.blocks[slot].root
        for slot in window
        if slot in true_node.recording.blocks
    }
    lost = {*map(str, window), *roots}
    with node_without(true_node, lost.__contains__) as url:
        outcome = run(url, own_warehouse, EPOCH)
    assert outcome.stored == []
    assert "slots 80…95" in outcome.failures[EPOCH]


def test_a_block_that_is_found_by_its_root_alone_is_no_gap(
    true_node: ReplayNode, true_node_url: str, database_url: str
) -> None:
    """For seconds after finality some nodes do not find a finalized block by its slot."""
    hashes = []
    with node_without(true_node, {"80", "83", "90"}.__contains__) as url:
        for address in (url, true_node_url):
            with fresh_warehouse(database_url) as warehouse:
                assert run(address, warehouse, EPOCH).stored == [EPOCH]
                found = table_hashes(warehouse)
                # It names the node, and another node's address is another.
                del found["network_epochs"]
                hashes.append(found)
    assert hashes[0] == hashes[1]


def test_a_chain_without_any_block_in_a_window_is_stored_as_missed(
    true_node: ReplayNode, own_warehouse: Warehouse
) -> None:
    """The proof is the parent of the first block after it, which lies before the window."""
    recording = true_node.recording
    window = range(80, 96)
    child = next(slot for slot in recording.slots if slot >= 96 and slot in recording.blocks)
    before = recording.blocks[max(slot for slot in recording.blocks if slot < 80)]
    lost = {
        *map(str, window),
        *(recording.blocks[slot].root for slot in window if slot in recording.blocks),
    }
    child_root = recording.blocks[child].root

    def fault(request: Request) -> Response | None:
        missing = losing(lost.__contains__)(request)
        if missing is not None:
            return missing
        match = OF_A_BLOCK.fullmatch(request.url.path)
        if match is None or match["id"] not in (str(child), child_root):
            return None
        path = request.url.path
        exchange = recording.best("GET", path) or recording.best(
            "GET", path.replace(str(child), child_root)
        )
        assert exchange is not None
        parent = recording.blocks[child].parent_root.encode()
        content = exchange.content.replace(parent, before.root.encode())
        return Response(content, 200, exchange.response_headers)

    with BackgroundReplayNode(ReplayNode(recording, faults=fault)) as node:
        outcome = run(node.url, own_warehouse, EPOCH)
    assert outcome.failures == {}
    blocks = own_warehouse.read("blocks", epochs=[EPOCH])
    assert set(blocks["status"]) == {"missed"}
    outcomes = own_warehouse.read("attestation_outcomes", epochs=[EPOCH])
    assert not outcomes["included"].any()
    assert outcomes["earliest_inclusion_slot"].isna().all()

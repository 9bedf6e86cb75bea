"""A run goes on with the next node, and every epoch is the answers of one node alone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.beacon.circuit_breaker import BreakerPolicy
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.frames import contract_of
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import NETWORK, client_opener
from valmon_pipeline_tests.assets.stored import EPOCH_TABLES, fresh_warehouse
from valmon_pipeline_tests.moody_node import Mood, moody_node, options

EPOCHS = range(14, 22)


def rows(warehouse: Warehouse) -> dict[str, str]:
    """All that is stored, but for when it was and which node said so."""
    found = {}
    with warehouse.database.transaction("hash tables") as connection:
        for table in EPOCH_TABLES:
            keys = ", ".join(contract_of(table).key)
            row = "(to_jsonb(t) - 'materialized_at' - 'at' - 'node')::text"
            found[table] = connection.exec_driver_sql(
                f"SELECT count(*) || ' ' || md5(string_agg({row}, ' ' ORDER BY {keys})) "
                f"FROM {warehouse.schema}.{table} t"
            ).scalar_one()
    return found


def nodes_by_epoch(warehouse: Warehouse) -> dict[int, str]:
    """Whose answers each stored epoch is made of."""
    frame = warehouse.read("network_epochs", columns=["epoch", "node"])
    return dict(zip(frame["epoch"].tolist(), frame["node"].tolist(), strict=True))


@pytest.fixture(scope="module")
def undisturbed(database_url: str, true_node_url: str) -> dict[str, str]:
    with fresh_warehouse(database_url) as warehouse:
        opener = client_opener(true_node_url)
        assert EpochLoader(opener, warehouse, NETWORK).run(EPOCHS).failures == {}
        return rows(warehouse)


@pytest.fixture
def own_warehouse(database_url: str) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        yield warehouse


@contextmanager
def two_nodes(node: ReplayNode, true_url: str) -> Iterator[list[tuple[str, Mood]]]:
    with ExitStack() as stack:
        yield [stack.enter_context(moody_node(node.recording, true_url)) for _ in range(2)]


@pytest.fixture
def nodes(true_node: ReplayNode, true_node_url: str) -> Iterator[list[tuple[str, Mood]]]:
    """Two nodes in a good mood."""
    with two_nodes(true_node, true_node_url) as nodes:
        yield nodes


def pool_of(*urls: str) -> NodePool:
    return NodePool([options(url) for url in urls])


def test_a_node_that_dies_is_replaced_in_the_middle_of_a_run(
    true_node: ReplayNode, true_node_url: str, own_warehouse: Warehouse, undisturbed: dict[str, str]
) -> None:
    with ExitStack() as node:
        url = node.enter_context(BackgroundReplayNode(ReplayNode(true_node.recording))).url
        dying: list[threading.Thread] = []

        def on_read(epoch: int) -> None:
            if epoch == EPOCHS[2]:
                dying.append(threading.Thread(target=node.close))
                dying[0].start()

        loader = EpochLoader(pool_of(url, true_node_url), own_warehouse, NETWORK, on_read=on_read)
        outcome = loader.run(EPOCHS)
        dying[0].join()
    assert outcome.failures == {}
    assert outcome.stored == list(EPOCHS)
    assert rows(own_warehouse) == undisturbed
    whose = list(nodes_by_epoch(own_warehouse).values())
    assert whose[:3] == [url] * 3
    assert whose[-1] == true_node_url
    assert whose == sorted(whose, key=[url, true_node_url].index), "it went back to a dead node"


def test_an_epoch_of_which_a_node_lacks_a_fact_is_read_from_another_from_its_start(
    nodes: list[tuple[str, Mood]],
    own_warehouse: Warehouse,
    true_node: ReplayNode,
    undisturbed: dict[str, str],
) -> None:
    (first, pruned), (second, other) = nodes
    pruned.refused[f"/eth/v1/beacon/states/{17 * 8}/committees"] = 404
    materializer = EpochLoader(pool_of(first, second), own_warehouse, NETWORK)
    outcome = materializer.run(EPOCHS)
    assert outcome.failures == {}
    assert rows(own_warehouse) == undisturbed
    assert nodes_by_epoch(own_warehouse) == {
        epoch: first if epoch < 17 else second for epoch in EPOCHS
    }
    for slot in range(17 * 8, 19 * 8):
        assert other.requests[f"/eth/v2/beacon/blocks/{slot}"], "blocks of another node were used"


def test_an_epoch_fails_only_when_every_node_failed_and_says_why_for_each(
    nodes: list[tuple[str, Mood]], own_warehouse: Warehouse
) -> None:
    (first, one), (second, other) = nodes
    path = f"/eth/v2/beacon/blocks/{17 * 8 + 1}"
    one.refused[path] = other.refused[path] = 403
    materializer = EpochLoader(pool_of(first, second), own_warehouse, NETWORK)
    outcome = materializer.run(EPOCHS)
    # Epoch 16 has the slot in its window.
    assert set(outcome.failures) == {16, 17}
    for reason in outcome.failures.values():
        assert first in reason
        assert second in reason
    assert outcome.stored == [epoch for epoch in EPOCHS if epoch not in (16, 17)]


def test_answers_that_contradict_each_other_are_asked_of_another_node(
    nodes: list[tuple[str, Mood]], own_warehouse: Warehouse, undisturbed: dict[str, str]
) -> None:
    (first, one), (second, _) = nodes
    one.changed[f"/eth/v1/beacon/states/{17 * 8}/sync_committees"] = {
        "validators": [str(4711 + seat) for seat in range(32)]
    }
    materializer = EpochLoader(pool_of(first, second), own_warehouse, NETWORK)
    outcome = materializer.run([17, 18])
    assert outcome.failures == {}
    assert nodes_by_epoch(own_warehouse) == {17: second, 18: second}


def test_a_node_that_falls_silent_is_not_waited_for_twice(
    own_warehouse: Warehouse, true_node: ReplayNode, true_node_url: str
) -> None:
    silence = threading.Event()
    with BackgroundReplayNode(ReplayNode(true_node.recording)) as node:

        def silent(request: Request) -> Response | None:
            if request.url.path.endswith("/committees"):
                silence.wait(10)
            return None

        node.node.faults = silent
        retry = RetryPolicy(attempts_with_timeouts=1)
        nodes = [
            replace(options(url, retry), timeout_seconds=1.5) for url in (node.url, true_node_url)
        ]
        begun = time.monotonic()
        outcome = EpochLoader(NodePool(nodes), own_warehouse, NETWORK).run([15])
        seconds = time.monotonic() - begun
        silence.set()
    assert outcome.stored == [15]
    assert nodes_by_epoch(own_warehouse) == {15: true_node_url}
    assert seconds < 8


@pytest.mark.slow
@pytest.mark.parametrize("how_many", [1, 2])
def test_a_third_of_all_answers_may_be_bad(
    nodes: list[tuple[str, Mood]],
    own_warehouse: Warehouse,
    undisturbed: dict[str, str],
    how_many: int,
) -> None:
    patient = RetryPolicy(attempts=8, first_wait=0.001, longest_wait=0.01)
    for position, (_, mood) in enumerate(nodes):
        mood.failing, mood.dice = 0.3, random.Random(position)
    pool = NodePool(
        [options(url, patient) for url, _ in nodes[:how_many]], policy=BreakerPolicy(3, 0.1)
    )
    outcome = EpochLoader(pool, own_warehouse, NETWORK).run(EPOCHS)
    assert outcome.failures == {}
    assert rows(own_warehouse) == undisturbed
    kinds = nodes[0][1].failed
    assert set(kinds) == {"429", "503", "cut off"}
    assert kinds.total() > 0.2 * nodes[0][1].requests.total()

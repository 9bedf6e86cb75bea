"""What the ledger can only classify without states: states close it to the gwei."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.devnet.simulator import simulated_node
from valmon_pipeline_tests import recordings
from valmon_pipeline_tests.assets.epochs import Computed, compute
from valmon_pipeline_tests.devnet.simulator.busy_chain import busy_chain

SOME = Watch(indices=frozenset({5, 26, 27, 33, 100, 121, 122, 128, 129, 130}), registry_limit=0)
WITH_STATES = replace(SOME, network_state=True)
CORRELATION_EPOCHS = [39, 40, 41]
QUEUE_EPOCHS = [8, 11, 20]
STATES = "/eth/v2/debug/beacon/states/"


def without_queues(request: Request) -> Response | None:
    """As of a node that has no endpoints for the queues, like Lodestar's older versions."""
    return Response(status_code=404) if "/pending_" in request.url.path else None


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with simulated_node(busy_chain(), faults=without_queues) as node:
        yield node.url


def residuals(computed: Computed) -> dict[tuple[int, int], str]:
    left = {}
    for epoch, frames in computed.frames.items():
        ledger = frames.tables["balance_ledger"]
        rows = ledger[ledger["residual"] != 0]
        for index, name in zip(rows["validator_index"], rows["residual_class"], strict=True):
            left[epoch, int(index)] = str(name)
    return left


def test_correlation_penalties_have_a_price(node: str) -> None:
    classified = residuals(compute(node, SOME, CORRELATION_EPOCHS))
    assert set(classified.values()) == {"slashing_correlation"}
    assert {index for _, index in classified} <= {100, 121, 122}
    priced = compute(node, WITH_STATES, CORRELATION_EPOCHS)
    assert residuals(priced) == {}
    for epoch, index in classified:
        ledger = priced.frames[epoch].tables["balance_ledger"].set_index("validator_index")
        assert ledger["slashing_correlation"].to_dict()[index] < 0


def test_queues_of_a_node_that_does_not_list_them_are_in_its_states(node: str) -> None:
    classified = residuals(compute(node, SOME, QUEUE_EPOCHS))
    assert classified == {
        (8, 33): "pending_deposit",
        (11, 26): "compounding_switch",
        (20, 27): "consolidation",
        (20, 33): "consolidation",
    }
    closed = compute(node, WITH_STATES, QUEUE_EPOCHS)
    assert residuals(closed) == {}
    assert closed.failing_checks() == {}


def test_states_are_read_for_the_ledger_only_where_it_needs_them() -> None:
    asked: list[int] = []

    def watching(request: Request) -> None:
        if request.url.path.startswith(STATES):
            asked.append(int(request.url.path.removeprefix(STATES)))

    with simulated_node(busy_chain(), faults=watching) as node:
        compute(node.url, WITH_STATES, [13, 40])
    assert asked.count(14 * 8 + 7) == 1
    assert set(asked) <= {14 * 8 + 7, 41 * 8 + 7, 40 * 8 + 7}


def test_the_recorded_deposit_is_in_the_recorded_states() -> None:
    """The recorded node lists no queues, and its states are those of first slots only."""
    few = Watch(indices=frozenset({0, 5, 10, 25, 33, 128}), registry_limit=0)
    recording = Recording.load(recordings.RECORDING)
    with BackgroundReplayNode(ReplayNode(recording)) as node:
        classified = residuals(compute(node.url, few, [6, 7, 8]))
        closed = compute(node.url, replace(few, network_state=True), [6, 7, 8])
    assert classified == {(7, 5): "pending_deposit"}
    assert residuals(closed) == {}
    ledger = closed.frames[7].tables["balance_ledger"].set_index("validator_index")
    assert ledger["deposits"].to_dict() == {
        **dict.fromkeys((0, 10, 25, 33), 0),
        5: 1_000_000_000,
        128: 32_000_000_000,
    }

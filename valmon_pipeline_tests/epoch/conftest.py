"""The recorded chain and the simulated one, each read with everything that its node tells."""

from __future__ import annotations

import pytest

from valmon_pipeline.config.watch import Watch
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.devnet.simulator import simulated_node
from valmon_pipeline_tests.assets.epochs import FEW, NETWORK, Computed, compute
from valmon_pipeline_tests.devnet.simulator.busy_chain import busy_chain
from valmon_pipeline_tests.epoch.missing import BUSY_EPOCHS

SOME = Watch(
    indices=frozenset({0, 2, 5, 8, 10, 16, 18, 26, 27, 33, 100, 121, 122, 123, 128, 129, 130})
)
"""Of the simulated chain: whoever anything happens to."""


@pytest.fixture(scope="session", params=["recorded network", "recorded few", "simulated some"])
def computed(request: pytest.FixtureRequest) -> Computed:
    """The busy epochs of a chain: with everybody watched, with few, with few and a registry of
    all."""
    if request.param == "simulated some":
        with simulated_node(busy_chain()) as node:
            return compute(node.url, SOME, BUSY_EPOCHS)
    watch = NETWORK if request.param == "recorded network" else FEW
    with BackgroundReplayNode(ReplayNode(Recording.load(RECORDING_PATH))) as node:
        return compute(node.url, watch, BUSY_EPOCHS)

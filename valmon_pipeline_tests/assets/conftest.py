"""One recorded chain, a node that tells the truth about it, and one that can be made to lie."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline_tests.assets.faulty_node import Faults


@pytest.fixture(scope="session")
def true_node() -> ReplayNode:
    """A replay node whose chain stands still."""
    return ReplayNode(Recording.load(RECORDING_PATH))


@pytest.fixture(scope="session")
def true_node_url(true_node: ReplayNode) -> Iterator[str]:
    """The address of a node that answers as recorded."""
    with BackgroundReplayNode(true_node) as node:
        yield node.url


@pytest.fixture(scope="session")
def _faulty_node(true_node: ReplayNode, true_node_url: str) -> Iterator[tuple[str, Faults]]:
    with httpx.Client(base_url=true_node_url, trust_env=False) as truth:
        faults = Faults(truth)
        with BackgroundReplayNode(ReplayNode(true_node.recording, faults=faults)) as node:
            yield node.url, faults


@pytest.fixture(scope="session")
def node_url(_faulty_node: tuple[str, Faults]) -> str:
    """The address of a node that answers as recorded, unless ``faults`` say otherwise."""
    return _faulty_node[0]


@pytest.fixture
def faults(_faulty_node: tuple[str, Faults]) -> Faults:
    """What is wrong with the answers of the node at ``node_url``."""
    return _faulty_node[1]

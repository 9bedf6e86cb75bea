"""A node on the recorded chain, in a thread of this process: only the workers are killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.resilience.epoch_hashes import EPOCHS, EpochHashes, epoch_hashes
from valmon_pipeline_tests.resilience.worker import Work


@pytest.fixture(scope="session")
def node_url() -> Iterator[str]:
    """The address of a node that answers as recorded."""
    with BackgroundReplayNode(ReplayNode(Recording.load(RECORDING_PATH))) as node:
        yield node.url


@pytest.fixture(scope="session")
def undisturbed(database_url: str, node_url: str) -> EpochHashes:
    """What is to be stored of each epoch."""
    with fresh_warehouse(database_url) as warehouse:
        Work(node_url, database_url, warehouse.schema, EPOCHS).finish(EPOCHS)
        hashes = epoch_hashes(warehouse)
    assert sorted(hashes) == list(EPOCHS)
    return hashes

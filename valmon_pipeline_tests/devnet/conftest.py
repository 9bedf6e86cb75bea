"""One recording and one static replay node for all tests of the package."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode


@pytest.fixture(scope="session")
def recording() -> Recording:
    return Recording.load(RECORDING_PATH)


@pytest.fixture(scope="session")
def client(recording: Recording) -> Iterator[httpx.Client]:
    """A plain HTTP client of a replay node whose chain stands still."""
    with (
        BackgroundReplayNode(ReplayNode(recording)) as node,
        httpx.Client(base_url=node.url) as client,
    ):
        yield client

"""The node that commands ask in the demo, where none is configured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.up_state import running_up
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode


@contextmanager
def node_to_ask(installation: Installation) -> Iterator[Installation]:
    """The installation with a node: for the demo that of a running ``up``, else one in here."""
    if not installation.demo:
        yield installation
        return
    up = running_up(installation)
    if up is not None and up.node_url is not None:
        yield installation.with_node(up.node_url)
        return
    # In this process, so that it ends with it however it ends.
    with BackgroundReplayNode(ReplayNode(RECORDING_PATH)) as node:
        yield installation.with_node(node.url)

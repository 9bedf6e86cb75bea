"""Look for a beacon node that can be read from: before a command begins, and while `valmon up`
waits for one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from valmon_pipeline.beacon.node_health import NodeHealth, waiting_sentence
from valmon_pipeline.config import Settings
from valmon_pipeline.pipeline import node_pool, opened_node_pool

LOOK_SECONDS: Final = 5.0


def require_ready_node(settings: Settings) -> str:
    """The name of the first configured node that is synced and verified.

    Raises:
        BeaconApiError: none is; with each one's reason.
    """

    async def ask() -> str:
        async with node_pool(settings)() as client:
            return client.name

    return asyncio.run(ask())


def node_healths(settings: Settings) -> list[NodeHealth]:
    """How each configured node is, in the order of preference."""
    with opened_node_pool(settings) as pool:
        return [report.health for report in asyncio.run(pool.reports())]


class NodeWait:
    """Waits for a node, looking every few seconds; whoever has other work to do calls ``check``.

    ``show`` is told what is waited for at each look, ``on_ready`` once, with the node's name.
    """

    def __init__(
        self,
        settings: Settings,
        show: Callable[[str], None],
        on_ready: Callable[[str], None],
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._settings = settings
        self._show = show
        self._on_ready = on_ready
        self._look_seconds = look_seconds
        self._next_look: float | None = time.monotonic()

    def check(self) -> None:
        """Look, if the last look is a few seconds ago and none has found a node."""
        if self._next_look is None or time.monotonic() < self._next_look:
            return
        nodes = node_healths(self._settings)
        ready = next((node.name for node in nodes if node.is_ready), None)
        if ready is None:
            self._show(waiting_sentence(nodes))
            self._next_look = time.monotonic() + self._look_seconds
            return
        self._next_look = None
        self._on_ready(ready)

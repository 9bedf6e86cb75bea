"""Ask the configured nodes before anything is started: most mistakes in a set-up are found here."""

from __future__ import annotations

import asyncio

from valmon_pipeline.config import Settings
from valmon_pipeline.pipeline import node_pool


def require_ready_node(settings: Settings) -> str:
    """The name of the first configured node that is synced and verified.

    Raises:
        BeaconApiError: none is; with each one's reason.
    """

    async def ask() -> str:
        async with node_pool(settings)() as client:
            return client.name

    return asyncio.run(ask())

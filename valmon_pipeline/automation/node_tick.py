"""Asking a node from within a sensor's tick: few requests, and an end to waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.errors import BeaconUnreachableError, NodeNotReadyError

T = TypeVar("T")

NODE_SECONDS: Final = 3.0
"""For all requests of a tick together, retries included."""
TICK_SECONDS: Final = 10.0
"""With finding a node that is ready among several; well below Dagster's 60 s for a tick."""


def ask_node(pipeline: Pipeline, questions: Callable[[BeaconClient], Awaitable[T]]) -> T:
    """The answers of the first node that is ready, if it is of the network that is stored.

    Raises:
        NodeNotReadyError: no node is ready, or it is of another network; with the reason.
        BeaconApiError: the node does not answer, or not in time.
        StorageError: the database is away.
    """
    identity = pipeline.warehouse.network()

    async def ask() -> T:
        async with asyncio.timeout(TICK_SECONDS), pipeline.open_client() as client:
            with client.deadline(NODE_SECONDS):
                root = (await client.genesis()).genesis_validators_root
                if identity is not None and root != identity.genesis_validators_root:
                    raise NodeNotReadyError(
                        f"{client.name} is of another network: genesis_validators_root is "
                        f"0x{root.hex()}, stored is 0x{identity.genesis_validators_root.hex()}"
                    )
                return await questions(client)

    try:
        return asyncio.run(ask())
    except TimeoutError:
        raise BeaconUnreachableError(
            f"no beacon node answered within {TICK_SECONDS:g} s; asked again in the next tick"
        ) from None

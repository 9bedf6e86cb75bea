"""Asking a node from within a sensor's tick: few requests, and an end to waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from valmon_pipeline.assets.resources import Pipeline
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.errors import BeaconUnreachableError, NodeNotReadyError

T = TypeVar("T")

_MARGIN_SECONDS: Final = 1.0
"""For what is neither finding a node nor asking it."""


def ask_node(pipeline: Pipeline, questions: Callable[[BeaconClient], Awaitable[T]]) -> T:
    """The answers of the first node that is ready, if it is of the network that is stored.

    Finding one may take ``failover.probe_seconds``, and so may all answers together, retries
    included: 41 s at most, of the 60 s that Dagster gives a tick.

    Raises:
        NodeNotReadyError: no node is ready, or it is of another network; with the reason.
        BeaconApiError: the node does not answer, or not in time.
        StorageError: the database is away.
    """
    identity = pipeline.warehouse.network()
    longest = 2 * pipeline.probe_seconds + _MARGIN_SECONDS

    async def ask() -> T:
        async with asyncio.timeout(longest), pipeline.open_client() as client:
            with client.deadline(pipeline.probe_seconds):
                root = (await client.genesis()).genesis_validators_root
                if identity is not None and root != identity.genesis_validators_root:
                    raise NodeNotReadyError(
                        f"{client.name} is of another network: genesis_validators_root is "
                        f"0x{root.hex()}, stored is 0x{identity.genesis_validators_root.hex()}",
                        summary=f"waiting for a beacon node: {client.name} is of another network",
                    )
                return await questions(client)

    try:
        return asyncio.run(ask())
    except TimeoutError:
        raise BeaconUnreachableError(
            f"no beacon node answered within {longest:g} s; asked again in the next tick"
        ) from None

"""Chooses the node to work with from several."""

from __future__ import annotations

from collections.abc import Iterable

from valmon_pipeline.beacon.archive import ArchiveWriter
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    NodeNotReadyError,
    ValmonError,
)


async def open_first_ready(
    nodes: Iterable[NodeOptions],
    *,
    archive: ArchiveWriter | None = None,
    phase: str = "live",
    genesis_validators_root: bytes | None = None,
) -> BeaconClient:
    """Return a client of the first node that is synced, verified and of the right network.

    The nodes are tried in order, each for as long as its timeout. ``genesis_validators_root`` is
    the network that is expected, None for any. The caller closes the client.

    Raises:
        BeaconUnreachableError: no node answered; the message lists every node's reason.
        NodeNotReadyError: at least one answered, but none is ready; likewise.
    """
    reasons: list[str] = []
    answered = False
    for options in nodes:
        client = BeaconClient.open(options, archive=archive, phase=phase)
        try:
            with client.deadline(options.timeout_seconds):
                await _require_ready(client, genesis_validators_root)
        except BeaconApiError as error:
            await client.close()
            answered = answered or not isinstance(error, BeaconUnreachableError)
            reasons.append(f"{client.name}: {error}")
        except BaseException:
            await client.close()
            raise
        else:
            return client
    if not reasons:
        raise ValmonError("no beacon node is configured: set beacon_node_url")
    message = "no beacon node can be used:" + "".join(f"\n  - {reason}" for reason in reasons)
    raise NodeNotReadyError(message) if answered else BeaconUnreachableError(message)


async def _require_ready(client: BeaconClient, genesis_validators_root: bytes | None) -> None:
    status = await client.syncing()
    if status.is_syncing:
        raise NodeNotReadyError(
            f"it is syncing, {status.sync_distance} slots behind at slot {status.head_slot}; "
            "wait until it has caught up"
        )
    if status.is_optimistic:
        raise NodeNotReadyError(
            "its head is not verified by its execution client (is_optimistic); check that client"
        )
    root = (await client.genesis()).genesis_validators_root
    if genesis_validators_root is not None and root != genesis_validators_root:
        raise NodeNotReadyError(
            f"it is of another network: genesis_validators_root is 0x{root.hex()}, "
            f"expected 0x{genesis_validators_root.hex()}"
        )

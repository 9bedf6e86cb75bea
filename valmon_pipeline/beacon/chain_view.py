"""One node's view of the chain: what it takes to see that two nodes follow different ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.finality import Checkpoint
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import BeaconApiError

logger = logging.getLogger(__name__)

EPOCHS_APART: Final = 2
"""Heads that have not joined so many epochs back are of different chains."""


@dataclass(frozen=True, slots=True)
class ChainView:
    """``root`` is the newest block of slot ``asked`` or before, in ``slot`` (None: not found)."""

    finalized: Checkpoint
    asked: int
    slot: int | None
    root: bytes | None


def common_slot(heads: list[int], spec: ChainSpec) -> int:
    """Return the slot in which nodes with these heads must agree."""
    return max(0, min(heads) - EPOCHS_APART * spec.slots_per_epoch)


async def chain_view(
    client: BeaconClient, slot: int, spec: ChainSpec, seconds: float
) -> ChainView | None:
    """Ask a node for its finality and for the block at ``slot``; None if it does not say."""
    try:
        with client.deadline(seconds):
            finalized = (await client.finality_checkpoints("head")).finalized
            for before in range(slot, max(-1, slot - spec.slots_per_epoch), -1):
                header = await client.header(before)
                if header is not None:
                    return ChainView(finalized, slot, before, header.root)
            return ChainView(finalized, slot, None, None)
    except BeaconApiError as error:
        logger.debug("%s did not say which chain it follows: %s", client.name, error)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the fault of this node)
        logger.warning("%s: its chain cannot be read: %s", client.name, type(error).__name__)
    return None

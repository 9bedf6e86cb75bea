"""How a client is opened by those who do not care which node it is of."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from valmon_pipeline.beacon.client import BeaconClient


class OpenClient(Protocol):
    """Opens a client of a node that is ready; one reading must not mix the answers of two."""

    def __call__(
        self, avoid: Collection[str] = (), *, archive: bool = False
    ) -> AbstractAsyncContextManager[BeaconClient]:
        """Open a client of a node other than those to ``avoid``, by :attr:`BeaconClient.name`.

        ``archive``: of one that keeps old states, if such a node is ready.

        Raises:
            BeaconUnreachableError: no such node answers; with the reason of each.
            NodeNotReadyError: at least one answers, but none is ready; likewise.
        """

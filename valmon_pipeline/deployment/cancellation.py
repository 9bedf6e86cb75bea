"""End what reads from a node, from another thread.

In the main thread Dagster handles signals itself while it executes a run: one that comes between
two steps may be dropped, one that ends a run is no reason not to start the next. So the runs of a
command are executed aside, and cancelled by what they all do: use a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from valmon_pipeline.beacon.client import BeaconClient


class CancellableClients:
    """Opens clients as ``open_client`` does, until it is told to cancel who uses them."""

    def __init__(
        self, open_client: Callable[..., AbstractAsyncContextManager[BeaconClient]]
    ) -> None:
        self._open_client = open_client
        self._users: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = set()
        self._cancelled = False

    @asynccontextmanager
    async def __call__(self, *arguments: Any, **named: Any) -> AsyncIterator[BeaconClient]:
        """Open a client; CancelledError from now on once ``cancel`` was called."""
        task = asyncio.current_task()
        assert task is not None
        user = (asyncio.get_running_loop(), task)
        self._users.add(user)
        try:
            if self._cancelled:
                raise asyncio.CancelledError
            async with self._open_client(*arguments, **named) as client:
                yield client
        finally:
            self._users.discard(user)

    def cancel(self) -> None:
        """Cancel the tasks that use a client now, and those that open one later."""
        self._cancelled = True
        for loop, task in tuple(self._users):
            with suppress(RuntimeError):  # its loop has ended meanwhile
                loop.call_soon_threadsafe(task.cancel)

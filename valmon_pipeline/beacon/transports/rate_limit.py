"""Spares the node: so many requests per second, so many at a time, whoever asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import httpx

from valmon_pipeline.beacon.request_budget import RequestBudget
from valmon_pipeline.beacon.statistics import ClientStatistics
from valmon_pipeline.beacon.transports.retry import DEADLINE


class RateLimitTransport(httpx.AsyncBaseTransport):
    """Sends a request once the node's ``budget`` admits it, in the order of arrival.

    The budget may be shared with others; the transport belongs to one event loop. A request is
    under way until its body was read. ``on_wait`` is told of every wait, in seconds.

    Raises:
        TimeoutError: the request would not be admitted before its deadline; it is not waited for.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        statistics: ClientStatistics,
        budget: RequestBudget,
        *,
        on_wait: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._inner = inner
        self._statistics = statistics
        self._budget = budget
        self._on_wait = on_wait
        self._turn = asyncio.Lock()
        self._left = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait until the request is admitted, then send it."""
        waited = 0.0
        if self._turn.locked() or self._budget.enter() > 0:
            waiting_since = time.monotonic()
            async with self._turn:
                await self._admitted(request.extensions.get(DEADLINE))
            waited = time.monotonic() - waiting_since
            self._statistics.seconds_waited += waited
        try:
            self._on_wait(waited)
            return await self._inner.handle_async_request(request)
        finally:
            self._budget.leave()
            self._left.set()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _admitted(self, deadline: float | None) -> None:
        while (wait := self._budget.enter()) > 0:
            if await self._budget.renew():
                continue
            if deadline is not None and time.monotonic() + wait >= deadline:
                raise TimeoutError(
                    f"the node's rate limit has no room for {wait:.1f} s, longer than there is time"
                )
            self._left.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._left.wait()

"""Spares the node: so many requests per second, so many at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
from aiolimiter import AsyncLimiter

from valmon_pipeline.beacon.statistics import ClientStatistics


class RateLimitTransport(httpx.AsyncBaseTransport):
    """Token bucket of ``burst`` requests, refilled at ``requests_per_second``.

    At most ``in_flight`` requests are with the node at a time, bodies included. Belongs to one
    event loop. ``on_wait`` is told of every wait for a token, in seconds.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        statistics: ClientStatistics,
        *,
        requests_per_second: float,
        burst: int,
        in_flight: int,
        on_wait: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._inner = inner
        self._statistics = statistics
        self._bucket = AsyncLimiter(burst, burst / requests_per_second)
        self._on_wait = on_wait
        self._in_flight = asyncio.Semaphore(in_flight)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for a token and a free place, then send the request."""
        async with self._in_flight:
            waiting_since = time.monotonic()
            await self._bucket.acquire()
            waited = time.monotonic() - waiting_since
            self._statistics.seconds_waited += waited
            self._on_wait(waited)
            return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

"""Spares the node: so many requests per second, so many at a time."""

from __future__ import annotations

import asyncio
import time

import httpx
from aiolimiter import AsyncLimiter

from valmon_pipeline.beacon.statistics import ClientStatistics


class RateLimitTransport(httpx.AsyncBaseTransport):
    """Token bucket of ``burst`` requests, refilled at ``requests_per_second``.

    At most ``in_flight`` requests are with the node at a time, bodies included. Belongs to one
    event loop.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        statistics: ClientStatistics,
        *,
        requests_per_second: float,
        burst: int,
        in_flight: int,
    ) -> None:
        self._inner = inner
        self._statistics = statistics
        self._bucket = AsyncLimiter(burst, burst / requests_per_second)
        self._in_flight = asyncio.Semaphore(in_flight)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for a token and a free place, then send the request."""
        async with self._in_flight:
            waiting_since = time.monotonic()
            await self._bucket.acquire()
            self._statistics.seconds_waited += time.monotonic() - waiting_since
            return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

"""Reads answers to their end, so that the layers above deal with whole ones only."""

from __future__ import annotations

import httpx

from valmon_pipeline.beacon.statistics import ClientStatistics

_OF_THE_CONNECTION = ("content-encoding", "content-length", "transfer-encoding")


class OversizedAnswerError(Exception):
    """The node sent more than the client is willing to hold in memory."""


class WholeBodyTransport(httpx.AsyncBaseTransport):
    """Returns answers with their decompressed body in memory, at most ``max_bytes`` of it.

    A connection that breaks within the body raises here, within the reach of the retry.
    """

    def __init__(
        self, inner: httpx.AsyncBaseTransport, statistics: ClientStatistics, max_bytes: int
    ) -> None:
        self._inner = inner
        self._statistics = statistics
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and read the answer.

        Raises:
            OversizedAnswerError: the decompressed body is longer than ``max_bytes``.
        """
        self._statistics.requests += 1
        response = await self._inner.handle_async_request(request)
        response.request = request
        parts: list[bytes] = []
        size = 0
        try:
            async for part in response.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > self._max_bytes:
                    raise OversizedAnswerError(f"the answer is longer than {self._max_bytes} bytes")
        finally:
            self._statistics.bytes_received += size
            await response.aclose()
        headers = response.headers.copy()
        for name in _OF_THE_CONNECTION:
            headers.pop(name, None)
        return httpx.Response(
            response.status_code, headers=headers, content=b"".join(parts), request=request
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

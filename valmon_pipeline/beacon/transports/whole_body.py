"""Reads answers to their end, so that the layers above deal with whole ones only."""

from __future__ import annotations

from typing import Final

import httpx

from valmon_pipeline.beacon.statistics import ClientStatistics

BUFFER: Final = "valmon_buffer"
"""Request extension: the most bytes of an answer of status 200 that goes into one buffer. Response
extension: that buffer, a ``memoryview``; the response's own content is then empty."""

_OF_THE_CONNECTION = ("content-encoding", "content-length", "transfer-encoding")


class OversizedAnswerError(Exception):
    """The node sent more than the client is willing to hold in memory."""


class WholeBodyTransport(httpx.AsyncBaseTransport):
    """Returns answers with their decompressed body in memory, at most ``max_bytes`` of it.

    A connection that breaks within the body raises here, within the reach of the retry. What was
    asked for with :data:`BUFFER` is in memory once, everything else for a moment twice.
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
            OversizedAnswerError: the decompressed body is longer than ``max_bytes``, or than
                :data:`BUFFER` allows.
        """
        self._statistics.requests += 1
        response = await self._inner.handle_async_request(request)
        response.request = request
        most: int | None = request.extensions.get(BUFFER)
        if most is not None and response.status_code == httpx.codes.OK:
            return await self._into_buffer(request, response, most)
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
        return httpx.Response(
            response.status_code,
            headers=_kept(response.headers),
            content=b"".join(parts),
            request=request,
        )

    async def _into_buffer(
        self, request: httpx.Request, response: httpx.Response, most: int
    ) -> httpx.Response:
        """Read the answer into a buffer of its announced length, or into one that grows with it."""
        too_long = OversizedAnswerError(
            f"the answer is longer than the {most} bytes that are allowed for it"
        )
        size = 0
        try:
            announced = _announced_length(response.headers)
            if announced > most:
                raise too_long
            # Zeroed lazily by the operating system: what is announced but not sent takes no memory.
            buffer = bytearray(announced)
            async for part in response.aiter_bytes():
                end = size + len(part)
                if end > most:
                    raise too_long
                buffer[size:end] = part
                size = end
        finally:
            self._statistics.bytes_received += size
            await response.aclose()
        return httpx.Response(
            response.status_code,
            headers=_kept(response.headers),
            content=b"",
            request=request,
            extensions={BUFFER: memoryview(buffer)[:size].toreadonly()},
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _kept(headers: httpx.Headers) -> httpx.Headers:
    """The headers that still hold for a body that is whole and decompressed."""
    kept = headers.copy()
    for name in _OF_THE_CONNECTION:
        kept.pop(name, None)
    return kept


def _announced_length(headers: httpx.Headers) -> int:
    """The length of the body as far as it is known before it is read, else 0."""
    length = headers.get("content-length", "")
    known = length.isascii() and length.isdigit() and "content-encoding" not in headers
    return int(length) if known else 0

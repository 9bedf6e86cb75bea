"""Reads answers to their end, within bounds of time and size, so that others deal with whole ones.

The bounds hold against a node that means harm: the length it announces is looked at before
anything is read, what it sends is counted before and after decompression, at most one compression
is undone, in pieces, and the time is that of the whole request.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Final, Protocol

import httpx

from valmon_pipeline.beacon.body_limits import SMALL_BYTES
from valmon_pipeline.beacon.statistics import ClientStatistics

BUFFER: Final = "valmon_buffer"
"""Request extension: the most bytes of an answer of status 200 that goes into one buffer. Response
extension: that buffer, a ``memoryview``; the response's own content is then empty."""
LIMIT: Final = "valmon_limit"
"""Request extension: the most bytes of an answer of status 200; else the transport's own limit."""
HEADERS_ONLY: Final = "valmon_headers_only"
"""Request extension: True returns an answer of status 200 without its body, which is not read."""
TIMEOUT: Final = "valmon_timeout"
"""Request extension: seconds for the whole request, else the transport's own."""

_OF_THE_CONNECTION: Final = frozenset(
    {b"content-encoding", b"content-length", b"transfer-encoding"}
)
_PIECE: Final = 1 << 20
"""Decompressed bytes at a time: a few milliseconds of the event loop."""
_BYTES_PER_SECOND: Final = 1 << 20
"""An answer that comes at least so fast is worth waiting for, however long it is."""


class _Decompressor(Protocol):
    """Decompression in progress, as ``zlib.decompressobj`` makes it."""

    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


class OversizedAnswerError(Exception):
    """The node sent more than the client is willing to hold in memory."""


class EncodingError(Exception):
    """The node sent the answer in an encoding that it was not asked for, or in several."""


class WholeBodyTransport(httpx.AsyncBaseTransport):
    """Returns answers with their decompressed body in memory, at most ``max_bytes`` of it.

    The whole request may take ``timeout_seconds`` (None: for ever), from the connection to the last
    byte, and a second more for each megabyte that has come in. A connection that breaks within the
    body raises here, within the reach of the retry. What was asked for with :data:`BUFFER` is in
    memory once, everything else for a moment twice.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        statistics: ClientStatistics,
        max_bytes: int,
        timeout_seconds: float | None = None,
    ) -> None:
        self._inner = inner
        self._statistics = statistics
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and read the answer.

        Raises:
            OversizedAnswerError: the body is longer than ``max_bytes``, or than :data:`LIMIT` or
                :data:`BUFFER` allow, compressed or not.
            EncodingError: the body is encoded more than once, or not as it was asked for.
            httpx.ReadTimeout: the answer was not whole in time.
        """
        self._statistics.requests += 1
        seconds: float | None = request.extensions.get(TIMEOUT, self._timeout_seconds)
        timeout = asyncio.timeout(seconds)
        try:
            async with timeout:
                return await self._exchange(request, timeout)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise httpx.ReadTimeout(f"no whole answer within {seconds:g} s") from None

    async def _exchange(self, request: httpx.Request, timeout: asyncio.Timeout) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        ok = response.status_code == httpx.codes.OK
        into_buffer: int | None = request.extensions.get(BUFFER) if ok else None
        most = min(self._max_bytes, request.extensions.get(LIMIT, self._max_bytes))
        if not ok:
            most = min(most, SMALL_BYTES)
        if into_buffer is not None:
            most = into_buffer
        size = 0
        try:
            if ok and request.extensions.get(HEADERS_ONLY):
                return httpx.Response(
                    response.status_code, headers=_kept(response.headers), request=request
                )
            announced = _announced_length(response.headers)
            if announced > most:
                raise OversizedAnswerError(
                    f"the answer is longer than the {most} bytes that are allowed for it: it has "
                    f"{announced}"
                )
            body = _body(response, most)
            if into_buffer is None:
                parts: list[bytes] = []
                async for part in body:
                    parts.append(part)
                    size += len(part)
                    _allow_more(timeout, size, len(part))
                content = parts[0] if len(parts) == 1 else b"".join(parts)
                return httpx.Response(
                    response.status_code,
                    headers=_kept(response.headers),
                    content=content,
                    request=request,
                )
            # Zeroed lazily by the operating system: what is announced but not sent takes no memory.
            buffer = bytearray(announced)
            async for part in body:
                end = size + len(part)
                buffer[size:end] = part
                size = end
                _allow_more(timeout, size, len(part))
            return httpx.Response(
                response.status_code,
                headers=_kept(response.headers),
                content=b"",
                request=request,
                extensions={BUFFER: memoryview(buffer)[:size].toreadonly()},
            )
        finally:
            self._statistics.bytes_received += size
            await response.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _allow_more(timeout: asyncio.Timeout, size: int, new: int) -> None:
    """Extend the time by a second with each megabyte."""
    more = size // _BYTES_PER_SECOND - (size - new) // _BYTES_PER_SECOND
    if more and (ends := timeout.when()) is not None:
        timeout.reschedule(ends + more)


async def _body(response: httpx.Response, most: int) -> AsyncIterator[bytes]:
    """Yield the decompressed body piece by piece, at most ``most`` bytes compressed or not."""
    encodings = [
        one
        for name in response.headers.get_list("content-encoding", split_commas=True)
        if (one := name.strip().lower()) not in ("", "identity")
    ]
    if encodings not in ([], ["gzip"], ["x-gzip"]):
        raise EncodingError(
            f"the answer is encoded as {', '.join(encodings)[:60]!r}, but at most gzip, once, was "
            "asked for"
        )
    received = size = 0
    decompressor = zlib.decompressobj(16 + zlib.MAX_WBITS) if encodings else None
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for part in response.stream:
        received += len(part)
        if received > most:
            raise _too_long(most)
        if decompressor is None:
            yield part
            continue
        async for piece in _decompressed(decompressor, part):
            size += len(piece)
            if size > most:
                raise _too_long(most)
            yield piece
    if decompressor is not None and received:
        if not decompressor.eof:
            raise httpx.DecodingError("the compressed answer is cut off")
        if decompressor.unused_data:
            raise EncodingError("something follows the compressed answer")


async def _decompressed(decompressor: _Decompressor, part: bytes) -> AsyncIterator[bytes]:
    """Yield what ``part`` decompresses to, in pieces."""
    while not decompressor.eof:
        try:
            piece = decompressor.decompress(part, _PIECE)
        except zlib.error as error:
            raise httpx.DecodingError(f"the answer is no gzip: {error}") from error
        if piece:
            yield piece
        part = decompressor.unconsumed_tail
        if not part and len(piece) < _PIECE:
            return
        await asyncio.sleep(0)  # a bomb must not keep the others waiting


def _too_long(most: int) -> OversizedAnswerError:
    return OversizedAnswerError(
        f"the answer is longer than the {most} bytes that are allowed for it"
    )


def _kept(headers: httpx.Headers) -> list[tuple[bytes, bytes]]:
    """The headers that still hold for a body that is whole and decompressed."""
    return [pair for pair in headers.raw if pair[0].lower() not in _OF_THE_CONNECTION]


def _announced_length(headers: httpx.Headers) -> int:
    """The length of the body as far as it is known before it is read, else 0.

    Of a compressed body it is the least.
    """
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0

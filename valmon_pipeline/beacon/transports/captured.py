"""Answers from what was captured, and captures what is asked while it is current."""

from __future__ import annotations

import httpx

from valmon_pipeline.beacon.archive import request_key
from valmon_pipeline.beacon.captured_answers import Shelf, capture
from valmon_pipeline.beacon.transports.whole_body import BUFFER


class CapturedTransport(httpx.AsyncBaseTransport):
    """Looks on the shelf before it asks. Whole states are neither kept nor looked for."""

    def __init__(self, inner: httpx.AsyncBaseTransport, shelf: Shelf) -> None:
        self._inner = inner
        self._shelf = shelf

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the captured answer, or the node's."""
        if BUFFER in request.extensions:
            return await self._inner.handle_async_request(request)
        if self._shelf.epochs:
            key = request_key(
                request.method,
                request.url.raw_path.split(b"?")[0].decode("ascii"),
                request.url.query.decode("ascii"),
                request.content,
            )
            if (kept := self._shelf.find(key)) is not None:
                return httpx.Response(
                    kept.status,
                    headers=kept.response_headers,
                    content=kept.content,
                    request=request,
                )
        response = await self._inner.handle_async_request(request)
        if response.status_code == httpx.codes.OK and BUFFER not in response.extensions:
            capture(request, response)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

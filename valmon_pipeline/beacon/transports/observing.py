"""Tells an observer of every attempt: how long it took, and how it ended."""

from __future__ import annotations

import time

import httpx

from valmon_pipeline.beacon.request_observer import ENDPOINT, RequestObserver, endpoint_of


class ObservingTransport(httpx.AsyncBaseTransport):
    """Belongs around the transport that reads whole bodies, within rate limit and retry."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport, node: str, observer: RequestObserver
    ) -> None:
        self._inner = inner
        self._node = node
        self._observer = observer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; a cancelled one counts, too."""
        started = time.monotonic()
        outcome = "cancelled"
        try:
            response = await self._inner.handle_async_request(request)
            outcome = str(response.status_code)
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            self._observer.answered(
                self._node,
                request.extensions.get(ENDPOINT) or endpoint_of(request.url.path),
                outcome,
                time.monotonic() - started,
            )
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

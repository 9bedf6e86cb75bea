"""Sends requests of a placeholder host to the real node."""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import unquote

import httpx

from valmon_pipeline.beacon.redact import redact_url
from valmon_pipeline.errors import ConfigurationError

PLACEHOLDER: Final = "http://beacon-node"
"""Base address of all requests above this transport: what they log or archive is no secret."""


class NodeAddressTransport(httpx.AsyncBaseTransport):
    """Replaces the placeholder by the node's address with its path prefix, login and token.

    Raises ``ConfigurationError`` for an address that is not one of HTTP.
    """

    def __init__(self, url: str, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self._node = _address(url)
        self._headers: dict[str, str] = {}
        if self._node.userinfo:
            login = unquote(self._node.userinfo.decode()).encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(login).decode()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Forward a copy of the request that is addressed to the node."""
        query = b"&".join(filter(None, (self._node.query, request.url.query)))
        path = self._node.raw_path.split(b"?")[0].rstrip(b"/") + request.url.raw_path.split(b"?")[0]
        url = self._node.copy_with(
            raw_path=path + (b"?" + query if query else b""), userinfo=None, fragment=None
        )
        headers = request.headers.copy()
        headers["Host"] = url.netloc.decode("ascii")
        headers.update(self._headers)
        return await self._inner.handle_async_request(
            httpx.Request(
                request.method,
                url,
                headers=headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise ConfigurationError(
            f"beacon_node_url {redact_url(url)} is not an address like http://localhost:5052"
        )
    return address

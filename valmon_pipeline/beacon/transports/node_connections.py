"""HTTP connections to a node that are not asked again and again whether they still stand."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

_SURELY_OPEN_SECONDS: Final = 1.0
"""A connection used so recently is taken to be open; if it is not, the request is repeated."""
_IS_READABLE: Final = "is_readable"


class NodeConnections(httpx.AsyncHTTPTransport):
    """A pool of at most ``max_connections`` connections, ``max_idle`` of which are kept when idle.

    At the start and at the end of every request httpcore asks each idle connection whether the
    server has closed it: twenty system calls and more for a request of a millisecond, a quarter of
    the CPU time of a backfill. Here only those are asked that were not used in the last second.
    """

    def __init__(
        self, certificates: ssl.SSLContext, *, max_connections: int, max_idle: int
    ) -> None:
        super().__init__(
            verify=certificates,
            limits=httpx.Limits(
                max_connections=max_connections, max_keepalive_connections=max_idle
            ),
        )
        # httpx has no parameter for the backend of its pool.
        self._pool._network_backend = _Backend(httpcore.AnyIOBackend())  # noqa: SLF001


class _Backend(httpcore.AsyncNetworkBackend):
    """Opens the connections of another backend, each as a ``_Stream``."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host."""
        return _Stream(
            await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        )

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that says for a second after its last use that nothing has come in."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._used = time.monotonic()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has come in."""
        received = await self._inner.read(max_bytes, timeout)
        self._used = time.monotonic()
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send."""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The same connection, encrypted."""
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """What is known of the connection."""
        if info == _IS_READABLE and time.monotonic() - self._used < _SURELY_OPEN_SECONDS:
            return False
        return self._inner.get_extra_info(info)

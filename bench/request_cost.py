"""CPU time of a request by the beacon client, against the same request by plain httpx.

The server is a process of its own that answers from memory. Requests go one after the other and
ten at a time, with an answer of a few bytes and one of 300 kB; the answer is read whole and not
decoded by either. The client has everything switched on that it has in operation: rate limit,
retry, observer, limits; only the limit is set so high that nothing waits.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from valmon_pipeline.beacon.connection import Connection, NodeOptions

MOST: Final = 1.3
REQUESTS: Final = 600
TURNS: Final = 5
IN_FLIGHT: Final = (1, 10)
PATHS: Final = {
    "small": "/eth/v1/node/version",
    "large": "/eth/v2/beacon/blocks/8",
}
_LARGE_BYTES: Final = 300_000
_SERVER: Final = f"""
import asyncio
small = b'{{"data":{{"version":"Node/v1"}}}}'
large = b'{{"data":"' + b"0" * {_LARGE_BYTES} + b'"}}'
class Node(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""
    def data_received(self, data):
        self.received += data
        while b"\\r\\n\\r\\n" in self.received:
            request, self.received = self.received.split(b"\\r\\n\\r\\n", 1)
            body = large if b"/blocks/" in request else small
            head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d"
            self.transport.write(head % len(body) + b"\\r\\n\\r\\n" + body)
async def main():
    server = await asyncio.get_running_loop().create_server(Node, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextmanager
def node() -> Iterator[str]:
    """Run the server; yields its address."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


async def cpu_per_request(ask: Callable[[], Awaitable[object]], in_flight: int) -> float:
    """CPU time of this process per request, in microseconds."""

    async def worker(count: int) -> None:
        for _ in range(count):
            await ask()

    await asyncio.gather(*(worker(3) for _ in range(in_flight)))
    started = time.process_time()
    await asyncio.gather(*(worker(REQUESTS // in_flight) for _ in range(in_flight)))
    return (time.process_time() - started) / REQUESTS * 1e6


async def plain(url: str, path: str, in_flight: int) -> float:
    """The request by httpx as its documentation shows it."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:

        async def ask() -> bytes:
            return (await client.get(path)).content

        return await cpu_per_request(ask, in_flight)


async def ours(url: str, path: str, in_flight: int) -> float:
    """The request by the beacon client."""
    connection = Connection.open(NodeOptions(url, requests_per_second=1e6, burst=10**6))

    async def ask() -> bytes:
        return (await connection.ask("GET", path)).content

    try:
        return await cpu_per_request(ask, in_flight)
    finally:
        await connection.close()


def main() -> int:
    """Compare in turns, so that both meet the same machine; the exit code says whether it holds."""
    held = True
    with node() as url:
        for size, path in PATHS.items():
            for in_flight in IN_FLIGHT:
                turns = [
                    (
                        asyncio.run(plain(url, path, in_flight)),
                        asyncio.run(ours(url, path, in_flight)),
                    )
                    for _ in range(TURNS)
                ]
                ratio = statistics.median(mine / httpx_ for httpx_, mine in turns)
                held &= ratio <= MOST
                print(f"{size} answer with {in_flight} in flight")
                print(
                    f"  plain httpx {statistics.median(one for one, _ in turns):.0f} us (no target)"
                )
                print(f"  client {statistics.median(one for _, one in turns):.0f} us (no target)")
                print(f"  ratio {ratio:.2f} (target: at most {MOST})\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

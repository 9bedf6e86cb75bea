from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from valmon_pipeline.beacon.statistics import ClientStatistics
from valmon_pipeline.beacon.transports import node_connections
from valmon_pipeline.beacon.transports.node_connections import NodeConnections
from valmon_pipeline.beacon.transports.retry import ATTEMPTS, RetryPolicy, RetryTransport
from valmon_pipeline.beacon.transports.whole_body import WholeBodyTransport

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def fickle_node(answers_per_connection: int) -> AsyncIterator[tuple[str, list[int]]]:
    """A node that hangs up after some answers without saying so before; the answers by
    connection."""
    connections: list[int] = []
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        serving.append(asyncio.current_task())
        number = len(connections) - 1
        with suppress(asyncio.IncompleteReadError):
            while connections[number] < answers_per_connection:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ANSWER)
                await writer.drain()
                connections[number] += 1
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections
        await asyncio.gather(*filter(None, serving))


def ask(answers_per_connection: int, requests: int) -> tuple[list[int], list[int]]:
    """Ask in turn, a moment apart; how often each request was sent, answers by connection."""

    async def run() -> tuple[list[int], list[int]]:
        async with fickle_node(answers_per_connection) as (url, connections):
            statistics = ClientStatistics()
            pool = NodeConnections(ssl.create_default_context(), max_connections=3, max_idle=3)
            transport = RetryTransport(
                WholeBodyTransport(pool, statistics, 1000), statistics, RetryPolicy(first_wait=0.01)
            )
            sent = []
            async with httpx.AsyncClient(transport=transport) as client:
                for _ in range(requests):
                    request = client.build_request("GET", url)
                    assert (await client.send(request)).status_code == 200
                    sent.append(request.extensions[ATTEMPTS])
                    await asyncio.sleep(0.05)
            return sent, connections

    return asyncio.run(run())


def test_a_connection_is_used_again() -> None:
    assert ask(answers_per_connection=10, requests=3) == ([1, 1, 1], [3])


def test_a_connection_that_was_closed_a_moment_ago_costs_an_attempt() -> None:
    sent, connections = ask(answers_per_connection=1, requests=3)
    assert sent == [1, 2, 2]
    assert connections == [1, 1, 1]


def test_a_connection_that_was_idle_for_long_is_known_to_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_connections, "_SURELY_OPEN_SECONDS", 0.0)
    assert ask(answers_per_connection=1, requests=3) == ([1, 1, 1], [1, 1, 1])

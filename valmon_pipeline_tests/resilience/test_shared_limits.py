"""Three processes that ask one node: together they keep its limits, and go on without a database.

Only requests are counted, at the node.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline_tests.conftest import temporary_home
from valmon_pipeline_tests.migrated_schema import make_migrated_schema
from valmon_pipeline_tests.resilience.test_killed_database import server as server

pytestmark = pytest.mark.slow

PROCESSES: Final = 3
SYNCING: Final = {
    "head_slot": "1",
    "sync_distance": "0",
    "is_syncing": False,
    "is_optimistic": False,
    "el_offline": False,
}

WORKER = """
import asyncio, os, sys
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.config import load_settings
from valmon_pipeline.pipeline import node_pool, open_database
settings = load_settings(environ=dict(os.environ))
database = open_database(settings, settings.database.url.reveal())
(options,) = node_pool(settings, database=lambda: database).options
print("ready", flush=True)
sys.stdin.readline()

async def ask() -> None:
    async with BeaconClient.open(options) as client:
        await asyncio.gather(*(client.syncing() for _ in range(12)))

while True:  # an event loop each time, as ticks of sensors have
    asyncio.run(ask())
"""


class CountingNode:
    """A node that takes ``seconds`` for each answer, and remembers when it was asked."""

    def __init__(self, seconds: float) -> None:
        self.asked_at: list[float] = []
        self.under_way: list[tuple[float, int]] = []
        self._now = 0
        self._seconds = seconds
        self._lock = threading.Lock()

    def answer(self) -> bytes:
        with self._lock:
            self._now += 1
            self.asked_at.append(time.monotonic())
            self.under_way.append((self.asked_at[-1], self._now))
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        return json.dumps({"data": SYNCING}).encode()

    def requests_in(self, first: float, last: float) -> int:
        """How many came between two moments."""
        return sum(first <= at < last for at in self.asked_at)


@contextmanager
def counting_node(seconds: float) -> Iterator[tuple[str, CountingNode]]:
    node = CountingNode(seconds)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = node.answer()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:
            """Clients are killed in the end."""

    with Server(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}", node
        finally:
            listening.shutdown()
            thread.join()


@contextmanager
def processes_that_ask(
    node_url: str, database_url: str, schema: str, **limits: int
) -> Iterator[None]:
    """Three processes that ask the node as fast as they may; they have begun."""
    rate_limit = {name: limits[name] for name in ("requests_per_second", "burst")}
    node = {"url": node_url, "name": "shared", "rate_limit": rate_limit}
    with temporary_home() as home, ExitStack() as stack:
        environment = {
            "VALMON_HOME": str(home),
            "VALMON_NETWORK": schema,
            "VALMON_DATABASE_URL": database_url,
            "VALMON_BEACON_NODES": json.dumps([{**node, "max_in_flight": limits["in_flight"]}]),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        started = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(PROCESSES)
        ]
        for process in started:
            stack.enter_context(process)
            stack.callback(process.kill)
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        yield
        assert [process.poll() for process in started] == [None] * PROCESSES


def test_processes_together_keep_the_rate_limit_of_a_node_with_and_without_the_database(
    server: EmbeddedPostgres,
) -> None:
    make_migrated_schema(server.url(), "devnet")
    postmaster = int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])
    rate, burst, seconds = 20, 4, 5.0
    with (
        counting_node(seconds=0.0) as (url, node),
        processes_that_ask(
            url, server.url(), "devnet", requests_per_second=rate, burst=burst, in_flight=10
        ),
    ):
        time.sleep(1)
        first = time.monotonic()
        time.sleep(seconds)
        with_database = node.requests_in(first, first + seconds)
        _kill(postmaster)
        time.sleep(2)  # what was leased is used, and a connection or two is tried
        alone = time.monotonic()
        time.sleep(seconds)
        without_database = node.requests_in(alone, alone + seconds)
    allowed = 1.1 * rate * seconds + burst
    assert 0.5 * rate * seconds < with_database <= allowed
    assert 0.5 * rate * seconds < without_database <= allowed


def test_processes_together_keep_the_number_of_requests_under_way(
    database_url: str, schema: str
) -> None:
    make_migrated_schema(database_url, schema)
    with (
        counting_node(seconds=0.1) as (url, node),
        processes_that_ask(
            url, database_url, schema, requests_per_second=1000, burst=1000, in_flight=6
        ),
    ):
        time.sleep(5)  # two leases each, and what was under way before them
        first = time.monotonic()
        time.sleep(2)
        most = max(count for at, count in node.under_way if at >= first)
    assert 3 <= most <= 6


def _kill(postmaster: int) -> None:
    """Kill the server and all of its children."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for process in (postmaster, *map(int, children)):
        os.kill(process, signal.SIGKILL)

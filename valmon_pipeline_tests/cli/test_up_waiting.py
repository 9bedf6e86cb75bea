"""``valmon up`` without a node that is ready: it starts, says what it waits for, and goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import pytest
import uvicorn

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline_tests.cli.home import Home, wait_until
from valmon_pipeline_tests.moody_node import SYNCING, Mood

pytestmark = pytest.mark.slow

TICKS: Final = """{
    sensorOrError(sensorSelector: {
        repositoryName: "__repository__", repositoryLocationName: "valmon",
        sensorName: "epoch_sensor"
    }) { ... on Sensor { sensorState { ticks(limit: 1) { skipReason } } } }
}"""


@pytest.fixture
def port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@contextmanager
def syncing_node(port: int) -> Iterator[Mood]:
    """A node at a port that is syncing until its mood is changed."""
    recording = Recording.load(RECORDING_PATH)
    with (
        BackgroundReplayNode(ReplayNode(recording)) as true_node,
        httpx.Client(base_url=true_node.url, trust_env=False) as truth,
        socket.create_server(("127.0.0.1", port)) as listening,
    ):
        mood = Mood(truth)
        mood.changed[SYNCING] = {"is_syncing": True, "sync_distance": "12"}
        node = ReplayNode(recording, faults=mood)
        config = uvicorn.Config(node.app, log_level="critical", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield mood
        server.should_exit = True
        thread.join()


def test_it_starts_without_a_node_says_why_and_stores_epochs_once_one_is_ready(
    home: Home, port: int
) -> None:
    node = f'[{{"url": "http://user:hunter2@127.0.0.1:{port}", "name": "board"}}]'
    variables = {
        "VALMON_NETWORK": "devnet",
        "VALMON_BEACON_NODES": node,
        "VALMON_VALIDATORS": "0..15",
        "VALMON_FAILOVER__PROBE_SECONDS": "5",
        "VALMON_HTTP__TIMEOUT_SECONDS": "5",
    }
    waiting = Home(home.path, variables)
    with waiting.up("--port", "0") as up:
        up.wait_for("waiting for a beacon node: board does not answer\n")
        up.wait_for("Dagster UI:")

        def reason() -> str:
            ticks = up.ask(TICKS)["sensorOrError"]["sensorState"]["ticks"]
            return ticks[0]["skipReason"] or "" if ticks else ""

        wait_until(lambda: reason() == "waiting for a beacon node: board does not answer")
        with syncing_node(port) as mood:
            up.wait_for("waiting for a beacon node: board is syncing, at slot 351\n")
            assert waiting.run("status", "--json").json["stored"]["epoch_count"] == 0
            mood.changed.clear()
            up.wait_for("Beacon node board is ready.")
            up.wait_for("epochs stored")
            assert waiting.run("status", "--json").json["stored"]["epoch_count"] >= 1
        assert up.printed.count("board does not answer") == 1
        assert up.printed.count("board is syncing") == 1
        logged = (home.path / "logs" / "code-server.log").read_text()
        assert "hunter2" not in up.printed + logged

"""A node whose clock and patience the test controls, and ``valmon up`` on it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from valmon_pipeline.assets.run_tags import WORK_TAG
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.clock import LiveClock
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.stored import stored_epochs
from valmon_pipeline_tests.cli.home import Home, Up, wait_until
from valmon_pipeline_tests.recording import devnet

NETWORK = "devnet"


@dataclass
class PatientNode:
    """A live node at ``url``. Of the epochs ``held`` it begins to tell the rewards and then says
    nothing more: a run that reads one of them is under way for as long as the test wants."""

    url: str
    clock: LiveClock
    seconds: float
    held: set[int] = field(default_factory=set)

    def close_window(self, epoch: int) -> None:
        """Let it be the first slot with a block that closes the window of an epoch."""
        slot = devnet().spec.first_slot(epoch + 2)
        while devnet().header(slot) is None:
            slot += 1
        self.seconds = self.clock.genesis_time + (slot + 0.5) * self.clock.slot_duration_ms / 1000

    def hold(self, request: Request) -> Response | None:
        """The ``faults`` hook."""
        asked = re.fullmatch(r"/eth/v1/beacon/rewards/attestations/(\d+)", request.url.path)
        if asked is None or int(asked[1]) not in self.held:
            return None
        return StreamingResponse(self._silence(int(asked[1])), media_type="application/json")

    async def _silence(self, epoch: int) -> AsyncIterator[bytes]:
        yield b'{"data":'
        while epoch in self.held:
            await asyncio.sleep(0.05)


@contextmanager
def patient_node() -> Iterator[PatientNode]:
    """A node that tells everything it is asked, on a chain that stands at its first slot."""
    recording = Recording.load(RECORDING_PATH)
    node = PatientNode("", LiveClock(0, 1, 0), 1_700_000_000.0)
    replay = ReplayNode(
        recording,
        live=True,
        start_slot=recording.slots[0],
        faults=node.hold,
        now=lambda: node.seconds,
    )
    assert isinstance(replay.clock, LiveClock)
    node.clock = replay.clock
    with BackgroundReplayNode(replay) as background:
        node.url = background.url
        try:
            yield node
        finally:
            node.held.clear()


class Drill:
    """An installation on a patient node: what runs, and what is stored."""

    def __init__(self, path: Path, node: PatientNode, **variables: str) -> None:
        self.node = node
        self.home = Home(
            path,
            {
                "VALMON_BEACON_URL": node.url,
                "VALMON_WATCH": "network",
                "VALMON_NETWORK": NETWORK,
                "VALMON_HTTP__TIMEOUT_SECONDS": "120",
                "VALMON_RATE_LIMIT__REQUESTS_PER_SECOND": "10000",
                "VALMON_RATE_LIMIT__BURST": "100000",
                **variables,
            },
        )
        self._server = EmbeddedPostgres(path)

    @contextmanager
    def up(self) -> Iterator[Up]:
        """``valmon up``, ready."""
        with self.home.up("--epochs", "none", "--port", "0") as up:
            up.wait_for("Dagster UI:")
            yield up

    @contextmanager
    def instance(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
        """Dagster's instance of the service that runs."""
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", self._server.dagster_url())
        with dg.DagsterInstance.from_config(str(self.home.path / "dagster")) as instance:
            yield instance

    @contextmanager
    def warehouse(self) -> Iterator[Warehouse]:
        """The tables of the service that runs."""
        database = Database(self._server.url(), NETWORK)
        try:
            yield Warehouse(database)
        finally:
            database.close()

    def stored(self) -> set[int]:
        """The epochs that are stored."""
        with self.warehouse() as warehouse:
            return set(stored_epochs(warehouse))

    def wait_for_epoch(self, epoch: int) -> None:
        """Wait until it is stored."""
        wait_until(lambda: epoch in self.stored())

    @contextmanager
    def table_locked(self, table: str) -> Iterator[None]:
        """Nobody can read or write a table meanwhile."""
        with psycopg.connect(self._server.url()) as connection:
            connection.execute(f"LOCK TABLE {NETWORK}.{table} IN ACCESS EXCLUSIVE MODE".encode())
            yield
            connection.rollback()


def started(
    instance: dg.DagsterInstance, tags: dict[str, str], count: int = 1
) -> list[dg.DagsterRun]:
    """The ``count`` runs with these tags that are at work; waits for them."""
    found: list[dg.DagsterRun] = []

    def are_at_work() -> bool:
        found[:] = instance.get_runs(
            dg.RunsFilter(tags=dict[str, Any](tags), statuses=[dg.DagsterRunStatus.STARTED])
        )
        return len(found) >= count

    wait_until(are_at_work)
    assert len(found) == count
    return found


def started_live_run(instance: dg.DagsterInstance, epoch: int) -> dg.DagsterRun:
    """The run at work on the newest epoch."""
    (run,) = started(instance, {WORK_TAG: "live", "dagster/partition": f"{epoch:07d}"})
    return run


def is_failed(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run is marked as failed."""
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.FAILURE


def process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    """The process id of a run's worker."""
    for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        data = event.get_dagster_event().engine_event_data
        if "pid" in data.metadata:
            return int(str(data.metadata["pid"].value))
    raise AssertionError("no event of the run names its process")

"""Epochs shared among processes: the same rows as from one, and nothing left behind or untold."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from valmon_pipeline.assets import parallel_materialization
from valmon_pipeline.assets.materialization import EpochReport
from valmon_pipeline.assets.parallel_materialization import ParallelMaterializer, batch_size
from valmon_pipeline.assets.resources import NoProgress, Pipeline
from valmon_pipeline.config import Settings, load_settings
from valmon_pipeline.errors import BeaconUnreachableError
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline_tests.assets.stored import fresh_warehouse, stored_epochs
from valmon_pipeline_tests.resilience.epoch_hashes import EPOCHS, EpochHashes, epoch_hashes

END_SECONDS = 30.0


def settings_for(schema: str, node_url: str) -> Settings:
    return load_settings(
        environ={
            "VALMON_HOME": "/nonexistent",
            "VALMON_NETWORK": schema,
            "VALMON_BEACON_URL": node_url,
            "VALMON_WATCH": "network",
            "VALMON_RATE_LIMIT__REQUESTS_PER_SECOND": "10000",
            "VALMON_RATE_LIMIT__BURST": "100000",
            "VALMON_BACKFILL__PROCESSES": "2",
        }
    )


@pytest.fixture
def pipeline(
    database_url: str, node_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    monkeypatch.setattr(parallel_materialization, "EPOCHS_PER_PROCESS", 6)
    with fresh_warehouse(database_url) as warehouse:
        pipeline = pipeline_of(settings_for(warehouse.schema, node_url), lambda: database_url)
        yield pipeline
        pipeline.warehouse.database.close()


def workers_of(parent: int) -> list[int]:
    """The processes that materialize epochs for a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[1]) == parent and b"valmon_pipeline.assets.epoch_worker" in command:
            found.append(int(entry.name))
    return found


def wait_until_gone(processes: list[int]) -> None:
    ends = time.monotonic() + END_SECONDS
    while any(Path(f"/proc/{process}/cmdline").exists() for process in processes):
        assert time.monotonic() < ends, "a worker outlives the process it works for"
        time.sleep(0.05)


def test_two_processes_store_what_one_does(pipeline: Pipeline, undisturbed: EpochHashes) -> None:
    materializer = pipeline.materializer()
    assert isinstance(materializer, ParallelMaterializer)
    told: list[EpochReport] = []
    seen: set[int] = set()

    def on_stored(report: EpochReport) -> None:
        told.append(report)
        seen.update(workers_of(os.getpid()))

    outcome = materializer.run(EPOCHS, on_stored)
    assert outcome.failures == {}
    assert outcome.stored == list(EPOCHS) == sorted(report.epoch for report in told)
    assert epoch_hashes(pipeline.warehouse) == undisturbed
    assert len(seen) == 2
    assert workers_of(os.getpid()) == []
    # Whatever is shown of an epoch came through.
    blocks = {report.epoch: report.described["blocks"] for report in told}
    assert blocks[14]["dagster/partition_row_count"] == 8
    assert all(check.passed for report in told for check in report.checks)


def test_what_a_killed_worker_had_begun_fails_and_the_others_go_on(pipeline: Pipeline) -> None:
    killed: list[int] = []

    def on_stored(report: EpochReport) -> None:
        if not killed:
            killed.append(workers_of(os.getpid())[0])
            os.kill(killed[0], signal.SIGKILL)

    outcome = pipeline.materializer().run(EPOCHS, on_stored)
    assert set(outcome.failures.values()) == {"the process that materialized it ended by signal 9"}
    assert outcome.stored
    assert sorted([*outcome.stored, *outcome.failures]) == list(EPOCHS)
    # One that was stored may not have been told of; what was told is stored.
    assert set(stored_epochs(pipeline.warehouse)) >= set(outcome.stored)


class Interrupted(NoProgress):
    """Whoever watches has had enough after one epoch."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @property
    def interrupted(self) -> bool:
        return bool(self.seen)


def test_an_interrupted_run_tells_of_all_that_it_stored(pipeline: Pipeline) -> None:
    progress = Interrupted()
    materializer = ParallelMaterializer(
        pipeline.materializer_alone(provisional=False, correction_reason=""),
        pipeline.materializer()._opener,  # type: ignore[union-attr]
        2,
        is_cancelled=lambda: progress.interrupted,
    )
    with pytest.raises(asyncio.CancelledError):
        materializer.run(EPOCHS, lambda report: progress.seen.append(report.epoch))
    assert workers_of(os.getpid()) == []
    assert sorted(progress.seen) == sorted(stored_epochs(pipeline.warehouse))
    assert len(progress.seen) < len(EPOCHS)


def test_without_a_node_nothing_is_begun(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel_materialization, "EPOCHS_PER_PROCESS", 6)
    with fresh_warehouse(database_url) as warehouse:
        settings = settings_for(warehouse.schema, "http://127.0.0.1:9")
        pipeline = pipeline_of(settings, lambda: database_url)
        with pytest.raises(BeaconUnreachableError, match="no beacon node can be used"):
            pipeline.materializer().run(EPOCHS)
        assert workers_of(os.getpid()) == []


RUN = """
import sys
from valmon_pipeline.assets import parallel_materialization
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline_tests.resilience.test_parallel_processes import EPOCHS, settings_for
parallel_materialization.EPOCHS_PER_PROCESS = 6
url, schema, node = sys.argv[1:]
pipeline_of(settings_for(schema, node), lambda: url).materializer().run(
    EPOCHS, lambda report: print(report.epoch, flush=True)
)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_they_work_for(
    database_url: str, node_url: str, how: signal.Signals
) -> None:
    with fresh_warehouse(database_url) as warehouse:
        parent = subprocess.Popen(
            [sys.executable, "-c", RUN, database_url, warehouse.schema, node_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with parent:
            assert parent.stdout is not None
            told = [int(parent.stdout.readline())]
            workers = workers_of(parent.pid)
            parent.send_signal(how)
            told += map(int, parent.stdout.read().split())
            assert parent.wait(END_SECONDS) != 0
        assert len(workers) == 2
        wait_until_gone(workers)
        stored = set(stored_epochs(warehouse))
        if how == signal.SIGINT:
            assert set(told) == stored
        assert set(told) <= stored < set(EPOCHS)


def test_batches_take_ten_seconds_and_get_small_at_the_end() -> None:
    assert batch_size(200, 2, None) == 4
    assert batch_size(200, 2, 0.2) == 50
    assert batch_size(10_000, 2, 0.0) == 64
    assert batch_size(10_000, 2, 30.0) == 1
    assert batch_size(20, 2, 0.2) == 5
    assert batch_size(1, 4, 0.2) == 1

"""Runs for the newest epoch never wait for a backfill, whatever its size."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)

from valmon_pipeline import deployment
from valmon_pipeline.assets.run_tags import CATCH_UP, WORK_TAG
from valmon_pipeline.automation.epoch_runs import catch_up_runs, epoch_run
from valmon_pipeline.automation.under_way import read_under_way
from valmon_pipeline.config import InvalidConfigurationError

SHIPPED = yaml.safe_load(Path(deployment.__file__).with_name("dagster.yaml").read_text())
_REPOSITORY = RemoteRepositoryOrigin(
    RegisteredCodeLocationOrigin("valmon"), SINGLETON_REPOSITORY_NAME
)
BACKFILL = {"dagster/backfill": "abcdefgh"}


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that sets nothing but the runs of backfills."""
    monkeypatch.setenv("VALMON_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VALMON_RUNS__MAX_BACKFILL", "3")


def instance_with(path: Path, **settings: Any) -> dg.DagsterInstance:
    """An instance with the shipped queue, and settings of the user's."""
    own = {"run_coordinator": SHIPPED["run_coordinator"], "telemetry": {"enabled": False}}
    (path / "dagster.yaml").write_text(yaml.safe_dump({**own, **settings}))
    return dg.DagsterInstance.from_config(str(path))


def limits(instance: dg.DagsterInstance) -> tuple[int, dict[str, int]]:
    """How many runs of all kinds, and of each that is limited, work at the same time."""
    config = instance.get_concurrency_config().run_queue_config
    assert config is not None
    by_tag = {limit["key"]: limit["limit"] for limit in config.tag_concurrency_limits or ()}
    return config.max_concurrent_runs, by_tag


def test_the_limits_are_those_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with instance_with(tmp_path) as instance:
        assert limits(instance) == (5, {"dagster/backfill": 3, WORK_TAG: 1})
    monkeypatch.setenv("VALMON_RUNS__MAX_CONCURRENT", "12")
    with instance_with(tmp_path) as instance:
        assert limits(instance) == (12, {"dagster/backfill": 3, WORK_TAG: 1})


def test_too_few_runs_for_live_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALMON_RUNS__MAX_CONCURRENT", "4")
    with instance_with(tmp_path) as instance:
        with pytest.raises(InvalidConfigurationError, match="at least max_backfill"):
            instance.get_concurrency_config()
        # Who launches nothing reads no configuration.
        assert instance.get_runs() == []


def test_what_dagsters_own_file_says_comes_first(tmp_path: Path) -> None:
    with instance_with(tmp_path, concurrency={"runs": {"max_concurrent_runs": 7}}) as instance:
        assert limits(instance) == (7, {"dagster/backfill": 3, WORK_TAG: 1})
    queue = dict(SHIPPED["run_coordinator"], config={"max_concurrent_runs": 8})
    with instance_with(tmp_path, run_coordinator=queue) as instance:
        assert limits(instance) == (8, {"dagster/backfill": 3, WORK_TAG: 1})


def test_the_newest_epoch_is_launched_beside_a_backfill_and_catching_up(tmp_path: Path) -> None:
    with instance_with(tmp_path) as instance:
        for _ in range(10):
            queue(instance, BACKFILL)
        for request in catch_up_runs("devnet", range(6), [0, 1, 4, 5], "20", longest=64):
            queue(instance, request.tags)
        assert read_under_way(instance, "devnet", None).epochs == {0, 1, 4, 5}
        launched = dequeue(instance)
        assert [run.tags.get("dagster/backfill") for run in launched] == [*["abcdefgh"] * 3, None]
        assert launched[-1].tags[WORK_TAG] == CATCH_UP
        assert dequeue(instance) == []
        newest = queue(instance, epoch_run("devnet", 20, "live", "key", "window").tags)
        assert [run.run_id for run in dequeue(instance)] == [newest]


def test_with_room_for_one_the_newest_epoch_goes_first(tmp_path: Path) -> None:
    with instance_with(tmp_path, concurrency={"runs": {"max_concurrent_runs": 1}}) as instance:
        queue(instance, BACKFILL)
        newest = queue(instance, epoch_run("devnet", 20, "live", "key", "window").tags)
        assert [run.run_id for run in dequeue(instance)] == [newest]


def queue(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> str:
    """Put a run into the queue; its id."""
    run = dg.DagsterRun(
        job_name="materialize_epochs",
        run_id=str(uuid.uuid4()),
        tags=tags,
        status=dg.DagsterRunStatus.QUEUED,
        remote_job_origin=_REPOSITORY.get_job_origin("materialize_epochs"),
    )
    instance.run_storage.add_run(run)
    return run.run_id


def dequeue(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The runs that Dagster's daemon would launch next; they count as started from now on."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
    for run in runs:
        event = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.PIPELINE_START.value, job_name=run.job_name
        )
        instance.run_storage.handle_run_event(run.run_id, event)
    return runs

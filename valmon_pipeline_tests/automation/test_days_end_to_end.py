"""Days of a chain from their epochs to what is left of them: summed up, then dropped, by real runs.

The node tells of a slow clock: five recorded epochs are a day, and the chain began five days ago.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.sensor_definition import SensorExecutionData

from valmon_pipeline.automation.day_sensor import SUM_UP_DAYS
from valmon_pipeline.automation.maintenance import MAINTENANCE
from valmon_pipeline.config import load_settings
from valmon_pipeline.definitions import MATERIALIZE_EPOCHS, build_definitions
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.partitions import range_tags, register_epochs, registered_epochs
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.stored import fresh_warehouse, stored_epochs
from valmon_pipeline_tests.cli.home import Home
from valmon_pipeline_tests.conftest import temporary_home
from valmon_pipeline_tests.moody_node import GENESIS, SPEC, SYNCING, moody_node

pytestmark = pytest.mark.slow

EPOCHS_A_DAY = 5
SLOT_SECONDS = 86_400 // EPOCHS_A_DAY // 8
TODAY = datetime.now(UTC).date()
"""The day of these tests, also of those that midnight overtakes."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def days_ago(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.fixture(scope="module")
def slow_node_url() -> Iterator[str]:
    """The recorded chain, begun at midnight five days ago."""
    recording = Recording.load(RECORDING_PATH)
    midnight = datetime.combine(days_ago(5), time(), UTC)
    with (
        BackgroundReplayNode(ReplayNode(recording)) as truth,
        moody_node(recording, truth.url) as (url, mood),
    ):
        mood.changed[SPEC] = {
            "SECONDS_PER_SLOT": str(SLOT_SECONDS),
            "SLOT_DURATION_MS": str(SLOT_SECONDS * 1000),
        }
        mood.changed[GENESIS] = {"genesis_time": str(int(midnight.timestamp()))}
        # The whole recording takes longer than five days; a head after now is a fault of a node.
        mood.changed[SYNCING] = {"head_slot": str(5 * EPOCHS_A_DAY * 8)}
        yield url


class Service:
    """A network's jobs and its day sensor; runs are done in this process."""

    def __init__(
        self, instance: dg.DagsterInstance, warehouse: Warehouse, database_url: str, url: str
    ) -> None:
        settings = load_settings(
            environ={
                "VALMON_HOME": "/nonexistent",
                "VALMON_NETWORK": warehouse.schema,
                "VALMON_BEACON_URL": url,
                "VALMON_WATCH": "network",
                "VALMON_RETENTION_DAYS": "2",
                "VALMON_RATE_LIMIT__REQUESTS_PER_SECOND": "10000",
                "VALMON_RATE_LIMIT__BURST": "100000",
            }
        )
        self.instance = instance
        self.warehouse = warehouse
        self.pipeline = pipeline_of(settings, lambda: database_url)
        self._definitions = build_definitions(settings, self.pipeline)
        self._cursor: str | None = None

    def run(
        self, job: str, tags: Mapping[str, str] | None = None, day: str | None = None
    ) -> dg.ExecuteInProcessResult:
        """A run that has to go well."""
        result = self._definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, partition_key=day, tags=dict(tags or {}), run_config=QUIET
        )
        assert result.success
        return result

    def materialize(self, epochs: range) -> None:
        register_epochs(self.instance, self.warehouse.schema, epochs)
        self.run(MATERIALIZE_EPOCHS, range_tags(epochs))

    def tick(self) -> SensorExecutionData:
        """The day sensor's tick."""
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self._cursor,
            resources={"pipeline": self.pipeline},
            definitions=self._definitions,
        )
        with partition_loading_context(dynamic_partitions_store=self.instance):
            result = self._definitions.resolve_sensor_def("day_sensor").evaluate_tick(context)
        self._cursor = result.cursor
        return result

    def summed_up(self) -> dict[date, int]:
        """By day, how many epochs its rows sum up."""
        rows = self.warehouse.read("validator_day_summaries", columns=["day", "epochs"])
        pairs = zip(rows["day"], rows["epochs"], strict=True)
        return {day.date(): int(epochs) for day, epochs in pairs}


class NoonToday(datetime):
    """The clock of a maintenance that must not see the day change."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> NoonToday:
        return cls.combine(TODAY, time(12), tz)


@pytest.fixture
def service(
    instance: dg.DagsterInstance,
    database_url: str,
    slow_node_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Service]:
    monkeypatch.setattr("valmon_pipeline.automation.maintenance.datetime", NoonToday)
    with fresh_warehouse(database_url) as warehouse:
        service = Service(instance, warehouse, database_url, slow_node_url)
        yield service
        service.pipeline.warehouse.database.close()


def test_days_are_summed_up_when_they_are_over_and_dropped_when_they_are_old(
    service: Service,
) -> None:
    service.materialize(range(10, 27))
    requests = service.tick().run_requests or []
    assert [request.partition_key for request in requests] == [
        days_ago(3).isoformat(),
        days_ago(2).isoformat(),
        days_ago(1).isoformat(),
    ]
    for request in requests:
        service.run(SUM_UP_DAYS, request.tags, request.partition_key)
    assert service.summed_up() == dict.fromkeys(map(days_ago, (3, 2, 1)), EPOCHS_A_DAY)
    assert service.tick().skip_message == "every day that is over and final is summed up"

    service.run(MAINTENANCE)
    assert stored_epochs(service.warehouse) == list(range(15, 27))
    assert set(service.warehouse.read("blocks")["epoch"]) == set(range(15, 27))
    assert registered_epochs(service.instance, service.warehouse.schema) == list(range(15, 27))
    assert service.summed_up() == dict.fromkeys(map(days_ago, (3, 2, 1)), EPOCHS_A_DAY)
    service.run(MAINTENANCE)
    assert stored_epochs(service.warehouse) == list(range(15, 27))


def test_a_day_is_kept_until_it_is_summed_up_and_summed_up_again_when_a_gap_is_filled(
    service: Service,
) -> None:
    service.materialize(range(10, 12))
    service.materialize(range(13, 16))
    assert not service.tick().run_requests  # somebody may be filling the gap
    service.run(MAINTENANCE)
    assert stored_epochs(service.warehouse) == [10, 11, 13, 14, 15]
    (request,) = service.tick().run_requests or []
    service.run(SUM_UP_DAYS, request.tags, request.partition_key)
    assert service.summed_up() == {days_ago(3): 4}
    service.materialize(range(12, 13))
    (again,) = service.tick().run_requests or []
    assert again.run_key != request.run_key
    service.run(SUM_UP_DAYS, again.tags, again.partition_key)
    assert service.summed_up() == {days_ago(3): 5}


def test_the_command_tells_what_it_dropped_and_what_it_kept_and_why(slow_node_url: str) -> None:
    with temporary_home() as path:
        home = Home(
            path,
            {
                "VALMON_BEACON_URL": slow_node_url,
                "VALMON_WATCH": "network",
                "VALMON_RETENTION_DAYS": "2",
            },
        )
        assert home.run("backfill", "10..11").code == 0
        begun = datetime.now(UTC)
        done = home.run("maintenance", "run")
        assert done.code == 0, done.err
        lines = dict(line.split(maxsplit=1) for line in done.out.splitlines())
        assert lines["retention"] in {
            f"nothing to drop before {moment.date() - timedelta(days=2)}"
            for moment in (begun, datetime.now(UTC))
        }
        assert f"{days_ago(3)} 0 of its 2 stored epochs are summed up" in lines["kept"]
        assert lines["dagster"].startswith("deleted 0 runs")
        assert home.processes() == []

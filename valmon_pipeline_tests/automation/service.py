"""The sensors of one network, whose runs the test makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import dagster as dg
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG, SENSOR_NAME_TAG

from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.loading import load_epochs
from valmon_pipeline.assets.run_tags import PROVISIONAL_TAG, REASON_TAG
from valmon_pipeline.automation.under_way import read_under_way
from valmon_pipeline.config import load_settings
from valmon_pipeline.definitions import MATERIALIZE_EPOCHS, build_definitions
from valmon_pipeline.partitions import register_epochs
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage.warehouse import Warehouse

_REPOSITORY: Final = RemoteRepositoryOrigin(
    RegisteredCodeLocationOrigin("valmon"), SINGLETON_REPOSITORY_NAME
)


class Service:
    """One network's sensors; runs they request are done at once, in this process."""

    def __init__(
        self, instance: dg.DagsterInstance, warehouse: Warehouse, database_url: str, url: str
    ) -> None:
        environment = {
            "VALMON_HOME": "/nonexistent",
            "VALMON_NETWORK": warehouse.schema,
            "VALMON_BEACON_URL": url,
            "VALMON_WATCH": "network",
            "VALMON_RATE_LIMIT__REQUESTS_PER_SECOND": "10000",
            "VALMON_RATE_LIMIT__BURST": "100000",
            "VALMON_CATCH_UP__MAX_EPOCHS_PER_TICK": "4",
            "VALMON_ALERTS__HORIZON_EPOCHS": "10000000",
        }
        settings = load_settings(environ=environment)
        self.instance = instance
        self.warehouse = warehouse
        self.pipeline = pipeline_of(settings, lambda: database_url)
        self.definitions = build_definitions(settings, self.pipeline)
        self.cursors: dict[str, str | None] = {}

    def tick(self, sensor: str) -> SensorExecutionData:
        """Evaluate a sensor; its cursor is kept."""
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(sensor),
            resources={"pipeline": self.pipeline},
            definitions=self.definitions,
        )
        with partition_loading_context(dynamic_partitions_store=self.instance):
            result = self.definitions.resolve_sensor_def(sensor).evaluate_tick(context)
        if result.cursor is not None:
            self.cursors[sensor] = result.cursor
        return result

    def execute(self, request: dg.RunRequest) -> None:
        """What the requested run does, without the seconds that a run of Dagster takes."""
        reader = self.pipeline.fact_reader(
            self.warehouse,
            provisional=request.tags[PROVISIONAL_TAG] == "true",
            reason=request.tags[REASON_TAG],
        )
        assert load_epochs(reader, epochs_of(request)).failures == {}

    def run(self, request: dg.RunRequest) -> None:
        """The requested run, as Dagster does it."""
        register_epochs(self.instance, self.warehouse.schema, epochs_of(request))
        result = self.definitions.resolve_job_def(MATERIALIZE_EPOCHS).execute_in_process(
            instance=self.instance, partition_key=request.partition_key, tags=dict(request.tags)
        )
        assert result.success

    def run_of(
        self,
        request: dg.RunRequest,
        status: dg.DagsterRunStatus = dg.DagsterRunStatus.QUEUED,
        tags: Mapping[str, str] | None = None,
    ) -> dg.DagsterRun:
        """The run that Dagster makes of a request of the epoch sensor, in some state."""
        assert request.run_key is not None
        added = {RUN_KEY_TAG: request.run_key, SENSOR_NAME_TAG: "epoch_sensor", **(tags or {})}
        if request.partition_key is not None:
            added[PARTITION_NAME_TAG] = request.partition_key
        return self.run_with({**request.tags, **added}, status)

    def run_with(
        self,
        tags: Mapping[str, str],
        status: dg.DagsterRunStatus = dg.DagsterRunStatus.QUEUED,
        job: str = MATERIALIZE_EPOCHS,
        assets: Iterable[str] = (),
    ) -> dg.DagsterRun:
        """A run of a job, or of some of its tables' assets, in some state."""
        selected = frozenset(asset_key(self.warehouse.schema, table) for table in assets)
        return self.instance.create_run_for_job(
            self.definitions.resolve_job_def(job),
            tags=dict(tags),
            status=status,
            asset_selection=selected or None,
            remote_job_origin=_REPOSITORY.get_job_origin(job),
        )

    def end(
        self,
        request: dg.RunRequest,
        kind: DagsterEventType = DagsterEventType.RUN_FAILURE,
        *,
        ran: bool = True,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Make a run of a request that has ended, by default in failure."""
        run = self.run_of(request, tags=tags)
        for event in [DagsterEventType.RUN_START, kind] if ran else [kind]:
            self.instance.report_dagster_event(DagsterEvent(event.value, run.job_name), run.run_id)

    def follow(self) -> list[list[int]]:
        """Tick the epoch sensor until nothing is due; the epochs of each run."""
        runs = []
        while requests := self.tick("epoch_sensor").run_requests:
            for request in requests:
                runs.append(epochs_of(request))
                self.execute(request)
        return runs

    def under_way(self) -> set[int]:
        """Epochs that runs of this network hold."""
        chain = self.warehouse.network()
        return set(read_under_way(self.instance, self.warehouse.schema, chain).epochs)

    def finality(self) -> dict[int, bool]:
        frame = self.warehouse.read("network_epochs", columns=["epoch", "finalized"])
        return dict(zip(frame["epoch"].tolist(), frame["finalized"].tolist(), strict=True))


def epochs_of(request: dg.RunRequest) -> list[int]:
    if request.partition_key is not None:
        return [int(request.partition_key)]
    first = request.tags["dagster/asset_partition_range_start"]
    last = request.tags["dagster/asset_partition_range_end"]
    return list(range(int(first), int(last) + 1))


def skip_reason(result: SensorExecutionData) -> str:
    assert not result.run_requests
    assert result.skip_message is not None
    return result.skip_message

"""What Dagster's unexported names mean to us."""

# No postponed annotations here: Dagster reads the type of `context` at definition time.
import subprocess
import sys
import uuid
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

from valmon_pipeline.automation.under_way import UNFINISHED
from valmon_pipeline.dagster_adapter import internals
from valmon_pipeline.dagster_adapter.internals import (
    DAEMON_MODULE,
    GRPC_INFO_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    RUN_KEY_TAG,
    BulkActionsFilter,
    BulkActionStatus,
    DagsterGrpcClient,
    DagsterUserCodeUnreachableError,
    ListRepositoriesResponse,
    PartitionBackfill,
    SerializableErrorInfo,
)
from valmon_pipeline.deployment.listening import LOOPBACK
from valmon_pipeline.deployment.processes import ManagedProcess, answers, free_port, stop_all
from valmon_pipeline.partitions import RANGE_END_TAG, RANGE_START_TAG

REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("valmon"), "any")
CODE = """
import dagster as dg

@dg.op
def work():
    pass

@dg.job
def a_job():
    work()

defs = dg.Definitions(jobs=[a_job])
"""


def test_the_daemon_is_started_by_its_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", DAEMON_MODULE, "run", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--workspace" in done.stdout


@pytest.mark.parametrize("status", dg.DagsterRunStatus)
def test_a_run_is_finished_or_under_way(status: dg.DagsterRunStatus) -> None:
    run = dg.DagsterRun(
        job_name="any",
        run_id=str(uuid.uuid4()),
        status=status,
        remote_job_origin=REPOSITORY.get_job_origin("any"),
    )
    # MANAGED is not used by Dagster itself; it is nothing that has ended.
    assert run.is_finished is (status not in UNFINISHED) or status.value == "MANAGED"


@pytest.mark.parametrize(
    ("status", "tags", "waits"),
    [
        (dg.DagsterRunStatus.FAILURE, {WILL_RETRY_TAG: "true"}, True),
        (dg.DagsterRunStatus.FAILURE, {WILL_RETRY_TAG: "false"}, False),
        (dg.DagsterRunStatus.FAILURE, {}, False),
        (dg.DagsterRunStatus.STARTED, {WILL_RETRY_TAG: "true"}, False),
        (
            dg.DagsterRunStatus.FAILURE,
            {WILL_RETRY_TAG: "true", AUTO_RETRY_RUN_ID_TAG: "of the retry"},
            False,
        ),
    ],
)
def test_a_failed_run_says_whether_it_waits_for_its_retry(
    status: dg.DagsterRunStatus, tags: dict[str, str], waits: bool
) -> None:
    run = dg.DagsterRun(job_name="any", run_id=str(uuid.uuid4()), status=status, tags=tags)
    assert run.is_complete_and_waiting_to_retry is waits


def test_backfills_that_are_not_over_are_found_and_say_what_they_have_submitted() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for status in BulkActionStatus:
            backfill = PartitionBackfill(
                backfill_id=status.value,
                status=status,
                from_failure=False,
                tags={},
                backfill_timestamp=0.0,
                partition_set_origin=REPOSITORY.get_partition_set_origin("any"),
                partition_names=["a", "b", "c"],
                last_submitted_partition_name="a",
            )
            instance.add_backfill(backfill)
        requested = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])
        (found,) = instance.get_backfills(filters=requested)
    assert found.backfill_id == "REQUESTED"
    assert found.asset_backfill_data is None
    assert (found.partition_names, found.last_submitted_partition_name) == (["a", "b", "c"], "a")


def test_an_error_tells_its_causes_and_its_class() -> None:
    @dg.op
    def fail() -> None:
        try:
            raise KeyError("the cause")
        except KeyError as error:
            raise ValueError("what is told") from error

    @dg.job
    def failing() -> None:
        fail()

    result = failing.execute_in_process(raise_on_error=False)
    error = result.failure_data_for_node("fail").error  # type: ignore[union-attr]
    assert isinstance(error, SerializableErrorInfo)
    told = []
    while error is not None:
        told.append((error.cls_name, error.message.strip()))
        error = error.cause
    assert told[-2:] == [
        ("ValueError", "ValueError: what is told"),
        ("KeyError", "KeyError: 'the cause'"),
    ]


def test_a_run_of_one_partition_says_which() -> None:
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["0000007"]))
    def epochs() -> None:
        pass

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([epochs], partition_key="0000007", instance=instance)
        assert result.dagster_run.tags[PARTITION_NAME_TAG] == "0000007"


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_a_range_of_partitions_is_selected_by_its_two_tags() -> None:
    seen = list[str]()

    @dg.asset(
        partitions_def=dg.StaticPartitionsDefinition(["a", "b", "c", "d"]),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def epochs(context: dg.AssetExecutionContext) -> None:
        seen.extend(context.partition_keys)

    with dg.DagsterInstance.ephemeral() as instance:
        tags = {RANGE_START_TAG: "b", RANGE_END_TAG: "c"}
        assert dg.materialize([epochs], tags=tags, instance=instance).success
    assert seen == ["b", "c"]


def test_names_are_those_of_the_documentation() -> None:
    assert (PRIORITY_TAG, PARTITION_NAME_TAG) == ("dagster/priority", "dagster/partition")
    assert RUN_KEY_TAG == "dagster/run_key"
    assert dg.MAX_RUNTIME_SECONDS_TAG == "dagster/max_runtime"


@pytest.mark.slow
def test_a_launched_run_is_a_child_of_a_code_server_that_can_be_asked(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "dagster.yaml").write_text(
        "run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"
        "telemetry: {enabled: false}\n"
    )
    port = free_port()
    server = ManagedProcess(
        "code server",
        [
            *(sys.executable, "-m", "dagster", "api", "grpc", "-f", str(tmp_path / "code.py")),
            *("--host", LOOPBACK, "--port", str(port)),
        ],
        {"DAGSTER_HOME": str(tmp_path)},
        tmp_path / "server.log",
    )
    client = DagsterGrpcClient(port=port, host=LOOPBACK)
    server.start()
    try:
        server.wait_until(lambda: answers(port), 60)
        assert client.ping("valmon")["echo"] == "valmon"
        loaded = dg.deserialize_value(client.list_repositories(), ListRepositoriesResponse)
        assert len(loaded.repository_symbols) == 1
        workspace = {"load_from": [{"grpc_server": {"host": LOOPBACK, "port": port}}]}
        (tmp_path / "workspace.yaml").write_text(yaml.safe_dump(workspace))
        launched = subprocess.run(
            [
                *(sys.executable, "-m", "dagster", "job", "launch", "-j", "a_job"),
                *("-w", str(tmp_path / "workspace.yaml"), "--tags", '{"dagster/priority": "1"}'),
            ],
            env={"DAGSTER_HOME": str(tmp_path), "PATH": ""},
            capture_output=True,
            text=True,
        )
        assert launched.returncode == 0, launched.stderr
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            (run,) = instance.get_runs()
            assert isinstance(instance.run_launcher, dg.DefaultRunLauncher)
        assert GRPC_INFO_TAG in run.tags
    finally:
        stop_all([server])
    with pytest.raises(DagsterUserCodeUnreachableError):
        client.ping("valmon")


def test_every_name_is_used_and_tested() -> None:
    package = Path(internals.__file__).parents[1]
    code = "".join(
        file.read_text() for file in package.rglob("*.py") if "dagster_adapter" not in file.parts
    )
    assert [name for name in internals.__all__ if name not in code] == []

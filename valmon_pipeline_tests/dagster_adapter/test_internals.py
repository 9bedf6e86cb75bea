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

from valmon_pipeline.automation.epoch_runs import UNFINISHED
from valmon_pipeline.dagster_adapter import internals
from valmon_pipeline.dagster_adapter.internals import (
    DAEMON_MODULE,
    GRPC_INFO_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    DagsterGrpcClient,
    DagsterUserCodeUnreachableError,
)
from valmon_pipeline.deployment.listening import LOOPBACK
from valmon_pipeline.deployment.processes import ManagedProcess, answers, free_port, stop_all
from valmon_pipeline.partitions import RANGE_END_TAG, RANGE_START_TAG

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
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("valmon"), "any")
    run = dg.DagsterRun(
        job_name="any",
        run_id=str(uuid.uuid4()),
        status=status,
        remote_job_origin=repository.get_job_origin("any"),
    )
    # MANAGED is not used by Dagster itself; it is nothing that has ended.
    assert run.is_finished is (status not in UNFINISHED) or status.value == "MANAGED"


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

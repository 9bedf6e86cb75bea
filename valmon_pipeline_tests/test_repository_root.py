"""Dagster's own commands work in the repository's root, with nothing configured and nothing
running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from valmon_pipeline.deployment.processes import answers, free_port
from valmon_pipeline_tests.cli.home import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LOADED = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus
  locationOrLoadError { __typename ... on PythonError { message } } } } }
  sensorsOrError(repositorySelector: {
    repositoryLocationName: "valmon", repositoryName: "__repository__"}) {
    ... on Sensors { results { name } } } }"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """This process's without anything of valmon's or Dagster's, and an empty home."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VALMON_", "DAGSTER_"))
    }
    telemetry = {"DAGSTER_DISABLE_TELEMETRY": "yes"}
    # dg looks for `dagster` beside itself.
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"}
    return {**inherited, **telemetry, **path, "VALMON_HOME": str(tmp_path), "HOME": str(tmp_path)}


def dg(environment: Mapping[str, str], *arguments: str) -> str:
    """Run a command of ``dg``; its output."""
    done = subprocess.run(
        ["dg", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_dg_loads_the_definitions(environment: dict[str, str]) -> None:
    assert "All component YAML validated" in (said := dg(environment, "check", "defs")), said
    assert "All definitions loaded successfully" in said


def test_dg_lists_the_definitions(environment: dict[str, str]) -> None:
    listed: Any = json.loads(dg(environment, "list", "defs", "--json"))
    assert {"mainnet/blocks", "mainnet/effectiveness_scores"} <= {
        one["asset_key"] for one in listed["assets"]
    }
    assert {"slot_sensor", "epoch_sensor"} <= {one["name"] for one in listed["sensors"]}


@contextmanager
def dagster_dev(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """``dagster dev`` without options but the port; yields its address."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: answers(port) or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def test_dagster_dev_serves_the_graph(environment: dict[str, str], tmp_path: Path) -> None:
    with dagster_dev(environment, tmp_path / "dev.log") as url:
        data = httpx.post(f"{url}/graphql", json={"query": LOADED}, timeout=60).json()["data"]
    (entry,) = data["workspaceOrError"]["locationEntries"]
    assert (entry["name"], entry["loadStatus"]) == ("valmon", "LOADED")
    assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
    assert "slot_sensor" in {one["name"] for one in data["sensorsOrError"]["results"]}

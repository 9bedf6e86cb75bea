"""The files that others start valmon from say what Dagster and Compose accept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.workspace.config_schema import ensure_workspace_config

from valmon_pipeline.automation.run_queue import RunQueue

_ROOT = Path(__file__).parent.parent
_DEPLOYMENT = "valmon_pipeline/deployment"


def _read(name: str) -> dict[str, Any]:
    content = yaml.safe_load((_ROOT / name).read_text())
    assert isinstance(content, dict)
    return content


def test_dagster_accepts_the_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg2://valmon@/dagster?host=/run/valmon"
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    shutil.copy(_ROOT / _DEPLOYMENT / "dagster.yaml", tmp_path)
    instance = InstanceRef.from_dir(str(tmp_path))
    assert instance.storage_data is not None
    assert instance.storage_data.class_name == "PooledPostgresStorage"
    assert url not in instance.storage_data.config_yaml
    assert isinstance(instance.run_coordinator, RunQueue)
    assert instance.run_coordinator.dequeue_interval_seconds == 1
    assert instance.compute_logs_data.class_name == "NoOpComputeLogManager"
    settings: Any = instance.settings
    assert settings["telemetry"] == {"enabled": False}
    assert settings["run_monitoring"]["enabled"] is True


def test_dagster_accepts_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALMON_CODE_SERVER_HOST", "127.0.0.1")
    monkeypatch.setenv("VALMON_CODE_SERVER_PORT", "4000")
    workspace: Any = ensure_workspace_config(
        _read(f"{_DEPLOYMENT}/workspace.yaml"), "workspace.yaml"
    )
    (location,) = workspace["load_from"]
    assert location["grpc_server"] == {
        "host": "127.0.0.1",
        "port": 4000,
        "location_name": "valmon",
    }


def test_the_containers_run_one_process_each_and_open_the_loopback_only() -> None:
    services = _read("docker-compose.yml")["services"]
    assert {"postgres", "migrate", "code-server", "webserver", "daemon"} <= services.keys()
    assert services["webserver"]["ports"] == ["127.0.0.1:${DAGSTER_UI_PORT:-3000}:3000"]
    assert services["grafana"]["ports"] == ["127.0.0.1:${GRAFANA_PORT:-3001}:3000"]
    published = [name for name, service in services.items() if "ports" in service]
    assert sorted(published) == ["grafana", "webserver"]
    for name, service in services.items():
        assert service["init"] is True, name
        assert name == "migrate" or "healthcheck" in service, name


def test_the_image_is_built_from_files_that_exist() -> None:
    lines = (_ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = [
        source
        for line in lines
        if line.startswith("COPY") and "--from" not in line
        for source in line.split()[1:-1]
        if not source.startswith("--")
    ]
    kept = (_ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    assert len(copied) > 5
    for source in copied:
        assert (_ROOT / source).exists(), source
        parts = Path(source).parents
        assert {f"!{source}", *(f"!{parent}" for parent in parts)}.intersection(kept), source

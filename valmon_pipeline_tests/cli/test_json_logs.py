"""``valmon up`` with logs in JSON: every line of every log is an object, and without secrets."""

from __future__ import annotations

import json

import pytest

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline_tests.cli.home import Home, wait_until

pytestmark = pytest.mark.slow

SECRETS = ("n0de-us3r", "n0de-s3cret")


def test_every_line_of_every_process_is_json(home: Home) -> None:
    with BackgroundReplayNode(ReplayNode(RECORDING_PATH)) as node:
        home.variables = {
            "VALMON_NETWORK": "devnet",
            "VALMON_BEACON_URL": node.url.replace("://", f"://{':'.join(SECRETS)}@"),
            "VALMON_WATCH": "network",
            "VALMON_LOGS__FORMAT": "json",
            "VALMON_START_EPOCH": "37",
        }

        def lines() -> dict[str, list[str]]:
            logs = (home.path / "logs").glob("*.log")
            return {log.stem: log.read_text().splitlines() for log in logs}

        with home.up("--epochs", "none", "--port", "0") as up:
            up.wait_for("Dagster UI:")
            # Sensors have epochs materialized, in runs that are processes of their own.
            wait_until(lambda: any('"reward_gwei"' in line for line in lines()["code-server"]))
        written = lines()
    assert written.keys() >= {"code-server", "webserver", "daemon", "metrics"}
    parsed = {name: [json.loads(line) for line in log] for name, log in written.items()}
    for name, log in parsed.items():
        assert all({"time", "level", "process", "message"} <= line.keys() for line in log), name
    assert all(parsed[name] for name in ("code-server", "webserver", "daemon", "metrics"))
    one = next(line for line in parsed["code-server"] if "reward_gwei" in line)
    assert len(one["run_id"]) > 20
    assert one["epoch"] >= 37
    assert one["duties"] > 100
    together = "\n".join(line for log in written.values() for line in log) + up.printed
    assert not [secret for secret in SECRETS if secret in together]

"""``valmon up`` as an operator meets it: started, used, killed, started again, stopped.

Its sensors follow the chain meanwhile: more epochs than were asked for may be stored.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from valmon_pipeline.deployment.processes import answers
from valmon_pipeline_tests.cli.conftest import InProcess
from valmon_pipeline_tests.cli.home import Home, Up, wait_until
from valmon_pipeline_tests.conftest import temporary_home

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Two free ports."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture(scope="module")
def served_home() -> Iterator[Home]:
    with temporary_home() as path:
        yield Home(path)


@pytest.fixture(scope="module")
def up(served_home: Home, ports: tuple[int, int]) -> Iterator[Up]:
    with served_home.up("--epochs", "5..7", "--port", str(ports[0])) as up:
        up.wait_for("Dagster UI:")
        yield up


@pytest.fixture
def beside(up: Up, served_home: Home, valmon_in: Callable[[Home], InProcess]) -> InProcess:
    """Run a command in this process, beside the service."""
    return valmon_in(served_home)


def test_it_tells_every_phase_in_plain_lines(up: Up) -> None:
    phases = (
        "showing the recorded devnet",
        "Starting the replay node …",
        "Checking the beacon node …",
        "Starting the database …",
        "Starting Dagster …",
        "Materializing 3 epochs …",
        "3 of 3 epochs stored",
        "Epochs 5..",
        "operator",
        "Waiting for the Dagster UI …",
        "Dagster UI: http://127.0.0.1:",
    )
    positions = [up.printed.find(phase) for phase in phases]
    assert -1 not in positions, up.printed
    assert positions == sorted(positions)
    assert "\x1b" not in up.printed


def test_the_summary_has_a_row_per_operator(up: Up) -> None:
    rows = [line.split() for line in up.printed.splitlines()]
    duties = {row[0]: int(row[2]) for row in rows if row and row[0] in ("north", "never-on")}
    assert duties["north"] >= 120
    assert duties["never-on"] >= 24


def test_the_ui_serves_the_graph_of_the_network(up: Up) -> None:
    data = up.ask(
        """{
        workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } }
        assetNodes { assetKey { path } }
        }"""
    )
    assert data["workspaceOrError"]["locationEntries"] == [
        {"name": "valmon", "loadStatus": "LOADED"}
    ]
    paths = {"/".join(node["assetKey"]["path"]) for node in data["assetNodes"]}
    assert {"devnet/blocks", "devnet/attestation_outcomes", "devnet/effectiveness_scores"} <= paths


def test_the_ui_shows_what_was_materialized_at_the_start(up: Up) -> None:
    data = up.ask(
        """{
        runsOrError(filter: {tags: [{key: "dagster/max_retries", value: "0"}]}) { ... on Runs {
          results { jobName status repositoryOrigin { repositoryName repositoryLocationName } } } }
        assetNodeOrError(assetKey: {path: ["devnet", "blocks"]}) { ... on AssetNode {
          assetMaterializations { partition } } }
        }"""
    )
    runs = {run["jobName"]: run for run in data["runsOrError"]["results"]}
    assert runs.keys() == {"materialize_epochs", "refresh_validators"}
    for run in runs.values():
        assert run["status"] == "SUCCESS"
        assert run["repositoryOrigin"] == {
            "repositoryName": "__repository__",
            "repositoryLocationName": "valmon",
        }
    stored = {row["partition"] for row in data["assetNodeOrError"]["assetMaterializations"]}
    assert stored >= {"0000005", "0000006", "0000007"}


def test_metrics_and_health_are_served(up: Up) -> None:
    address = next(line.split()[1] for line in up.printed.splitlines() if "/metrics" in line)
    wait_until(lambda: answers(int(address.split(":")[2].partition("/")[0])))
    metrics = httpx.get(address, timeout=30)
    assert metrics.status_code == 200
    assert 'valmon_stored_epoch{network="devnet"}' in metrics.text
    assert httpx.get(address.replace("/metrics", "/healthz"), timeout=30).status_code == 200
    ready = httpx.get(address.replace("/metrics", "/readyz"), timeout=30)
    conditions = {one["name"]: one["ok"] for one in ready.json()["conditions"]}
    assert conditions["database"]
    assert conditions["node"]
    assert conditions["code"]


def test_the_doctor_asks_the_code_server(up: Up, served_home: Home) -> None:
    findings = json.loads(served_home.run("doctor", "--json").out)["findings"]
    (code,) = [one for one in findings if (one["subject"], one["name"]) == ("valmon up", "code")]
    assert code["verdict"] == "good"
    assert "has valmon's code loaded" in code["found"]


def test_status_tells_what_runs_and_what_is_stored(
    up: Up, served_home: Home, beside: InProcess
) -> None:
    status = served_home.run("status", "--json").json
    assert status["up"] is True
    assert status["ui_url"] == up.ui
    assert status["stored"]["first_epoch"] == 5
    assert status["stored"]["epoch_count"] >= 3
    assert "up, " + up.ui in beside("status").out


def test_a_validator_is_shown_epoch_by_epoch(up: Up, served_home: Home) -> None:
    shown = served_home.run("validator", "17", "--epochs", "5..7", "--json").json
    assert shown["validator_index"] == 17
    assert [row["epoch"] for row in shown["epochs"]] == [5, 6, 7]
    assert all(row["included"] for row in shown["epochs"])
    assert shown["epochs_not_stored"] == []


def test_a_validator_is_shown_with_why_it_earned_less_than_all(beside: InProcess) -> None:
    shown = beside("validator", "120", "--epochs", "5..7")
    assert shown.out.count("not included") == 3


def test_a_validators_ledger_adds_up_over_epochs(beside: InProcess) -> None:
    ledger = beside("validator", "17", "--epochs", "5..7", "--ledger", "--json").json
    assert [row["epoch"] for row in ledger["epochs"]] == [5, 6, 7]
    closing = [row["closing_balance"] for row in ledger["epochs"]]
    assert [row["opening_balance"] for row in ledger["epochs"][1:]] == closing[:-1]
    shown = beside("validator", "17", "--epochs", "5..7", "--ledger")
    assert f"{closing[0]:,}" in shown.out


def test_a_report_goes_to_the_terminal_or_a_file(
    up: Up, served_home: Home, beside: InProcess, tmp_path: Path
) -> None:
    asked = ("report", "--from", "5", "--to", "7")
    shown = served_home.run(*asked)
    assert "Epochs 5..7" in shown.out
    rows = beside(*asked, "--format", "csv").out.splitlines()
    assert rows[0].startswith("group,")
    assert rows[-1].startswith("all,")
    page = tmp_path / "report.html"
    assert beside(*asked, "--format", "html", "--output", str(page)).code == 0
    assert "Missed by cause" in page.read_text(encoding="utf-8")


def test_epochs_that_are_not_stored_are_told(beside: InProcess) -> None:
    shown = beside("validator", "17", "--epochs", "99..100")
    assert "nothing is stored about validator 17" in shown.out
    assert "2 of these epochs are not stored, e.g. 99: `valmon backfill 99` reads" in shown.out


def test_a_home_is_served_once(up: Up, served_home: Home) -> None:
    second = served_home.run("up")
    assert second.code == 1
    assert f"process {up.process.pid}" in second.err
    assert "valmon down" in second.err
    assert up.process.poll() is None


def test_a_backfill_beside_it_uses_its_node_and_leaves_its_database(
    up: Up, served_home: Home
) -> None:
    done = served_home.run("backfill", "8")
    assert (done.code, done.out) == (0, "1 of 1 epochs stored\n")
    assert served_home.run("database", "url").code == 0


def test_another_home_beside_it_is_interrupted_while_it_materializes(
    up: Up, home: Home, ports: tuple[int, int]
) -> None:
    with home.up("-e", "1..25", "--port", str(ports[0])) as other:
        wait_until(lambda: "10 of 25 epochs" in other.printed)
        assert f"Port {ports[0]} is taken: the Dagster UI gets port" in other.printed
        assert other.end(signal.SIGTERM) == 130
        assert "Stopping: epochs of finished runs stay stored …" in other.printed
        assert "25 of 25" not in other.printed
    assert home.processes() == []
    assert up.process.poll() is None
    assert up.ask("{ version }")["version"]


def test_after_kill_9_the_next_up_stops_the_leftovers_and_keeps_the_data(
    up: Up, served_home: Home, beside: InProcess, ports: tuple[int, int]
) -> None:
    assert up.end(signal.SIGKILL) == -signal.SIGKILL
    leftovers = {line.split()[0] for line in served_home.processes()}
    assert len(leftovers) > 4
    with served_home.up("--epochs", "none", "--port", str(ports[1])) as again:
        again.wait_for("Dagster UI:")
        assert again.ui.endswith(f":{ports[1]}")
        services = {line.split()[0] for line in served_home.processes() if "postgres" not in line}
        assert not services & leftovers
        kept = beside("validator", "17", "--epochs", "5..8", "--json").json
        assert [row["epoch"] for row in kept["epochs"]] == [5, 6, 7, 8]
        assert served_home.run("down").out == "stopped\n"
        assert again.end() == 0
    assert served_home.processes() == []
    assert not list(Path(served_home.path).glob("postgres/postmaster.pid"))


def test_ended_twice_while_it_starts_it_still_cleans_up(home: Home) -> None:
    with home.up("--port", "0") as up:
        up.wait_for("Starting the database")
        up.process.send_signal(signal.SIGHUP)
        assert up.end(signal.SIGTERM) == 130
    assert home.processes() == []

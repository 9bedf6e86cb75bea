"""``valmon devnet``: simulated and replayed chains from the command line."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from valmon_pipeline.devnet.simulator.command import simulate
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline_tests.cli.conftest import InProcess


def test_a_simulated_node_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- skipped_slot: {slot: 9}\n")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "valmon_pipeline", "devnet", "simulate"),
            *("--port", "0", "--validators", "64", "--script", str(script)),
            *("--start-epoch", "4", "--preset", "minimal", "--fulu-epoch", "2"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        address = re.search(r"at (http://127\.0\.0\.1:[1-9]\d*) ", told)
        assert address, told
        with httpx.Client(base_url=address[1], trust_env=False) as client:
            status = client.get("/eth/v1/node/syncing").json()["data"]
            assert int(status["head_slot"]) >= 32
            assert client.get("/eth/v1/beacon/headers/9").status_code == 404
            assert client.get("/eth/v2/beacon/blocks/16").json()["version"] == "fulu"
            genesis = client.get("/eth/v1/beacon/genesis").json()["data"]["genesis_time"]
            assert abs(time.time() - int(genesis) - 32 * 6) < 60
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_a_client_without_a_profile_is_refused_before_anything_is_served(
    valmon: InProcess,
) -> None:
    for arguments in (("--client", "besu"), ("--archive",), ("--no-execution-layer",)):
        done = valmon("devnet", "replay", *arguments)
        assert done.code == 2
        assert "choose one of lodestar, lighthouse, teku, prysm, nimbus, grandine" in done.err
        assert "Traceback" not in done.err


def test_what_cannot_be_simulated_is_told_before_anything_is_served(
    valmon: InProcess, tmp_path: Path
) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- miss: {validators: 500, epochs: 3}\n")
    for arguments, mistake in (
        (("--script", str(script)), "there is no validator 500"),
        (("--preset", "holesky"), "there is no preset 'holesky'"),
        (("--script", str(tmp_path / "none.yaml")), "cannot read the script"),
        (("--validators", "0"), "0 validators"),
    ):
        done = valmon("devnet", "simulate", *arguments)
        assert done.code == 2
        assert mistake in done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "command",
    [
        ("devnet", "replay"),
        ("devnet", "simulate", "--validators", "64", "--start-epoch", "1"),
        ("metrics",),
    ],
)
def test_a_port_that_is_taken_is_told_instead_of_an_address(
    valmon: InProcess, command: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = valmon(
            *command, "--port", str(port), VALMON_DATABASE_URL="postgresql://127.0.0.1:1/none"
        )
    assert done.code == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.err
    assert "--port" in done.err
    assert "http://" not in done.out


@pytest.mark.parametrize("command", [("up",), ("metrics",), ("devnet", "replay")])
def test_a_number_that_is_no_port_is_refused(valmon: InProcess, command: tuple[str, ...]) -> None:
    done = valmon(*command, "--port", "65536")
    assert done.code == 2
    assert "Invalid value for '--port'" in done.err


def test_the_chain_has_a_past_when_it_starts() -> None:
    node = simulate(64, start_epoch=6, slot_duration_ms=500)
    assert node.simulation.head_slot == 48
    assert node.simulation.finalized_epoch == 4
    with pytest.raises(ConfigurationError, match="cannot start at epoch -1"):
        simulate(64, start_epoch=-1)

"""One supervisor per home, and what a killed one leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.processes import ManagedProcess, ProcessFailedError, stop_all
from valmon_pipeline.deployment.supervisor import (
    AlreadyUpError,
    claimed_home,
    stop_leftovers,
    take_down,
)
from valmon_pipeline.deployment.up_state import UpState, running_up
from valmon_pipeline_tests.deployment.installations import installation

CLAIM = """
import signal, sys, time
from pathlib import Path
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.supervisor import claimed_home
signal.signal(signal.SIGTERM, {on_sigterm})
with claimed_home(Installation.load()):
    print("claimed", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    return installation(tmp_path)


@pytest.fixture
def service(home: Installation) -> Iterator[ManagedProcess]:
    process = ManagedProcess(
        "service",
        [sys.executable, "-c", "import time; time.sleep(60)"],
        {},
        home.logs / "service.log",
    )
    process.start()
    yield process
    stop_all([process])


def claim_elsewhere(home: Installation, on_sigterm: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM.format(on_sigterm=on_sigterm)],
        env={**os.environ, "VALMON_HOME": str(home.home)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"claimed\n"
    return process


def test_the_state_tells_what_runs(home: Installation, service: ManagedProcess) -> None:
    assert running_up(home) is None
    with claimed_home(home) as claim:
        assert running_up(home) == UpState(os.getpid(), "devnet", None, None, {})
        claim.started(service)
        claim.node_is_at("http://127.0.0.1:1")
        claim.ui_is_at("http://127.0.0.1:2")
        assert running_up(home) == UpState(
            os.getpid(),
            "devnet",
            "http://127.0.0.1:1",
            "http://127.0.0.1:2",
            {"service.log": service.pid or 0},
        )
    assert running_up(home) is None
    assert not home.state_file.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": 1}', '{"other": 1}'])
def test_a_state_file_that_says_nothing_is_nothing(home: Installation, content: str) -> None:
    home.state_file.write_text(content)
    assert UpState.read(home.state_file) is None
    assert not take_down(home)
    with claimed_home(home):
        assert running_up(home) is not None


def test_a_home_is_claimed_once(home: Installation) -> None:
    with (
        claimed_home(home) as claim,
        pytest.raises(AlreadyUpError, match=f"process {os.getpid()}, starting.*valmon down"),
        claimed_home(home),
    ):
        del claim
    with claimed_home(home):
        pass


def test_what_a_killed_supervisor_left_is_stopped(
    home: Installation, service: ManagedProcess
) -> None:
    UpState(1, "devnet", None, None, {"service.log": service.pid or 0}).write(home.state_file)
    assert stop_leftovers(home)
    assert not service.is_left
    assert not stop_leftovers(home)


def test_a_process_that_got_the_number_of_one_of_ours_is_left_alone(
    home: Installation, service: ManagedProcess
) -> None:
    """Nobody holds the log that the state names: the process is not the one that had it."""
    UpState(1, "devnet", None, None, {"webserver.log": service.pid or 0}).write(home.state_file)
    (home.logs / "webserver.log").touch()
    assert not stop_leftovers(home)
    assert service.is_left


def test_a_supervisor_is_taken_down_and_waited_for(home: Installation) -> None:
    process = claim_elsewhere(home, "lambda *_: sys.exit(5)")
    assert take_down(home)
    assert process.wait(10) == 5
    assert not home.state_file.exists()
    assert not take_down(home)
    process.communicate()


def test_a_supervisor_that_ends_just_before_it_is_told_to_is_down(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    UpState(ended.pid, "devnet", None, None, {}).write(home.state_file)
    held = iter([True, True, False])
    monkeypatch.setattr("valmon_pipeline.deployment.file_lock.is_held", lambda _: next(held))
    assert take_down(home)


def test_a_supervisor_that_does_not_stop_is_told_with_what_to_do(home: Installation) -> None:
    process = claim_elsewhere(home, "signal.SIG_IGN")
    with pytest.raises(ProcessFailedError, match=f"kill -9 {process.pid}"):
        take_down(home, 0.3)
    process.kill()
    process.communicate()
    assert json.loads(home.state_file.read_text())["pid"] == process.pid
    assert not take_down(home)

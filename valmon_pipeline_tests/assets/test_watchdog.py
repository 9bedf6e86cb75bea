"""A process that is late is asked to stop; one that hangs is ended, and tells where it hung."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG, MAX_RUNTIME_SECONDS_TAG

from valmon_pipeline.assets.watchdog import deadline_of, ended_by

PROGRAM = """
import signal, sys, threading
from valmon_pipeline.assets.watchdog import ended_by
def wait_for_what_never_comes():
    threading.Event().wait()
{before}
with ended_by({deadline}):
    {within}
threading.Event().wait(0.5)
sys.exit(7)
"""


def run(within: str, deadline: float, before: str = "") -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(within=within, deadline=deadline, before=before)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_process_that_listens_is_asked_to_stop() -> None:
    done = run("wait_for_what_never_comes()", 10.0)
    assert "KeyboardInterrupt" in done.stderr
    assert "Timeout" not in done.stderr


def test_a_process_that_does_not_listen_is_ended_with_a_traceback() -> None:
    done = run("wait_for_what_never_comes()", 0.5, "signal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "wait_for_what_never_comes" in done.stderr


def test_one_that_comes_to_an_end_is_left_alone() -> None:
    assert run("pass", 0.3).returncode == 7
    with ended_by(None):
        pass


@pytest.mark.parametrize(
    ("tags", "seconds"),
    [
        ({}, None),
        ({MAX_RUNTIME_SECONDS_TAG: "60"}, None),
        ({GRPC_INFO_TAG: "{}", MAX_RUNTIME_SECONDS_TAG: "60"}, 60.0),
        ({GRPC_INFO_TAG: "{}"}, None),
    ],
    ids=["valmon backfill", "in this process", "with a deadline", "without any limit"],
)
def test_only_a_run_with_a_process_of_its_own_has_a_deadline(
    tags: dict[str, str], seconds: float | None
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert deadline_of(dg.DagsterRun(job_name="job", tags=tags), instance) == seconds

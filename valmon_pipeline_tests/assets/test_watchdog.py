"""A process that hangs is ended, and tells where it hung."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG, MAX_RUNTIME_SECONDS_TAG

from valmon_pipeline.assets.watchdog import GRACE_SECONDS, ended_after, seconds_until_overdue

HANG = """
import threading
from valmon_pipeline.assets.watchdog import ended_after
def wait_for_what_never_comes():
    threading.Lock().acquire() and threading.Event().wait()
with ended_after(0.2):
    wait_for_what_never_comes()
"""


def test_a_process_that_hangs_is_ended_with_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANG], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "wait_for_what_never_comes" in done.stderr


def test_one_that_comes_to_an_end_goes_on() -> None:
    code = HANG.replace("    wait_for_what_never_comes()", "    pass")
    code += "threading.Event().wait(0.5)"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
    with ended_after(None):
        pass


@pytest.mark.parametrize(
    ("tags", "seconds"),
    [
        ({}, None),
        ({MAX_RUNTIME_SECONDS_TAG: "60"}, None),
        ({GRPC_INFO_TAG: "{}", MAX_RUNTIME_SECONDS_TAG: "60"}, 60 + GRACE_SECONDS),
        ({GRPC_INFO_TAG: "{}"}, None),
    ],
    ids=["valmon backfill", "in this process", "with a deadline", "without any limit"],
)
def test_only_a_run_with_a_process_of_its_own_is_ended(
    tags: dict[str, str], seconds: float | None
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.DagsterRun(job_name="job", tags=tags)
        assert seconds_until_overdue(run, instance) == seconds

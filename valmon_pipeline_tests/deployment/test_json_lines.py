"""What processes print, line by line as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from valmon_pipeline.deployment.json_lines import as_json_line, command_in_json
from valmon_pipeline.telemetry.json_logs import Redactor

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def read(line: str) -> Any:
    return json.loads(as_json_line(line, "daemon", Redactor(["t0ken"]), lambda: NOW))


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        (
            "\x1b[32m2026-11-26\x1b[0m - dagster - \x1b[34mERROR\x1b[0m - no",
            "ERROR",
            "2026-11-26 - dagster - ERROR - no",
        ),
        ("Traceback (most recent call last):\n", "INFO", "Traceback (most recent call last):"),
        ("http://node/t0ken", "INFO", "http://node/…"),
        ("[1, 2]", "INFO", "[1, 2]"),
        ("", "INFO", ""),
    ],
)
def test_a_line_of_text_becomes_a_message(line: str, level: str, message: str) -> None:
    time = "2026-11-26T00:00:00.000+00:00"
    assert read(line) == {"time": time, "level": level, "process": "daemon", "message": message}


def test_a_line_that_names_a_run_says_so() -> None:
    run = "a6ec5010-d396-4409-b729-cb143eb4ee4b"
    assert read(f"dagster - INFO - job - {run} - epoch - stored")["run_id"] == run


def test_a_line_of_dagsters_keeps_its_fields_under_our_names() -> None:
    line = '{"event": "hi", "level": "info", "timestamp": "2026", "logger": "dagster", "n": 7}'
    assert read(line) == {
        "time": "2026",
        "level": "INFO",
        "process": "daemon",
        "message": "hi",
        "logger": "dagster",
        "n": 7,
    }


def test_secrets_are_found_behind_the_escapes_of_json() -> None:
    line = json.dumps({"event": "no", "detail": [{"url": 'http://node/pä"ss'}]})
    shown = as_json_line(line, "daemon", Redactor(['pä"ss']), lambda: NOW)
    assert json.loads(shown)["detail"] == [{"url": "http://node/…"}]


COMMAND = """
import signal, sys, time
def end(*_):
    print("ending", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
print("begun", flush=True)
time.sleep(60)
"""


def test_a_signal_ends_the_command_whose_last_words_are_kept() -> None:
    process = subprocess.Popen(
        command_in_json("test", [sys.executable, "-c", COMMAND]),
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["message"] == "begun"
    os.killpg(process.pid, signal.SIGTERM)
    assert json.loads(process.stdout.readline())["message"] == "ending"
    assert process.wait(20) == 3
    process.stdout.close()

"""Log lines as JSON: what they say, and what they must not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from valmon_pipeline.config import load_settings
from valmon_pipeline.config.secrets import secrets_of
from valmon_pipeline.telemetry.json_logs import JsonFormatter, Redactor

Log = Callable[..., Any]


@pytest.fixture
def log() -> Log:
    """Format a record that is logged so, and read it again."""
    formatter = JsonFormatter(Redactor({"t0ken-of-mine", "p%40ss"}))

    def line(message: str, *arguments: object, **fields: Any) -> Any:
        error = fields.pop("error", None)
        record = logging.makeLogRecord(
            {
                "name": "valmon.test",
                "levelname": "INFO",
                "msg": message,
                "args": arguments,
                "created": 1_800_000_000.5,
                "exc_info": error and (type(error), error, error.__traceback__),
                **fields,
            }
        )
        text = formatter.format(record)
        assert "\n" not in text
        return json.loads(text)

    return line


def test_a_line_says_when_where_and_what(log: Log) -> None:
    assert log("epoch %d stored", 7, epoch=7, reward_gwei=2**60, duty_success=False) == {
        "time": "2027-01-15T08:00:00.500+00:00",
        "level": "INFO",
        "logger": "valmon.test",
        "message": "epoch 7 stored",
        "epoch": 7,
        "reward_gwei": 2**60,
        "duty_success": False,
    }


def test_the_run_is_what_lines_of_it_have_in_common(log: Log) -> None:
    meta = {"run_id": "abc", "job_name": "job", "step_key": None, "orig_message": "stored"}
    line = log("job - abc - stored", dagster_meta=meta)
    assert (line["run_id"], line["job"], line["message"]) == ("abc", "job", "stored")
    assert "step" not in line


def test_a_traceback_stays_in_its_line(log: Log) -> None:
    try:
        raise ValueError("of http://me:s3cret@node/t0ken-of-mine")
    except ValueError as error:
        line = log("it failed: %s", error, error=error)
    assert "Traceback" in line["exception"]
    assert "s3cret" not in str(line)
    assert "t0ken" not in str(line)
    assert "http://…@node/…" in line["exception"]


def test_secrets_are_hidden_wherever_they_stand(log: Log) -> None:
    line = log('"t0ken-of-mine"', detail={"url": "postgresql://valmon:p%40ss@db/valmon"})
    assert line["message"] == '"…"'
    assert "p%40ss" not in line["detail"]


def test_secrets_are_those_of_every_configured_address() -> None:
    settings = load_settings(
        environ={
            "VALMON_BEACON_URL": "https://user:n0de-pw@node/t0ken?key=k3y,http://localhost:5052",
            "VALMON_DATABASE_URL": "postgresql://valmon:p%40ss@db/valmon",
            "VALMON_DATABASE__DAGSTER_URL": "postgresql:///dagster?host=/run&password=d%40gster",
            "VALMON_ALERTS__CHANNELS": '[{"name": "ops"}]',
            "VALMON_CHANNEL_OPS_URL": "slack://a/b/c",
            "VALMON_ALERTS__HEARTBEAT__URL": "https://hc-ping.com/b3at",
        }
    )
    assert secrets_of(settings) == {
        *("user:n0de-pw", "n0de-pw", "t0ken", "key=k3y"),
        *("p%40ss", "p@ss", "d@gster", "slack://a/b/c", "b3at"),
    }


def test_words_that_are_no_secrets_stay(log: Log) -> None:
    assert Redactor({"a", ""})("an apple at http://node/path") == "an apple at http://node/path"
    assert log("x", note=None, share=0.5)["note"] is None

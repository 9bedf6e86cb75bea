"""Making, listing and ending silences."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from valmon_pipeline.cli.silence import parsed_duration
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.cli.conftest import InProcess
from valmon_pipeline_tests.cli.home import Finished

Run = Callable[..., Finished]


@pytest.fixture
def silence(valmon: InProcess, warehouse: Warehouse, database_url: str) -> Run:
    def run(*arguments: str) -> Finished:
        variables = {"VALMON_NETWORK": warehouse.schema, "VALMON_DATABASE_URL": database_url}
        return valmon("silence", *arguments, **variables)

    return run


def test_a_silence_is_made_listed_and_ended(silence: Run) -> None:
    what = ("--label", "operator=a", "--rule", "exit", "--for", "2h", "--why", "upgrade")
    made = silence(*what, "--by", "ann")
    assert made.out.startswith("silence 1 holds until ")
    assert made.out.endswith(": operator:a, exit\n")
    (listed,) = silence("list", "--json").json["silences"]
    assert (listed["subject"], listed["alert_type"]) == ("operator:a", "exit")
    assert listed["reason"] == "upgrade (ann)"
    ends_at = datetime.fromisoformat(listed["ends_at"])
    assert timedelta(0) < datetime.now(UTC) + timedelta(hours=2) - ends_at < timedelta(hours=1)
    assert "operator:a, exit" in silence("list").out
    assert silence("end", "1").out == "silence 1 is over\n"
    assert silence("list").out == "no silences\n"
    assert silence("end", "1").code == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--label", "operator=a", "--for", "2h"], "say how long and why"),
        (["--for", "2h", "--why", "x"], "say which alerts"),
        (["--label", "a", "--for", "2h", "--why", "x"], "expected a label such as operator:a, or"),
        (["--label", "a", "--validator", "0", "--for", "2h", "--why", "x"], "say either"),
    ],
)
def test_what_is_missing_is_told(silence: Run, arguments: list[str], told: str) -> None:
    done = silence(*arguments)
    assert done.code == 2
    assert told in done.err


def test_durations_are_days_hours_and_minutes() -> None:
    assert parsed_duration("1d12h30m") == timedelta(days=1, hours=12, minutes=30)
    for wrong in ("", "2", "2 h", "-1h", "0m", "91d", "1y"):
        with pytest.raises(ConfigurationError):
            parsed_duration(wrong)

"""Commands that look after an installation, and the help of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from valmon_pipeline.cli import app
from valmon_pipeline.cli.application import errors, output
from valmon_pipeline.storage import migrate
from valmon_pipeline_tests.cli.conftest import InProcess
from valmon_pipeline_tests.cli.home import Home


def commands(group: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group below a group, by the words that call it."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = [*commands(get_command(app))]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(valmon: InProcess, command: tuple[str, ...]) -> None:
    shown = valmon(*command, "--help")
    assert shown.code == 0
    assert " ".join(("Usage: valmon", *command)) in shown.out


def test_the_commands_that_are_promised_are_there() -> None:
    promised = "up, down, migrate, backfill, status, validator, config check, devnet replay"
    named = {" ".join(command) for command in COMMANDS}
    assert {*promised.split(", "), "database url"} <= named


def test_no_command_shows_the_help(valmon: InProcess) -> None:
    shown = valmon()
    assert "Usage: valmon" in shown.out + shown.err
    assert shown.code == 2


def test_an_unknown_command_is_refused(valmon: InProcess) -> None:
    done = valmon("bakfill")
    assert done.code == 2
    assert "bakfill" in done.err


def test_a_right_configuration_is_summed_up(valmon: InProcess, tmp_path: Path) -> None:
    file = tmp_path / "valmon.yaml"
    file.write_text(
        "beacon_node_url: http://user:s3cret@localhost:5052/t0ken\n"
        "validators:\n  - {indices: 0..39, labels: [operator:a]}\n"
    )
    done = valmon("config", "check", "--config", str(file))
    assert done.code == 0, done.err
    assert str(file) in done.out
    assert "40 by index" in done.out
    assert "The configuration is right." in done.out
    assert "s3cret" not in done.out
    assert "t0ken" not in done.out
    as_json = valmon("config", "check", "--config", str(file), "--json")
    assert json.loads(as_json.out)["network"] == "mainnet"
    assert "s3cret" not in as_json.out


def test_all_mistakes_of_a_wrong_configuration_are_listed_at_once(
    valmon: InProcess, tmp_path: Path
) -> None:
    file = tmp_path / "valmon.yaml"
    file.write_text("validaters: [1]\nworker_pool_size: many\nnetwork: main net\n")
    for command in (("config", "check"), ("status",), ("up",)):
        done = valmon(*command, "--config", str(file))
        assert done.code == 2
        for place in ("line 1", "validaters", "line 2", "worker_pool_size", "line 3", "network"):
            assert place in done.err


def test_labels_are_printed_as_they_are() -> None:
    for console in (output, errors):
        assert console.render_str("operator:a: 3 validators").plain == "operator:a: 3 validators"


def test_a_configuration_file_that_is_missing_is_named(valmon: InProcess, tmp_path: Path) -> None:
    done = valmon("status", "--config", str(tmp_path / "none.yaml"))
    assert done.code == 2
    assert "none.yaml" in done.err


def test_the_database_address_is_told_only_while_it_runs(valmon: InProcess) -> None:
    done = valmon("database", "url")
    assert done.code == 1
    assert "valmon up" in done.err


def test_the_password_of_the_database_is_shown_on_request_only(valmon: InProcess) -> None:
    url = "postgresql://me:s3cret@db.example:5432/valmon"
    hidden = valmon("database", "url", VALMON_DATABASE_URL=url)
    assert hidden.code == 0
    assert "db.example" in hidden.out
    assert "s3cret" not in hidden.out
    assert valmon("database", "url", "--show-password", VALMON_DATABASE_URL=url).out == f"{url}\n"


def test_down_without_anything_running_says_so(valmon: InProcess, home: Home) -> None:
    done = valmon("down")
    assert (done.code, done.out) == (0, f"nothing is running for {home.path}\n")


def test_migrating_makes_the_embedded_database_and_leaves_nothing_running(
    valmon: InProcess, home: Home
) -> None:
    done = valmon("migrate", VALMON_NETWORK="hoodi", VALMON_WATCH="network")
    assert (done.code, done.out) == (0, f"schema hoodi is at revision {migrate.newest()}\n")
    assert home.processes() == []

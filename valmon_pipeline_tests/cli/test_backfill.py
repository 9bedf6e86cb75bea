"""``valmon backfill`` without anything running: it brings what it needs and takes it away again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from valmon_pipeline_tests.cli.conftest import InProcess
from valmon_pipeline_tests.cli.home import Finished, Home
from valmon_pipeline_tests.conftest import temporary_home

AWAY = {"VALMON_BEACON_URL": "http://127.0.0.1:9", "VALMON_WATCH": "network"}
"""Port 9 is reserved for a service that nobody runs."""


@pytest.fixture(scope="module")
def filled_home() -> Iterator[Home]:
    with temporary_home() as path:
        yield Home(path)


@pytest.fixture(scope="module")
def first(filled_home: Home) -> Finished:
    return filled_home.run("backfill", "5..8")


@pytest.mark.slow
def test_the_demo_needs_nothing(first: Finished, filled_home: Home) -> None:
    assert (first.code, first.out) == (0, "4 of 4 epochs stored\n"), first.err
    assert "4 of 4 epochs" in first.err
    assert filled_home.processes() == []


@pytest.mark.slow
def test_epochs_that_are_not_final_fail_with_a_reason_each(
    first: Finished, filled_home: Home
) -> None:
    done = filled_home.run("backfill", "40..44")
    assert (done.code, done.out) == (1, "2 of 5 epochs stored\n"), done.err
    reasons = done.err[done.err.index("3 of 5 epochs failed:") :].splitlines()[1:]
    assert len(reasons) == 3
    for epoch, reason in zip((42, 43, 44), reasons, strict=True):
        assert reason.startswith(f"epoch {epoch}: ")
        assert f"when epoch {epoch + 2} is finalized" in reason
        assert "http://127.0.0.1:" in reason
    assert filled_home.processes() == []


@pytest.mark.slow
def test_where_nothing_was_ever_stored_the_reason_is_that_of_the_last_run(home: Home) -> None:
    before = home.run("status")
    assert "none stored yet: start `valmon up`, or run `valmon backfill" in before.out
    assert home.run("backfill", "43..44").code == 1
    shown = home.run("status")
    assert "epochs    none stored yet: the last run failed 0 min ago: epoch 43: " in shown.out
    assert "when epoch 45 is finalized" in shown.out
    failure = home.run("status", "--json").json["last_failure"]
    assert failure["reason"].startswith("epoch 43: ")
    assert home.processes() == []


@pytest.mark.slow
def test_what_is_stored_can_be_read_without_anything_running(
    first: Finished, filled_home: Home
) -> None:
    assert first.code == 0
    shown = filled_home.run("validator", "0", "-e", "5..8", "--json").json
    assert [row["epoch"] for row in shown["epochs"]] == [5, 6, 7, 8]
    assert filled_home.processes() == []


@pytest.mark.slow
def test_what_is_stored_is_rescored_without_a_node(
    first: Finished, filled_home: Home, valmon_in: Callable[[Home], InProcess]
) -> None:
    assert first.code == 0
    told = filled_home.run("rescore", "0..7", "--diff")
    assert (told.code, told.out) == (
        0,
        "3 epochs compared with formula version 2: nothing would move\n",
    ), told.err
    slower = valmon_in(Home(filled_home.path, {"VALMON_SCORING__HALF_LIFE_EPOCHS": "0.5"}))
    moves = slower("rescore", "5..8", "--diff", "--json").json["moves"]
    assert {(move["table"], move["column"]) for move in moves} == {
        ("validator_standings", "time_weighted_score")
    }
    assert moves[0]["rows"] > moves[0]["moved"] > 0
    assert moves[0]["largest"] > 0
    assert moves[0]["examples"][0].keys() == {"epoch", "validator_index", "old", "new"}
    shown = slower("rescore", "5..8", "--diff").out
    assert "time_weighted_score" in shown
    done = slower("rescore", "5..8", "--json").json
    # Standings of later epochs rest on these, too; with such short windows none of them is final.
    assert (done["epochs"], done["corrections"]) == (4, 0)
    assert done["standings"] >= 4
    assert slower("rescore", "5..8", "--diff", "--json").json["moves"] == []
    absent = slower("rescore", "90..99")
    assert (absent.code, absent.err.splitlines()[-1]) == (1, "no epoch of 90..99 is stored")
    assert filled_home.processes() == []


def test_a_node_that_is_away_is_told_before_anything_is_started(
    valmon: InProcess, home: Home
) -> None:
    started = time.monotonic()
    done = valmon("backfill", "5..8", **AWAY)
    assert done.code == 1
    assert "no beacon node can be used" in done.err
    assert "http://127.0.0.1:9" in done.err
    assert time.monotonic() - started < 20
    assert not (home.path / "postgres").exists()


@pytest.mark.parametrize(
    ("epochs", "advice"),
    [("8..5", "did you mean 5..8"), ("five", "write FIRST..LAST"), ("5-8", "write FIRST..LAST")],
)
@pytest.mark.parametrize(
    "command", [("backfill",), ("up", "-e"), ("validator", "1", "-e"), ("rescore",)]
)
def test_a_wrong_range_is_refused_at_once(
    valmon: InProcess, home: Home, command: tuple[str, ...], epochs: str, advice: str
) -> None:
    done = valmon(*command, epochs)
    assert done.code == 2
    assert advice in done.err
    assert list(home.path.iterdir()) == []


def test_validators_without_a_node_are_refused(valmon: InProcess) -> None:
    done = valmon("backfill", "5", VALMON_VALIDATORS="1,2")
    assert done.code == 2
    assert "VALMON_BEACON_URL" in done.err


def test_a_node_without_validators_is_refused(valmon: InProcess) -> None:
    done = valmon("backfill", "5", VALMON_BEACON_URL="http://127.0.0.1:9")
    assert done.code == 2
    assert "VALMON_WATCH=network" in done.err

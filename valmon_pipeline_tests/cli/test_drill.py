"""What ``valmon drill`` prints; the drill itself is tested where it is."""

from __future__ import annotations

import pytest

from valmon_pipeline.cli.application import output
from valmon_pipeline.cli.drill import print_report
from valmon_pipeline.deployment.drill import Arrived, DrillReport, Expected, Proof
from valmon_pipeline_tests.cli.conftest import InProcess


def test_an_unknown_channel_is_told_before_anything_is_started(valmon: InProcess) -> None:
    done = valmon("drill", "--channel", "pager")
    assert done.code == 2
    assert done.err == "there is no channel pager; there are: none\n"


def test_what_arrived_when_is_shown_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not by the environment: a console that was made with COLUMNS set keeps to it.
    monkeypatch.setattr(output, "_width", 200)
    expected = Expected("a proposer skips", 41, "missed_proposal", "validator:7", False)
    proof = Proof(expected, Arrived(56, 1.25), Arrived(42, 0.06), Arrived(42, 0.07))
    print_report(DrillReport([proof], [], 6.0, 3.0))
    shown = capsys.readouterr()
    row = next(cell.strip() for cell in shown.out.split("\n") if "skips" in cell).split("  ")
    assert [cell.strip() for cell in row if cell.strip()] == [
        "a proposer skips",
        "41",
        "+15 slots, 1.25 s",
        "+1 slots, 0.06 s",
        "+1 slots, 0.07 s",
        "–",
    ]
    assert "Everything arrived." in shown.out
    proof.message = None
    print_report(DrillReport([proof], [], 6.0, 3.0))
    shown = capsys.readouterr()
    assert "missing" in shown.out
    assert "Something did not arrive." in shown.err

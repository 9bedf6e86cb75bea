"""Scripts in YAML: every incident can be written, and every mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from valmon_pipeline.devnet.simulator.incidents import (
    AttesterSlashing,
    Deposit,
    Errors,
    LateInclusion,
    Offline,
    Reorg,
    SkippedSlot,
    Syncing,
)
from valmon_pipeline.devnet.simulator.script_file import INCIDENTS, read_script
from valmon_pipeline.errors import ConfigurationError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.yaml"
    path.write_text(text)
    return path


def test_a_script_is_read_in_its_order(tmp_path: Path) -> None:
    script = written(
        tmp_path,
        """
        - offline: {validators: 0..3, epochs: 5..12}
        - late_inclusion: {validators: [1, 4..6], epochs: 3}
        - skipped_slot: {slot: 20}
        - reorg: {slot: 30, depth: 2}
        - attester_slashing: {slot: 33, validators: [7, 9]}
        - deposit: {slot: 40, credentials: compounding}
        - syncing: {slots: 50..52}
        - errors: {slots: 60..61, rate: 0.25}
        """,
    )
    assert read_script(script) == [
        Offline([0, 1, 2, 3], range(5, 13)),
        LateInclusion([1, 4, 5, 6], range(3, 4), 2),
        SkippedSlot(20),
        Reorg(30, 2),
        AttesterSlashing(33, [7, 9]),
        Deposit(40, 32_000_000_000, "compounding"),
        Syncing(range(50, 53), 8),
        Errors(range(60, 62), 0.25, 500),
    ]


def test_every_incident_has_a_name() -> None:
    assert len(INCIDENTS) == 22
    assert "proposer_slashing" in INCIDENTS
    assert "spell" not in INCIDENTS


def test_an_empty_script_has_no_incidents(tmp_path: Path) -> None:
    assert read_script(written(tmp_path, "")) == []


def test_all_mistakes_are_told_with_their_places(tmp_path: Path) -> None:
    script = written(
        tmp_path,
        """
        - offlin: {validators: 0..3, epochs: 5..12}
        - skipped_slot: {slots: 20}
        - 3
        - errors: {slots: soon}
        - miss: {validators: true, epochs: 3}
        - late_block: 7
        - errors: {slots: 3, rate: often}
        """,
    )
    with pytest.raises(ConfigurationError) as refused:
        read_script(script)
    for mistake in (
        "incident 1: 'offlin' is not one of miss, ",
        "incident 2: skipped_slot: no field 'slots', slot is missing",
        "incident 3: 3 does not have the form",
        "incident 4: errors: slots is 'soon'",
        "incident 5: miss: validators is True",
        "incident 6: late_block needs its fields, not 7",
        "incident 7: errors: rate is 'often'",
    ):
        assert mistake in str(refused.value)


@pytest.mark.parametrize("text", ["{a: 1}", "- [", "just words"])
def test_what_is_no_script_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"script\.yaml"):
        read_script(written(tmp_path, text))


def test_a_missing_script_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the script"):
        read_script(tmp_path / "nothing.yaml")

"""The recording that ships with the package, and how answers are chosen from it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from valmon_pipeline.beacon.archive import Exchange
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.recording_error import RecordingError


def _exchange(path: str, phase: str, body: bytes, **fields: object) -> Exchange:
    line = {"method": "GET", "path": path, "status": 200, "phase": phase, **fields}
    return msgspec.structs.replace(msgspec.convert(line, Exchange), body=msgspec.Raw(body))


def test_the_devnet_is_complete_for_epochs_1_to_41(recording: Recording) -> None:
    assert recording.slots == range(8, 352)
    assert recording.epochs == range(1, 42)
    assert (recording.slots_per_epoch, recording.slot_duration_ms) == (8, 2000)
    assert recording.epochs_per_sync_committee_period == 8
    assert len(recording) > 7000


def test_canonical_blocks_form_a_chain(recording: Recording) -> None:
    blocks = [block for slot, block in recording.blocks.items() if slot > 0]
    assert len(blocks) == 296
    assert [block.slot for block in blocks] == sorted(block.slot for block in blocks)
    for parent, child in pairwise(blocks):
        assert child.parent_root == parent.root


def test_a_missed_slot_has_the_block_before_it(recording: Recording) -> None:
    missed = next(slot for slot in recording.slots if slot not in recording.blocks)
    before = recording.block_at_or_before(missed)
    assert before is not None
    assert before.slot == max(slot for slot in recording.blocks if slot < missed)


def test_blocks_of_lost_forks_are_kept_apart(recording: Recording) -> None:
    assert sorted(block.slot for block in recording.orphans.values()) == [282, 290, 298]
    assert not recording.orphans.keys() & recording.blocks_by_root.keys()


def test_history_is_what_was_answered_after_finality() -> None:
    path = "/eth/v1/beacon/states/9/root"
    recording = Recording(
        _exchange(path, phase, body, t=t)
        for phase, body, t in [
            ("slot", b"[1]", 3.0),
            ("final", b"[2]", 1.0),
            ("final", b"[3]", 2.0),
            ("head", b"[4]", 4.0),
        ]
    )
    best = recording.best("GET", path)
    assert best is not None
    assert best.content == b"[3]"


def test_duties_are_what_was_answered_while_the_epoch_was_current() -> None:
    path = "/eth/v1/validator/duties/attester/5"
    recording = Recording(
        _exchange(path, phase, body, method="POST", status=status, t=t)
        for phase, body, status, t in [
            ("live", b"[1]", 200, 1.0),
            ("live", b"[2]", 200, 2.0),
            ("live", b"[3]", 500, 3.0),
            ("final", b"[4]", 500, 4.0),
        ]
    )
    best = recording.best("POST", path)
    assert best is not None
    assert best.content == b"[2]"


def test_parameters_in_another_order_are_the_same_request() -> None:
    recording = Recording([_exchange("/x", "final", b"[1]", query={"b": ["2", "1"], "a": "3"})])
    assert recording.best("GET", "/x", "a=3&b=1&b=2") is not None
    assert recording.best("GET", "/x", "a=3&b=1") is None


def test_a_recording_without_the_specification_is_refused_by_name() -> None:
    with pytest.raises(RecordingError, match="fixture: no answer to GET /eth/v1/config/spec"):
        _ = Recording([], name="fixture").slots_per_epoch


@pytest.mark.parametrize("value", [b'"8.5"', b"null", b"{}", b'"-8"'])
def test_a_specification_with_nonsense_is_refused_by_name(value: bytes) -> None:
    body = b'{"data":{"SLOTS_PER_EPOCH":' + value + b"}}"
    recording = Recording([_exchange("/eth/v1/config/spec", "static", body)])
    with pytest.raises(RecordingError, match="SLOTS_PER_EPOCH"):
        _ = recording.slots_per_epoch


def test_a_recording_without_history_is_refused() -> None:
    with pytest.raises(RecordingError, match="no header was asked for after finality"):
        _ = Recording([]).slots


def test_a_file_that_is_no_recording_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "nonsense.jsonl.zst"
    path.write_bytes(b"nonsense")
    with pytest.raises(Exception, match=r"nonsense\.jsonl\.zst"):
        Recording.load(path)

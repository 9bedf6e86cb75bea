"""Recorded event streams: topics, order, and the slot that an event belongs to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import zstandard

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.event_stream import TOPICS, events_path, read_events
from valmon_pipeline.devnet.recording_error import RecordingError


def _write(path: Path, text: bytes) -> Path:
    path.write_bytes(zstandard.compress(text))
    return path


def test_the_recorded_stream_keeps_every_event_in_order() -> None:
    events = read_events(events_path(RECORDING_PATH))
    topics = Counter(event.topic for event in events)
    assert topics["head"] == topics["block"] == 334
    assert (topics["chain_reorg"], topics["finalized_checkpoint"]) == (8, 31)
    assert topics.keys() <= TOPICS
    assert [event.slot for event in events] == sorted(event.slot for event in events)


def test_events_belong_to_the_slot_they_name_or_to_the_one_before(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "x.events.sse.zst",
        b'event: head\ndata: {"slot":"7"}\n\n'
        b'event: voluntary_exit\ndata: {"message":{"epoch":"99"}}\n\n'
        b'event: attestation\ndata: {"data":{"slot":"7"}}\n\n'
        b": keep-alive\n\n"
        b'event: head\ndata: {"slot":"9"}\n\n'
        b"event: head\n",
    )
    assert [(event.topic, round(event.slot, 2)) for event in read_events(path)] == [
        ("head", 7),
        ("voluntary_exit", 7),
        ("attestation", 7.33),
        ("head", 9),
    ]


def test_a_recording_may_have_no_stream(tmp_path: Path) -> None:
    assert events_path(tmp_path / "x.jsonl.zst") == tmp_path / "x.events.sse.zst"
    assert read_events(tmp_path / "x.events.sse.zst") == []


def test_a_damaged_stream_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.events.sse.zst"
    path.write_bytes(b"nonsense")
    with pytest.raises(RecordingError, match=r"x\.events\.sse\.zst"):
        read_events(path)

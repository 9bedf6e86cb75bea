"""What was captured while it was current is there for every process and machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from valmon_pipeline.beacon.captured_answers import CapturedAnswer
from valmon_pipeline.storage.captured_answers import CapturedAnswers
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.stored import fresh_warehouse
from valmon_pipeline_tests.sample_frames import sample_frame

ROOT = bytes(range(32))


@pytest.fixture
def own_warehouse(database_url: str) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        yield warehouse


def answer(epoch: int, request: str, body: bytes = b"\x00\xff", node: str = "a") -> CapturedAnswer:
    return CapturedAnswer(epoch, request, node, ROOT, body)


def test_answers_are_found_by_epoch_as_they_were_kept(own_warehouse: Warehouse) -> None:
    captured = CapturedAnswers(own_warehouse.database)
    kept = [answer(7, "GET /x"), answer(7, "GET /y", b""), answer(8, "GET /x")]
    captured.keep(kept)
    assert sorted(captured.load([7]), key=lambda one: one.request) == kept[:2]
    assert captured.load([9]) == []
    assert captured.requests(7) == {"GET /x", "GET /y"}


def test_an_answer_without_a_block_is_kept(own_warehouse: Warehouse) -> None:
    captured = CapturedAnswers(own_warehouse.database)
    of_a_root = CapturedAnswer(7, "GET /0x01", "a", None, b"body")
    captured.keep([of_a_root])
    assert captured.load([7]) == [of_a_root]


def test_a_later_answer_to_the_same_request_replaces_the_one_before(
    own_warehouse: Warehouse,
) -> None:
    captured = CapturedAnswers(own_warehouse.database)
    captured.keep([answer(7, "GET /x", b"before the reorg")])
    captured.keep([answer(7, "GET /x", b"after", node="b")])
    assert captured.load([7]) == [answer(7, "GET /x", b"after", node="b")]


def test_only_answers_about_complete_final_epochs_are_settled(own_warehouse: Warehouse) -> None:
    captured = CapturedAnswers(own_warehouse.database)
    for epoch, finalized, missing in ((5, True, 0), (6, False, 0), (7, True, 2)):
        frame = sample_frame("network_epochs", epoch).assign(finalized=finalized)
        frame["missing_facts"] = frame["missing_facts"] * 0 + missing
        own_warehouse.replace_epoch(epoch, {"network_epochs": frame})
        captured.keep([answer(epoch, "GET /x")])
    captured.keep([answer(8, "GET /x")])
    assert captured.drop_settled(before=5) == 0
    assert captured.drop_settled(before=100) == 1
    assert [one.epoch for one in captured.load(range(10))] == [6, 7, 8]
    assert captured.drop_before(8) == 2
    assert [one.epoch for one in captured.load(range(10))] == [8]

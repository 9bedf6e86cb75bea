"""Missing and unknown fields of answers are reported once per node and version."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from valmon_pipeline.beacon.answer_fields import AnswerFields
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline_tests.beacon.scripted_node import ScriptedNode

SYNCING = "/eth/v1/node/syncing"
HEADER = "/eth/v1/beacon/headers/{}"
STATUS = {"head_slot": "9", "sync_distance": "0", "is_syncing": False}


def content(data: object, **envelope: object) -> bytes:
    return json.dumps({"data": data, **envelope}).encode()


def test_a_missing_field_is_counted_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fields = AnswerFields()
    for _ in range(3):
        fields.look_at("node", "Node/v1", SYNCING, content(STATUS))
    (finding,) = fields.findings["node", "Node/v1"]
    assert finding.missing == ("data.el_offline", "data.is_optimistic")
    assert fields.counts == {"missing": 2, "unknown": 0}
    assert len(caplog.records) == 1
    assert "node (Node/v1): its answers to /eth/v1/node/syncing lack data.el_offline" in caplog.text


def test_another_version_is_looked_at_again() -> None:
    fields = AnswerFields()
    for version in ("Node/v1", "Node/v2"):
        fields.look_at("node", version, SYNCING, content(STATUS))
    assert fields.counts["missing"] == 4


def test_an_unknown_field_is_named() -> None:
    fields = AnswerFields()
    data = {"root": "0x", "canonical": True, "header": {}, "blobs": 1}
    answer = content(data, execution_optimistic=False, finalized=True, fork="x")
    fields.look_at("node", "Node/v1", HEADER, answer)
    (finding,) = fields.findings["node", "Node/v1"]
    assert (finding.missing, finding.unknown) == ((), ("fork", "data.blobs"))


@pytest.mark.parametrize("answer", [b"", b"[]", b"{", content([]), b"[" * 200_000])
def test_an_answer_without_rows_says_nothing(answer: bytes) -> None:
    fields = AnswerFields()
    fields.look_at("node", "Node/v1", "/eth/v1/beacon/states/{}/validators", answer)
    assert fields.findings == {}


def test_a_node_that_told_its_version_is_looked_at(
    node: ScriptedNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node.data("/eth/v1/node/version", {"version": f"Node/{Path(__file__).name}"})
    node.data(SYNCING, STATUS)

    async def ask() -> None:
        async with BeaconClient.open(NodeOptions(node.url)) as client:
            await client.node_version()
            await client.syncing()
            await client.syncing()

    asyncio.run(ask())
    assert caplog.text.count("lack data.el_offline, data.is_optimistic") == 1

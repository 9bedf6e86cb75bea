"""The drill: every incident is told of, and what does not arrive is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from valmon_pipeline.deployment.drill import Arrived, DrillReport, Expected, Proof, run_drill
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline_tests.beacon.scripted_node import Reply, ScriptedNode, scripted_node
from valmon_pipeline_tests.migrated_schema import make_migrated_schema


@pytest.fixture
def channel() -> Iterator[ScriptedNode]:
    """A channel of the operator's that refuses everything."""
    with scripted_node() as node:
        node.reply("/hook", Reply(500))
        yield node


def test_every_incident_arrives_as_check_row_and_message(
    database_url: str, schema: str, tmp_path: Path, channel: ScriptedNode
) -> None:
    make_migrated_schema(database_url, schema)
    told: list[str] = []
    refusing = Channel("mine", f"{channel.url.replace('http', 'json')}/hook")
    report = run_drill(database_url, schema, tmp_path, channels=[refusing], tell=told.append)
    assert report.is_complete, report.proofs
    misses, cluster, skipped, slashing = report.proofs
    assert cluster.expected.subject == "operator:dark"
    # Seen at the head, long before the epoch is stored and the check fails.
    for proof in (skipped, slashing):
        assert proof.message is not None
        assert proof.check is not None
        assert proof.message.slot < proof.expected.slot + 8 <= proof.check.slot
    # Three epochs of misses, stored when their window has closed; two good ones end it.
    for proof in (misses, cluster):
        assert proof.message is not None
        assert proof.end is not None
        assert (proof.message.slot, proof.end.slot) == (64, 80)
    # Twelve validators are one message, whatever else is in it.
    assert sum("in a row – operator:dark" in one.title + one.body for one in report.messages) == 2
    assert any("channel mine: JSON did not accept it: HTTP 500" in line for line in told)


def test_what_does_not_arrive_is_seen() -> None:
    expected = Expected("a validator misses", 32, "exit", "validator:7", ends=True)
    arrived = Arrived(40, 0.1)
    proof = Proof(expected, arrived, arrived, arrived)
    assert not DrillReport([proof], [], 6.0, 1.0).is_complete
    proof.end = arrived
    assert DrillReport([proof], [], 6.0, 1.0).is_complete

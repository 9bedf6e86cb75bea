"""``valmon nodes`` with nodes that are there, and one that is not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from valmon_pipeline.beacon.consensus_client import ConsensusClient
from valmon_pipeline.cli.source_table import source_tables
from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.epoch.source_names import LADDERS
from valmon_pipeline.reading.source_survey import (
    HISTORY,
    NULL_WITHOUT,
    FactReport,
    Moment,
    Survey,
)
from valmon_pipeline_tests.cli.home import Finished
from valmon_pipeline_tests.moody_node import SYNCING, Mood, moody_node
from valmon_pipeline_tests.recordings import MAINNET

NOWHERE = "http://user:hunter2@127.0.0.1:9/hunter2"


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[tuple[str, Mood], str]]:
    """A node with a mood, and one that is always well."""
    recording = Recording.load(RECORDING_PATH)
    with (
        BackgroundReplayNode(ReplayNode(recording)) as well,
        moody_node(recording, well.url) as one,
    ):
        yield one, well.url


def test_it_tells_which_node_is_read_and_why_not_the_others(
    nodes: tuple[tuple[str, Mood], str], valmon: Callable[..., Finished]
) -> None:
    (moody, mood), well = nodes
    mood.changed[SYNCING] = {"is_syncing": True, "sync_distance": "12"}
    environment = {"VALMON_BEACON_URL": f"{NOWHERE},{moody},{well}", "VALMON_VALIDATORS": "1"}
    shown = valmon("nodes", **environment)
    assert shown.code == 0
    assert "it is syncing, 12 slots behind" in shown.out
    assert "http://127.0.0.1:9/…: GET /eth/v1/node/syncing" in shown.out
    found = valmon("nodes", "--json", **environment).json
    assert found["used"] == well
    assert [node["state"] for node in found["nodes"]] == ["unreachable", "syncing", "ready"]
    assert [node["head_slot"] for node in found["nodes"]] == [None, 351, 351]
    assert "hunter2" not in shown.out + shown.err


def test_it_names_nodes_that_follow_different_chains(
    nodes: tuple[tuple[str, Mood], str], valmon: Callable[..., Finished]
) -> None:
    (moody, mood), well = nodes
    mood.changed.clear()
    environment = {"VALMON_BEACON_URL": f"{moody},{well}", "VALMON_VALIDATORS": "1"}
    assert "disagree" not in valmon("nodes", **environment).out
    path = "/eth/v1/beacon/states/head/finality_checkpoints"
    checkpoint = mood.truth.get(path).json()["data"]["finalized"]
    mood.changed[path] = {"finalized": {**checkpoint, "root": "0x" + "ab" * 32}}
    shown = " ".join(valmon("nodes", **environment).out.split())
    assert "have finalized different blocks for epoch" in shown
    found = valmon("nodes", "--json", **environment).json
    assert [bool(node["disagreement"]) for node in found["nodes"]] == [True, True]
    mood.changed.clear()


def test_it_shows_names_limits_and_archives(
    nodes: tuple[tuple[str, Mood], str], valmon: Callable[..., Finished]
) -> None:
    _, well = nodes
    configured = [
        {"url": NOWHERE, "name": "hosted", "archive": True, "rate_limit": {"burst": 3}},
        {"url": well, "name": "local", "rate_limit": {"requests_per_second": 2.5}},
    ]
    environment = {"VALMON_BEACON_NODES": json.dumps(configured), "VALMON_VALIDATORS": "1"}
    shown = valmon("nodes", **environment)
    rows = [line.split() for line in shown.out.splitlines()]
    assert ["→", "local", "ready", "351", "0"] in [row[:5] for row in rows]
    assert ["50/s", "yes", "closed", "(0)"] in [row[-4:] for row in rows]
    assert ["2.5/s", "no", "closed", "(0)"] in [row[-4:] for row in rows]
    assert "127.0.0.1" not in shown.out.partition("hosted: ")[0]
    hosted, local = valmon("nodes", "--json", **environment).json["nodes"]
    assert [one["name"] for one in (hosted, local)] == ["hosted", "local"]
    assert [one["requests_per_second"] for one in (hosted, local)] == [50, 2.5]
    assert [one["burst"] for one in (hosted, local)] == [3, 100]
    assert [one["archive"] for one in (hosted, local)] == [True, False]


def test_without_a_ready_node_it_fails(valmon: Callable[..., Finished]) -> None:
    assert valmon("nodes", VALMON_BEACON_URL=NOWHERE, VALMON_VALIDATORS="1").code == 1


def test_without_any_node_it_says_how_to_name_one(valmon: Callable[..., Finished]) -> None:
    none = valmon("nodes", VALMON_VALIDATORS="1")
    assert none.code == 2
    assert "no beacon node is configured" in none.err


def test_the_demo_shows_its_replay_node(valmon: Callable[..., Finished]) -> None:
    shown = valmon("nodes", "--json")
    assert shown.code == 0
    assert [node["state"] for node in shown.json["nodes"]] == ["ready"]


def test_it_shows_the_source_of_each_fact(valmon: Callable[..., Finished]) -> None:
    recording = Recording.load(MAINNET)
    with BackgroundReplayNode(ReplayNode(recording, client="lighthouse")) as node:
        environment = {
            "VALMON_BEACON_URL": node.url,
            "VALMON_VALIDATORS": "3",
            "VALMON_REGISTRY_FETCH_LIMIT": "0",
        }
        shown = valmon("nodes", COLUMNS="80", **environment)
        found = valmon("nodes", "--json", **environment).json["nodes"][0]["sources"]
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line[:20].strip(): line[20:].split() for line in lines if line.startswith(" ")}
    assert rows["committees"] == ["head's", "state", "head's", "state"]
    assert rows["registry"] == ["slot's", "state", "NULL", "balances,", "ideals,", "ledger"]
    assert "Lighthouse --archive: keeps" in shown.out
    assert found["client"] == "lighthouse"
    by_fact = {(one["fact"], one["moment"]): one for one in found["facts"]}
    assert by_fact["committees", "now"]["source"] == "states/head/committees"
    gone = by_fact["registry_at_start", "after an outage"]
    assert gone["source"] is None
    assert gone["reason"].startswith("states/{slot}/validators: HTTP 404 (NOT_FOUND: beacon state")
    assert gone["advice"].startswith("Lighthouse --archive: keeps all states")


def test_the_table_with_history_fits_a_terminal() -> None:
    reports = tuple(
        FactReport(fact, moment, 3, source, None if source else "HTTP 404")
        for moment in Moment
        for fact in NULL_WITHOUT
        for source in [None if moment in HISTORY else LADDERS[fact][0]]
    )
    survey = Survey("node", "teku/v26", ConsensusClient.TEKU, False, reports)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(source_tables(survey))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    (header,) = [line for line in lines if line.startswith(" fact")]
    assert header.split() == [
        "fact",
        "now",
        "after",
        "an",
        "outage",
        "a",
        "day",
        "ago",
        "a",
        "month",
        "ago",
    ]
    (withdrawals,) = [line for line in lines if line.startswith(" withdrawals")][:1]
    assert withdrawals.split() == ["withdrawals", "blocks", "blocks", "NULL", "NULL"]
    advised = " ".join(" ".join(lines).split())
    assert "Teku --data-storage-mode=archive" in advised

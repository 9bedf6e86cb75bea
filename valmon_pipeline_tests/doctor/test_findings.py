"""What the doctor finds of nodes that serve everything, of clocks, and of disks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.config import load_settings
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.deployment.code_location import CODE_SERVER_HOST, CODE_SERVER_PORT
from valmon_pipeline.devnet.simulator import Simulation, config, simulated_node
from valmon_pipeline.doctor.fact_findings import fact_findings
from valmon_pipeline.doctor.finding import Finding, Verdict
from valmon_pipeline.doctor.machine import disk_finding
from valmon_pipeline.doctor.nodes import node_findings
from valmon_pipeline.doctor.running import running_findings
from valmon_pipeline.pipeline import node_pool
from valmon_pipeline_tests.deployment.installations import installation
from valmon_pipeline_tests.moody_node import options

GENESIS = 1_700_000_000


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A node whose head is the first slot of epoch 6."""
    simulation = Simulation(config("minimal", electra_epoch=0), 64, seed=3)
    simulation.advance_to_epoch(6)
    with simulated_node(simulation, genesis_time=GENESIS) as node:
        yield node.url


def test_a_code_server_that_the_environment_names_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_runs = installation(tmp_path)
    assert [*running_findings(nothing_runs)] == []
    monkeypatch.setenv(CODE_SERVER_HOST, "127.0.0.1")
    monkeypatch.setenv(CODE_SERVER_PORT, "9")
    (finding,) = running_findings(nothing_runs)
    assert (finding.subject, finding.verdict) == ("code server", Verdict.PROBLEM)
    assert finding.found == "the code server at 127.0.0.1:9 does not answer"


def test_a_node_that_serves_everything(url: str) -> None:
    async def ask() -> list[Finding]:
        async with BeaconClient.open(options(url)) as client:
            watch = Watch(indices=frozenset({1}), network_state=True)
            return await fact_findings(client, "node", watch)

    findings = asyncio.run(ask())
    assert len(findings) == 12
    assert {finding.verdict for finding in findings} == {Verdict.GOOD}, findings


@pytest.mark.parametrize(
    ("seconds", "verdict", "words"),
    [
        (0, Verdict.GOOD, "0 slots behind"),
        (-60, Verdict.PROBLEM, "lies in the future"),
        (60, Verdict.WARNING, "10 slots behind this machine's clock"),
    ],
)
def test_the_clock_is_compared_with_the_chains(
    url: str, seconds: int, verdict: Verdict, words: str
) -> None:
    settings = load_settings(environ={"VALMON_BEACON_URL": url, "VALMON_VALIDATORS": "1"})
    head = 6 * 8
    now = GENESIS + head * 6 + 3 + seconds
    findings = node_findings(settings, node_pool(settings), lambda: now)
    clock = next(finding for finding in findings if finding.name == "clock")
    assert clock.verdict is verdict, clock
    assert words in clock.found


@pytest.mark.parametrize(
    ("least", "comfortable", "verdict"),
    [
        (0, 0, Verdict.GOOD),
        (0, 2**62, Verdict.WARNING),
        (2**62, 2**62, Verdict.PROBLEM),
    ],
)
def test_space_on_the_disk_is_judged(
    tmp_path: Path, least: int, comfortable: int, verdict: Verdict
) -> None:
    finding = disk_finding(tmp_path / "not there yet", least=least, comfortable=comfortable)
    assert finding.verdict is verdict

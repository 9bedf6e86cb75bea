"""The beacon nodes: each one's health, the facts it gives, and whether it knows who is watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from valmon_pipeline.assets.registry import unknown_ids
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.config import Settings
from valmon_pipeline.doctor.fact_findings import fact_findings
from valmon_pipeline.doctor.finding import Finding, good, problem, warning
from valmon_pipeline.errors import BeaconApiError
from valmon_pipeline.pipeline import configured_watch

MOST_SLOTS_BEHIND: Final = 4
ASK_SECONDS: Final = 60.0
_SHOWN: Final = 5


def node_findings(
    settings: Settings, pool: NodePool, now: Callable[[], float] = time.time
) -> list[Finding]:
    """Everything about every node of the pool, by name."""
    return asyncio.run(_node_findings(settings, pool, now))


async def _node_findings(
    settings: Settings, pool: NodePool, now: Callable[[], float]
) -> list[Finding]:
    findings = []
    asked_about_validators = False
    reports = await pool.reports()
    for report, options in zip(reports, pool.options, strict=True):
        subject = f"node {report.health.name}"
        if report.health.disagreement:
            findings.append(
                problem(
                    subject,
                    "chain",
                    report.health.disagreement,
                    "find out which node is wrong: what is read from it is of another chain",
                )
            )
        if not report.health.is_ready:
            verdict = problem if len(reports) == 1 else warning
            findings.append(
                verdict(
                    subject,
                    "health",
                    f"{report.health.state.value}: {report.health.reason}",
                    "start or repair it; epochs wait, or are read from another node, until then",
                )
            )
            continue
        findings.append(
            good(subject, "health", f"{report.health.state.value}, head {report.health.head_slot}")
        )
        async with BeaconClient.open(options) as client:
            findings.append(await _clock_finding(client, subject, now))
            findings += await fact_findings(client, subject, configured_watch(settings))
            if not asked_about_validators:
                findings.append(await _watch_finding(client, settings))
                asked_about_validators = True
    if not any(report.health.is_ready for report in reports) and len(reports) > 1:
        findings.append(
            problem("nodes", "health", "none of the nodes is ready", "start or repair one of them")
        )
    return findings


async def _clock_finding(client: BeaconClient, subject: str, now: Callable[[], float]) -> Finding:
    """The node's head is where it should be by this machine's clock."""
    name = "clock"
    try:
        with client.deadline(ASK_SECONDS):
            spec, genesis = await client.spec(), await client.genesis()
            head = (await client.syncing()).head_slot
    except BeaconApiError as error:
        return problem(subject, name, str(error), "see its health")
    slot = int((now() - genesis.genesis_time) * 1000) // spec.slot_duration_ms
    if head > slot:
        return problem(
            subject,
            name,
            f"its head, slot {head}, lies in the future: by this machine's clock it is slot {slot}",
            "set this machine's clock by NTP",
        )
    if slot - head > MOST_SLOTS_BEHIND:
        return warning(
            subject,
            name,
            f"its head, slot {head}, is {slot - head} slots behind this machine's clock, although "
            "it says that it is synced",
            "check the clocks of both by NTP; or the chain stands still, or misses blocks",
        )
    return good(subject, name, f"its head is {slot - head} slots behind this machine's clock")


async def _watch_finding(client: BeaconClient, settings: Settings) -> Finding:
    """Every validator of the configuration is in the registry."""
    watch = settings.watch_list
    subject, name = "watch list", "validators"
    if watch.everyone and not (watch.indices or watch.pubkeys):
        return good(subject, name, "everybody is watched")
    ids: list[int | str] = [*sorted(watch.indices), *sorted(watch.pubkeys)]
    try:
        with client.deadline(ASK_SECONDS):
            registry = await client.validators("finalized", ids)
    except BeaconApiError as error:
        return problem(subject, name, str(error), "see the node's health")
    unknown = unknown_ids(watch, registry)
    if not unknown:
        return good(subject, name, f"all {len(ids)} are in the registry of {client.name}")
    shown = ", ".join(map(str, unknown[:_SHOWN])) + (", …" if len(unknown) > _SHOWN else "")
    return warning(
        subject,
        name,
        f"{len(unknown)} of {len(ids)} are not in the registry of {client.name}: {shown}",
        "correct them; validators whose deposit is not processed yet are found by themselves later",
    )

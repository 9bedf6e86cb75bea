"""The endpoints that valmon needs of a node, each asked about an epoch that is final."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.transports.node_address import PLACEHOLDER, NodeAddressTransport
from valmon_pipeline.doctor.finding import Finding, good, problem, warning
from valmon_pipeline.errors import BeaconApiError

ASK_SECONDS: Final = 60.0


async def endpoint_findings(client: BeaconClient, subject: str, node_url: str) -> list[Finding]:
    """What the node answers; the questions are about the epoch before the newest final ones."""
    try:
        with client.deadline(ASK_SECONDS):
            spec = await client.spec()
            final = (await client.finality_checkpoints("head")).finalized.epoch
            epoch = max(0, final - 2)
            slot = spec.first_slot(epoch)
            header = await client.header(slot)
            while header is None and slot < spec.last_slot(epoch + 1):
                slot += 1
                header = await client.header(slot)
            if header is None:
                return [_missing(subject, "headers", f"no block in epochs {epoch}, {epoch + 1}")]
            root, state = header.root, spec.first_slot(epoch)
    except BeaconApiError as error:
        return [_missing(subject, "headers", str(error))]
    questions: dict[str, Callable[[], Awaitable[object]]] = {
        "blocks": lambda: client.block(root),
        "validators": lambda: client.validators(state, [0]),
        "committees": lambda: client.committees(state, epoch),
        "sync committee": lambda: client.sync_committee(state, epoch),
        "proposer duties": lambda: client.proposer_duties(epoch),
        "attestation rewards": lambda: client.attestation_rewards(epoch, [0]),
        "block rewards": lambda: client.block_rewards(root),
        "sync committee rewards": lambda: client.sync_committee_rewards(root, [0]),
    }
    findings = [
        await _asked(client, subject, name, question) for name, question in questions.items()
    ]
    findings.append(await _queues(client, subject, state))
    findings.append(await state_finding(subject, node_url, state))
    return findings


async def _asked(
    client: BeaconClient, subject: str, name: str, question: Callable[[], Awaitable[object]]
) -> Finding:
    try:
        with client.deadline(ASK_SECONDS):
            await question()
    except BeaconApiError as error:
        return _missing(subject, name, str(error))
    return good(subject, name, "answered")


async def _queues(client: BeaconClient, subject: str, state: int) -> Finding:
    try:
        with client.deadline(ASK_SECONDS):
            queues = [
                await client.pending_deposits(state),
                await client.pending_consolidations(state),
            ]
    except BeaconApiError as error:
        return _missing(subject, "queues", str(error))
    if None in queues:
        return warning(
            subject,
            "queues",
            "pending deposits or consolidations are not answered",
            "before Electra that is so; since then, balances that moved by them stay unexplained "
            "in the ledger: upgrade the node",
        )
    return good(subject, "queues", "answered")


async def state_finding(subject: str, node_url: str, slot: int) -> Finding:
    """Whether whole states are served; only the beginning of the answer is waited for."""
    name = "debug state"
    advice = (
        "only `watch: network` gains by it: whole states are read instead of one answer per "
        "question; Lighthouse and Teku serve it as they are, others need their debug API enabled"
    )
    path = f"/eth/v2/debug/beacon/states/{slot}"
    transport = NodeAddressTransport(node_url, httpx.AsyncHTTPTransport())
    headers = {"Accept": "application/octet-stream"}
    async with httpx.AsyncClient(
        base_url=PLACEHOLDER, transport=transport, timeout=ASK_SECONDS, trust_env=False
    ) as http:
        try:
            async with http.stream("GET", path, headers=headers) as response:
                status = response.status_code
                kind = response.headers.get("content-type", "")
        except httpx.TransportError as error:
            return warning(subject, name, f"not answered: {type(error).__name__}", advice)
    if status != httpx.codes.OK:
        return warning(subject, name, f"HTTP {status}", advice)
    if "octet-stream" not in kind:
        return warning(subject, name, f"answered as {kind or 'nothing'}, not as SSZ", advice)
    return good(subject, name, "answered")


def _missing(subject: str, name: str, error: str) -> Finding:
    advice = (
        "valmon cannot work without it. Rewards need a node that keeps the states of the epochs "
        "asked for, and with some clients an option; see docs/nodes.md"
    )
    return problem(subject, name, error, advice)

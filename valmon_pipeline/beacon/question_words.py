"""Plain words for a request, a refusal and a wrong address, as messages need them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from valmon_pipeline.beacon.consensus_client import ConsensusClient
from valmon_pipeline.beacon.redact import redact_url
from valmon_pipeline.beacon.refusals import Refusal
from valmon_pipeline.errors import RefusalKind

_USUAL_PORTS: Final = "5052, 3500, 5051 or 9596"
_SUBJECTS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"/states/([^/]+)/validators$", "the registry {state}"),
        (r"/states/([^/]+)/committees$", "the committees{epoch} {state}"),
        (r"/states/([^/]+)/sync_committees$", "the sync committee{epoch} {state}"),
        (r"/states/([^/]+)/finality_checkpoints$", "the finality {state}"),
        (r"/states/([^/]+)/pending_deposits$", "the pending deposits {state}"),
        (r"/states/([^/]+)/pending_consolidations$", "the pending consolidations {state}"),
        (r"/states/([^/]+)/pending_partial_withdrawals$", "the pending withdrawals {state}"),
        (r"/debug/beacon/states/([^/]+)$", "the state {state}"),
        (r"/beacon/headers/([^/]+)$", "the header {block}"),
        (r"/beacon/(?:blocks|blinded_blocks)/([^/]+)$", "the block {block}"),
        (r"/rewards/attestations/(\d+)$", "the attestation rewards of epoch {id}"),
        (r"/rewards/blocks/([^/]+)$", "the proposer's rewards for the block {block}"),
        (r"/rewards/sync_committee/([^/]+)$", "the sync committee's rewards for the block {block}"),
        (r"/duties/proposer/(\d+)$", "the proposers of epoch {id}"),
        (r"/duties/attester/(\d+)$", "the attestation duties of epoch {id}"),
        (r"/duties/sync/(\d+)$", "the sync committee duties of epoch {id}"),
    )
)
_ANOTHER_SOURCE: Final = "valmon goes on with another source or node, if there is one"


def subject_of(path: str, params: Sequence[tuple[str, str]] = ()) -> str:
    """Return what a request asks for, e.g. ``the attestation rewards of epoch 12``."""
    for pattern, words in _SUBJECTS:
        if match := pattern.search(path):
            name = match[1]
            epoch = next((value for key, value in params if key == "epoch"), None)
            return words.format(
                id=name,
                state=f"at slot {name}" if name.isdigit() else f"of {name}",
                block=f"of slot {name}" if name.isdigit() else f"{name}",
                epoch="" if epoch is None else f" of epoch {epoch}",
            )
    return f"the answer to {path}"


def meaning_of(
    refusal: Refusal, subject: str, client: ConsensusClient, location: str | None = None
) -> str:
    """Return what a refusal means for ``subject``, and what valmon or its user does next."""
    node = "the node" if client is ConsensusClient.UNKNOWN else client.title
    match refusal.kind:
        case RefusalKind.GONE:
            return (
                f"{node} does not keep {subject} and will not have it again; {_ANOTHER_SOURCE}. "
                "A node that keeps history answers it: see docs/nodes.md"
            )
        case RefusalKind.NOT_YET:
            return f"{node} does not have {subject} yet; valmon asks again later"
        case RefusalKind.NOT_FOUND:
            return (
                f"{node} does not have {subject}, and does not say whether it was pruned, is still "
                f"to come or never was; {_ANOTHER_SOURCE}"
            )
        case RefusalKind.NO_SUCH_ROUTE:
            return (
                f"{node} does not offer {subject}, in this version or with its settings; "
                f"{_ANOTHER_SOURCE}. See docs/nodes.md for versions and options"
            )
        case RefusalKind.OVERLOADED:
            return (
                f"{node}, or a gateway before it, is too busy for {subject}; valmon asks again "
                "later. Lower rate_limit if this goes on"
            )
        case RefusalKind.FAILED:
            return f"{node} failed to give {subject}; valmon asks again later. See the node's log"
        case RefusalKind.SYNCING:
            return (
                f"{node} is not ready to give {subject}: it is starting or syncing; valmon asks "
                "again when it has caught up"
            )
        case RefusalKind.EXECUTION_CLIENT:
            return (
                f"{node} needs its execution client for {subject} and cannot use it: check that "
                f"client; {_ANOTHER_SOURCE}"
            )
        case RefusalKind.BAD_REQUEST if refusal.unknown_index is not None:
            return (
                f"{node} refuses {subject} because of validator {refusal.unknown_index}, which it "
                f"does not know there; {_ANOTHER_SOURCE}"
            )
        case RefusalKind.BAD_REQUEST:
            return (
                f"{node} does not accept the request for {subject}: what it asks about is out of "
                f"this node's reach, or unknown to it; {_ANOTHER_SOURCE}"
            )
        case RefusalKind.REDIRECTED:
            return redirect_words(refusal.path, location)
        case RefusalKind.FORBIDDEN if refusal.status in (401, 403):
            return (
                "the node wants a login or a token, or refuses this one: put it into the node's "
                "address in the configuration. If it is the execution client that answers here "
                "(its engine API wants a token), configure the consensus client's API instead, "
                f"usually port {_USUAL_PORTS}"
            )
        case _:
            return (
                f"{node}, or a gateway before it, does not allow this request; check its settings"
            )


def redirect_words(path: str, location: str | None) -> str:
    """Return what to do about a redirect; what is secret in its target is left out."""
    if not location:
        return "the address leads elsewhere, without saying where; configure the node's own address"
    target = location.partition("?")[0].removesuffix(path)
    return (
        f"the address leads to {redact_url(target) if '://' in target else 'another path'}; "
        "configure that address as the node's: valmon follows no redirects, since they could take "
        "a token elsewhere"
    )


def wrong_address(content: bytes) -> str | None:
    """Return why an answer of status 200 shows that the address is no beacon node's, else None."""
    start = content[:512].lstrip()
    if not start:
        found = "it answers with nothing (HTTP 200 without a body), as execution clients do"
    elif start.startswith(b"<"):
        found = "it answers with a web page"
    elif start.startswith(b"{") and _is_json_rpc(content):
        found = "it answers as an execution client's JSON-RPC does"
    else:
        return None
    return (
        f"this address is no beacon node's API: {found}. Configure the consensus client's API, "
        f"usually port {_USUAL_PORTS}"
    )


def _is_json_rpc(content: bytes) -> bool:
    if len(content) > 1 << 16:
        return False
    try:
        body = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return "jsonrpc" in body and "data" not in body


def words_of(content: bytes) -> str:
    """Return a refusal's own words on one line: its message, or what else it says.

    Secrets are still in it. Web pages say nothing that people read.
    """
    try:
        body = msgspec.json.decode(content)
        text = str(body.get("message", "")) if isinstance(body, dict) else str(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError):
        text = content[:4000].decode("utf-8", errors="replace")
    text = " ".join(text.split())
    return "a web page" if text.startswith("<") else text

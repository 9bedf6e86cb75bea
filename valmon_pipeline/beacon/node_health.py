"""Which nodes can be read from: what each says of itself, compared with the others."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from valmon_pipeline.beacon.answers import Genesis, SyncStatus
from valmon_pipeline.beacon.chain_view import ChainView
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    MalformedAnswerError,
    NodeNotReadyError,
)

logger = logging.getLogger(__name__)

_VERSION_SECONDS: Final = 1.0
_SLOTS_AHEAD: Final = 3
_CLOCK_SKEW_MS: Final = 15_000
"""The difference of two clocks that is forgiven: as many milliseconds, and at least the slots."""
_LATEST_GENESIS_SECONDS: Final = 366 * 86400.0
_NOT_LISTED_BY_ALL: Final = (
    "block_limits",
    "fork_versions",
    "slots_per_historical_root",
    "epochs_per_historical_vector",
    "min_seed_lookahead",
    "shuffle_round_count",
)
"""Not every node lists them; a block or state that they do not fit is refused by itself."""
_NOT_COMPARED: Final = frozenset({"fork_epochs", *_NOT_LISTED_BY_ALL})


class NodeState(StrEnum):
    """What is to be thought of a node; only a ready one is read from."""

    READY = "ready"
    UNREACHABLE = "unreachable"
    UNUSABLE = "unusable"
    OTHER_NETWORK = "other network"
    SYNCING = "syncing"
    OPTIMISTIC = "optimistic"
    BEHIND = "behind"
    AHEAD = "ahead of the clock"


@dataclass(frozen=True, slots=True)
class ExpectedNetwork:
    """The network that is stored already: its constants tell a node of another one."""

    config_name: str
    genesis_time: int
    genesis_validators_root: bytes
    slots_per_epoch: int
    slot_duration_ms: int

    @classmethod
    def of(cls, spec: ChainSpec, genesis: Genesis) -> ExpectedNetwork:
        """The network that a node is of."""
        return cls(
            spec.config_name,
            genesis.genesis_time,
            genesis.genesis_validators_root,
            spec.slots_per_epoch,
            spec.slot_duration_ms,
        )


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What a node says that only changes when it is another node, or another version of it: its
    network, constants and software ("": it does not say)."""

    genesis: Genesis
    spec: ChainSpec
    version: str = ""

    @property
    def network(self) -> ExpectedNetwork:
        """The network that the node is of."""
        return ExpectedNetwork.of(self.spec, self.genesis)


@dataclass(frozen=True, slots=True)
class NodeProbe:
    """The answers of one node to the questions that come before all others, or its error."""

    name: str
    seconds: float
    sync: SyncStatus | None = None
    identity: NodeIdentity | None = None
    error: BeaconApiError | None = None
    chain: ChainView | None = None


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """The verdict on one node; ``reason`` says why it is not ready and what to do about it.

    ``disagreement`` names the nodes that follow another chain; "": none does, as far as compared.
    """

    name: str
    state: NodeState
    reason: str
    head_slot: int | None
    slots_behind: int | None
    seconds: float
    disagreement: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether its answers may be stored."""
        return self.state is NodeState.READY

    @property
    def brief(self) -> str:
        """The verdict in a few words, without what to do about it."""
        match self.state:
            case NodeState.UNREACHABLE:
                verdict = "does not answer"
            case NodeState.UNUSABLE:
                verdict = "gives unusable answers"
            case NodeState.OTHER_NETWORK:
                verdict = "is of another network"
            case NodeState.SYNCING:
                verdict = f"is syncing, at slot {self.head_slot}"
            case NodeState.BEHIND:
                verdict = f"is {self.slots_behind} slots behind"
            case _:
                verdict = f"is {self.state.value}"
        return f"{self.name} {verdict}"


def waiting_sentence(nodes: Sequence[NodeHealth]) -> str:
    """Say what is waited for as long as none of ``nodes`` is ready."""
    return f"waiting for a beacon node: {'; '.join(node.brief for node in nodes)}"


async def probe(client: BeaconClient, seconds: float, known: NodeIdentity | None) -> NodeProbe:
    """Ask a node how far it is, and who it is unless that is ``known``.

    Whatever goes wrong is this node's fault and part of the probe: nothing is raised.
    """
    started = time.monotonic()
    try:
        with client.deadline(seconds):
            # One after the other: a dead node is asked once, and nothing is left under way.
            sync = await client.syncing()
            if known is None:
                genesis, spec = await client.genesis(), await client.spec()
                known = NodeIdentity(genesis, spec, await _version(client))
            else:
                client.remember_version(known.version)
    except BeaconApiError as error:
        return NodeProbe(client.name, time.monotonic() - started, error=error)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the fault of this node)
        logger.warning("%s: its probe failed: %s", client.name, type(error).__name__)
        fault = MalformedAnswerError(
            f"{client.name}: its answers cannot be taken in ({type(error).__name__}); ask another "
            "node"
        )
        return NodeProbe(client.name, time.monotonic() - started, error=fault)
    return NodeProbe(client.name, time.monotonic() - started, sync, known)


async def _version(client: BeaconClient) -> str:
    """The version of the node's software; a node that keeps it to itself is used all the same."""
    try:
        with client.deadline(_VERSION_SECONDS):
            return await client.node_version()
    except BeaconApiError:
        return ""


def assess(
    probes: Sequence[NodeProbe],
    expected: ExpectedNetwork | None,
    max_slots_behind: int,
    reference: NodeIdentity | None = None,
    *,
    now: float,
) -> list[NodeHealth]:
    """Judge nodes by what they said, in the order of preference.

    The constants are compared with those of ``reference``, the node that was used last, or else of
    the first one that answered; without an ``expected`` network it is that node's, too. Forks that
    no head has reached may differ: nodes are upgraded one after the other. No head lies in the
    future at ``now`` (Unix seconds), give or take the clocks' difference: a node that claims so
    decides about nothing.
    """
    ahead = [_ahead_of_clock(one, now) for one in probes]
    if reference is None:
        answered = (
            one.identity
            for one, fault in zip(probes, ahead, strict=True)
            if one.identity is not None and fault is None
        )
        reference = next((one for one in answered if expected in (None, one.network)), None)
    if expected is None and reference is not None:
        expected = reference.network
    unfit = [
        _unfit(one, expected, reference) or fault for one, fault in zip(probes, ahead, strict=True)
    ]
    best = max(
        (
            one.sync.head_slot
            for one, fault in zip(probes, unfit, strict=True)
            if one.sync is not None and fault is None
        ),
        default=0,
    )
    return [
        _verdict(one, fault, best, max_slots_behind)
        for one, fault in zip(probes, unfit, strict=True)
    ]


def _ahead_of_clock(one: NodeProbe, now: float) -> tuple[NodeState, str] | None:
    """Why what a node says of its head, or of genesis, cannot be: that lies in the future."""
    if one.sync is None or one.identity is None:
        return None
    genesis, spec = one.identity.genesis, one.identity.spec
    to_genesis = genesis.genesis_time - now
    if to_genesis > _LATEST_GENESIS_SECONDS:
        return NodeState.AHEAD, (
            f"its genesis_time, {genesis.genesis_time}, lies {to_genesis / 86400:.0f} days in the "
            "future: the node is faulty, or this machine's clock is wrong"
        )
    slot = max(0, int(-to_genesis * 1000) // spec.slot_duration_ms)
    tolerance = max(_SLOTS_AHEAD, -(-_CLOCK_SKEW_MS // spec.slot_duration_ms))
    if one.sync.head_slot > slot + tolerance:
        return NodeState.AHEAD, (
            f"its head, slot {one.sync.head_slot}, lies in the future: by this machine's clock it "
            f"is slot {slot}; the node is faulty, or one of the clocks is wrong: set both by NTP"
        )
    return None


def _verdict(
    one: NodeProbe, fault: tuple[NodeState, str] | None, best: int, max_slots_behind: int
) -> NodeHealth:
    head = None if one.sync is None else one.sync.head_slot
    behind = None if head is None else max(0, best - head)
    if fault is None and behind is not None and behind > max_slots_behind:
        fault = (
            NodeState.BEHIND,
            (
                f"its head, slot {head}, is {behind} slots behind that of another node; "
                "check its peers and its clock"
            ),
        )
    state, reason = fault or (NodeState.READY, "")
    return NodeHealth(one.name, state, reason, head, behind, one.seconds)


def _unfit(
    one: NodeProbe, expected: ExpectedNetwork | None, reference: NodeIdentity | None
) -> tuple[NodeState, str] | None:
    """Why a node cannot be used at all, or None."""
    if one.sync is None or one.identity is None:
        if isinstance(one.error, NodeNotReadyError):
            return NodeState.SYNCING, str(one.error)
        unreachable = isinstance(one.error, BeaconUnreachableError)
        return NodeState.UNREACHABLE if unreachable else NodeState.UNUSABLE, str(one.error)
    if expected is not None and one.identity.network != expected:
        return NodeState.OTHER_NETWORK, (
            f"it is of another network: {_differences(one.identity.network, expected)}; "
            "configure a node of the network that is stored, or another `network` for this one"
        )
    if reference is not None and (
        different := _different_constants(one.identity.spec, reference.spec, one.sync.head_slot)
    ):
        return NodeState.OTHER_NETWORK, f"its constants are not those of the network: {different}"
    if one.sync.is_syncing:
        return NodeState.SYNCING, (
            f"it is syncing, {one.sync.sync_distance} slots behind at slot {one.sync.head_slot}; "
            "wait until it has caught up"
        )
    if one.sync.is_optimistic:
        return NodeState.OPTIMISTIC, (
            "its head is not verified by its execution client (is_optimistic); check that client"
        )
    return None


def _different_constants(spec: ChainSpec, reference: ChainSpec, head_slot: int) -> str:
    names = [
        field.name
        for field in dataclasses.fields(ChainSpec)
        if field.name not in _NOT_COMPARED
        and getattr(spec, field.name) != getattr(reference, field.name)
    ]
    head_epoch = reference.epoch_of(head_slot)
    reached = [
        {fork: epoch for fork, epoch in one.fork_epochs.items() if epoch <= head_epoch}
        for one in (spec, reference)
    ]
    if reached[0] != reached[1]:
        names.append("fork epochs")
    return ", ".join(names)


def _differences(found: ExpectedNetwork, expected: ExpectedNetwork) -> str:
    return ", ".join(
        f"{field.name} is {_shown(getattr(found, field.name))}, "
        f"expected {_shown(getattr(expected, field.name))}"
        for field in dataclasses.fields(ExpectedNetwork)
        if getattr(found, field.name) != getattr(expected, field.name)
    )


def _shown(value: object) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)

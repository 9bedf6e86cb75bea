"""One request as a client profile judges it: what it asks for, and how old that is by now."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property
from typing import Final
from urllib.parse import unquote

from valmon_pipeline.devnet.answer import RefusalError
from valmon_pipeline.devnet.chain_view import BlockReference, ChainView
from valmon_pipeline.devnet.question import Question, as_ids, natural
from valmon_pipeline.devnet.recording import RecordedBlock

_NOT_FOUND: Final = 404


class Kind(Enum):
    """Groups of requests that a client treats alike."""

    VALIDATORS = auto()
    BALANCES = auto()
    IDENTITIES = auto()
    COMMITTEES = auto()
    SYNC_COMMITTEE = auto()
    FINALITY = auto()
    STATE_FACT = auto()
    QUEUES = auto()
    LOOKAHEAD = auto()
    STATE_SSZ = auto()
    HEADER = auto()
    BLOCK = auto()
    BLINDED_BLOCK = auto()
    BLOCK_ATTESTATIONS = auto()
    BLOCK_ROOT = auto()
    BLOCK_REWARDS = auto()
    SYNC_REWARDS = auto()
    ATTESTATION_REWARDS = auto()
    PROPOSER_DUTIES = auto()
    PROPOSER_DUTIES_V2 = auto()
    ATTESTER_DUTIES = auto()
    SYNC_DUTIES = auto()
    LIVENESS = auto()
    SYNCING = auto()
    SPEC = auto()
    VERSION = auto()


REGISTRY_KINDS: Final = (Kind.VALIDATORS, Kind.BALANCES, Kind.IDENTITIES)
STATE_KINDS: Final = (
    *REGISTRY_KINDS,
    Kind.COMMITTEES,
    Kind.SYNC_COMMITTEE,
    Kind.FINALITY,
    Kind.STATE_FACT,
    Kind.QUEUES,
    Kind.LOOKAHEAD,
    Kind.STATE_SSZ,
)
BLOCK_KINDS: Final = (
    Kind.HEADER,
    Kind.BLOCK,
    Kind.BLINDED_BLOCK,
    Kind.BLOCK_ATTESTATIONS,
    Kind.BLOCK_ROOT,
    Kind.BLOCK_REWARDS,
    Kind.SYNC_REWARDS,
)

_STATE: Final = r"/eth/v1/beacon/states/(?P<state_id>[^/]+)"
_BLOCK_ID: Final = r"(?P<block_id>[^/]+)"
_EPOCH: Final = r"(?P<epoch>[^/]+)"
_PATHS: Final = [
    (re.compile(pattern), kind)
    for pattern, kind in (
        (rf"{_STATE}/validators(/[^/]+)?", Kind.VALIDATORS),
        (rf"{_STATE}/validator_balances", Kind.BALANCES),
        (rf"{_STATE}/validator_identities", Kind.IDENTITIES),
        (rf"{_STATE}/committees", Kind.COMMITTEES),
        (rf"{_STATE}/sync_committees", Kind.SYNC_COMMITTEE),
        (rf"{_STATE}/finality_checkpoints", Kind.FINALITY),
        (rf"{_STATE}/pending_[a-z_]+", Kind.QUEUES),
        (rf"{_STATE}/proposer_lookahead", Kind.LOOKAHEAD),
        (rf"{_STATE}/.+", Kind.STATE_FACT),
        (r"/eth/v2/debug/beacon/states/(?P<state_id>[^/]+)", Kind.STATE_SSZ),
        (rf"/eth/v1/beacon/headers/{_BLOCK_ID}", Kind.HEADER),
        (rf"/eth/v2/beacon/blocks/{_BLOCK_ID}", Kind.BLOCK),
        (rf"/eth/v1/beacon/blinded_blocks/{_BLOCK_ID}", Kind.BLINDED_BLOCK),
        (rf"/eth/v[12]/beacon/blocks/{_BLOCK_ID}/attestations", Kind.BLOCK_ATTESTATIONS),
        (rf"/eth/v1/beacon/blocks/{_BLOCK_ID}/root", Kind.BLOCK_ROOT),
        (rf"/eth/v1/beacon/rewards/blocks/{_BLOCK_ID}", Kind.BLOCK_REWARDS),
        (rf"/eth/v1/beacon/rewards/sync_committee/{_BLOCK_ID}", Kind.SYNC_REWARDS),
        (rf"/eth/v1/beacon/rewards/attestations/{_EPOCH}", Kind.ATTESTATION_REWARDS),
        (rf"/eth/v1/validator/duties/proposer/{_EPOCH}", Kind.PROPOSER_DUTIES),
        (rf"/eth/v2/validator/duties/proposer/{_EPOCH}", Kind.PROPOSER_DUTIES_V2),
        (rf"/eth/v1/validator/duties/attester/{_EPOCH}", Kind.ATTESTER_DUTIES),
        (rf"/eth/v1/validator/duties/sync/{_EPOCH}", Kind.SYNC_DUTIES),
        (rf"/eth/v1/validator/liveness/{_EPOCH}", Kind.LIVENESS),
        (r"/eth/v1/node/syncing", Kind.SYNCING),
        (r"/eth/v1/config/spec", Kind.SPEC),
        (r"/eth/v1/node/version", Kind.VERSION),
    )
]


@dataclass
class NodeSettings:
    """Settings of a profiled node, and what earlier requests did to it.

    ``execution_layer``: whether the node can rebuild payloads. ``archive_lag_slots``: how long
    after finality a finalized block is not found by its slot. ``spoilt_states``: the slots of
    states whose sync committee an earlier request damaged. Clients use what applies to them.
    """

    archive: bool = False
    execution_layer: bool = True
    archive_lag_slots: int = 1
    spoilt_states: set[int] = field(default_factory=set)


class Asked:
    """A request, its parameters as slots and epochs, and the chain at the clock's slot.

    Properties raise :class:`RefusalError` (400) for parameters that are nonsense.
    """

    def __init__(
        self,
        kind: Kind,
        parameters: dict[str, str],
        question: Question,
        view: ChainView,
        node: NodeSettings,
    ) -> None:
        self.kind = kind
        self.parameters = parameters
        self.question = question
        self.view = view
        self.recording = view.recording
        self.node = node
        self.head_slot = view.head_slot
        self.slots_per_epoch = view.recording.slots_per_epoch
        self.current_epoch = self.head_slot // self.slots_per_epoch

    @classmethod
    def of(cls, question: Question, view: ChainView, node: NodeSettings) -> Asked | None:
        """Return what a question asks; None for paths that no profile judges."""
        for pattern, kind in _PATHS:
            match = pattern.fullmatch(question.path)
            if match is not None:
                given = {name: text for name, text in match.groupdict().items() if text}
                return cls(kind, given, question, view, node)
        return None

    def first_slot(self, epoch: int) -> int:
        """Return the first slot of an epoch."""
        return epoch * self.slots_per_epoch

    @cached_property
    def finalized_slot(self) -> int:
        """The first slot of the finalized epoch."""
        return self.view.finalized_slot

    @cached_property
    def finalized_block_slot(self) -> int:
        """The slot of the finalized checkpoint's block."""
        block = self.recording.block_at_or_before(self.finalized_slot)
        return block.slot if block else 0

    @cached_property
    def state_slot(self) -> int | None:
        """The slot of the state asked for; None for an unknown root and slots ahead of the head."""
        try:
            return self.view.state_slot(self.parameters["state_id"])
        except RefusalError as refusal:
            if refusal.status != _NOT_FOUND:
                raise
            return None

    @property
    def state_epoch(self) -> int:
        """The epoch of the state asked for; that of the head for a state that is not there."""
        slot = self.head_slot if self.state_slot is None else self.state_slot
        return slot // self.slots_per_epoch

    @cached_property
    def epoch(self) -> int:
        """The epoch asked about: in the path, in the query, else that of the state."""
        if "epoch" in self.parameters:
            return natural(self.parameters["epoch"], "epoch")
        epoch = self.question.query_integer("epoch")
        return self.state_epoch if epoch is None else epoch

    def period_of(self, epoch: int) -> int:
        """Return the sync committee period of an epoch."""
        return epoch // self.recording.epochs_per_sync_committee_period

    @property
    def rewards_slot(self) -> int:
        """The last slot of epoch E+1, whose state tells the attestation rewards of E."""
        return self.first_slot(self.epoch + 2) - 1

    @cached_property
    def block(self) -> BlockReference | None:
        """The block asked for; None when the slot has none or the node does not know it."""
        try:
            block = self.view.block(self.parameters["block_id"])
        except RefusalError as refusal:
            if refusal.status != _NOT_FOUND:
                raise
            return None
        if block.slot == 0 and 0 in self.recording.blocks:
            return BlockReference(0, self.recording.blocks[0].root)
        return block if block.root is not None else None

    @property
    def parent(self) -> RecordedBlock | None:
        """The parent of the block asked for; None for genesis and unknown ones."""
        root = self.parent_root
        return None if root is None else self.recording.blocks_by_root.get(root)

    @property
    def parent_root(self) -> str | None:
        """The root of the parent of the block asked for."""
        if self.block is None or self.block.root is None:
            return None
        known = self.recording.orphans if self.block.is_orphan else self.recording.blocks_by_root
        block = known.get(self.block.root)
        return None if block is None else block.parent_root

    def is_newest_block_state(self, slot: int, count: int) -> bool:
        """Whether ``slot`` has a block that is among the ``count`` newest ones."""
        slots = list(self.recording.blocks)
        newer = bisect_right(slots, self.head_slot) - bisect_right(slots, slot)
        return slot in self.recording.blocks and newer < count

    @property
    def decision_root(self) -> str:
        """The root of the block that decides the committees of the epoch asked about."""
        block = self.recording.block_at_or_before(max(0, self.first_slot(self.epoch - 1) - 1))
        return block.root if block else ""

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The validators asked for: indices as text and public keys; empty when none is named."""
        if self.question.method == "GET":
            return self.question.query_values.get("id", ())
        body = self.question.json()
        return as_ids(body.get("ids") if isinstance(body, dict) else body)

    @property
    def joined_ids(self) -> tuple[str, ...]:
        """The ``id`` parameters of the query, not split at commas."""
        pairs = (pair.partition("=") for pair in self.question.query.split("&"))
        return tuple(unquote(text) for name, _, text in pairs if name == "id")

    @property
    def unknown_indices(self) -> list[str]:
        """The indices asked for that lie beyond the newest registry."""
        size = len(self.recording.validator_indices)
        return [an_id for an_id in self.ids if an_id.isdigit() and int(an_id) >= size]

    def words(self) -> dict[str, object]:
        """Return the values that the text of a refusal can name."""
        found: dict[str, object] = {
            "head_slot": self.head_slot,
            "current_epoch": self.current_epoch,
            "next_epoch": self.current_epoch + 1,
            "latest_rewarded_epoch": self.current_epoch - 2,
            **self.parameters,
        }
        if "state_id" in self.parameters:
            found["state_slot"] = (
                self.parameters["state_id"] if self.state_slot is None else self.state_slot
            )
        if "state_id" in self.parameters or "epoch" in self.parameters:
            found |= {
                "epoch": self.epoch,
                "state_epoch": self.state_epoch if "state_id" in self.parameters else "",
                "epoch_slot": self.first_slot(self.epoch),
                "rewards_slot": self.rewards_slot,
                "decision_root": self.decision_root,
            }
        if "block_id" in self.parameters:
            found["parent_root"] = self.parent_root or "0x" + "00" * 32
        if self.unknown_indices:
            found["unknown_index"] = self.unknown_indices[0]
        return found

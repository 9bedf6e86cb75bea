"""What blocks did to validators, one row per event, and whether it took effect.

A node does not say which requests of the execution layer the chain accepted. It shows in the
registry: the states before and after the blocks of an epoch are compared. Where one of them is not
known, a later registry still names validators, and effects are unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from valmon_pipeline.chain.blocks import (
    Block,
    ConsolidationRequest,
    Deposit,
    Withdrawal,
    WithdrawalRequest,
)
from valmon_pipeline.chain.credentials import (
    ADDRESS_START,
    COMPOUNDING_PREFIX,
    EXECUTION_PREFIX,
)
from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.life_cycles import existed
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.chain.slashings import initial_slashing_penalty
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.validator_lookup import indices_of_pubkeys


class EventType(StrEnum):
    """Kinds of events under their stored names."""

    PARTIAL_WITHDRAWAL = "partial_withdrawal"
    FULL_WITHDRAWAL = "full_withdrawal"
    PROPOSER_SLASHING = "proposer_slashing"
    ATTESTER_SLASHING = "attester_slashing"
    DEPOSIT = "deposit"
    VOLUNTARY_EXIT = "voluntary_exit"
    CREDENTIAL_CHANGE = "credential_change"
    DEPOSIT_REQUEST = "deposit_request"
    WITHDRAWAL_REQUEST = "withdrawal_request"
    EXIT_REQUEST = "exit_request"
    CONSOLIDATION_REQUEST = "consolidation_request"
    COMPOUNDING_REQUEST = "compounding_request"
    DEPOSIT_APPLIED = "deposit_applied"
    CONSOLIDATION_APPLIED = "consolidation_applied"


@dataclass(frozen=True, slots=True)
class BlockEvent:
    """One event. ``position`` counts the events of its slot, whoever is watched; withdrawals come
    last, so that a block that was read without them numbers the others alike.

    ``validator_index`` is None for a public key that the registry does not hold. ``target_index``
    is the target of a consolidation, the proposer that a slashing pays. ``amount`` is gwei, None
    where the event has none or it is unknown; ``effective`` is None where it is unknown.
    """

    slot: int
    position: int
    event_type: EventType
    validator_index: int | None
    target_index: int | None
    amount: int | None
    effective: bool | None
    pubkey: bytes | None = None


def block_events(
    spec: ChainSpec,
    blocks: Sequence[Block],
    before: ValidatorRegistry | None,
    after: ValidatorRegistry | None,
    life_cycles: ValidatorRegistry | None = None,
) -> list[BlockEvent]:
    """The events of ``blocks``, those of the slots after the state of ``before`` up to the state of
    ``after``, ascending; in the order of the chain, but for withdrawals, which are last.

    Of validators that the registries do not hold, effects and penalties are None. So they are of
    everybody where ``before`` or ``after`` is None; ``life_cycles``, the registry of a later state,
    then tells indices of public keys, and which withdrawals are full. A withdrawal of which that is
    not known is left out, as are those of a block that was read without them.
    """
    judge = _Judge(spec, blocks, before, after, life_cycles)
    return [
        BlockEvent(block.slot, position, *event)
        for block in blocks
        for position, event in enumerate(judge.events(block))
        if event is not None
    ]


_Event = tuple[EventType, int | None, int | None, int | None, bool | None, bytes | None]


class _Judge:
    """Decides what became of each event, from the registries on both sides."""

    def __init__(
        self,
        spec: ChainSpec,
        blocks: Sequence[Block],
        before: ValidatorRegistry | None,
        after: ValidatorRegistry | None,
        life_cycles: ValidatorRegistry | None,
    ) -> None:
        self._spec = spec
        self._both = None if before is None or after is None else (before, after)
        self._identities = _Identities(spec, _pubkeys(blocks), blocks, before, after, life_cycles)
        self._exits_explained: set[int] = set()
        self._slashings_explained: set[int] = set()
        self._switches_explained: set[int] = set()

    def events(self, block: Block) -> Iterator[_Event | None]:
        """The events of a block in the order in which the specification processes them, but for
        withdrawals, which are last. None: the kind of the event is not known."""
        operations = block.operations
        for index in operations.proposer_slashings:
            yield self._slashing(block, EventType.PROPOSER_SLASHING, index)
        for indices in operations.attester_slashings:
            for index in indices:
                yield self._slashing(block, EventType.ATTESTER_SLASHING, index)
        for deposit in operations.deposits:
            # A new key with an invalid signature is ignored, and so not in the registry.
            known = self._identities.is_held(deposit.pubkey)
            yield self._deposit(EventType.DEPOSIT, deposit, effective=known)
        for index in operations.voluntary_exits:
            self._exits_explained.add(index)
            yield EventType.VOLUNTARY_EXIT, index, None, None, True, None
        for index in operations.credential_changes:
            yield EventType.CREDENTIAL_CHANGE, index, None, None, True, None
        for deposit in operations.deposit_requests:
            # It joins the queue whatever it is; DEPOSIT_APPLIED tells when it is credited.
            yield self._deposit(EventType.DEPOSIT_REQUEST, deposit, effective=True)
        for withdrawal_request in operations.withdrawal_requests:
            yield self._withdrawal_request(block, withdrawal_request)
        for consolidation_request in operations.consolidation_requests:
            yield self._consolidation_request(consolidation_request)
        for withdrawal in operations.withdrawals or ():
            yield self._withdrawal(block, withdrawal)

    def _withdrawal(self, block: Block, withdrawal: Withdrawal) -> _Event | None:
        epoch = self._spec.epoch_of(block.slot)
        full = self._identities.is_withdrawable(withdrawal.validator_index, epoch)
        if full is None:
            return None
        kind = EventType.FULL_WITHDRAWAL if full else EventType.PARTIAL_WITHDRAWAL
        return kind, withdrawal.validator_index, None, withdrawal.amount, True, None

    def _slashing(self, block: Block, kind: EventType, index: int) -> _Event:
        found = self._find(index)
        if found is None:
            return kind, index, block.proposer_index, None, None, None
        before, after = found
        newly = after.slashed and not before.slashed
        effective = newly and index not in self._slashings_explained
        if effective:
            self._slashings_explained.add(index)
            self._exits_explained.add(index)
        # Effective balances change between the epochs, and the last block is one of the next.
        epoch = self._spec.epoch_of(block.slot)
        is_last = block.slot % self._spec.slots_per_epoch == 0
        balance = (after if is_last else before).effective_balance
        penalty = initial_slashing_penalty(self._spec, epoch, balance) if effective else None
        return kind, index, block.proposer_index, penalty, effective, None

    def _deposit(self, kind: EventType, deposit: Deposit, *, effective: bool | None) -> _Event:
        held = self._identities.is_held(deposit.pubkey)
        pubkey = deposit.pubkey if held is False else None
        index = self._identities.index(deposit.pubkey)
        return kind, index, None, deposit.amount, effective, pubkey

    def _withdrawal_request(self, block: Block, request: WithdrawalRequest) -> _Event:
        index = self._identities.index(request.pubkey)
        if request.amount:
            epoch = self._spec.epoch_of(block.slot)
            effective = self._may_withdraw(index, request.source_address, epoch)
            return EventType.WITHDRAWAL_REQUEST, index, None, request.amount, effective, None
        effective = self._starts_exit(index, request.source_address)
        return EventType.EXIT_REQUEST, index, None, None, effective, None

    def _consolidation_request(self, request: ConsolidationRequest) -> _Event:
        source = self._identities.index(request.source_pubkey)
        target = self._identities.index(request.target_pubkey)
        effective: bool | None
        if request.source_pubkey == request.target_pubkey:
            effective = self._switches(source, request.source_address)
            return EventType.COMPOUNDING_REQUEST, source, target, None, effective, None
        effective = self._starts_exit(source, request.source_address)
        return EventType.CONSOLIDATION_REQUEST, source, target, None, effective, None

    def _starts_exit(self, index: int | None, address: bytes) -> bool | None:
        """Whether the request is what set the exit epoch: the first that may have."""
        found = self._find(index)
        if found is None or index is None:
            return None
        before, after = found
        newly = before.exit_epoch == NEVER and after.exit_epoch != NEVER
        started = newly and index not in self._exits_explained and after.is_owned_by(address)
        if started:
            self._exits_explained.add(index)
        return started

    def _switches(self, index: int | None, address: bytes) -> bool | None:
        """Whether the request is what changed the credentials: the first that may have."""
        found = self._find(index)
        if found is None or index is None:
            return None
        before, after = found
        switched = (
            before.credentials[0] != COMPOUNDING_PREFIX
            and after.credentials[0] == COMPOUNDING_PREFIX
            and index not in self._switches_explained
            and after.is_owned_by(address)
        )
        if switched:
            self._switches_explained.add(index)
        return switched

    def _may_withdraw(self, index: int | None, address: bytes, epoch: int) -> bool | None:
        """Whether the request fulfils the conditions of ``process_withdrawal_request`` that the
        registry shows. What is pending already for the same validator it does not show."""
        found = self._find(index)
        if found is None:
            return None
        before, after = found
        enough = self._spec.min_activation_balance
        # Without the period (a node that does not list it) activity is all that is asked for.
        newest = epoch - (self._spec.shard_committee_period or 0)
        return (
            # A validator may have got an address in the same epoch.
            after.is_owned_by(address)
            and before.credentials[0] == COMPOUNDING_PREFIX
            and before.activation_epoch <= newest
            and before.exit_epoch == NEVER
            and before.effective_balance >= enough
            and before.balance > enough
        )

    def _find(self, index: int | None) -> tuple[_Entry, _Entry] | None:
        """The validator in both registries; None where one of them is not known or lacks it."""
        if index is None or self._both is None:
            return None
        before, after = (_Entry.of(registry, index) for registry in self._both)
        return None if before is None or after is None else (before, after)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One validator of a registry."""

    registry: ValidatorRegistry
    row: int

    @classmethod
    def of(cls, registry: ValidatorRegistry, index: int) -> _Entry | None:
        row = int(registry.validator_index.searchsorted(index))
        if row < len(registry) and int(registry.validator_index[row]) == index:
            return cls(registry, row)
        return None

    @property
    def slashed(self) -> bool:
        return bool(self.registry.slashed[self.row])

    @property
    def balance(self) -> int:
        return int(self.registry.balance[self.row])

    @property
    def effective_balance(self) -> int:
        return int(self.registry.effective_balance[self.row])

    @property
    def activation_epoch(self) -> int:
        return int(self.registry.activation_epoch[self.row])

    @property
    def exit_epoch(self) -> int:
        return int(self.registry.exit_epoch[self.row])

    @property
    def withdrawable_epoch(self) -> int:
        return int(self.registry.withdrawable_epoch[self.row])

    @property
    def credentials(self) -> bytes:
        return bytes(self.registry.withdrawal_credentials[self.row])

    def is_owned_by(self, address: bytes) -> bool:
        """Whether the credentials name the address."""
        credentials = self.credentials
        has_address = credentials[0] in (EXECUTION_PREFIX, COMPOUNDING_PREFIX)
        return has_address and credentials[ADDRESS_START:] == address


class _Identities:
    """Who is who at the end of the blocks: by the registry after them, or what else proves it.

    A later registry may hold keys that were not there yet; an earlier one may lack some.
    """

    def __init__(
        self,
        spec: ChainSpec,
        pubkeys: set[bytes],
        blocks: Sequence[Block],
        before: ValidatorRegistry | None,
        after: ValidatorRegistry | None,
        life_cycles: ValidatorRegistry | None,
    ) -> None:
        self._registries = [known for known in (after, life_cycles, before) if known is not None]
        self._index: dict[bytes, int] = {}
        self._strangers: set[bytes] = set()
        self._is_settled = after is not None
        if after is not None:
            self._index = indices_of_pubkeys(after, pubkeys)
            self._strangers = pubkeys - self._index.keys()
            self._registries = [after]
            return
        if life_cycles is not None:
            listed = indices_of_pubkeys(life_cycles, pubkeys)
            self._strangers = pubkeys - listed.keys()
            epoch = max((spec.epoch_of(block.slot) for block in blocks), default=0)
            proven = set(life_cycles.validator_index[existed(life_cycles, epoch)].tolist())
            self._index = {key: index for key, index in listed.items() if index in proven}
        if before is not None:
            self._index |= indices_of_pubkeys(before, pubkeys)
            self._strangers -= self._index.keys()

    def index(self, pubkey: bytes) -> int | None:
        """The validator of a key; None if it has none, or that is not known."""
        return self._index.get(pubkey)

    def is_held(self, pubkey: bytes) -> bool | None:
        """Whether a key has a validator; None where that is not known."""
        if pubkey in self._index:
            return True
        return False if pubkey in self._strangers else None

    def is_withdrawable(self, index: int, epoch: int) -> bool | None:
        """Whether the validator is withdrawable in ``epoch``; None where that is not known.

        The epoch is set long before it comes, and never changes after, so any registry tells.
        Validators that the registry after the blocks does not hold are not watched: they count as
        not withdrawable.
        """
        for registry in self._registries:
            entry = _Entry.of(registry, index)
            if entry is not None:
                return entry.withdrawable_epoch <= epoch
        return False if self._is_settled else None


def _pubkeys(blocks: Sequence[Block]) -> set[bytes]:
    operations = [block.operations for block in blocks]
    return (
        {deposit.pubkey for each in operations for deposit in each.deposits}
        | {deposit.pubkey for each in operations for deposit in each.deposit_requests}
        | {request.pubkey for each in operations for request in each.withdrawal_requests}
        | {
            pubkey
            for each in operations
            for request in each.consolidation_requests
            for pubkey in (request.source_pubkey, request.target_pubkey)
        }
    )

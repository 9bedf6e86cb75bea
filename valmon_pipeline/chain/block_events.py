"""What blocks did to validators, one row per event, and whether it took effect.

A node does not say which requests of the execution layer the chain accepted. It shows in the
registry: the states before and after the blocks of an epoch are compared.
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
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.chain.slashings import initial_slashing_penalty
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.validator_lookup import indices_of_pubkeys


class EventType(StrEnum):
    """Kinds of events under their stored names; each in the order in which a block has them."""

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
    """One event. ``position`` counts the events of its slot, whoever is watched.

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
    spec: ChainSpec, blocks: Sequence[Block], before: ValidatorRegistry, after: ValidatorRegistry
) -> list[BlockEvent]:
    """The events of ``blocks``, those of the slots after the state of ``before`` up to the state of
    ``after``, ascending; in the order of the chain.

    Of validators that the registries do not hold, effects and penalties are None.
    """
    judge = _Judge(spec, blocks, before, after)
    return [
        BlockEvent(block.slot, position, *event)
        for block in blocks
        for position, event in enumerate(judge.events(block))
    ]


_Event = tuple[EventType, int | None, int | None, int | None, bool | None, bytes | None]


class _Judge:
    """Decides what became of each event, from the registries on both sides."""

    def __init__(
        self,
        spec: ChainSpec,
        blocks: Sequence[Block],
        before: ValidatorRegistry,
        after: ValidatorRegistry,
    ) -> None:
        self._spec = spec
        self._before = before
        self._after = after
        self._index = indices_of_pubkeys(after, _pubkeys(blocks))
        self._exits_explained: set[int] = set()
        self._slashings_explained: set[int] = set()
        self._switches_explained: set[int] = set()

    def events(self, block: Block) -> Iterator[_Event]:
        """The events of a block in the order in which the specification processes them."""
        operations = block.operations
        # Those of a block that was read blinded are unknown: no event is known.
        for withdrawal in operations.withdrawals or ():
            yield self._withdrawal(block, withdrawal)
        for index in operations.proposer_slashings:
            yield self._slashing(block, EventType.PROPOSER_SLASHING, index)
        for indices in operations.attester_slashings:
            for index in indices:
                yield self._slashing(block, EventType.ATTESTER_SLASHING, index)
        for deposit in operations.deposits:
            # A new key with an invalid signature is ignored, and so not in the registry.
            known = deposit.pubkey in self._index
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

    def _withdrawal(self, block: Block, withdrawal: Withdrawal) -> _Event:
        row = _row(self._after, withdrawal.validator_index)
        epoch = self._spec.epoch_of(block.slot)
        full = row is not None and int(self._after.withdrawable_epoch[row]) <= epoch
        kind = EventType.FULL_WITHDRAWAL if full else EventType.PARTIAL_WITHDRAWAL
        return kind, withdrawal.validator_index, None, withdrawal.amount, True, None

    def _slashing(self, block: Block, kind: EventType, index: int) -> _Event:
        before, after = _row(self._before, index), _row(self._after, index)
        if after is None or before is None:
            return kind, index, block.proposer_index, None, None, None
        newly = bool(self._after.slashed[after]) and not bool(self._before.slashed[before])
        effective = newly and index not in self._slashings_explained
        if effective:
            self._slashings_explained.add(index)
            self._exits_explained.add(index)
        # Effective balances change between the epochs, and the last block is one of the next.
        epoch = self._spec.epoch_of(block.slot)
        is_last = block.slot % self._spec.slots_per_epoch == 0
        registry, row = (self._after, after) if is_last else (self._before, before)
        balance = int(registry.effective_balance[row])
        penalty = initial_slashing_penalty(self._spec, epoch, balance) if effective else None
        return kind, index, block.proposer_index, penalty, effective, None

    def _deposit(self, kind: EventType, deposit: Deposit, *, effective: bool) -> _Event:
        index = self._index.get(deposit.pubkey)
        pubkey = deposit.pubkey if index is None else None
        return kind, index, None, deposit.amount, effective, pubkey

    def _withdrawal_request(self, block: Block, request: WithdrawalRequest) -> _Event:
        index = self._index.get(request.pubkey)
        if request.amount:
            epoch = self._spec.epoch_of(block.slot)
            effective = self._may_withdraw(index, request.source_address, epoch)
            return EventType.WITHDRAWAL_REQUEST, index, None, request.amount, effective, None
        effective = self._starts_exit(index, request.source_address)
        return EventType.EXIT_REQUEST, index, None, None, effective, None

    def _consolidation_request(self, request: ConsolidationRequest) -> _Event:
        source = self._index.get(request.source_pubkey)
        target = self._index.get(request.target_pubkey)
        effective: bool | None
        if request.source_pubkey == request.target_pubkey:
            effective = self._switches(source, request.source_address)
            return EventType.COMPOUNDING_REQUEST, source, target, None, effective, None
        effective = self._starts_exit(source, request.source_address)
        return EventType.CONSOLIDATION_REQUEST, source, target, None, effective, None

    def _starts_exit(self, index: int | None, address: bytes) -> bool | None:
        """Whether the request is what set the exit epoch: the first that may have."""
        rows = self._rows(index)
        if rows is None or index is None:
            return None
        before, after = rows
        newly = (
            int(self._before.exit_epoch[before]) == NEVER
            and int(self._after.exit_epoch[after]) != NEVER
        )
        started = newly and index not in self._exits_explained and self._owns(after, address)
        if started:
            self._exits_explained.add(index)
        return started

    def _switches(self, index: int | None, address: bytes) -> bool | None:
        """Whether the request is what changed the credentials: the first that may have."""
        rows = self._rows(index)
        if rows is None or index is None:
            return None
        before, after = rows
        prefixes = (
            int(self._before.withdrawal_credentials[before, 0]),
            int(self._after.withdrawal_credentials[after, 0]),
        )
        switched = (
            prefixes[0] != COMPOUNDING_PREFIX
            and prefixes[1] == COMPOUNDING_PREFIX
            and index not in self._switches_explained
            and self._owns(after, address)
        )
        if switched:
            self._switches_explained.add(index)
        return switched

    def _may_withdraw(self, index: int | None, address: bytes, epoch: int) -> bool | None:
        """Whether the request fulfils the conditions of ``process_withdrawal_request`` that the
        registry shows. What is pending already for the same validator it does not show."""
        rows = self._rows(index)
        if rows is None:
            return None
        before, after = rows
        registry, enough = self._before, self._spec.min_activation_balance
        # Without the period (a node that does not list it) activity is all that is asked for.
        newest = epoch - (self._spec.shard_committee_period or 0)
        return (
            self._owns(after, address)
            and bool(registry.withdrawal_credentials[before, 0] == COMPOUNDING_PREFIX)
            and int(registry.activation_epoch[before]) <= newest
            and int(registry.exit_epoch[before]) == NEVER
            and int(registry.effective_balance[before]) >= enough
            and int(registry.balance[before]) > enough
        )

    def _owns(self, row: int, address: bytes) -> bool:
        """Whether the credentials of ``row`` of the later registry name the address: a validator
        may have got one in the same epoch."""
        credentials = self._after.withdrawal_credentials[row].tobytes()
        has_address = credentials[0] in (EXECUTION_PREFIX, COMPOUNDING_PREFIX)
        return has_address and credentials[ADDRESS_START:] == address

    def _rows(self, index: int | None) -> tuple[int, int] | None:
        if index is None:
            return None
        before, after = _row(self._before, index), _row(self._after, index)
        return None if before is None or after is None else (before, after)


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


def _row(registry: ValidatorRegistry, index: int) -> int | None:
    row = int(registry.validator_index.searchsorted(index))
    if row < len(registry) and int(registry.validator_index[row]) == index:
        return row
    return None

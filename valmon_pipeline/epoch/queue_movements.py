"""What left the queues of deposits and consolidations in the transition from E to E+1.

A queue at the end of the epoch is that of its start, with what blocks appended, without what the
transition took. What the chain moves to the back of the queue (deposits of exiting validators) is
in both, so entries are compared as they are, not by their place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from valmon_pipeline.beacon.answers import PendingConsolidations, PendingDeposit
from valmon_pipeline.chain.block_events import BlockEvent, EventType
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.validator_lookup import indices_of_pubkeys
from valmon_pipeline.epoch.epoch_answers import PendingQueues


@dataclass(frozen=True, slots=True)
class AppliedDeposit:
    """A deposit that the transition credited, gwei."""

    validator_index: int
    amount: int


def applied_deposits(
    spec: ChainSpec,
    epoch: int,
    queues: PendingQueues,
    registry: ValidatorRegistry,
    events: Sequence[BlockEvent],
) -> Iterator[AppliedDeposit]:
    """The deposits that the transition after ``epoch`` credited, in the order of the queue.

    ``registry`` is that of the end of the epoch, ``events`` are those of its blocks. A deposit that
    left the queue for a key that is not in the registry was invalid and credited nothing.
    """
    end = spec.first_slot(epoch + 1)
    queued = [_entry(pending) for pending in queues.deposits_at_start]
    for event in events:
        if event.slot < end:
            queued += _appended(spec, registry, event)
    # The block at the end appends after the transition.
    left = Counter(_entry(pending) for pending in queues.deposits_at_end if pending.slot != end)
    index = indices_of_pubkeys(registry, {pubkey for pubkey, _, _ in queued})
    for entry in queued:
        if left[entry]:
            left[entry] -= 1
        elif entry[0] in index:
            yield AppliedDeposit(index[entry[0]], entry[1])


_Entry = tuple[bytes, int, int]
"""Public key, gwei and slot: entries that agree in all three are worth the same."""


def _entry(pending: PendingDeposit) -> _Entry:
    return pending.deposit.pubkey, pending.deposit.amount, pending.slot


def _appended(spec: ChainSpec, registry: ValidatorRegistry, event: BlockEvent) -> list[_Entry]:
    """What an event of a block appends to the queue: a request's deposit, or (as of slot 0) one of
    the old bridge, or what a switch to compounding credentials moved out of the balance."""
    if not event.effective or not event.amount:
        return []
    if event.event_type is EventType.DEPOSIT_REQUEST:
        slot = event.slot
    elif event.event_type is EventType.COMPOUNDING_REQUEST or (
        event.event_type is EventType.DEPOSIT
        and spec.fork_at_epoch(spec.epoch_of(event.slot)) >= Fork.ELECTRA
    ):
        slot = 0
    else:
        return []
    if event.pubkey is not None:
        return [(event.pubkey, event.amount, slot)]
    assert event.validator_index is not None
    row = registry.rows_of(np.array([event.validator_index]))[0]
    return [(registry.pubkey[row].tobytes(), event.amount, slot)]


def applied_consolidations(
    spec: ChainSpec,
    epoch: int,
    queues: PendingQueues,
    registry: ValidatorRegistry,
    events: Sequence[BlockEvent],
) -> Iterator[tuple[int, int]]:
    """(source, target) of the consolidations that the transition after ``epoch`` carried out, in
    their order.

    ``registry`` is that of the end of the epoch. Those of slashed sources leave the queue without
    moving anything.
    """
    end = spec.first_slot(epoch + 1)
    queued = _pairs(queues.consolidations_at_start)
    queued += [
        (event.validator_index, event.target_index)
        for event in events
        if event.event_type is EventType.CONSOLIDATION_REQUEST
        and event.effective
        and event.slot < end
        and event.validator_index is not None
        and event.target_index is not None
    ]
    left = Counter(_pairs(queues.consolidations_at_end))
    slashed = set(registry.validator_index[registry.slashed].tolist())
    for pair in queued:
        if left[pair]:
            left[pair] -= 1
        elif pair[0] not in slashed:
            yield pair


def _pairs(queue: PendingConsolidations) -> list[tuple[int, int]]:
    return list(zip(queue.source_index.tolist(), queue.target_index.tolist(), strict=True))

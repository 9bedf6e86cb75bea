"""What left the queues of deposits and consolidations in the transition from E to E+1.

A queue at the end of the epoch is that of its start, with what blocks appended, without what the
transition took. What the chain moves to the back of the queue (deposits of exiting validators) is
in both, so entries are compared as they are, not by their place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from valmon_pipeline.assets.epoch_answers import EpochAnswers
from valmon_pipeline.beacon.answers import PendingConsolidations, PendingDeposit
from valmon_pipeline.chain.block_events import BlockEvent, EventType
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.validator_lookup import indices_of_pubkeys


@dataclass(frozen=True, slots=True)
class AppliedDeposit:
    """A deposit that the transition credited, gwei."""

    validator_index: int
    amount: int


def applied_deposits(spec: ChainSpec, answers: EpochAnswers) -> Iterator[AppliedDeposit]:
    """The deposits that the transition after the epoch credited, in the order of the queue.

    A deposit that left the queue for a key that is in no registry was invalid and credited nothing.
    """
    queues = answers.queues
    if queues is None:
        return
    first, end = spec.first_slot(answers.epoch), spec.first_slot(answers.epoch + 1)
    queued = [*queues.deposits_at_start]
    for slot in answers.canonical.slot.tolist():
        if first < slot < end:
            requests = answers.blocks[slot].operations.deposit_requests
            queued += [PendingDeposit(deposit, slot) for deposit in requests]
    # The block at the end appends after the transition.
    left = Counter(entry for entry in queues.deposits_at_end if entry.slot != end)
    index = indices_of_pubkeys(answers.registry_at_end, {entry.deposit.pubkey for entry in queued})
    for entry in queued:
        if left[entry]:
            left[entry] -= 1
        elif entry.deposit.pubkey in index:
            yield AppliedDeposit(index[entry.deposit.pubkey], entry.deposit.amount)


def applied_consolidations(
    spec: ChainSpec, answers: EpochAnswers, events: Sequence[BlockEvent]
) -> Iterator[tuple[int, int]]:
    """(source, target) of the consolidations that the transition carried out, in their order.

    Those of slashed sources leave the queue without moving anything.
    """
    queues = answers.queues
    if queues is None:
        return
    end = spec.first_slot(answers.epoch + 1)
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
    registry = answers.registry_at_end
    slashed = set(registry.validator_index[registry.slashed].tolist())
    for pair in queued:
        if left[pair]:
            left[pair] -= 1
        elif pair[0] not in slashed:
            yield pair


def _pairs(queue: PendingConsolidations) -> list[tuple[int, int]]:
    return list(zip(queue.source_index.tolist(), queue.target_index.tolist(), strict=True))

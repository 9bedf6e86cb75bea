"""The events of the simulated chain, as a node streams them (``/eth/v1/events``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from valmon_pipeline.devnet.simulator import block_json
from valmon_pipeline.devnet.simulator.entropy import Entropy
from valmon_pipeline.devnet.simulator.history import SlotRecord


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """One event: the slot whose node sends it, its topic and its data."""

    slot: int
    topic: str
    data: dict[str, Any]


def block_events(
    entropy: Entropy,
    record: SlotRecord,
    before: SlotRecord,
    finalized_state_root: str,
    slot: int,
    slots_per_epoch: int,
) -> Iterator[ChainEvent]:
    """Yield what a node sends in ``slot`` when it imports the block of ``record``.

    ``before`` is the record of the slot before the block's on the same chain,
    ``finalized_state_root`` that of the finalized epoch's first state.
    """
    block = record.block
    if block is None:
        return
    epoch = block.slot // slots_per_epoch
    yield ChainEvent(
        slot,
        "head",
        {
            "slot": str(block.slot),
            "block": block.root,
            "state": block.state_root,
            "epoch_transition": block.slot % slots_per_epoch == 0,
            "previous_duty_dependent_root": record.shuffling.dependent_root,
            "current_duty_dependent_root": record.next_shuffling.dependent_root,
            "execution_optimistic": False,
        },
    )
    yield ChainEvent(
        slot,
        "block",
        {"slot": str(block.slot), "block": block.root, "execution_optimistic": False},
    )
    for topic, operations in (
        ("attestation", block_json.attestations(entropy, block)),
        ("proposer_slashing", block_json.proposer_slashings(entropy, block)),
        ("attester_slashing", block_json.attester_slashings(entropy, block, epoch)),
        ("voluntary_exit", block_json.voluntary_exits(entropy, block)),
        ("bls_to_execution_change", block_json.credential_changes(entropy, block)),
    ):
        for operation in operations:
            yield ChainEvent(slot, topic, operation)
    if record.finalized.epoch > before.finalized.epoch:
        yield ChainEvent(
            slot,
            "finalized_checkpoint",
            {
                "block": record.finalized.root,
                "state": finalized_state_root,
                "epoch": str(record.finalized.epoch),
                "execution_optimistic": False,
            },
        )


def reorg_event(old: SlotRecord, new: SlotRecord, depth: int, slots_per_epoch: int) -> ChainEvent:
    """The event of a head that does not follow the one before it."""
    return ChainEvent(
        new.slot,
        "chain_reorg",
        {
            "slot": str(new.slot),
            "depth": str(depth),
            "old_head_block": old.head.root,
            "new_head_block": new.head.root,
            "old_head_state": old.head.state_root,
            "new_head_state": new.head.state_root,
            "epoch": str(new.slot // slots_per_epoch),
            "execution_optimistic": False,
        },
    )

"""What blocks and the epoch's transition did to validators."""

from __future__ import annotations

from valmon_pipeline.chain.block_events import EventType
from valmon_pipeline.frames.columns import (
    PUBKEY_LENGTH,
    binary,
    enumeration,
    flag,
    gwei,
    integer,
)
from valmon_pipeline.frames.contract import table

EVENT_TYPES = tuple(kind.value for kind in EventType)

CONTRACT = table(
    "block_events",
    "Slashings, exits, requests of the execution layer, withdrawals, deposits, consolidations and "
    "credential changes, one row each. An epoch has those that moved balances from its first slot "
    "to the next epoch's: of the blocks after its first slot up to the next epoch's first slot, "
    "and of the transition between. The columns of balance_ledger are sums over them.",
    key=["epoch", "slot", "position"],
    columns={
        "epoch": integer("The epoch whose ledger the event belongs to."),
        "slot": integer(
            "Slot of the block; for what the transition did, the first slot of the next epoch."
        ),
        "position": integer("Order within the slot, counted over the events of everybody."),
        "event_type": enumeration("What happened.", EVENT_TYPES),
        "validator_index": integer(
            "Whom it happened to; the source of a consolidation. NULL for a public key without a "
            "validator.",
            nullable=True,
        ),
        "target_index": integer(
            "Target of a consolidation; of a slashing the proposer that is paid for it.",
            nullable=True,
        ),
        "amount_gwei": gwei(
            "Gwei moved, asked for, or lost by a slashing; NULL where there is none or it is "
            "unknown.",
            nullable=True,
        ),
        "effective": flag(
            "Whether it took effect: a request that the chain ignored did not. NULL where that is "
            "unknown.",
            nullable=True,
        ),
        "pubkey": binary(
            "Public key of a deposit without a validator.", PUBKEY_LENGTH, nullable=True
        ),
    },
)

"""The network as a whole, one row per epoch."""

from __future__ import annotations

from valmon_pipeline.frames.columns import (
    ROOT_LENGTH,
    binary,
    flag,
    gwei,
    integer,
    moment,
    text,
)
from valmon_pipeline.frames.contract import table
from valmon_pipeline.frames.distributions import quantile_columns

CONTRACT = table(
    "network_epochs",
    "The network in each stored epoch, and what the epoch's rows rest on. Amounts are gwei; NULL "
    "where neither the registry was read as a whole nor a state.",
    key=["epoch"],
    partitioned=False,
    columns={
        "epoch": integer("The epoch."),
        "finalized": flag("Whether the epoch's attestation window was final when it was read."),
        "window_root": binary(
            "Root of the last canonical block of the window: the chain that the rows rest on.",
            ROOT_LENGTH,
        ),
        "node": text("The beacon node that answered, without credentials."),
        "missing_facts": integer(
            "Facts of the epoch that are not known, see fact_sources; 0: the epoch is complete."
        ),
        "active_validators": integer("Active validators.", nullable=True),
        "total_active_balance": gwei("Sum of their effective balances.", nullable=True),
        "base_reward_per_increment": gwei("Base reward per increment.", nullable=True),
        "source_participating_balance": gwei(
            "Effective balance of unslashed validators with TIMELY_SOURCE.", nullable=True
        ),
        "target_participating_balance": gwei(
            "Effective balance of unslashed validators with TIMELY_TARGET.", nullable=True
        ),
        "head_participating_balance": gwei(
            "Effective balance of unslashed validators with TIMELY_HEAD.", nullable=True
        ),
        "leak": flag(
            "Whether rewards of this target epoch fell into an inactivity leak.", nullable=True
        ),
        "blocks_proposed": integer("Slots with a canonical block."),
        "blocks_missed": integer("Slots without one."),
        "formula_version": integer(
            "Version of the formulas behind the stored scores; NULL until they are stored.",
            nullable=True,
        ),
        "materialized_at": moment("When the row was written."),
        **quantile_columns(),
    },
)

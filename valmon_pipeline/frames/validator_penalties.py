"""What each validator was fined, and for what."""

from __future__ import annotations

from valmon_pipeline.frames.columns import enumeration, gwei, integer
from valmon_pipeline.frames.contract import rows_are, table

PENALTY_TYPES = (
    "attestation_miss",
    "inactivity_leak",
    "sync_miss",
    "slashing",
    "slashing_correlation",
)

CONTRACT = table(
    "validator_penalties",
    "Penalties, one row per validator, slot and kind. What was merely not earned is no penalty: "
    "see the missed columns of attestation_rewards.",
    key=["epoch", "slot", "validator_index", "penalty_type"],
    columns={
        "epoch": integer("Epoch of the duty; of a slashing, the epoch whose ledger it belongs to."),
        "slot": integer(
            "Slot of the attestation duty (the epoch's first slot without one), of the block the "
            "sync committee missed or that slashed; of the correlation penalty, the first slot of "
            "the next epoch."
        ),
        "validator_index": integer("Who paid."),
        "penalty_type": enumeration(
            "attestation_miss: source or target flag missed; inactivity_leak: the inactivity "
            "penalty; sync_miss: a block that its seats did not sign; slashing: the initial "
            "penalty; slashing_correlation: the later one.",
            PENALTY_TYPES,
        ),
        "penalty_gwei": gwei("What it cost, as a positive amount."),
    },
    checks=[rows_are("is_positive", "penalty_gwei > 0", lambda frame: frame["penalty_gwei"] > 0)],
)

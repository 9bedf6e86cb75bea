"""A day of each validator in one row."""

from __future__ import annotations

from valmon_pipeline.frames.columns import day, flag, gwei, integer, real
from valmon_pipeline.frames.contract import rows_are, table

CONTRACT = table(
    "validator_day_summaries",
    "Sums over the epochs of each UTC day, per validator: what is left when the epochs themselves "
    "are dropped. Ratios are made from these sums, never averaged. An epoch belongs to the day its "
    "first slot starts in. Amounts are gwei.",
    key=["day", "validator_index"],
    partitioned=False,
    replaced_by=["day"],
    columns={
        "day": day("The UTC day."),
        "validator_index": integer("The validator."),
        "epochs": integer("Epochs of the day that are summed up."),
        "complete": flag("Whether these are all epochs of the day."),
        "finalized": flag("Whether all of them were final."),
        "duties": integer("Attestations due."),
        "missed": integer("Attestations that no block carries."),
        "attestation_effectiveness_sum": real(
            "Sum of the attestation effectiveness of the duties that could be judged."
        ),
        "attestation_effectiveness_duties": integer("Duties that could be judged."),
        "reward": gwei("Attestation rewards earned.", signed=True),
        "ideal_reward": gwei(
            "Of perfect attestations; NULL when unknown for any epoch.", nullable=True
        ),
        "attainable_reward": gwei(
            "The most that the blocks allowed; NULL when unknown for any epoch.",
            nullable=True,
            signed=True,
        ),
        "sync_due": integer("Sync committee signatures owed."),
        "sync_participated": integer("Sync committee signatures that blocks carry."),
        "sync_reward": gwei("Sync committee rewards earned.", signed=True),
        "sync_ideal_reward": gwei(
            "Had it signed every block; NULL when unknown for any epoch.", nullable=True
        ),
        "proposals_due": integer("Blocks due."),
        "proposals_proposed": integer("Blocks proposed."),
        "proposal_reward": gwei("Consensus rewards of these blocks."),
        "effective_balance_epochs": gwei(
            "Sum of the effective balances over the epochs: the weight in groups."
        ),
    },
    checks=[
        rows_are(
            "missed_within_duties",
            "missed and judged duties are among the duties",
            lambda frame: (
                (frame["missed"] <= frame["duties"])
                & (frame["attestation_effectiveness_duties"] <= frame["duties"])
            ),
        ),
        rows_are(
            "parts_within_due",
            "no more is done than was due",
            lambda frame: (
                (frame["sync_participated"] <= frame["sync_due"])
                & (frame["proposals_proposed"] <= frame["proposals_due"])
            ),
        ),
    ],
)

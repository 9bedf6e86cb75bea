"""A day of each validator of the whole network in one row."""

from __future__ import annotations

from valmon_pipeline.frames.columns import day, flag, gwei, integer
from valmon_pipeline.frames.contract import rows_are, table

SUMMED_FLAGS = ("active", "eligible", "source_timely", "target_timely", "head_timely")
"""Counted: in how many epochs they were true. Names of ``network_outcomes``."""

SUMMED_AMOUNTS = (
    "source_reward",
    "target_reward",
    "head_reward",
    "inactivity_penalty",
    "ideal_reward",
)
"""Added up, gwei. Names of ``network_outcomes``."""

CONTRACT = table(
    "network_validator_days",
    "Sums over the epochs of each UTC day of which the whole network is stored, for every "
    "validator that was active or got rewards or penalties, watched or not: what is left when the "
    "epochs are dropped. Ratios are made from these sums, never averaged. Amounts are gwei.",
    key=["day", "validator_index"],
    partitioned=False,
    replaced_by=["day"],
    columns={
        "day": day("The UTC day."),
        "validator_index": integer("The validator."),
        "epochs": integer("Epochs of the day that are summed up."),
        "complete": flag("Whether these are all epochs of the day."),
        "active": integer("Epochs in which it had an attestation duty."),
        "eligible": integer("Epochs in which it got rewards or penalties."),
        "source_timely": integer("Epochs in which it earned TIMELY_SOURCE."),
        "target_timely": integer("Epochs in which it earned TIMELY_TARGET."),
        "head_timely": integer("Epochs in which it earned TIMELY_HEAD."),
        "source_reward": gwei("For source votes, less what it was fined.", signed=True),
        "target_reward": gwei("For target votes, less what it was fined.", signed=True),
        "head_reward": gwei("For head votes.", signed=True),
        "inactivity_penalty": gwei("Penalties in an inactivity leak, a positive amount."),
        "ideal_reward": gwei("Of perfect attestations."),
        "closing_balance": gwei("Balance in the state of the last epoch that is summed up."),
    },
    checks=[
        rows_are(
            "has_taken_part",
            "it was active or eligible in some epoch",
            lambda frame: (frame["active"] > 0) | (frame["eligible"] > 0),
        ),
        rows_are(
            "flags_within_epochs",
            "no flag was earned in more epochs than are summed up",
            lambda frame: frame[[*SUMMED_FLAGS]].max(axis=1) <= frame["epochs"],
        ),
    ],
)

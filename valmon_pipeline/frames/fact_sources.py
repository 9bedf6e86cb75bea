"""Where each fact of an epoch came from, and why it is missing."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.frames.columns import enumeration, gwei, integer, text
from valmon_pipeline.frames.contract import rows_are, table

FACTS = (
    "blocks",
    "registry_at_start",
    "registry_at_end",
    "committees",
    "sync_committee",
    "proposers",
    "finality",
    "attestation_rewards",
    "previous_attestation_rewards",
    "block_rewards",
    "sync_rewards",
    "withdrawals",
    "life_cycles",
    "pending_queues",
    "slashed_balance",
    "network_state",
)
"""The names of ``epoch.facts.Fact``."""


def _missing_facts_have_a_reason(frame: pd.DataFrame) -> pd.Series:
    return frame["source"].notna() | frame["reason"].notna()


def _deviations_are_among_compared(frame: pd.DataFrame) -> pd.Series:
    counted = (frame["deviating"] <= frame["compared"]).fillna(False).astype(bool)
    return frame["deviating"].isna() | counted


CONTRACT = table(
    "fact_sources",
    "The facts that the rows of an epoch rest on, and the source that gave each of them. A fact "
    "without a source is not known: the columns that need it are NULL, or their rows are missing.",
    key=["epoch", "fact"],
    columns={
        "epoch": integer("The epoch."),
        "fact": enumeration("What was asked for.", FACTS),
        "source": text(
            "The request or the rule that gave it; NULL: the fact is not known.", nullable=True
        ),
        "node": text(
            "The beacon node that answered, without credentials; NULL where none was asked.",
            nullable=True,
        ),
        "reason": text(
            "Why better sources gave nothing, in particular why the fact is not known.",
            nullable=True,
        ),
        "compared": integer(
            "Numbers of the node that were compared with the specification; NULL: none.",
            nullable=True,
        ),
        "deviating": integer(
            "How many of them differ. The value of the specification is stored.", nullable=True
        ),
        "largest_deviation": gwei("The largest difference.", nullable=True),
    },
    checks=[
        rows_are(
            "missing_facts_have_a_reason",
            "a fact without a source has a reason",
            _missing_facts_have_a_reason,
        ),
        rows_are(
            "deviations_are_among_compared",
            "no more numbers deviate than were compared",
            _deviations_are_among_compared,
        ),
    ],
)

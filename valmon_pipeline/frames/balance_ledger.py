"""Where each validator's balance went, to the gwei."""

from __future__ import annotations

import pandas as pd

from valmon_pipeline.frames.columns import enumeration, gwei, integer
from valmon_pipeline.frames.contract import rows_are, table
from valmon_pipeline.ledger.residuals import ResidualClass

RESIDUAL_CLASSES = tuple(found.value for found in ResidualClass)

COMPONENTS = (
    "attestation",
    "sync",
    "proposer",
    "whistleblower",
    "withdrawals",
    "deposits",
    "consolidations",
    "compounding_switch",
    "slashing",
    "slashing_correlation",
    "other",
)
"""The columns that add up to the change of balance; ``full_withdrawals`` is part of one of them."""


def _adds_up(frame: pd.DataFrame) -> pd.Series:
    explained = frame["opening_balance"] + frame["residual"]
    for component in COMPONENTS:
        explained = explained + frame[component]
    return explained == frame["closing_balance"]


def _withdrawals_are_taken(frame: pd.DataFrame) -> pd.Series:
    return (frame["withdrawals"] <= frame["full_withdrawals"]) & (frame["full_withdrawals"] <= 0)


CONTRACT = table(
    "balance_ledger",
    "From the balance at the first slot of the epoch to that at the first slot of the next one, "
    "each after the block of that slot. Amounts are gwei, negative where the balance went down; "
    "what is left over is the residual, which is 0 or has a class. Validators without a balance at "
    "either end have no row.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("The epoch."),
        "validator_index": integer("The validator."),
        "opening_balance": gwei("Balance at the first slot of the epoch; 0 before it existed."),
        "attestation": gwei(
            "Attestation rewards, penalties and inactivity penalty of the previous target epoch, "
            "which the end of this epoch credits.",
            signed=True,
        ),
        "sync": gwei("Sync committee rewards and penalties.", signed=True),
        "proposer": gwei("For attestations and sync signatures in its own blocks.", signed=True),
        "whistleblower": gwei("For slashings in its own blocks.", signed=True),
        "withdrawals": gwei("Moved to the withdrawal address, partially and fully.", signed=True),
        "full_withdrawals": gwei("The part of it after the exit.", signed=True),
        "deposits": gwei("Deposits credited.", signed=True),
        "consolidations": gwei(
            "Moved by consolidations: in if positive, out if negative.", signed=True
        ),
        "compounding_switch": gwei(
            "Moved to the queue of deposits by a switch to compounding credentials.", signed=True
        ),
        "slashing": gwei("Initial slashing penalty.", signed=True),
        "slashing_correlation": gwei("Correlation penalty.", signed=True),
        "other": gwei("Moved to the queue of deposits by the upgrade to Electra.", signed=True),
        "closing_balance": gwei("Balance at the first slot of the next epoch."),
        "residual": gwei("What all this does not explain.", signed=True),
        "residual_class": enumeration(
            "What is known to be behind the residual; NULL where it is 0. See docs/accounting.md.",
            RESIDUAL_CLASSES,
            nullable=True,
        ),
    },
    checks=[
        rows_are("adds_up", "closing = opening + all components + residual", _adds_up),
        rows_are(
            "withdrawals_are_taken", "withdrawals ≤ full_withdrawals ≤ 0", _withdrawals_are_taken
        ),
        rows_are(
            "residual_has_class",
            "residual_class is set exactly when the residual is not 0",
            lambda frame: (frame["residual"] != 0) == frame["residual_class"].notna(),
        ),
    ],
)

"""Where each validator's balance went, to the gwei."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

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

UNKNOWN_CLASSES = tuple(found.value for found in ResidualClass if found.is_unknown)
"""The classes that say which component is not known."""


def _component(description: str) -> pa.Column:
    """A component, gwei; NULL where what it rests on is not known."""
    return gwei(description, nullable=True, signed=True)


def _adds_up(frame: pd.DataFrame) -> pd.Series:
    explained = frame["opening_balance"] + frame["residual"]
    for component in COMPONENTS:
        explained = explained + frame[component]
    known = (explained == frame["closing_balance"]).fillna(False).astype(bool)
    return known | frame["residual"].isna()


def _residual_needs_all_components(frame: pd.DataFrame) -> pd.Series:
    return frame["residual"].isna() == frame[list(COMPONENTS)].isna().any(axis=1)


def _withdrawals_are_taken(frame: pd.DataFrame) -> pd.Series:
    taken = (frame["withdrawals"] <= frame["full_withdrawals"]) & (frame["full_withdrawals"] <= 0)
    unknown = frame["withdrawals"].isna() & frame["full_withdrawals"].isna()
    return taken.fillna(False).astype(bool) | unknown


def _residual_has_a_class(frame: pd.DataFrame) -> pd.Series:
    unknown = frame["residual_class"].isin(UNKNOWN_CLASSES)
    open_ = (frame["residual"] != 0).fillna(True).astype(bool)
    return (open_ == frame["residual_class"].notna()) & (unknown == frame["residual"].isna())


CONTRACT = table(
    "balance_ledger",
    "From the balance at the first slot of the epoch to that at the first slot of the next one, "
    "each after the block of that slot. Amounts are gwei, negative where the balance went down; "
    "what is left over is the residual, which is 0 or has a class. A component is NULL where what "
    "it rests on is not known for that validator. Validators without a balance at either end have "
    "no row; there are rows only where both states are known.",
    key=["epoch", "validator_index"],
    columns={
        "epoch": integer("The epoch."),
        "validator_index": integer("The validator."),
        "opening_balance": gwei("Balance at the first slot of the epoch; 0 before it existed."),
        "attestation": _component(
            "Attestation rewards, penalties and inactivity penalty of the previous target epoch, "
            "which the end of this epoch credits."
        ),
        "sync": _component("Sync committee rewards and penalties."),
        "proposer": _component("For attestations and sync signatures in its own blocks."),
        "whistleblower": _component("For slashings in its own blocks."),
        "withdrawals": _component("Moved to the withdrawal address, partially and fully."),
        "full_withdrawals": _component("The part of it after the exit."),
        "deposits": _component("Deposits credited."),
        "consolidations": _component("Moved by consolidations: in if positive, out if negative."),
        "compounding_switch": _component(
            "Moved to the queue of deposits by a switch to compounding credentials."
        ),
        "slashing": _component("Initial slashing penalty."),
        "slashing_correlation": _component("Correlation penalty."),
        "other": _component("Moved to the queue of deposits by the upgrade to Electra."),
        "closing_balance": gwei("Balance at the first slot of the next epoch."),
        "residual": gwei(
            "What all this does not explain; NULL exactly where a component is.",
            nullable=True,
            signed=True,
        ),
        "residual_class": enumeration(
            "What is known to be behind the residual, or which component is not known; NULL where "
            "the residual is 0. See docs/accounting.md.",
            RESIDUAL_CLASSES,
            nullable=True,
        ),
    },
    checks=[
        rows_are(
            "adds_up",
            "closing = opening + all components + residual, unless the residual is NULL",
            _adds_up,
        ),
        rows_are(
            "residual_needs_all_components",
            "residual is NULL exactly where a component is",
            _residual_needs_all_components,
        ),
        rows_are(
            "withdrawals_are_taken",
            "withdrawals ≤ full_withdrawals ≤ 0, or both are NULL",
            _withdrawals_are_taken,
        ),
        rows_are(
            "residual_has_class",
            "residual_class is set exactly when the residual is not 0, and names what is not known "
            "exactly when it is NULL",
            _residual_has_a_class,
        ),
    ],
)

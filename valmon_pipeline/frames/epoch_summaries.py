"""Groups of validators, epoch by epoch."""

from __future__ import annotations

from valmon_pipeline.frames.columns import gwei, integer, text
from valmon_pipeline.frames.contract import table
from valmon_pipeline.frames.sums import LEDGER_ADDS_UP, SUM_CHECKS, sum_columns

CONTRACT = table(
    "epoch_summaries",
    "Sums over groups of watched validators in each epoch, by the labels that held then: one row "
    "of everybody (category and value `all`), and for each category a row per value and one with "
    "an empty value for those without a label of it, so that each category adds up to everybody. "
    "Kept when retention drops the epochs. Ratios are made from these sums, never averaged. "
    "Amounts are gwei.",
    key=["epoch", "category", "value"],
    partitioned=False,
    outlives_retention=True,
    columns={
        "epoch": integer("The epoch."),
        "category": text("Kind of label, e.g. operator; `all` for everybody."),
        "value": text("The label, e.g. the operator's name; empty: no such label; `all`."),
        "validators": integer("Watched validators in the group, whether or not anything was due."),
        **sum_columns(),
        "opening_balance": gwei(
            "Sum of the balances at the first slot of the epoch; NULL where they are not known.",
            nullable=True,
        ),
        "closing_balance": gwei(
            "Sum of the balances at the first slot of the next one: opening_balance and the "
            "ledger's components and residual; NULL where they are not known.",
            nullable=True,
        ),
        "formula_version": integer("Version of the formulas behind the scores that are summed up."),
    },
    checks=(*SUM_CHECKS, LEDGER_ADDS_UP),
)

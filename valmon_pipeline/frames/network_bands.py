"""The network by effective balance: whom a validator compares with."""

from __future__ import annotations

from valmon_pipeline.frames.columns import gwei, integer, real
from valmon_pipeline.frames.contract import rows_are, table
from valmon_pipeline.frames.distributions import quantile_columns

CONTRACT = table(
    "network_bands",
    "All validators that got attestation rewards or penalties in each epoch, watched or not, by "
    "effective balance. There are rows only where the registry was read as a whole, or a state "
    "with `whole_network`. Kept when retention drops the epochs. Amounts are gwei.",
    key=["epoch", "effective_balance_band"],
    partitioned=False,
    outlives_retention=True,
    columns={
        "epoch": integer("The epoch."),
        "effective_balance_band": gwei(
            "Lower bound of the band: a power of two times MIN_ACTIVATION_BALANCE, or 0 for less "
            "than one."
        ),
        "validators": integer("Validators in the band."),
        "effective_balance": gwei("Sum of the effective balances their rewards went by."),
        "reward": gwei(
            "Sum of their attestation rewards: of the state, or computed from who earned which "
            "flag, and reported by the node for watched validators. NULL in an inactivity leak "
            "without the state unless all are reported: scores of inactivity are not known.",
            nullable=True,
            signed=True,
        ),
        "ideal_reward": gwei("Of perfect attestations; 0 in an inactivity leak."),
        "attestation_effectiveness_sum": real(
            "Sum of the attestation effectiveness of the duties that could be judged."
        ),
        "attestation_effectiveness_duties": integer("Duties that could be judged."),
        **quantile_columns(),
    },
    checks=[
        rows_are(
            "has_members",
            "a band has validators",
            lambda frame: frame["validators"] > 0,
        )
    ],
)

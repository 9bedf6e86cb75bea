"""The columns of sums over facts: of a group in an epoch, of a validator in a day.

They are computed by ``scoring.facts``; every ratio is made from two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pandas as pd
import pandera.pandas as pa

from valmon_pipeline.frames.columns import gwei, integer, real
from valmon_pipeline.frames.contract import rows_are
from valmon_pipeline.scoring.facts import LEDGER_SUMS, PENALTY_TYPES
from valmon_pipeline.scoring.miss_causes import MissCause


def sum_columns() -> Mapping[str, pa.Column]:
    """The columns, in the order of the tables; amounts are gwei."""
    return {
        "duties": integer("Attestations due."),
        "included": integer("Attestations that a block of the window carries."),
        "missed": integer("Attestations that no block carries, although one could have."),
        "inclusion_delay_sum": integer("Sum of the inclusion delays of those included, in slots."),
        "source_timely": integer("Attestations that earned TIMELY_SOURCE."),
        "target_timely": integer("Attestations that earned TIMELY_TARGET."),
        "head_timely": integer("Attestations that earned TIMELY_HEAD."),
        "target_correct": integer("Attestations for the canonical target."),
        "head_correct": integer("Attestations for the canonical target and head."),
        "attestation_effectiveness_sum": real(
            "Sum of the attestation effectiveness of the duties that could be judged."
        ),
        "attestation_effectiveness_duties": integer("Duties that could be judged."),
        "attestation_effectiveness_weighted_sum": real(
            "The same sum with each duty weighted by its effective balance in gwei: a float, "
            "since effectiveness is one."
        ),
        "attestation_effectiveness_weight": gwei("Sum of these weights, exactly."),
        "effective_balance_epochs": gwei(
            "Sum of the effective balances that attestation rewards went by: that of each "
            "validator once per epoch."
        ),
        "reward": gwei(
            "Attestation rewards earned, of the validators and epochs whose reward is known.",
            signed=True,
        ),
        "rewards_known": integer(
            "Attestation rewards that are known, one per validator and epoch: over how many reward "
            "is the sum."
        ),
        "ideal_reward": gwei(
            "Of perfect attestations; NULL when unknown for any of them.", nullable=True
        ),
        "attainable_reward": gwei(
            "The most that the blocks allowed; NULL when unknown for any attestation.",
            nullable=True,
            signed=True,
        ),
        "scored_reward": gwei(
            "Attestation rewards earned where they and the ideal are known, and that is not zero: "
            "over scored_ideal_reward, the reward effectiveness.",
            signed=True,
        ),
        "scored_ideal_reward": gwei("The ideal rewards of the same attestations."),
        "missed_reward": gwei(
            "Ideal less earned attestation rewards, inactivity penalties included, over the "
            "attestations of which both are known.",
            signed=True,
        ),
        "reward_effectiveness_sum": real(
            "Sum of the reward effectiveness of each validator and epoch: over its count, the "
            "mean that no balance weighs in.",
            minimum=None,
        ),
        "reward_effectiveness_count": integer("How many there are."),
        "cost": gwei(
            "What attestations missed of the ideal source, target and head rewards; NULL when "
            "unknown for any of them.",
            nullable=True,
            signed=True,
        ),
        **{
            f"misses_{cause.value}": integer(f"Attestations with miss_cause {cause.value}.")
            for cause in MissCause
        },
        **{
            f"cost_{cause.value}": gwei(
                f"What these missed ({cause.value}); NULL when unknown for any of them.",
                nullable=True,
                signed=True,
            )
            for cause in MissCause
        },
        "sync_due": integer("Sync committee signatures owed."),
        "sync_participated": integer("Sync committee signatures that blocks carry."),
        "sync_reward": gwei("Sync committee rewards earned, as far as known.", signed=True),
        "sync_due_rewarded": integer(
            "Sync committee signatures owed whose reward is known: over how many sync_reward is "
            "the sum."
        ),
        "sync_ideal_reward": gwei(
            "Had every block been signed; NULL when unknown for any epoch.", nullable=True
        ),
        "proposals_due": integer("Blocks due."),
        "proposals_proposed": integer("Blocks proposed."),
        "proposal_reward": gwei("Consensus rewards of these blocks, as far as known."),
        "proposals_rewarded": integer(
            "Blocks proposed whose reward is known: over how many proposal_reward is the sum."
        ),
        "proposal_missed_estimate": gwei(
            "About what the other blocks would have earned; NULL when unknown for any.",
            nullable=True,
        ),
        **{
            f"penalty_{kind}": gwei(f"Penalties of type {kind}, as a positive amount.")
            for kind in PENALTY_TYPES
        },
        **{
            f"ledger_{name}": gwei(
                f"Sum of {name} in balance_ledger, without what is NULL.", signed=True
            )
            for name in LEDGER_SUMS
        },
        "ledger_residual_rows": integer("Ledger rows whose residual is known and not 0."),
        "ledger_unknown_rows": integer(
            "Ledger rows whose residual is NULL, since a component is not known."
        ),
    }


SUM_NAMES: Final = tuple(sum_columns())
"""Their names: making the columns anew costs some milliseconds."""


def _within(whole: str, *parts: str) -> Callable[[pd.DataFrame], pd.Series]:
    def holds(frame: pd.DataFrame) -> pd.Series:
        return frame[list(parts)].le(frame[whole], axis=0).all(axis=1)

    return holds


def _each_miss_has_one_cause(frame: pd.DataFrame) -> pd.Series:
    causes = [f"misses_{cause.value}" for cause in MissCause]
    return frame[causes].astype("int64").sum(axis=1) <= frame["duties"]


def _ledger_adds_up(frame: pd.DataFrame) -> pd.Series:
    # Full withdrawals are part of the withdrawals.
    parts = [f"ledger_{name}" for name in LEDGER_SUMS if name != "full_withdrawals"]
    explained = frame["opening_balance"] + frame[parts].sum(axis=1)
    equal = (explained == frame["closing_balance"]).fillna(False).astype(bool)
    unknown = frame["opening_balance"].isna() & frame["closing_balance"].isna()
    return equal | unknown | (frame["ledger_unknown_rows"] > 0)


LEDGER_ADDS_UP: Final = rows_are(
    "ledger_adds_up",
    "closing = opening + all components + residual, unless a row of the ledger lacks a component",
    _ledger_adds_up,
)
SUM_CHECKS: Final = (
    rows_are(
        "outcomes_within_duties",
        "what became of attestations is counted among those due",
        _within(
            "duties",
            *("included", "missed", "attestation_effectiveness_duties"),
            *("source_timely", "target_timely", "head_timely", "target_correct", "head_correct"),
        ),
    ),
    rows_are(
        "included_or_missed",
        "nothing is included and missed",
        lambda frame: frame["included"].astype("int64") + frame["missed"] <= frame["duties"],
    ),
    rows_are("each_miss_has_one_cause", "a duty is missed for one cause", _each_miss_has_one_cause),
    rows_are(
        "seats_within_due",
        "no seat signs more than was due",
        _within("sync_due", "sync_participated"),
    ),
    rows_are(
        "blocks_within_due",
        "no more blocks than were due",
        _within("proposals_due", "proposals_proposed"),
    ),
    rows_are(
        "rewards_within_due",
        "no more rewards of signatures and blocks than there are signatures and blocks",
        lambda frame: (
            _within("sync_due", "sync_due_rewarded")(frame)
            & _within("proposals_proposed", "proposals_rewarded")(frame)
        ),
    ),
)

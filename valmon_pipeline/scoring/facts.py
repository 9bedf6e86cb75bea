"""What is summed up of the facts, per validator: the same for an epoch's groups and for a day.

Everything is a count or a sum, so that any ratio over any validators and any time is Σ / Σ. Amounts
and counts are exact integers; the only floats are sums of effectiveness.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.scoring.miss_causes import MissCause
from valmon_pipeline.scoring.rollup import Int64Array, MaskedIntegers, SumsByValidator, Values

BoolArray = npt.NDArray[np.bool_]
_FLAGS = ("source_timely", "target_timely", "head_timely", "target_correct", "head_correct")
_SCORES = ("attestation_effectiveness", "reward_effectiveness")

LEDGER_SUMS: Final = (
    *("attestation", "sync", "proposer", "whistleblower"),
    *("withdrawals", "full_withdrawals", "deposits", "consolidations", "compounding_switch"),
    *("slashing", "slashing_correlation", "other", "residual"),
)
"""The columns of ``balance_ledger`` that are summed up, besides the two balances."""

PENALTY_TYPES: Final = (
    *("attestation_miss", "inactivity_leak", "sync_miss"),
    *("slashing", "slashing_correlation"),
)
"""The kinds of ``validator_penalties``, each with a sum of its own."""

FACT_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "effectiveness_scores": ("epoch", "validator_index", *_SCORES),
        "attestation_outcomes": (
            *("validator_index", "included", "inclusion_delay", "earliest_inclusion_slot"),
            *(*_FLAGS, "miss_cause", "cost"),
        ),
        "attestation_rewards": (
            *("epoch", "validator_index", "effective_balance"),
            *("total_reward", "ideal_total", "attainable_total"),
        ),
        "sync_duties": ("epoch", "validator_index", "due", "participated"),
        "sync_rewards": ("epoch", "validator_index", "reward", "ideal_reward"),
        "proposer_duties": ("epoch", "validator_index", "outcome"),
        "block_rewards": ("epoch", "proposer_index", "total", "outcome", "missed_estimate"),
        "validator_penalties": ("validator_index", "penalty_type", "penalty_gwei"),
        "balance_ledger": (
            *("epoch", "validator_index", "opening_balance", *LEDGER_SUMS, "closing_balance"),
        ),
    }
)
"""The tables that are summed up, and the columns of them that it takes."""

TELL_WHO: Final = ("effectiveness_scores", "balance_ledger")
"""Who is in these tables was watched: had duties or rewards, or a balance."""


def add_facts(sums: SumsByValidator, facts: Mapping[str, pd.DataFrame]) -> None:
    """Add the rows of ``facts`` (by table, ``FACT_COLUMNS`` at least) to the sums of validators.

    The frames are of the same epochs, one or many, in the order of their keys. Proposals and their
    rewards may be there of everybody: they count for those who have a score in that epoch, i.e. who
    were watched.
    """
    scores, rewards = facts["effectiveness_scores"], facts["attestation_rewards"]
    _add_scores(sums, scores, rewards)
    _add_outcomes(sums, facts["attestation_outcomes"])
    _add_miss_causes(sums, facts["attestation_outcomes"])
    _add_attestation_rewards(sums, rewards)
    _add_sync_committee(sums, facts["sync_duties"], facts["sync_rewards"])
    _add_proposals(sums, scores, facts["proposer_duties"], facts["block_rewards"])
    _add_penalties(sums, facts["validator_penalties"])
    _add_ledger(sums, facts["balance_ledger"])


def _add_scores(sums: SumsByValidator, scores: pd.DataFrame, rewards: pd.DataFrame) -> None:
    validators = _integers(scores, "validator_index")
    effectiveness = scores["attestation_effectiveness"].to_numpy(np.float64)
    judged = ~np.isnan(effectiveness)
    sums.add(
        validators[judged],
        {
            "attestation_effectiveness_sum": effectiveness[judged],
            "attestation_effectiveness_duties": _ones(judged),
        },
    )
    weight, weighed = _effective_balance_of(scores, rewards)
    weighed &= judged
    sums.add(
        validators[weighed],
        {
            # Gwei times shares: the product is a float, and so is the sum; the weight is exact.
            "attestation_effectiveness_weighted_sum": effectiveness[weighed] * weight[weighed],
            "attestation_effectiveness_weight": weight[weighed],
        },
    )
    of_ideal = scores["reward_effectiveness"].to_numpy(np.float64)
    scored = ~np.isnan(of_ideal)
    sums.add(
        validators[scored],
        {"reward_effectiveness_sum": of_ideal[scored], "reward_effectiveness_count": _ones(scored)},
    )


def _effective_balance_of(
    scores: pd.DataFrame, rewards: pd.DataFrame
) -> tuple[Int64Array, BoolArray]:
    """The effective balance that the reward of each score (n) went by, and whether there is one."""
    wanted = _pairs(scores, "validator_index")
    known = _pairs(rewards, "validator_index")
    if len(known) == 0:
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return _integers(rewards, "effective_balance")[at], known[at] == wanted


def _add_outcomes(sums: SumsByValidator, outcomes: pd.DataFrame) -> None:
    included = outcomes["included"].to_numpy(np.bool_)
    possible = outcomes["earliest_inclusion_slot"].notna().to_numpy(np.bool_)
    sums.add(
        _integers(outcomes, "validator_index"),
        {
            "duties": np.ones(len(outcomes), np.int64),
            "included": included.astype(np.int64),
            "missed": (~included & possible).astype(np.int64),
            "inclusion_delay_sum": outcomes["inclusion_delay"].to_numpy(np.int64, na_value=0),
            **{flag: outcomes[flag].to_numpy(np.bool_).astype(np.int64) for flag in _FLAGS},
        },
    )


def _add_miss_causes(sums: SumsByValidator, outcomes: pd.DataFrame) -> None:
    validators = _integers(outcomes, "validator_index")
    cost = _maybe(outcomes, "cost")
    sums.add(validators, {"cost": cost})
    for cause in MissCause:
        of_cause = (outcomes["miss_cause"] == cause.value).to_numpy(np.bool_)
        sums.add(
            validators[of_cause],
            {f"misses_{cause.value}": _ones(of_cause), f"cost_{cause.value}": cost[of_cause]},
        )


def _add_attestation_rewards(sums: SumsByValidator, rewards: pd.DataFrame) -> None:
    validators = _integers(rewards, "validator_index")
    total = rewards["total_reward"].to_numpy(np.int64, na_value=0)
    ideal = rewards["ideal_total"].to_numpy(np.int64, na_value=0)
    known = rewards["total_reward"].notna().to_numpy(np.bool_)
    scored = known & (ideal > 0)
    sums.add(
        validators,
        {
            "effective_balance_epochs": _integers(rewards, "effective_balance"),
            "reward": total,
            "rewards_known": known.astype(np.int64),
            "ideal_reward": _maybe(rewards, "ideal_total"),
            "attainable_reward": _maybe(rewards, "attainable_total"),
            "scored_reward": np.where(scored, total, 0),
            "scored_ideal_reward": np.where(scored, ideal, 0),
            "missed_reward": np.where(
                known & rewards["ideal_total"].notna().to_numpy(np.bool_), ideal - total, 0
            ),
        },
    )


def _add_sync_committee(sums: SumsByValidator, duties: pd.DataFrame, rewards: pd.DataFrame) -> None:
    due = _integers(duties, "due")
    sums.add(
        _integers(duties, "validator_index"),
        {
            "sync_due": due,
            "sync_participated": _integers(duties, "participated"),
            "sync_due_rewarded": np.where(_is_rewarded(duties, rewards), due, 0),
        },
    )
    sums.add(
        _integers(rewards, "validator_index"),
        {
            "sync_reward": rewards["reward"].to_numpy(np.int64, na_value=0),
            "sync_ideal_reward": _maybe(rewards, "ideal_reward"),
        },
    )


def _is_rewarded(duties: pd.DataFrame, rewards: pd.DataFrame) -> BoolArray:
    """Whether the sync reward of each row of ``duties`` (n) is known."""
    known = rewards[rewards["reward"].notna()]
    return np.isin(_pairs(duties, "validator_index"), _pairs(known, "validator_index"))


def _add_proposals(
    sums: SumsByValidator, scores: pd.DataFrame, duties: pd.DataFrame, rewards: pd.DataFrame
) -> None:
    watched = _pairs(scores, "validator_index")
    duties = duties[duties["validator_index"].notna()]
    duties = duties[np.isin(_pairs(duties, "validator_index"), watched)]
    proposed = (duties["outcome"] == "proposed").to_numpy(np.bool_)
    sums.add(
        _integers(duties, "validator_index"),
        {
            "proposals_due": np.ones(len(duties), np.int64),
            "proposals_proposed": proposed.astype(np.int64),
        },
    )
    rewards = rewards[np.isin(_pairs(rewards, "proposer_index"), watched)]
    rewarded = (rewards["outcome"] == "proposed") & rewards["total"].notna()
    sums.add(
        _integers(rewards, "proposer_index"),
        {
            "proposal_reward": rewards["total"].to_numpy(np.int64, na_value=0),
            "proposals_rewarded": rewarded.to_numpy(np.bool_).astype(np.int64),
        },
    )
    lost = rewards[(rewards["outcome"] != "proposed").to_numpy(np.bool_)]
    sums.add(
        _integers(lost, "proposer_index"),
        {"proposal_missed_estimate": _maybe(lost, "missed_estimate")},
    )


def _add_penalties(sums: SumsByValidator, penalties: pd.DataFrame) -> None:
    for kind in PENALTY_TYPES:
        of_kind = penalties[(penalties["penalty_type"] == kind).to_numpy(np.bool_)]
        sums.add(
            _integers(of_kind, "validator_index"),
            {f"penalty_{kind}": _integers(of_kind, "penalty_gwei")},
        )


def _add_ledger(sums: SumsByValidator, ledger: pd.DataFrame) -> None:
    residual = ledger["residual"].to_numpy(np.int64, na_value=0)
    sums.add(
        _integers(ledger, "validator_index"),
        {
            **{
                f"ledger_{name}": ledger[name].to_numpy(np.int64, na_value=0)
                for name in LEDGER_SUMS
            },
            "ledger_residual_rows": (residual != 0).astype(np.int64),
            "ledger_unknown_rows": ledger["residual"].isna().to_numpy(np.bool_).astype(np.int64),
        },
    )


def _pairs(frame: pd.DataFrame, validator: str) -> Int64Array:
    """Epoch and validator of each row in one number, in the order of the two."""
    return (_integers(frame, "epoch") << np.int64(32)) | _integers(frame, validator)


def _maybe(frame: pd.DataFrame, column: str) -> MaskedIntegers:
    return np.ma.MaskedArray(
        frame[column].to_numpy(np.int64, na_value=0), mask=frame[column].isna().to_numpy(np.bool_)
    )


def _ones(rows: BoolArray) -> Values:
    return np.ones(int(rows.sum()), dtype=np.int64)


def _integers(frame: pd.DataFrame, column: str) -> Int64Array:
    return frame[column].to_numpy(np.int64)

"""Facts of an epoch that were derived twice, compared; each comparison is an asset check.

A check never stops the storing of an epoch: what must not be stored is refused by its table's
contract. It says which rows disagree, so that somebody can find out whether the node or valmon is
wrong. A check that needs a fact which is not known compares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isclose
from typing import Any, Final

import numpy as np
import pandas as pd

from valmon_pipeline.beacon.answers import AttestationRewards
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.status import is_active
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.network_totals import leak_of, slashed_when_rewarded
from valmon_pipeline.epoch.rewards import reported_ideal_rewards
from valmon_pipeline.epoch.sync_seats import reported_seat_reward
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.ledger.residuals import ResidualClass
from valmon_pipeline.scoring.groups import EVERYBODY

Frames = Mapping[str, pd.DataFrame]
MAX_EXAMPLES: Final = 5
NOTHING_TO_COMPARE: Final = "nothing to compare: no rows, or a fact that is not known"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found in one epoch. ``examples`` are the first few failing rows, as text."""

    asset: str
    name: str
    epoch: int
    compared: int
    failing: int
    examples: tuple[Mapping[str, str], ...]

    @property
    def failed(self) -> bool:
        """True if a row failed."""
        return self.failing > 0

    @property
    def passed(self) -> bool | None:
        """True if rows were compared and none failed; None if there was nothing to compare."""
        return None if not self.compared and not self.failed else not self.failed

    @property
    def detail(self) -> str:
        """One line of examples; empty when the check passed, a reason when it compared nothing."""
        if self.passed is None:
            return NOTHING_TO_COMPARE
        return "; ".join(", ".join(f"{k}={v}" for k, v in row.items()) for row in self.examples)


@dataclass(frozen=True, slots=True)
class EpochCheck:
    """A check of one asset: its name, what it promises, and the comparison itself."""

    asset: str
    name: str
    description: str
    compare: Callable[..., tuple[int, pd.DataFrame]]

    def run(self, epoch: int, *about: Any) -> CheckResult:
        """Compare; ``about`` is what the comparison takes."""
        compared, offenders = self.compare(*about)
        examples = tuple(
            {str(column): str(value) for column, value in row.items()}
            for row in offenders.head(MAX_EXAMPLES).to_dict("records")
        )
        return CheckResult(self.asset, self.name, epoch, compared, len(offenders), examples)


def _duty_per_active_validator(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    registry = answers.registry_at_start
    if registry is None or answers.committees is None:
        return _nothing_to_compare()
    active = np.intersect1d(
        answers.watched, registry.validator_index[is_active(registry, answers.epoch)]
    )
    with_duty = frames["attestation_duties"]["validator_index"].to_numpy(np.int64)
    without = np.setdiff1d(active, with_duty)
    unexpected = np.setdiff1d(with_duty, active)
    return len(active), pd.DataFrame(
        {
            "validator_index": np.concatenate([without, unexpected]),
            "found": ["no duty though active"] * len(without)
            + ["duty though not active"] * len(unexpected),
        }
    )


def _nothing_to_compare() -> tuple[int, pd.DataFrame]:
    """What a check returns that needs a fact which is not known."""
    return 0, pd.DataFrame()


def _proposers_match_blocks(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    if answers.proposer_duties is None:
        return _nothing_to_compare()
    duties = frames["proposer_duties"].set_index("slot")["validator_index"]
    blocks = frames["blocks"].set_index("slot")["proposer_index"].dropna()
    both = pd.DataFrame({"duty": duties.reindex(blocks.index), "block": blocks})
    wrong = both[(both["duty"] != both["block"]).fillna(True)]
    return len(both), wrong.reset_index()


def _flags_match_rewards(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    """A flag earned shows as a reward, a flag missed as a penalty (none for the head).

    Slashed validators are fined whatever they voted, a leak pays nothing for any flag, and without
    effective balance every amount is zero: there the two say different things by the rules. An
    ideal reward that rounds to zero says nothing either.
    """
    registry = answers.registry_at_end
    leak = leak_of(spec, answers)
    reported = _reported_rewards(answers)
    if registry is None or leak is None or reported is None:
        return _nothing_to_compare()
    components = ("source", "target", "head")
    rewards = pd.DataFrame(
        {
            "validator_index": reported.validator_index,
            **{f"{name}_reward": getattr(reported, name) for name in components},
        }
    )
    priced = ["validator_index", "effective_balance", *(f"ideal_{name}" for name in components)]
    outcomes = frames["attestation_outcomes"]
    joined = rewards.merge(frames["attestation_rewards"][priced], on="validator_index").merge(
        outcomes[["validator_index", "source_timely", "target_timely", "head_timely"]],
        on="validator_index",
        how="inner",
    )
    slashed = registry.validator_index[slashed_when_rewarded(spec, answers, registry)]
    joined = joined[~joined["validator_index"].isin(slashed) & (joined["effective_balance"] > 0)]
    wrong = pd.Series(False, index=joined.index)
    for component in components:
        reward, flag = joined[f"{component}_reward"], joined[f"{component}_timely"]
        if leak:
            earned = reward >= 0
            expected = flag | (component == "head")
        else:
            rounds_to_zero = (joined[f"ideal_{component}"] == 0).fillna(False).astype(bool)
            earned = (reward > 0) | (rounds_to_zero & flag)
            expected = flag
        wrong |= (earned != expected).astype(bool)
    columns = ["validator_index", "source_timely", "source_reward", "target_timely"]
    columns += ["target_reward", "head_timely", "head_reward"]
    return len(joined), joined.loc[wrong, columns]


def _reported_rewards(answers: EpochAnswers) -> AttestationRewards | None:
    """The node's own rewards: what is stored may have been computed from what it is compared
    with."""
    if answers.whole_registry and answers.attestation_rewards is not None:
        return answers.reported_attestation_rewards
    return answers.attestation_rewards


def _ideal_matches_node(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    frame = frames["attestation_rewards"]
    balances = np.unique(frame["effective_balance"].to_numpy(np.int64))
    reported, known = reported_ideal_rewards(answers, balances)
    ours = frame.drop_duplicates("effective_balance").set_index("effective_balance").loc[balances]
    compared = pd.DataFrame(
        {
            "effective_balance": balances,
            "source": ours["ideal_source"].to_numpy(np.int64, na_value=0),
            "node_source": reported.source,
            "target": ours["ideal_target"].to_numpy(np.int64, na_value=0),
            "node_target": reported.target,
            "head": ours["ideal_head"].to_numpy(np.int64, na_value=0),
            "node_head": reported.head,
        }
    )[known & ours["ideal_total"].notna().to_numpy()]
    # A gwei of rounding is a finding about the node, see ``epoch.settlement``.
    wrong = pd.Series(False, index=compared.index)
    for component in ("source", "target", "head"):
        wrong |= (compared[component] - compared[f"node_{component}"]).abs() > 1
    return len(compared), compared[wrong]


def _reward_per_eligible_validator(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    frame, reported = frames["attestation_rewards"], _reported_rewards(answers)
    if reported is None:
        return _nothing_to_compare()
    listed = frame["validator_index"].isin(reported.validator_index)
    return len(frame), frame.loc[~listed | frame["total_reward"].isna(), ["validator_index"]]


def _rewards_within_attainable(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    frame = frames["attestation_rewards"]
    known = frame[frame["attainable_total"].notna() & frame["total_reward"].notna()]
    # Inactivity penalties come on top of the three components and are never "attainable".
    earned = known["total_reward"] + known["inactivity_penalty"]
    wrong = (earned > known["attainable_total"]) | (
        known["attainable_total"] > known["ideal_total"]
    )
    columns = ["validator_index", "total_reward", "attainable_total", "ideal_total"]
    return len(known), known.loc[wrong, columns]


def _sync_reward_per_seat(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    per_seat = reported_seat_reward(spec, answers)
    rewards = frames["sync_rewards"]
    duties = frames["sync_duties"].merge(
        rewards[rewards["reward"].notna()], on=["epoch", "validator_index"]
    )
    if per_seat is None:
        return 0, duties.iloc[:0]
    net = duties["participated"].astype(np.int64) - duties["missed"]
    expected = net * per_seat
    ideal = (duties["ideal_reward"] == duties["due"].astype(np.int64) * per_seat).fillna(True)
    wrong = (duties["reward"] != expected).astype(bool) | ~ideal.astype(bool)
    columns = ["validator_index", "participated", "missed", "reward", "ideal_reward"]
    return len(duties), duties.loc[wrong, columns].assign(per_seat=per_seat)


def _block_reward_goes_to_proposer(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    rewards = frames["block_rewards"].merge(
        frames["blocks"][["slot", "proposer_index"]].rename(columns={"proposer_index": "block"}),
        on="slot",
        how="left",
    )
    rewards = rewards[rewards["total"].notna()]
    wrong = (rewards["proposer_index"] != rewards["block"]).fillna(True).astype(bool)
    return len(rewards), rewards.loc[wrong, ["slot", "proposer_index", "block"]]


def _groups_add_up(watched: Int64Array, frames: Frames) -> tuple[int, pd.DataFrame]:
    """Everybody's sums are those of the facts, and each category's groups add up to everybody's.

    A sum that is unknown (NULL) for a group is unknown for everybody. Sums of effectiveness are
    floats and may differ in their last digits.
    """
    groups = frames["epoch_summaries"].drop(columns=["epoch", "value", "formula_version"])
    # Rows of objects: a row of its own type would turn gwei into floats.
    sums = groups.groupby("category").sum(skipna=False).astype(object)
    everybody = {str(name): sums.at[EVERYBODY[0], name] for name in sums.columns if len(sums)}
    proposers = frames["proposer_duties"]["validator_index"].to_numpy(np.int64, na_value=-1)
    ours = np.isin(proposers, watched)
    facts = {
        "validators": len(watched),
        "duties": len(frames["attestation_outcomes"]),
        "effective_balance_epochs": frames["attestation_rewards"]["effective_balance"].sum(),
        "reward": frames["attestation_rewards"]["total_reward"].sum(),
        "sync_due": frames["sync_duties"]["due"].sum(),
        "sync_reward": frames["sync_rewards"]["reward"].sum(),
        "proposals_due": ours.sum(),
    }
    pairs = [("facts", name, value, everybody.get(name, 0)) for name, value in facts.items()]
    for category, row in sums.drop(index=EVERYBODY[0], errors="ignore").iterrows():
        pairs += [(str(category), name, row[name], total) for name, total in everybody.items()]
    compared = pd.DataFrame(pairs, columns=["category", "column", "sum", "everybody"], dtype=object)
    equal = [_is_equal_sum(found, total) for _, _, found, total in pairs]
    return len(compared), compared[~np.array(equal, dtype=np.bool_)]


def _is_equal_sum(found: Any, total: Any) -> bool:
    if pd.isna(found) or pd.isna(total):
        return bool(pd.isna(found) and pd.isna(total))
    if isinstance(total, float) and isinstance(found, float) and not total.is_integer():
        return isclose(found, total, rel_tol=1e-9)
    return bool(found == total)


def _rewards_match_state(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    """Everything that a watched validator got, by the node and by the state; also that it got
    anything at all."""
    by_state = answers.network_rewards
    frame = frames["attestation_rewards"]
    if by_state is None or answers.attestation_rewards is None or answers.registry_at_end is None:
        return _nothing_to_compare()
    watched = answers.watched[answers.watched < len(by_state.group)]
    ours = watched[by_state.groups.eligible[by_state.group[watched]]]
    group = by_state.group[ours]
    state = pd.DataFrame(
        {
            "validator_index": ours,
            "effective_balance": by_state.groups.effective_balance[group],
            "source_reward": by_state.groups.source[group],
            "target_reward": by_state.groups.target[group],
            "head_reward": by_state.groups.head[group],
            "inactivity_penalty": by_state.inactivity_penalty[ours],
        }
    ).set_index("validator_index")
    node = frame.set_index("validator_index")[list(state.columns)].astype("Int64")
    either = state.index.union(node.index)
    state, node = state.astype("Int64").reindex(either), node.reindex(either)
    wrong = ((state != node).fillna(True) | (state.isna() != node.isna())).any(axis=1)
    both = node.add_prefix("node_").join(state.add_prefix("state_"))
    return len(either), both[wrong.astype(bool)].reset_index()


def _network_state_was_read(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    """The reason where it was not; else what the node says about the same transition."""
    by_state = answers.network_rewards
    if answers.network_unavailable is not None:
        return 1, pd.DataFrame({"not_read": [answers.network_unavailable]})
    if by_state is None:
        return 0, pd.DataFrame()
    pairs = [
        ("finalized_epoch", by_state.finalized_epoch, answers.finalized_epoch_at_transition),
        (
            "active_validators",
            int(np.count_nonzero(by_state.active)),
            None if answers.committees is None else len(answers.committees.validator_index),
        ),
    ]
    compared = pd.DataFrame(
        [pair for pair in pairs if pair[2] is not None], columns=["what", "state", "node"]
    )
    return len(compared), compared[compared["state"] != compared["node"]]


def _every_gwei_is_accounted_for(
    spec: ChainSpec, answers: EpochAnswers, frames: Frames
) -> tuple[int, pd.DataFrame]:
    ledger = frames["balance_ledger"]
    wrong = ledger[ledger["residual_class"] == ResidualClass.UNEXPLAINED.value]
    columns = ["validator_index", "opening_balance", "closing_balance", "residual"]
    return int(ledger["residual"].notna().sum()), wrong[columns]


FACT_CHECKS: Final[Sequence[EpochCheck]] = (
    EpochCheck(
        "attestation_duties",
        "every_active_validator_has_one_duty",
        "Watched validators have a duty if and only if they are active in the epoch.",
        _duty_per_active_validator,
    ),
    EpochCheck(
        "proposer_duties",
        "proposers_match_blocks",
        "Each block was proposed by the validator whose duty it was.",
        _proposers_match_blocks,
    ),
    EpochCheck(
        "attestation_outcomes",
        "flags_match_rewards",
        "Timely flags derived from blocks agree with the sign of the rewards the node reports.",
        _flags_match_rewards,
    ),
    EpochCheck(
        "attestation_rewards",
        "every_eligible_validator_has_a_reward",
        "The node reports a reward for every watched validator that is eligible, and it is known.",
        _reward_per_eligible_validator,
    ),
    EpochCheck(
        "attestation_rewards",
        "ideal_rewards_match_node",
        "Ideal rewards computed here equal the node's, per effective balance, but for rounding.",
        _ideal_matches_node,
    ),
    EpochCheck(
        "attestation_rewards",
        "rewards_within_attainable",
        "Nobody earned more than was attainable, and attainable is never above ideal.",
        _rewards_within_attainable,
    ),
    EpochCheck(
        "attestation_rewards",
        "rewards_match_state",
        "Where the whole network's state is read, it says of each watched validator what the node "
        "reports.",
        _rewards_match_state,
    ),
    EpochCheck(
        "block_rewards",
        "rewards_go_to_proposers",
        "Block rewards name the proposer of the block.",
        _block_reward_goes_to_proposer,
    ),
    EpochCheck(
        "sync_rewards",
        "rewards_match_seats",
        "Sync rewards are net seats times the reward per seat.",
        _sync_reward_per_seat,
    ),
    EpochCheck(
        "network_epochs",
        "network_state_was_read",
        "Where the whole network's state is to be read, the node served it, and its finality and "
        "its number of active validators are those of the node's other answers.",
        _network_state_was_read,
    ),
    EpochCheck(
        "balance_ledger",
        "every_gwei_is_accounted_for",
        "The change of each balance is the sum of what moved it, or the remainder has a known "
        "reason.",
        _every_gwei_is_accounted_for,
    ),
)
"""They take the chain's constants, the answers and the fact frames of the epoch."""

SCORE_CHECKS: Final[Sequence[EpochCheck]] = (
    EpochCheck(
        "epoch_summaries",
        "groups_add_up",
        "Everybody's sums are those of the facts, and the groups of each category add up to them.",
        _groups_add_up,
    ),
)
"""They take the watched validators and all frames of the epoch."""

EPOCH_CHECKS: Final = (*FACT_CHECKS, *SCORE_CHECKS)


def check_results_frame(results: Sequence[CheckResult], at: datetime) -> pd.DataFrame:
    """Frame ``check_results``: a row per check of the epoch."""
    return conform(
        "check_results",
        {
            "epoch": np.array([result.epoch for result in results]),
            "check_name": [f"{result.asset}.{result.name}" for result in results],
            "passed": pd.array([result.passed for result in results], dtype="boolean"),
            "severity": np.full(len(results), "error"),
            "failing_count": np.array([result.failing for result in results]),
            "detail": [result.detail for result in results],
            "at": pd.DatetimeIndex([at] * len(results)),
        },
    )

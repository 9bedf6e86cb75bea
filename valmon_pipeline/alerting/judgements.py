"""Rules: from the stored frames of one epoch to bad, good or unknown, per validator or group.

What a validator could not help is unknown, never bad: a vote that no block could carry, or given up
in the last epoch before the exit; heads lost to a late or missed block of somebody else; balances
and shares of the ideal during an inactivity leak.

What is not known is unknown, too: a value that is NULL, or a fact of the epoch that no node gave.
``NEEDED_FACTS`` names the facts without which a rule has nothing to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from valmon_pipeline.alerting.kinds import AlertType
from valmon_pipeline.alerting.rules import RuleSettings

Int64Array = npt.NDArray[np.int64]
Int8Array = npt.NDArray[np.int8]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
ObjectArray = npt.NDArray[Any]

BAD: Final = np.int8(1)
GOOD: Final = np.int8(0)
UNKNOWN: Final = np.int8(-1)

_EXCUSED: Final = ("no_opportunity", "exit_boundary", "slashed")
_SLASHED: Final = ("active_slashed", "exited_slashed")
_STAYING: Final = ("pending_initialized", "pending_queued", "active_ongoing")
_SLASHING_EVENTS: Final = ("proposer_slashing", "attester_slashing")
_EXIT_EVENTS: Final = ("voluntary_exit",)


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """Rows of one stored epoch, by table.

    Columns as in the contracts of the tables, those of ``TABLES_READ``. ``leak``: it fell into an
    inactivity leak, or it is not known that it did not. ``missing`` are the facts of the epoch that
    are not known, under their stored names.
    """

    epoch: int
    slots_per_epoch: int
    tables: Mapping[str, pd.DataFrame]
    leak: bool
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A rule's verdict on each subject (n) of an epoch.

    ``subjects`` are validator indices, or labels ``category:value``; unique, ascending. ``value``
    is what was compared with the threshold (NaN where unknown), ``cost`` gwei (0 where unknown),
    ``slot`` where it happened (−1: it has none).
    """

    subjects: Int64Array | ObjectArray
    verdict: Int8Array
    value: Float64Array
    cost: Int64Array
    slot: Int64Array


Judge = Callable[[EpochFacts, RuleSettings], Judgement]

TABLES_READ: Final[Mapping[str, tuple[str, ...]]] = {
    "attestation_outcomes": (
        *("epoch", "validator_index", "slot", "included", "miss_cause", "cost"),
    ),
    "validator_standings": ("epoch", "validator_index", "time_weighted_score"),
    "epoch_summaries": (
        *("epoch", "category", "value", "duties", "cost_not_included", "misses_not_included"),
        *("included", "misses_no_opportunity", "misses_exit_boundary", "misses_slashed"),
        *("scored_reward", "scored_ideal_reward"),
    ),
    "network_epochs": ("epoch", "reward_effectiveness_p50", "leak"),
    "proposer_duties": ("epoch", "slot", "validator_index", "outcome"),
    "block_rewards": ("epoch", "slot", "missed_estimate"),
    "sync_duties": ("epoch", "validator_index", "due", "missed"),
    "validator_snapshots": ("epoch", "slot", "validator_index", "status"),
    "block_events": ("epoch", "event_type", "validator_index", "effective"),
    "balance_ledger": (
        *("epoch", "validator_index", "opening_balance", "attestation", "sync", "proposer"),
        *("whistleblower", "slashing", "slashing_correlation", "residual", "residual_class"),
    ),
}
"""The columns that the rules need, by table."""

_REGISTRIES: Final = ("registry_at_start", "registry_at_end")
_LEDGER: Final = (
    *_REGISTRIES,
    *("previous_attestation_rewards", "sync_committee", "sync_rewards", "block_rewards"),
)
NEEDED_FACTS: Final[Mapping[AlertType, frozenset[str]]] = {
    kind: frozenset(facts)
    for kind, facts in {
        AlertType.MISSED_ATTESTATIONS: ("committees",),
        AlertType.MISSED_ATTESTATION_SHARE: ("committees",),
        AlertType.LOW_EFFECTIVENESS: ("committees", "finality"),
        AlertType.BELOW_NETWORK: ("registry_at_end", "attestation_rewards", "finality"),
        AlertType.MISSED_PROPOSAL: ("proposers",),
        AlertType.SYNC_PARTICIPATION: ("sync_committee",),
        AlertType.SLASHING: _REGISTRIES,
        AlertType.EXIT: _REGISTRIES,
        AlertType.BALANCE_DROP: (*_LEDGER, "finality"),
        AlertType.LEDGER_RESIDUAL: (*_LEDGER, "withdrawals"),
    }.items()
}
"""The facts that each rule judges by, under their stored names. In an epoch that lacks one of them
a rule may still find something bad in what is known; silence is no sign that all is well."""


def is_blind(kind: AlertType, facts: EpochFacts) -> bool:
    """True if the epoch lacks a fact that the rule judges by."""
    return not NEEDED_FACTS[kind].isdisjoint(facts.missing)


def missed_attestations(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: not included although a block could have carried it. Good: included, however late.
    Unknown where no cause is stored: the validator may have been excused."""
    outcomes = facts.tables["attestation_outcomes"]
    included = outcomes["included"].to_numpy(np.bool_)
    cause = outcomes["miss_cause"]
    excused = (cause.isin(_EXCUSED) | cause.isna()).to_numpy(np.bool_)
    verdict = np.where(included, GOOD, np.where(excused, UNKNOWN, BAD)).astype(np.int8)
    return _judged(
        outcomes,
        verdict,
        (~included).astype(np.float64),
        cost=_gwei(outcomes["cost"]),
        slot=outcomes["slot"].to_numpy(np.int64),
    )


def low_effectiveness(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: a time-weighted score below the threshold. The score is by what was attainable, so
    that what others cost does not lower it; it says nothing about epochs in a leak, nor about
    those without duties that are known, in which it is still that of the epochs before."""
    standings = facts.tables["validator_standings"]
    score = standings["time_weighted_score"].to_numpy(np.float64)
    stale = facts.leak or "committees" in facts.missing
    verdict = _below(score, settings, unknown=np.full(len(score), stale))
    return _judged(standings, verdict, score)


def missed_proposal(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: so many blocks of the validator are not on the chain. Good: fewer, or none due.
    Unknown while it is not known whose the missed slots are."""
    duties = facts.tables["proposer_duties"]
    unowned = bool(duties["validator_index"].isna().any()) or "proposers" in facts.missing
    duties = duties.dropna(subset=["validator_index"])
    watched = _watched(facts)
    missed = duties[duties["outcome"].isin(["missed", "orphaned"]).to_numpy(np.bool_)]
    estimates = facts.tables["block_rewards"][["slot", "missed_estimate"]]
    missed = missed.merge(estimates, on="slot", how="left")
    rows, ours = _rows_of(watched, missed["validator_index"].to_numpy(np.int64))
    value = np.bincount(rows, minlength=len(watched)).astype(np.float64)
    cost = np.zeros(len(watched), np.int64)
    np.add.at(cost, rows, _gwei(missed["missed_estimate"])[ours])
    slot = np.full(len(watched), -1, np.int64)
    slot[rows] = missed["slot"].to_numpy(np.int64)[ours]
    unsure = unowned | (value > 0)
    verdict = np.where(value >= settings.threshold, BAD, np.where(unsure, UNKNOWN, GOOD))
    return Judgement(watched, verdict.astype(np.int8), value, cost, slot)


def sync_participation(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: so large a share of the signatures due is missing. Unknown when none was due."""
    duties = facts.tables["sync_duties"]
    due, missed = (duties[name].to_numpy(np.int64) for name in ("due", "missed"))
    share = _share(missed, due)
    return _judged(duties, _above(share, settings), share)


def slashing(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: slashed within the epoch, by the two statuses or, where one of them is not known, by the
    epoch's blocks. Good: not slashed at its end. Unknown: slashed before, or no status."""
    before, after = _statuses(facts)
    slashed = after["status"].isin(_SLASHED).to_numpy(np.bool_)
    was = _had(before[before["status"].isin(_SLASHED).to_numpy(np.bool_)], after)
    unclear = _without_status(before, after)
    in_block = unclear & ~was & _happened(facts, _SLASHING_EVENTS, after)
    # Exited and withdrawn validators may have been slashed long ago: their status does not tell.
    gone = after["status"].isin(["withdrawal_possible", "withdrawal_done"]).to_numpy(np.bool_)
    unknown = slashed | gone | after["status"].isna().to_numpy(np.bool_)
    bad = (slashed & ~was & ~unclear) | in_block
    verdict = np.where(bad, BAD, np.where(unknown, UNKNOWN, GOOD))
    lost = _slashing_losses(facts, after)
    return _judged(after, verdict.astype(np.int8), (slashed | in_block).astype(np.float64), lost)


def exit_initiated(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: began to leave within the epoch, and not by a slashing, which is an alert of its own; by
    the two statuses or, where one of them is not known, by a voluntary exit in the epoch's blocks.
    Good: stays."""
    before, after = _statuses(facts)
    stays = after["status"].isin(_STAYING).to_numpy(np.bool_)
    slashed = after["status"].isin(_SLASHED).to_numpy(np.bool_)
    stayed = _had(before[before["status"].isin(_STAYING).to_numpy(np.bool_)], after)
    unclear = _without_status(before, after)
    left = np.where(unclear, _happened(facts, _EXIT_EVENTS, after), stayed & ~slashed)
    verdict = np.where(stays, GOOD, np.where(left, BAD, UNKNOWN)).astype(np.int8)
    return _judged(after, verdict, (~stays).astype(np.float64))


def balance_drop(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: rewards and penalties of the epoch took so many millionths of the opening balance.

    What was moved on purpose (withdrawals, deposits, consolidations) is no drop. Unknown in a leak,
    and where one of the components is.
    """
    ledger = facts.tables["balance_ledger"]
    names = ("attestation", "sync", "proposer", "whistleblower", "slashing", "slashing_correlation")
    earned = np.sum([_gwei(ledger[name]) for name in names], axis=0, dtype=np.int64)
    absent = ledger[list(names)].isna().any(axis=1).to_numpy(np.bool_)
    lost = np.where(absent, 0, np.maximum(-earned, 0))
    opening = ledger["opening_balance"].to_numpy(np.int64)
    # In double precision: it is compared with a whole threshold and told, never added up.
    parts = np.where(opening > 0, lost * 1e6 / np.maximum(opening, 1), np.nan)
    parts[absent] = np.nan
    unknown = np.full(len(parts), facts.leak) & (_gwei(ledger["slashing"]) == 0)
    return _judged(ledger, _above(parts, settings, unknown=unknown), parts, lost)


def ledger_residual(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: so many gwei of the change of balance have no known reason. Unknown where a component of
    the ledger is."""
    ledger = facts.tables["balance_ledger"]
    unexplained = (ledger["residual_class"] == "unexplained").to_numpy(np.bool_)
    residual = np.where(unexplained, np.abs(_gwei(ledger["residual"])), 0)
    bad = unexplained & (residual >= settings.threshold)
    unsure = unexplained | ledger["residual"].isna().to_numpy(np.bool_)
    verdict = np.where(bad, BAD, np.where(unsure, UNKNOWN, GOOD)).astype(np.int8)
    return _judged(ledger, verdict, residual.astype(np.float64), residual)


def missed_attestation_share(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: of the attestations of the group that a block could carry, so large a share is not on
    the chain. Attestations that may be excused, since no cause of their miss is stored, do not
    count."""
    sums = facts.tables["epoch_summaries"]
    # Slashed validators may be included: they are excused all the same.
    excused = sums[[f"misses_{name}" for name in _EXCUSED]].sum(axis=1)
    missed = sums["misses_not_included"]
    unsure = (sums["duties"] - sums["included"] - excused - missed).clip(lower=0)
    possible = sums["duties"] - excused - unsure
    share = _share(missed.to_numpy(np.int64), possible.to_numpy(np.int64))
    return _of_groups(sums, _above(share, settings), share, _gwei(sums["cost_not_included"]))


def below_network(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: the group's share of the ideal reward is that much below the median validator's, who
    had the same blocks and the same leak. Unknown where the whole registry is not read."""
    sums = facts.tables["epoch_summaries"]
    median = facts.tables["network_epochs"]["reward_effectiveness_p50"].to_numpy(np.float64)
    earned = sums["scored_reward"].to_numpy(np.float64, na_value=np.nan)
    ideal = sums["scored_ideal_reward"].to_numpy(np.float64, na_value=np.nan)
    share = np.divide(earned, ideal, out=np.full(len(ideal), np.nan), where=ideal > 0)
    distance = share - (median[0] if len(median) else np.nan)
    lost = _gwei(sums["scored_ideal_reward"] - sums["scored_reward"])
    verdict = _below(distance, settings, unknown=np.full(len(distance), facts.leak))
    return _of_groups(sums, verdict, distance, lost)


JUDGES: Final[Mapping[AlertType, Judge]] = {
    AlertType.MISSED_ATTESTATIONS: missed_attestations,
    AlertType.MISSED_ATTESTATION_SHARE: missed_attestation_share,
    AlertType.LOW_EFFECTIVENESS: low_effectiveness,
    AlertType.BELOW_NETWORK: below_network,
    AlertType.MISSED_PROPOSAL: missed_proposal,
    AlertType.SYNC_PARTICIPATION: sync_participation,
    AlertType.SLASHING: slashing,
    AlertType.EXIT: exit_initiated,
    AlertType.BALANCE_DROP: balance_drop,
    AlertType.LEDGER_RESIDUAL: ledger_residual,
}


def _above(
    value: Float64Array, settings: RuleSettings, *, unknown: BoolArray | None = None
) -> Int8Array:
    """A value from the threshold on is bad, one below ``clear`` is good; ``clear`` ≤ threshold."""
    good = value < settings.clear if settings.clear < settings.threshold else None
    return _verdict(value >= settings.threshold, good, value, unknown)


def _below(
    value: Float64Array, settings: RuleSettings, *, unknown: BoolArray | None = None
) -> Int8Array:
    """A value below the threshold is bad, one from ``clear`` on is good; ``clear`` ≥ threshold."""
    return _verdict(value < settings.threshold, value >= settings.clear, value, unknown)


def _verdict(
    bad: BoolArray, good: BoolArray | None, value: Float64Array, unknown: BoolArray | None
) -> Int8Array:
    good = ~bad if good is None else good
    verdict = np.where(bad, BAD, np.where(good, GOOD, UNKNOWN))
    absent = np.isnan(value) if unknown is None else np.isnan(value) | unknown
    return np.where(absent, UNKNOWN, verdict).astype(np.int8)


def _judged(
    frame: pd.DataFrame,
    verdict: Int8Array,
    value: Float64Array,
    cost: Int64Array | None = None,
    slot: Int64Array | None = None,
) -> Judgement:
    subjects = frame["validator_index"].to_numpy(np.int64)
    none = np.zeros(len(subjects), np.int64)
    return Judgement(
        subjects, verdict, value, none if cost is None else cost, none - 1 if slot is None else slot
    )


def _of_groups(
    sums: pd.DataFrame, verdict: Int8Array, value: Float64Array, cost: Int64Array
) -> Judgement:
    """Of groups that have a name: those without a label of a category are nobody's."""
    value_name = sums["value"].astype(str).to_numpy(dtype=object)
    names = (sums["category"].astype(str).to_numpy(dtype=object) + ":") + value_name
    named = np.flatnonzero(value_name != "")
    order = named[np.argsort(names[named].astype(str), kind="stable")]
    slot = np.full(len(order), -1, np.int64)
    return Judgement(names[order], verdict[order], value[order], cost[order], slot)


def _share(part: Int64Array, whole: Int64Array) -> Float64Array:
    share = np.full(len(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _gwei(column: pd.Series) -> Int64Array:
    """Amounts, 0 where they are unknown."""
    return column.to_numpy(dtype=np.int64, na_value=0)


def _watched(facts: EpochFacts) -> Int64Array:
    return _statuses(facts)[1]["validator_index"].to_numpy(np.int64)


def _statuses(facts: EpochFacts) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Snapshots at the first slot of the epoch and of the next one."""
    snapshots = facts.tables["validator_snapshots"]
    first = facts.epoch * facts.slots_per_epoch
    before, after = (
        snapshots[snapshots["slot"] == slot].reset_index(drop=True)
        for slot in (first, first + facts.slots_per_epoch)
    )
    return before, after


def _without_status(before: pd.DataFrame, after: pd.DataFrame) -> BoolArray:
    """Rows of ``after`` (n) whose status is not known at one of the two ends."""
    at_start = _had(before[before["status"].isna().to_numpy(np.bool_)], after)
    return at_start | after["status"].isna().to_numpy(np.bool_)


def _happened(facts: EpochFacts, kinds: tuple[str, ...], after: pd.DataFrame) -> BoolArray:
    """To which validators (of ``after``, n) the epoch's blocks did one of ``kinds``."""
    events = facts.tables["block_events"]
    ignored = events["effective"].eq(False).fillna(False)
    ours = events[(events["event_type"].isin(kinds) & ~ignored).to_numpy(np.bool_)]
    return np.isin(
        after["validator_index"].to_numpy(np.int64),
        ours["validator_index"].dropna().to_numpy(np.int64),
    )


def _had(before: pd.DataFrame, after: pd.DataFrame) -> BoolArray:
    """Which validators of ``after`` are among those of ``before``."""
    return np.isin(after["validator_index"].to_numpy(), before["validator_index"].to_numpy())


def _rows_of(known: Int64Array, wanted: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Where those of ``wanted`` that are known are in ``known`` (ascending), and which they are."""
    at = np.searchsorted(known, wanted)
    inside = at < len(known)
    inside[inside] = known[at[inside]] == wanted[inside]
    return at[inside].astype(np.int64), inside


def _slashing_losses(facts: EpochFacts, after: pd.DataFrame) -> Int64Array:
    """The initial penalty of each validator in gwei, by the ledger."""
    validators = after["validator_index"].to_numpy(np.int64)
    ledger = facts.tables["balance_ledger"]
    lost = np.zeros(len(validators), np.int64)
    rows, ours = _rows_of(validators, ledger["validator_index"].to_numpy(np.int64))
    lost[rows] = np.maximum(-ledger["slashing"].to_numpy(np.int64)[ours], 0)
    return lost

"""Every alert rule, one object each, after the function that judges.

A new rule is an object here, listed in ``EPOCH_RULES`` or ``SYSTEM_RULES``, and its runbook in
docs/alerts.md: checks, settings, messages, columns read and the backtest follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.rule import (
    BAD,
    GOOD,
    UNKNOWN,
    EpochFacts,
    EpochRule,
    Judgement,
    Rule,
    RuleSettings,
    SystemFacts,
    SystemRule,
)
from valmon_pipeline.alerting.verdicts import (
    above,
    among,
    below,
    gwei,
    in_blocks,
    of_groups,
    of_validators,
    rows_of,
    share,
    statuses,
    without_status,
)

_EXCUSED: Final = ("no_opportunity", "exit_boundary", "slashed")
_SLASHED: Final = ("active_slashed", "exited_slashed")
_GONE: Final = ("withdrawal_possible", "withdrawal_done")
_STAYING: Final = ("pending_initialized", "pending_queued", "active_ongoing")
_SLASHING_EVENTS: Final = ("proposer_slashing", "attester_slashing")
_EXIT_EVENTS: Final = ("voluntary_exit",)
_PENALIZED: Final = (
    *("attestation", "sync", "proposer"),
    *("whistleblower", "slashing", "slashing_correlation"),
)
_REGISTRIES: Final = frozenset({"registry_at_start", "registry_at_end"})
_LEDGER: Final = _REGISTRIES | {
    *("previous_attestation_rewards", "sync_committee", "sync_rewards", "block_rewards")
}


def _missed_attestations(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: not included although a block could have carried it. Good: included, however late.
    Unknown where no cause is stored: the validator may have been excused."""
    outcomes = facts.tables["attestation_outcomes"]
    included = outcomes["included"].to_numpy(np.bool_)
    cause = outcomes["miss_cause"]
    excused = (cause.isin(_EXCUSED) | cause.isna()).to_numpy(np.bool_)
    verdict = np.where(included, GOOD, np.where(excused, UNKNOWN, BAD)).astype(np.int8)
    return of_validators(
        outcomes,
        verdict,
        (~included).astype(np.float64),
        cost=gwei(outcomes["cost"]),
        slot=outcomes["slot"].to_numpy(np.int64),
    )


MISSED_ATTESTATIONS: Final = EpochRule(
    name="missed_attestations",
    title="Attestations missed in a row",
    threshold_is="1 (a miss is a miss; set open_after)",
    bounds=(1, 1),
    defaults=RuleSettings(1, 1, 3, 2, Severity.WARNING),
    judge=_missed_attestations,
    reads={
        "attestation_outcomes": ("validator_index", "slot", "included", "miss_cause", "cost"),
    },
    needs=frozenset({"committees"}),
    happened="{epochs} attestations missed in a row",
)


def _missed_attestation_share(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: of the attestations of the group that a block could carry, so large a share is not on
    the chain. Attestations that may be excused, since no cause of their miss is stored, do not
    count."""
    sums = facts.tables["epoch_summaries"]
    # Slashed validators may be included: they are excused all the same.
    excused = sums[[f"misses_{name}" for name in _EXCUSED]].sum(axis=1)
    missed = sums["misses_not_included"]
    unsure = (sums["duties"] - sums["included"] - excused - missed).clip(lower=0)
    possible = sums["duties"] - excused - unsure
    missing = share(missed.to_numpy(np.int64), possible.to_numpy(np.int64))
    return of_groups(sums, above(missing, settings), missing, gwei(sums["cost_not_included"]))


MISSED_ATTESTATION_SHARE: Final = EpochRule(
    name="missed_attestation_share",
    title="Share of a group's attestations missed",
    threshold_is="share missed of those a block could carry",
    bounds=(0.001, 1),
    defaults=RuleSettings(0.1, 0.05, 2, 2, Severity.CRITICAL),
    judge=_missed_attestation_share,
    reads={
        "epoch_summaries": (
            *("category", "value", "duties", "included", "cost_not_included"),
            *("misses_not_included", "misses_no_opportunity", "misses_exit_boundary"),
            "misses_slashed",
        ),
    },
    needs=frozenset({"committees"}),
    happened="{value:.1%} of attestations missed",
    about_labels=True,
)


def _low_effectiveness(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: a time-weighted score below the threshold. The score is by what was attainable, so
    that what others cost does not lower it; it says nothing about epochs in a leak, nor about
    those without duties that are known, in which it is still that of the epochs before."""
    standings = facts.tables["validator_standings"]
    score = standings["time_weighted_score"].to_numpy(np.float64)
    stale = facts.leak or "committees" in facts.missing
    verdict = below(score, settings, unknown=np.full(len(score), stale))
    return of_validators(standings, verdict, score)


LOW_EFFECTIVENESS: Final = EpochRule(
    name="low_effectiveness",
    title="Time-weighted score too low",
    threshold_is="time-weighted score",
    bounds=(-10, 1),
    defaults=RuleSettings(0.8, 0.85, 2, 2, Severity.WARNING),
    higher_is_worse=False,
    judge=_low_effectiveness,
    reads={
        "validator_standings": ("validator_index", "time_weighted_score"),
        "network_epochs": ("leak",),
    },
    needs=frozenset({"committees", "finality"}),
    happened="time-weighted score {value:.3f}",
)


def _below_network(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: the group's share of the ideal reward is that much below the median validator's, who
    had the same blocks and the same leak. Unknown where the whole registry is not read."""
    sums = facts.tables["epoch_summaries"]
    median = facts.tables["network_epochs"]["reward_effectiveness_p50"].to_numpy(np.float64)
    earned = sums["scored_reward"].to_numpy(np.float64, na_value=np.nan)
    ideal = sums["scored_ideal_reward"].to_numpy(np.float64, na_value=np.nan)
    part = np.divide(earned, ideal, out=np.full(len(ideal), np.nan), where=ideal > 0)
    distance = part - (median[0] if len(median) else np.nan)
    lost = gwei(sums["scored_ideal_reward"] - sums["scored_reward"])
    verdict = below(distance, settings, unknown=np.full(len(distance), facts.leak))
    return of_groups(sums, verdict, distance, lost)


BELOW_NETWORK: Final = EpochRule(
    name="below_network",
    title="Group earns less of the ideal than the network",
    threshold_is="reward effectiveness less the network's median",
    bounds=(-10, 0),
    defaults=RuleSettings(-0.05, -0.03, 3, 2, Severity.WARNING),
    higher_is_worse=False,
    judge=_below_network,
    reads={
        "epoch_summaries": ("category", "value", "scored_reward", "scored_ideal_reward"),
        "network_epochs": ("reward_effectiveness_p50", "leak"),
    },
    needs=frozenset({"registry_at_end", "attestation_rewards", "finality"}),
    happened="share of the ideal reward {shortfall:.1%} below the network's median",
    about_labels=True,
)


def _missed_proposal(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: so many blocks of the validator are not on the chain. Good: fewer, or none due.
    Unknown while it is not known whose the missed slots are."""
    duties = facts.tables["proposer_duties"]
    unowned = bool(duties["validator_index"].isna().any()) or "proposers" in facts.missing
    duties = duties.dropna(subset=["validator_index"])
    watched = statuses(facts)[1]["validator_index"].to_numpy(np.int64)
    missed = duties[duties["outcome"].isin(["missed", "orphaned"]).to_numpy(np.bool_)]
    estimates = facts.tables["block_rewards"][["slot", "missed_estimate"]]
    missed = missed.merge(estimates, on="slot", how="left")
    rows, ours = rows_of(watched, missed["validator_index"].to_numpy(np.int64))
    value = np.bincount(rows, minlength=len(watched)).astype(np.float64)
    cost = np.zeros(len(watched), np.int64)
    np.add.at(cost, rows, gwei(missed["missed_estimate"])[ours])
    slot = np.full(len(watched), -1, np.int64)
    slot[rows] = missed["slot"].to_numpy(np.int64)[ours]
    unsure = unowned | (value > 0)
    verdict = np.where(value >= settings.threshold, BAD, np.where(unsure, UNKNOWN, GOOD))
    return Judgement(watched, verdict.astype(np.int8), value, cost, slot)


MISSED_PROPOSAL: Final = EpochRule(
    name="missed_proposal",
    title="Block proposal missed",
    threshold_is="blocks missed in an epoch",
    bounds=(1, 1000),
    defaults=RuleSettings(1, 1, 1, 4, Severity.CRITICAL),
    judge=_missed_proposal,
    reads={
        "proposer_duties": ("slot", "validator_index", "outcome"),
        "block_rewards": ("slot", "missed_estimate"),
        "validator_snapshots": ("slot", "validator_index"),
    },
    needs=frozenset({"proposers"}),
    happened="block of slot {slot} missed",
    live_event="proposal_missed",
)


def _sync_participation(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: so large a share of the signatures due is missing. Unknown when none was due."""
    duties = facts.tables["sync_duties"]
    due, missed = (duties[name].to_numpy(np.int64) for name in ("due", "missed"))
    missing = share(missed, due)
    return of_validators(duties, above(missing, settings), missing)


SYNC_PARTICIPATION: Final = EpochRule(
    name="sync_participation",
    title="Sync committee signatures missed",
    threshold_is="share missed of those due",
    bounds=(0.001, 1),
    defaults=RuleSettings(0.5, 0.2, 2, 2, Severity.WARNING),
    judge=_sync_participation,
    reads={"sync_duties": ("validator_index", "due", "missed")},
    needs=frozenset({"sync_committee"}),
    happened="{value:.0%} of sync committee signatures missed",
)


def _slashing(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: slashed within the epoch, by the two statuses or, where one of them is not known, by the
    epoch's blocks. Good: not slashed at its end. Unknown: slashed before, or no status."""
    before, after = statuses(facts)
    slashed = after["status"].isin(_SLASHED).to_numpy(np.bool_)
    was = among(after, before[before["status"].isin(_SLASHED).to_numpy(np.bool_)])
    unclear = without_status(before, after)
    in_block = unclear & ~was & in_blocks(facts, _SLASHING_EVENTS, after)
    # Exited and withdrawn validators may have been slashed long ago: their status does not tell.
    gone = after["status"].isin(_GONE).to_numpy(np.bool_)
    unknown = slashed | gone | after["status"].isna().to_numpy(np.bool_)
    bad = (slashed & ~was & ~unclear) | in_block
    verdict = np.where(bad, BAD, np.where(unknown, UNKNOWN, GOOD))
    ledger = facts.tables["balance_ledger"]
    lost = np.zeros(len(after), np.int64)
    rows, ours = rows_of(
        after["validator_index"].to_numpy(np.int64), ledger["validator_index"].to_numpy(np.int64)
    )
    lost[rows] = np.maximum(-gwei(ledger["slashing"])[ours], 0)
    value = (slashed | in_block).astype(np.float64)
    return of_validators(after, verdict.astype(np.int8), value, lost)


SLASHING: Final = EpochRule(
    name="slashing",
    title="Validator slashed",
    threshold_is="1 (set severity or enabled)",
    bounds=(1, 1),
    defaults=RuleSettings(1, 1, 1, 0, Severity.CRITICAL),
    judge=_slashing,
    reads={
        "validator_snapshots": ("slot", "validator_index", "status"),
        "block_events": ("event_type", "validator_index", "effective"),
        "balance_ledger": ("validator_index", "slashing"),
    },
    needs=_REGISTRIES,
    happened="slashed",
    live_event="slashed",
)


def _exit(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: began to leave within the epoch, and not by a slashing, which is an alert of its own; by
    the two statuses or, where one of them is not known, by a voluntary exit in the epoch's blocks.
    Good: stays."""
    before, after = statuses(facts)
    stays = after["status"].isin(_STAYING).to_numpy(np.bool_)
    slashed = after["status"].isin(_SLASHED).to_numpy(np.bool_)
    stayed = among(after, before[before["status"].isin(_STAYING).to_numpy(np.bool_)])
    unclear = without_status(before, after)
    left = np.where(unclear, in_blocks(facts, _EXIT_EVENTS, after), stayed & ~slashed)
    verdict = np.where(stays, GOOD, np.where(left, BAD, UNKNOWN)).astype(np.int8)
    return of_validators(after, verdict, (~stays).astype(np.float64))


EXIT: Final = EpochRule(
    name="exit",
    title="Validator is leaving",
    threshold_is="1 (set severity or enabled)",
    bounds=(1, 1),
    defaults=RuleSettings(1, 1, 1, 0, Severity.WARNING),
    judge=_exit,
    reads={
        "validator_snapshots": ("slot", "validator_index", "status"),
        "block_events": ("event_type", "validator_index", "effective"),
    },
    needs=_REGISTRIES,
    happened="exit initiated",
    live_event="exit_initiated",
)


def _balance_drop(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: rewards and penalties of the epoch took so many millionths of the opening balance.

    What was moved on purpose (withdrawals, deposits, consolidations) is no drop. Unknown in a leak,
    and where one of the components is.
    """
    ledger = facts.tables["balance_ledger"]
    earned = np.sum([gwei(ledger[name]) for name in _PENALIZED], axis=0, dtype=np.int64)
    absent = ledger[list(_PENALIZED)].isna().any(axis=1).to_numpy(np.bool_)
    lost = np.where(absent, 0, np.maximum(-earned, 0))
    opening = ledger["opening_balance"].to_numpy(np.int64)
    # In double precision: it is compared with a whole threshold and told, never added up.
    parts = np.where(opening > 0, lost * 1e6 / np.maximum(opening, 1), np.nan)
    parts[absent] = np.nan
    unknown = np.full(len(parts), facts.leak) & (gwei(ledger["slashing"]) == 0)
    return of_validators(ledger, above(parts, settings, unknown=unknown), parts, lost)


BALANCE_DROP: Final = EpochRule(
    name="balance_drop",
    title="Balance dropped",
    threshold_is="parts per million of the balance lost in an epoch, without withdrawals and the "
    "like",
    bounds=(1, 1_000_000),
    defaults=RuleSettings(1000, 500, 1, 2, Severity.CRITICAL),
    judge=_balance_drop,
    reads={
        "balance_ledger": ("validator_index", "opening_balance", *_PENALIZED),
        "network_epochs": ("leak",),
    },
    needs=_LEDGER | {"finality"},
    happened="{value:,.0f} millionths of the balance lost in an epoch",
)


def _ledger_residual(facts: EpochFacts, settings: RuleSettings) -> Judgement:
    """Bad: so many gwei of the change of balance have no known reason. Unknown where a component of
    the ledger is."""
    ledger = facts.tables["balance_ledger"]
    unexplained = (ledger["residual_class"] == "unexplained").to_numpy(np.bool_)
    residual = np.where(unexplained, np.abs(gwei(ledger["residual"])), 0)
    bad = unexplained & (residual >= settings.threshold)
    unsure = unexplained | ledger["residual"].isna().to_numpy(np.bool_)
    verdict = np.where(bad, BAD, np.where(unsure, UNKNOWN, GOOD)).astype(np.int8)
    return of_validators(ledger, verdict, residual.astype(np.float64), residual)


LEDGER_RESIDUAL: Final = EpochRule(
    name="ledger_residual",
    title="Ledger does not add up",
    threshold_is="gwei of the change of balance that nothing explains",
    bounds=(1, 2**53),
    defaults=RuleSettings(1, 1, 1, 1, Severity.WARNING),
    judge=_ledger_residual,
    reads={"balance_ledger": ("validator_index", "residual", "residual_class")},
    needs=_LEDGER | {"withdrawals"},
    happened="{value:,.0f} gwei unexplained",
)


def _node_unhealthy(
    facts: SystemFacts, settings: RuleSettings, is_fresh: bool
) -> tuple[str | None, bool]:
    behind = facts.slots_behind if is_fresh else None
    problem: str | None = None
    if facts.node_problem:
        problem = facts.node_problem
    elif is_fresh and facts.is_optimistic:
        problem = "the node has not verified the head's execution payload (optimistic)"
    elif behind is not None and behind >= settings.threshold:
        problem = f"the head is {behind} slots behind the clock"
    elif facts.disagreement:
        problem = facts.disagreement
    return problem, problem is None and behind is not None and behind <= settings.clear


NODE_UNHEALTHY: Final = SystemRule(
    name="node_unhealthy",
    title="Beacon node unhealthy",
    threshold_is="slots that the head is behind the clock",
    bounds=(1, 10_000),
    defaults=RuleSettings(8, 4, 1, 1, Severity.CRITICAL),
    subject="node",
    look=_node_unhealthy,
)


def _data_late(
    facts: SystemFacts, settings: RuleSettings, is_fresh: bool
) -> tuple[str | None, bool]:
    late = facts.epochs_late
    if late is None:
        return None, False
    problem = f"{late} epochs are over and not stored"
    if facts.is_empty:
        problem += "; none ever was: the failed runs in the Dagster UI say why"
    return problem if late >= settings.threshold else None, late <= settings.clear


DATA_LATE: Final = SystemRule(
    name="data_late",
    title="Epochs are stored late",
    threshold_is="epochs that are over and not stored",
    bounds=(1, 10_000),
    defaults=RuleSettings(3, 2, 1, 1, Severity.WARNING),
    subject="data",
    look=_data_late,
)


def _pipeline_stalled(
    facts: SystemFacts, settings: RuleSettings, is_fresh: bool
) -> tuple[str | None, bool]:
    unseen = facts.seconds_since_seen
    if unseen is None:
        return None, False
    # Without a node, nothing can be looked at: that is the node's alert.
    if unseen >= settings.threshold and facts.node_problem == "":
        return f"the head was last looked at {unseen:.0f} s ago, though a node answers", False
    return None, is_fresh and unseen <= settings.clear


PIPELINE_STALLED: Final = SystemRule(
    name="pipeline_stalled",
    title="Pipeline stands still",
    threshold_is="seconds since the head was last looked at",
    bounds=(10, 86_400),
    defaults=RuleSettings(180, 60, 1, 1, Severity.CRITICAL),
    subject="pipeline",
    look=_pipeline_stalled,
)


def _by_name(*rules: EpochRule) -> Mapping[str, EpochRule]:
    return MappingProxyType({rule.name: rule for rule in rules})


EPOCH_RULES: Final = _by_name(
    *(MISSED_ATTESTATIONS, MISSED_ATTESTATION_SHARE, LOW_EFFECTIVENESS, BELOW_NETWORK),
    *(MISSED_PROPOSAL, SYNC_PARTICIPATION, SLASHING, EXIT, BALANCE_DROP, LEDGER_RESIDUAL),
)
"""The rules about epochs by name, in the order in which they are evaluated."""

SYSTEM_RULES: Final = (NODE_UNHEALTHY, DATA_LATE, PIPELINE_STALLED)
RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {**EPOCH_RULES, **{rule.name: rule for rule in SYSTEM_RULES}}
)


def _columns_read() -> Mapping[str, tuple[str, ...]]:
    columns: dict[str, set[str]] = {}
    for rule in EPOCH_RULES.values():
        for table, names in rule.reads.items():
            columns.setdefault(table, set()).update(names)
    return {table: ("epoch", *sorted(names)) for table, names in sorted(columns.items())}


COLUMNS_READ: Final = _columns_read()
"""The columns that the rules read, by table."""

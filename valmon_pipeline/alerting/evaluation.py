"""An epoch and those before it, the rules and the alerts there are, to what changes about alerts.

Evaluating the same epoch again changes nothing if its facts are the same: what an alert of the
epoch says already is not said twice. An older epoch than the newest one evaluated (a gap filled, an
epoch stored again after a reorganisation) opens alerts about events only, and resolves none: how
validators do now is not what it tells. But it retracts alerts that it had opened and that its facts
no longer bear out.

Epochs that lack a fact a rule judges by are no evidence that anything is over: they are not counted
among those in which there was nothing to judge, and retract nothing about groups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

import numpy as np

from valmon_pipeline.alerting.judgements import (
    BAD,
    GOOD,
    JUDGES,
    BoolArray,
    EpochFacts,
    Int64Array,
    is_blind,
)
from valmon_pipeline.alerting.kinds import AlertType, Severity
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.life_cycle import (
    INDICES_KEPT,
    Alert,
    Change,
    Finding,
    found_again,
    opened,
    resolved,
    retracted,
)
from valmon_pipeline.alerting.messages import about_group, about_label, about_validator
from valmon_pipeline.alerting.rules import EPOCH_RULES, RULES, AlertRules, RuleSettings, Scope
from valmon_pipeline.alerting.streaks import Streaks, streaks

EVENTS: Final = frozenset({AlertType.MISSED_PROPOSAL, AlertType.SLASHING, AlertType.EXIT})
"""Rules about something that happened, not about how a validator does."""
_ONE: Final = "validator:"


@dataclass(slots=True)
class Evaluation:
    """What an epoch changes. ``refreshed`` are live alerts with newer figures, nothing to tell of;
    ``findings`` is everything found in the epoch, whether or not an alert is open about it;
    ``blind`` are the rules whose facts the epoch lacks."""

    epoch: int
    changes: list[Change] = field(default_factory=list)
    refreshed: list[Alert] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    blind: frozenset[AlertType] = frozenset()


def evaluate_epoch(
    rules: AlertRules,
    history: Sequence[EpochFacts],
    labels: Labels,
    alerts: Sequence[Alert],
    *,
    is_newest: bool,
    kinds: Collection[AlertType] = EPOCH_RULES,
) -> Evaluation:
    """Evaluate the first of ``history``: the epoch and those before it, descending, as far as they
    are stored and within the window of the rules.

    ``alerts`` are all that are live and all that tell of this epoch. ``is_newest``: no later epoch
    was evaluated before. ``kinds`` are the rules to apply.
    """
    evaluation = Evaluation(
        history[0].epoch, blind=frozenset(kind for kind in kinds if is_blind(kind, history[0]))
    )
    for kind in kinds:
        ours = [alert for alert in alerts if alert.finding.kind is kind]
        if RULES[kind].scope is Scope.GROUP:
            found, over, gone = _groups(rules, kind, history, ours)
        else:
            found, over, gone = _validators(rules, kind, history, labels, ours)
        evaluation.findings += found
        _decide(evaluation, kind, ours, found, over, gone, is_newest=is_newest)
    return evaluation


def _decide(
    evaluation: Evaluation,
    kind: AlertType,
    alerts: Sequence[Alert],
    found: Sequence[Finding],
    over: dict[str, str],
    gone: set[str],
    *,
    is_newest: bool,
) -> None:
    """Enter what becomes of the ``alerts`` of a rule. ``over`` are subjects whose alert is over,
    with the reason; ``gone`` those in whom nothing is wrong in this epoch."""
    epoch = evaluation.epoch
    live = {alert.finding.subject: alert for alert in alerts if alert.is_live}
    told = {alert.finding.subject for alert in alerts if alert.tells_of(epoch)}
    for finding in found:
        alert = live.get(finding.subject)
        if alert is None:
            if finding.subject not in told and (is_newest or kind in EVENTS):
                evaluation.changes.append(opened(finding))
        elif finding.subject in over and is_newest and epoch > alert.finding.epoch:
            continue
        elif is_newest or (kind in EVENTS and epoch > alert.last_epoch):
            after = found_again(alert, finding, is_event=kind in EVENTS)
            if isinstance(after, Change):
                evaluation.changes.append(after)
            elif after != alert:
                evaluation.refreshed.append(after)
    found_now = {finding.subject for finding in found}
    for subject, alert in live.items():
        change: Change | None = None
        if alert.finding.epoch == epoch and subject in gone and subject not in found_now:
            reason = f"epoch {epoch} shows nothing of it: the chain it was seen on was left behind"
            change = retracted(alert, reason)
        elif is_newest and epoch > alert.finding.epoch and subject in over:
            change = resolved(alert, over[subject])
        if change is not None:
            evaluation.changes.append(change)


Outcome = tuple[list[Finding], dict[str, str], set[str]]


def _groups(
    rules: AlertRules, kind: AlertType, history: Sequence[EpochFacts], alerts: Sequence[Alert]
) -> Outcome:
    """The outcome of a rule about labels."""
    found: list[Finding] = []
    over: dict[str, str] = {}
    gone: set[str] = set()
    labels = {str(one) for facts in history for one in _named(facts)}
    runs: dict[RuleSettings, tuple[Streaks, dict[str, int]]] = {}
    for label in sorted(labels):
        settings = rules.settings(kind, frozenset({label}))
        if settings not in runs:
            made = _streaks(kind, settings, history)
            runs[settings] = made, {str(one): row for row, one in enumerate(made.subjects)}
        run, row_of = runs[settings]
        row = row_of.get(label)
        if row is None:
            continue
        if not settings.enabled:
            over[label] = "the rule is switched off"
            continue
        if run.newest[row] == BAD and run.bad[row] >= settings.open_after:
            epochs, value = int(run.bad[row]), float(run.value[row])
            found.append(
                Finding(
                    kind,
                    settings.severity,
                    label,
                    (label,),
                    (),
                    0,
                    history[0].epoch,
                    int(run.since[row]),
                    None,
                    about_label(kind, label, epochs, value),
                    int(run.cost[row]),
                )
            )
        if run.newest[row] == GOOD and not is_blind(kind, history[0]):
            gone.add(label)
        if settings.resolve_after and run.good[row] >= settings.resolve_after:
            over[label] = f"good for {int(run.good[row])} epochs"
    if _sighted(kind, history):
        over |= {
            alert.finding.subject: "nothing to judge any more"
            for alert in alerts
            if alert.is_live and alert.finding.subject not in labels
        }
    return found, over, gone


def _sighted(kind: AlertType, history: Sequence[EpochFacts]) -> int:
    """Number of epochs of the window that have every fact that the rule judges by."""
    return sum(not is_blind(kind, facts) for facts in history)


def _named(facts: EpochFacts) -> Iterator[str]:
    sums = facts.tables["epoch_summaries"]
    for category, value in zip(
        sums["category"].astype(str), sums["value"].astype(str), strict=True
    ):
        if value:
            yield f"{category}:{value}"


def _streaks(kind: AlertType, settings: RuleSettings, history: Sequence[EpochFacts]) -> Streaks:
    return streaks([(facts.epoch, JUDGES[kind](facts, settings)) for facts in history])


@dataclass(frozen=True, slots=True)
class _Settled:
    """Validators (n) by what the settings of each make of its streaks."""

    run: Streaks
    firing: BoolArray
    clear: BoolArray
    severity: Int64Array


def _validators(
    rules: AlertRules,
    kind: AlertType,
    history: Sequence[EpochFacts],
    labels: Labels,
    alerts: Sequence[Alert],
) -> Outcome:
    """The outcome of a rule about validators: those that fail as a group are one finding."""
    settled = [
        _settled(rules, settings, kind, history, whose, labels)
        for settings, whose in _partitions(rules, kind)
    ]
    found: list[Finding] = []
    over: dict[str, str] = {}
    gone: set[str] = set()
    live = [alert for alert in alerts if alert.is_live]
    everybody = _joined(settled)
    sighted = _sighted(kind, history)
    _validators_alone(rules, kind, everybody, live, over, gone, sighted)
    known = {alert.finding.subject for alert in alerts if _counts(alert, history[0].epoch)}
    alone = np.array(
        [int(subject.removeprefix(_ONE)) for subject in known if subject.startswith(_ONE)],
        dtype=np.int64,
    )
    over_now: dict[str, str] = {}
    gone_now: set[str] = set()
    found += _grouped(
        rules, kind, history[0].epoch, everybody, labels, alone, known, over_now, gone_now
    )
    if not is_blind(kind, history[0]):
        gone |= gone_now
    # Members of whom nothing is known are not among those that fail: that alone ends nothing.
    settings = rules.settings(kind)
    if not settings.enabled or sighted >= min(settings.resolve_after, len(history)):
        over |= over_now
    return found, over, gone


def _counts(alert: Alert, epoch: int) -> bool:
    return alert.is_live or alert.tells_of(epoch)


def _partitions(rules: AlertRules, kind: AlertType) -> list[tuple[RuleSettings, str | None]]:
    """The settings for those with each label that has its own, and for all others at the end."""
    own = [
        (rules.settings(kind, frozenset({label})), label)
        for label in dict.fromkeys(rules.labels_of_overrides(kind))
    ]
    return [*own, (rules.settings(kind), None)]


def _settled(
    rules: AlertRules,
    settings: RuleSettings,
    kind: AlertType,
    history: Sequence[EpochFacts],
    label: str | None,
    labels: Labels,
) -> _Settled:
    run = _streaks(kind, settings, history)
    whose = np.ones(len(run.subjects), np.bool_)
    for earlier in dict.fromkeys(rules.labels_of_overrides(kind)):
        if earlier == label:
            whose &= labels.have(run.subjects, earlier)
            break
        whose &= ~labels.have(run.subjects, earlier)
    rows = np.flatnonzero(whose)
    run = Streaks(**{name: getattr(run, name)[rows] for name in Streaks.__dataclass_fields__})
    count = len(rows)
    firing = (run.newest == BAD) & (run.bad >= settings.open_after)
    clear = run.good >= settings.resolve_after
    if not settings.enabled:
        firing, clear = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    severity = np.full(count, list(Severity).index(settings.severity), np.int64)
    return _Settled(run, firing, clear & (settings.resolve_after > 0), severity)


def _joined(settled: Sequence[_Settled]) -> _Settled:
    """All partitions as one, by validator."""
    order = np.argsort(np.concatenate([one.run.subjects for one in settled]))
    run = Streaks(
        **{
            name: np.concatenate([getattr(one.run, name) for one in settled])[order]
            for name in Streaks.__dataclass_fields__
        }
    )
    others = (
        np.concatenate([getattr(one, name) for one in settled])[order]
        for name in ("firing", "clear", "severity")
    )
    return _Settled(run, *others)


def _validators_alone(
    rules: AlertRules,
    kind: AlertType,
    settled: _Settled,
    live: Sequence[Alert],
    over: dict[str, str],
    gone: set[str],
    epochs: int,
) -> None:
    """Enter which alerts about one validator are over, and which show nothing in this epoch.

    ``epochs`` is how many there are in the window that the rule could judge.
    """
    row_of = {validator: row for row, validator in enumerate(settled.run.subjects.tolist())}
    for alert in live:
        subject = alert.finding.subject
        if not subject.startswith(_ONE):
            continue
        row = row_of.get(int(subject.removeprefix(_ONE)))
        if row is not None and settled.run.newest[row] == GOOD:
            gone.add(subject)
        ends_by_itself = rules.settings(kind, frozenset(alert.finding.labels)).resolve_after > 0
        if row is not None and settled.clear[row]:
            over[subject] = f"good for {int(settled.run.good[row])} epochs"
        elif (
            ends_by_itself
            and (row is None or not settled.run.known[row])
            and 2 * epochs >= rules.window_epochs
        ):
            over[subject] = f"nothing to judge in {epochs} epochs"


def _grouped(
    rules: AlertRules,
    kind: AlertType,
    epoch: int,
    settled: _Settled,
    labels: Labels,
    alone: Int64Array,
    with_alert: set[str],
    over: dict[str, str],
    gone: set[str],
) -> list[Finding]:
    """Findings about validators and groups; enters which alerts about groups are over.

    ``alone`` are validators with an alert of their own, ``with_alert`` all subjects with one.
    """
    run = settled.run
    group = labels.groups(run.subjects)
    sizes = dict(zip(*np.unique(group.astype(str), return_counts=True), strict=True))
    concerned = np.flatnonzero(run.failed)
    groups = group[concerned]
    is_alone = np.isin(run.subjects[concerned], alone)
    found: list[Finding] = []
    for name in sorted(set(groups.tolist()) | (with_alert & sizes.keys())):
        members = concerned[groups == name]
        others = members[~is_alone[groups == name]]
        together = others[settled.firing[others]]
        needed = max(2, min(rules.group_at_least, int(sizes[name])))
        if name in with_alert:
            failing = int((~settled.clear[others]).sum())
            if len(together):
                found.append(_of_group(kind, epoch, settled, together, name, labels))
            elif not bool((run.newest[members] == BAD).any()):
                gone.add(name)
            ends_by_itself = rules.settings(kind, frozenset({name})).resolve_after > 0
            if ends_by_itself and failing < ceil(needed / 2):
                over[name] = f"{failing} of its validators are still failing"
        elif len(together) >= needed:
            found.append(_of_group(kind, epoch, settled, together, name, labels))
        else:
            together = together[:0]
        rest = np.setdiff1d(members[settled.firing[members]], together)
        found += [_of_one(kind, epoch, settled, row, labels) for row in rest.tolist()]
    return found


def _of_one(kind: AlertType, epoch: int, settled: _Settled, row: int, labels: Labels) -> Finding:
    run = settled.run
    validator = int(run.subjects[row])
    return Finding(
        kind,
        list(Severity)[int(settled.severity[row])],
        f"{_ONE}{validator}",
        labels.common(run.subjects[[row]]),
        (validator,),
        1,
        epoch,
        int(run.since[row]),
        int(run.slot[row]) if run.slot[row] >= 0 else None,
        _sentence(kind, run, row),
        int(run.cost[row]),
    )


def _of_group(
    kind: AlertType, epoch: int, settled: _Settled, rows: Int64Array, name: str, labels: Labels
) -> Finding:
    run = settled.run
    indices = tuple(run.subjects[rows].tolist())
    worst = int(rows[np.argmax(run.bad[rows])])
    return Finding(
        kind,
        list(Severity)[int(settled.severity[rows].max())],
        name,
        labels.common(run.subjects[rows]),
        indices[:INDICES_KEPT],
        len(indices),
        epoch,
        int(run.since[rows].min()),
        None,
        about_group(kind, name, indices, len(indices), _sentence(kind, run, worst)),
        int(run.cost[rows].sum()),
    )


def _sentence(kind: AlertType, run: Streaks, row: int) -> str:
    slot = int(run.slot[row]) if run.slot[row] >= 0 else None
    return about_validator(
        kind, int(run.subjects[row]), int(run.bad[row]), slot, float(run.value[row])
    )

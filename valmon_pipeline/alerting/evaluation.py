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

from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.life_cycle import (
    Alert,
    Change,
    Finding,
    found_again,
    opened,
    resolved,
    retracted,
)
from valmon_pipeline.alerting.messages import about_group
from valmon_pipeline.alerting.rule import (
    BAD,
    GOOD,
    UNKNOWN,
    BoolArray,
    EpochFacts,
    EpochRule,
    Int64Array,
    RuleSettings,
)
from valmon_pipeline.alerting.rules import EPOCH_RULES
from valmon_pipeline.alerting.streaks import Streaks, streaks

_ONE: Final = "validator:"


@dataclass(slots=True)
class Evaluation:
    """What an epoch changes. ``refreshed`` are live alerts with newer figures, nothing to tell of;
    ``findings`` is everything found in the epoch, whether or not an alert is open about it.
    ``judged`` is how many subjects each rule could judge in the epoch, ``blind`` are the rules
    whose facts the epoch lacks."""

    epoch: int
    changes: list[Change] = field(default_factory=list)
    refreshed: list[Alert] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    judged: dict[str, int] = field(default_factory=dict)
    blind: frozenset[str] = frozenset()

    def findings_of(self, rule: EpochRule) -> list[Finding] | None:
        """The findings of a rule; None if it evaluated nothing: there was nothing to judge, or it
        found nothing in an epoch that lacks a fact it judges by."""
        found = [finding for finding in self.findings if finding.kind == rule.name]
        idle = not self.judged.get(rule.name) or rule.name in self.blind
        return None if idle and not found else found


def evaluate_epoch(
    rules: AlertRules,
    history: Sequence[EpochFacts],
    labels: Labels,
    alerts: Sequence[Alert],
    *,
    is_newest: bool,
    only: Collection[EpochRule] = tuple(EPOCH_RULES.values()),
) -> Evaluation:
    """Evaluate the first of ``history``: the epoch and those before it, descending, as far as they
    are stored and within the window of the rules.

    ``alerts`` are all that are live and all that tell of this epoch. ``is_newest``: no later epoch
    was evaluated before. ``only`` are the rules to apply.
    """
    evaluation = Evaluation(
        history[0].epoch, blind=frozenset(rule.name for rule in only if rule.is_blind(history[0]))
    )
    for rule in only:
        ours = [alert for alert in alerts if alert.finding.kind == rule.name]
        if rule.about_labels:
            outcome = _labelled(rules, rule, history, ours)
        else:
            outcome = _validators(rules, rule, history, labels, ours)
        evaluation.findings += outcome.found
        evaluation.judged[rule.name] = outcome.judged
        _decide(evaluation, rule, ours, outcome, is_newest=is_newest)
    return evaluation


@dataclass(slots=True)
class _Outcome:
    """Verdict of a rule on an epoch: ``found``; ``over`` are subjects whose alert is over, with the
    reason; ``gone`` those in whom nothing is wrong in this epoch; ``judged`` how many subjects the
    rule could judge."""

    found: list[Finding] = field(default_factory=list)
    over: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    judged: int = 0


def _decide(
    evaluation: Evaluation,
    rule: EpochRule,
    alerts: Sequence[Alert],
    outcome: _Outcome,
    *,
    is_newest: bool,
) -> None:
    """Enter what becomes of the ``alerts`` of a rule."""
    epoch, found, over, gone = evaluation.epoch, outcome.found, outcome.over, outcome.gone
    live = {alert.finding.subject: alert for alert in alerts if alert.is_live}
    told = {alert.finding.subject for alert in alerts if alert.tells_of(epoch)}
    for finding in found:
        alert = live.get(finding.subject)
        if alert is None:
            if finding.subject not in told and (is_newest or rule.is_event):
                evaluation.changes.append(opened(finding))
        elif finding.subject in over and is_newest and epoch > alert.finding.epoch:
            continue
        elif epoch < alert.finding.epoch:
            # Seen at the head, before this epoch was loaded: the newer event is what it tells.
            continue
        elif is_newest or (rule.is_event and epoch > alert.last_epoch):
            after = found_again(alert, finding, is_event=rule.is_event)
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


def _labelled(
    rules: AlertRules, rule: EpochRule, history: Sequence[EpochFacts], alerts: Sequence[Alert]
) -> _Outcome:
    """The outcome of a rule about labels."""
    outcome = _Outcome()
    over = outcome.over
    labels = {str(one) for facts in history for one in _named(facts)}
    runs: dict[RuleSettings, tuple[Streaks, dict[str, int]]] = {}
    for label in sorted(labels):
        settings = rules.settings(rule.name, frozenset({label}))
        if settings not in runs:
            made = _streaks(rule, settings, history)
            runs[settings] = made, {str(one): row for row, one in enumerate(made.subjects)}
        run, row_of = runs[settings]
        row = row_of.get(label)
        if row is None:
            continue
        if not settings.enabled:
            over[label] = "the rule is switched off"
            continue
        outcome.judged += int(run.newest[row] != UNKNOWN)
        if run.newest[row] == BAD and run.bad[row] >= settings.open_after:
            epochs, value = int(run.bad[row]), float(run.value[row])
            outcome.found.append(
                Finding(
                    rule.name,
                    settings.severity,
                    label,
                    (label,),
                    (),
                    history[0].epoch,
                    int(run.since[row]),
                    None,
                    f"{label}: {rule.sentence(epochs, value)}, for {epochs} epochs",
                    int(run.cost[row]),
                )
            )
        if run.newest[row] == GOOD and not rule.is_blind(history[0]):
            outcome.gone.add(label)
        if settings.resolve_after and run.good[row] >= settings.resolve_after:
            over[label] = f"good for {int(run.good[row])} epochs"
    if _sighted(rule, history):
        over |= {
            alert.finding.subject: "nothing to judge any more"
            for alert in alerts
            if alert.is_live and alert.finding.subject not in labels
        }
    return outcome


def _sighted(rule: EpochRule, history: Sequence[EpochFacts]) -> int:
    """Number of epochs of the window that have every fact that the rule judges by."""
    return sum(not rule.is_blind(facts) for facts in history)


def _named(facts: EpochFacts) -> Iterator[str]:
    sums = facts.tables["epoch_summaries"]
    for category, value in zip(
        sums["category"].astype(str), sums["value"].astype(str), strict=True
    ):
        if value:
            yield f"{category}:{value}"


def _streaks(rule: EpochRule, settings: RuleSettings, history: Sequence[EpochFacts]) -> Streaks:
    return streaks([(facts.epoch, rule.judge(facts, settings)) for facts in history])


@dataclass(frozen=True, slots=True)
class _Settled:
    """Validators (n) by what the settings of each make of its streaks."""

    run: Streaks
    judged: BoolArray
    firing: BoolArray
    clear: BoolArray
    severity: Int64Array


def _validators(
    rules: AlertRules,
    rule: EpochRule,
    history: Sequence[EpochFacts],
    labels: Labels,
    alerts: Sequence[Alert],
) -> _Outcome:
    """The outcome of a rule about validators: those that fail as a group are one finding."""
    epoch = history[0].epoch
    everybody = _joined(
        [
            _settled(rules, settings, rule, history, whose, labels)
            for settings, whose in _partitions(rules, rule)
        ]
    )
    outcome = _Outcome(judged=int(np.count_nonzero(everybody.judged)))
    sighted = _sighted(rule, history)
    live = [alert for alert in alerts if alert.is_live]
    _validators_alone(rules, rule, everybody, live, outcome, sighted)
    known = {alert.finding.subject for alert in alerts if alert.is_live or alert.tells_of(epoch)}
    of_groups = _grouped(rules, rule, epoch, everybody, labels, known)
    outcome.found = of_groups.found
    if not rule.is_blind(history[0]):
        outcome.gone |= of_groups.gone
    # Members of whom nothing is known are not among those that fail: that alone ends nothing.
    settings = rules.settings(rule.name)
    if not settings.enabled or sighted >= min(settings.resolve_after, len(history)):
        outcome.over |= of_groups.over
    return outcome


def _partitions(rules: AlertRules, rule: EpochRule) -> list[tuple[RuleSettings, str | None]]:
    """The settings for those with each label that has its own, and for all others at the end."""
    own = [
        (rules.settings(rule.name, frozenset({label})), label)
        for label in dict.fromkeys(rules.labels_of_overrides(rule.name))
    ]
    return [*own, (rules.settings(rule.name), None)]


def _settled(
    rules: AlertRules,
    settings: RuleSettings,
    rule: EpochRule,
    history: Sequence[EpochFacts],
    label: str | None,
    labels: Labels,
) -> _Settled:
    run = _streaks(rule, settings, history)
    whose = np.ones(len(run.subjects), np.bool_)
    for earlier in dict.fromkeys(rules.labels_of_overrides(rule.name)):
        if earlier == label:
            whose &= labels.have(run.subjects, earlier)
            break
        whose &= ~labels.have(run.subjects, earlier)
    rows = np.flatnonzero(whose)
    run = Streaks(**{name: getattr(run, name)[rows] for name in Streaks.__dataclass_fields__})
    count = len(rows)
    firing = (run.newest == BAD) & (run.bad >= settings.open_after)
    clear = run.good >= settings.resolve_after
    judged = run.newest != UNKNOWN
    if not settings.enabled:
        judged = firing = np.zeros(count, np.bool_)
        clear = np.ones(count, np.bool_)
    severity = np.full(count, list(Severity).index(settings.severity), np.int64)
    return _Settled(run, judged, firing, clear & (settings.resolve_after > 0), severity)


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
        for name in ("judged", "firing", "clear", "severity")
    )
    return _Settled(run, *others)


def _validators_alone(
    rules: AlertRules,
    rule: EpochRule,
    settled: _Settled,
    live: Sequence[Alert],
    outcome: _Outcome,
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
            outcome.gone.add(subject)
        settings = rules.settings(rule.name, frozenset(alert.finding.labels))
        if row is not None and settled.clear[row]:
            outcome.over[subject] = f"good for {int(settled.run.good[row])} epochs"
        elif (
            settings.resolve_after > 0
            and (row is None or not settled.run.known[row])
            and 2 * epochs >= rules.window_epochs
        ):
            outcome.over[subject] = f"nothing to judge in {epochs} epochs"


def _grouped(
    rules: AlertRules,
    rule: EpochRule,
    epoch: int,
    settled: _Settled,
    labels: Labels,
    with_alert: set[str],
) -> _Outcome:
    """Findings about validators and groups, and which alerts about groups are over; ``with_alert``
    are the subjects with an alert."""
    outcome, run = _Outcome(), settled.run
    alone = np.array(
        [int(subject.removeprefix(_ONE)) for subject in with_alert if subject.startswith(_ONE)],
        dtype=np.int64,
    )
    group = labels.groups(run.subjects)
    sizes = dict(zip(*np.unique(group.astype(str), return_counts=True), strict=True))
    concerned = np.flatnonzero(run.failed)
    groups = group[concerned]
    is_alone = np.isin(run.subjects[concerned], alone)
    found = outcome.found
    for name in sorted(set(groups.tolist()) | (with_alert & sizes.keys())):
        members = concerned[groups == name]
        others = members[~is_alone[groups == name]]
        together = others[settled.firing[others]]
        needed = max(2, min(rules.group_at_least, int(sizes[name])))
        if name in with_alert:
            failing = int((~settled.clear[others]).sum())
            if len(together):
                found.append(_finding(rule, epoch, settled, together, labels, name))
            elif not bool((run.newest[members] == BAD).any()):
                outcome.gone.add(name)
            ends_by_itself = rules.settings(rule.name, frozenset({name})).resolve_after > 0
            if ends_by_itself and failing < ceil(needed / 2):
                outcome.over[name] = f"{failing} of its validators are still failing"
        elif len(together) >= needed:
            found.append(_finding(rule, epoch, settled, together, labels, name))
        else:
            together = together[:0]
        rest = np.setdiff1d(members[settled.firing[members]], together)
        found += [_finding(rule, epoch, settled, rest[[row]], labels) for row in range(len(rest))]
    return outcome


def _finding(
    rule: EpochRule,
    epoch: int,
    settled: _Settled,
    rows: Int64Array,
    labels: Labels,
    group: str = "",
) -> Finding:
    """The finding about the validators of ``rows``: one, or those of a ``group``."""
    run = settled.run
    worst = int(rows[np.argmax(run.bad[rows])])
    slot = int(run.slot[worst]) if run.slot[worst] >= 0 else None
    happened = rule.sentence(int(run.bad[worst]), float(run.value[worst]), slot)
    message = f"validator {int(run.subjects[worst])}: {happened}"
    indices = tuple(run.subjects[rows].tolist())
    return Finding(
        rule.name,
        list(Severity)[int(settled.severity[rows].max())],
        group or f"{_ONE}{indices[0]}",
        labels.common(run.subjects[rows]),
        indices,
        epoch,
        int(run.since[rows].min()),
        None if group else slot,
        about_group(group, indices, message) if group else message,
        int(run.cost[rows].sum()),
    )

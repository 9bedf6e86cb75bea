"""Alerts that cannot wait for an epoch to be stored: events seen at the head, and the node, the
data and the pipeline by the clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.evaluation import Evaluation
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.life_cycle import Alert, Finding, found_again, opened, resolved
from valmon_pipeline.alerting.messages import about_group
from valmon_pipeline.alerting.rule import EpochRule, Int64Array, SystemFacts
from valmon_pipeline.alerting.rules import EPOCH_RULES, PIPELINE_STALLED, SYSTEM_RULES


def evaluate_events(
    rules: AlertRules, events: pd.DataFrame, labels: Labels, alerts: Sequence[Alert]
) -> Evaluation:
    """Alerts about frame ``live_events`` of one epoch.

    An event whose validator has an alert on this epoch already, live or resolved, alone or with its
    group, changes nothing; a rule that needs more than one epoch, or more than one event, waits
    for the epoch. ``alerts`` as for ``evaluation.evaluate_epoch``.
    """
    epoch = int(events["epoch"].iloc[0]) if len(events) else -1
    evaluation = Evaluation(epoch)
    for rule in (rule for rule in EPOCH_RULES.values() if rule.is_event):
        theirs = events[(events["event_type"] == rule.live_event).to_numpy(np.bool_)]
        theirs = theirs.dropna(subset=["validator_index"]).drop_duplicates("validator_index")
        validators = theirs["validator_index"].to_numpy(np.int64)
        groups = labels.groups(validators)
        ours = [alert for alert in alerts if alert.finding.kind == rule.name]
        told = {alert.finding.subject for alert in ours if alert.tells_of(epoch)}
        live = {alert.finding.subject: alert for alert in ours if alert.is_live}
        for name in sorted(set(groups.tolist())):
            rows = np.flatnonzero(groups == name)
            if name in told:
                continue
            if len(rows) >= rules.group_at_least:
                found = [_finding(rules, rule, theirs, rows, labels, name)]
            else:
                found = [_finding(rules, rule, theirs, np.array([row]), labels) for row in rows]
            for finding in found:
                settings = rules.settings(rule.name, frozenset(finding.labels))
                waits = settings.open_after > 1 or settings.threshold > 1
                if finding.subject in told or waits or not settings.enabled:
                    continue
                evaluation.findings.append(finding)
                alert = live.get(finding.subject) or live.get(name)
                if alert is None:
                    evaluation.changes.append(opened(finding))
                elif epoch > alert.last_epoch and alert.finding.subject == finding.subject:
                    after = found_again(alert, finding, is_event=True)
                    assert not isinstance(after, Alert)
                    evaluation.changes.append(after)
    return evaluation


def evaluate_system(rules: AlertRules, facts: SystemFacts, alerts: Sequence[Alert]) -> Evaluation:
    """Alerts about the node, the data and the pipeline; ``alerts`` are all that are live."""
    evaluation = Evaluation(facts.epoch)
    live = {alert.finding.kind: alert for alert in alerts if alert.is_live}
    unseen = facts.seconds_since_seen
    is_fresh = unseen is not None and unseen < rules.settings(PIPELINE_STALLED.name).threshold
    for rule in SYSTEM_RULES:
        settings = rules.settings(rule.name)
        problem, is_good = rule.look(facts, settings, is_fresh)
        alert = live.get(rule.name)
        if problem is not None and settings.enabled:
            epoch = facts.epoch
            finding = Finding(
                rule.name, settings.severity, rule.subject, (), (), epoch, epoch, None, problem, 0
            )
            evaluation.findings.append(finding)
            if alert is None:
                evaluation.changes.append(opened(finding))
        elif alert is not None and (is_good or not settings.enabled):
            change = resolved(alert, "as it should be again")
            assert change is not None
            evaluation.changes.append(change)
    return evaluation


def _finding(
    rules: AlertRules,
    rule: EpochRule,
    events: pd.DataFrame,
    rows: Int64Array,
    labels: Labels,
    group: str = "",
) -> Finding:
    """The finding about the events in ``rows``: one validator's, or those of a ``group``."""
    first = events.iloc[int(rows[0])]
    epoch, validator = int(first["epoch"]), int(first["validator_index"])
    validators = np.sort(events["validator_index"].to_numpy(np.int64)[rows])
    common, indices = labels.common(validators), tuple(validators.tolist())
    message = f"validator {validator}: {first['detail']}"
    return Finding(
        rule.name,
        rules.settings(rule.name, frozenset(common)).severity,
        group or f"validator:{validator}",
        common,
        indices,
        epoch,
        epoch,
        None if group else int(first["slot"]),
        about_group(group, indices, message) if group else message,
        0,
    )

"""Alerts that cannot wait for an epoch to be stored: what was seen at the head, and the node, the
data and the pipeline by the clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.alerting.evaluation import Evaluation
from valmon_pipeline.alerting.kinds import AlertType
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.life_cycle import (
    INDICES_KEPT,
    Alert,
    Finding,
    found_again,
    opened,
    resolved,
)
from valmon_pipeline.alerting.messages import about_group
from valmon_pipeline.alerting.rules import AlertRules

EVENT_RULES: Final[Mapping[str, AlertType]] = {
    "proposal_missed": AlertType.MISSED_PROPOSAL,
    "slashed": AlertType.SLASHING,
    "exit_initiated": AlertType.EXIT,
}
"""The live events that are alerts, by ``live_events.event_type``."""


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """Where things are by the clock. None: not known, because nothing was ever stored, or the
    node was not asked.

    ``node_problem`` is a sentence that says why no node could be read from, "" if one could be;
    ``disagreement`` names the nodes that follow different chains, "" if none do.
    """

    epoch: int
    slots_behind: int | None
    seconds_since_seen: float | None
    is_optimistic: bool
    epochs_late: int | None
    node_problem: str | None
    disagreement: str = ""


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
    for event_type, kind in EVENT_RULES.items():
        theirs = events[(events["event_type"] == event_type).to_numpy(np.bool_)]
        theirs = theirs.dropna(subset=["validator_index"]).drop_duplicates("validator_index")
        validators = theirs["validator_index"].to_numpy(np.int64)
        groups = labels.groups(validators)
        ours = [alert for alert in alerts if alert.finding.kind is kind]
        told = {alert.finding.subject for alert in ours if alert.tells_of(epoch)}
        live = {alert.finding.subject: alert for alert in ours if alert.is_live}
        for name in sorted(set(groups.tolist())):
            rows = np.flatnonzero(groups == name)
            if name in told:
                continue
            if len(rows) >= rules.group_at_least:
                found = [_of_group(rules, kind, epoch, theirs, rows, name, labels)]
            else:
                found = [
                    _of_event(rules, kind, epoch, theirs, row, labels) for row in rows.tolist()
                ]
            for finding in found:
                settings = rules.settings(kind, frozenset(finding.labels))
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
    for kind, subject, problem, is_good in _system(rules, facts):
        settings = rules.settings(kind)
        alert = live.get(kind)
        if problem is not None and settings.enabled:
            finding = Finding(
                kind,
                settings.severity,
                subject,
                (),
                (),
                0,
                facts.epoch,
                facts.epoch,
                None,
                problem,
                0,
            )
            evaluation.findings.append(finding)
            if alert is None:
                evaluation.changes.append(opened(finding))
        elif alert is not None and (is_good or not settings.enabled):
            change = resolved(alert, "as it should be again")
            assert change is not None
            evaluation.changes.append(change)
    return evaluation


def _system(
    rules: AlertRules, facts: SystemFacts
) -> Iterator[tuple[AlertType, str, str | None, bool]]:
    """Each rule with its subject, what is wrong (None: nothing), and whether it is surely good."""
    stalled = rules.settings(AlertType.PIPELINE_STALLED)
    unseen = facts.seconds_since_seen
    is_fresh = unseen is not None and unseen < stalled.threshold
    node = rules.settings(AlertType.NODE_UNHEALTHY)
    behind = facts.slots_behind if is_fresh else None
    problem = None
    if facts.node_problem:
        problem = facts.node_problem
    elif is_fresh and facts.is_optimistic:
        problem = "the node has not verified the head's execution payload (optimistic)"
    elif behind is not None and behind >= node.threshold:
        problem = f"the head is {behind} slots behind the clock"
    elif facts.disagreement:
        problem = facts.disagreement
    good = problem is None and behind is not None and behind <= node.clear
    yield AlertType.NODE_UNHEALTHY, "node", problem, good

    late = rules.settings(AlertType.DATA_LATE)
    problem = None
    if facts.epochs_late is not None and facts.epochs_late >= late.threshold:
        problem = f"{facts.epochs_late} epochs are over and not stored"
    good = facts.epochs_late is not None and facts.epochs_late <= late.clear
    yield AlertType.DATA_LATE, "data", problem, good

    problem = None
    # Without a node, nothing can be looked at: that is the node's alert.
    if unseen is not None and unseen >= stalled.threshold and facts.node_problem == "":
        problem = f"the head was last looked at {unseen:.0f} s ago, though a node answers"
    yield (
        AlertType.PIPELINE_STALLED,
        "pipeline",
        problem,
        is_fresh and (unseen is not None and unseen <= stalled.clear),
    )


def _of_event(
    rules: AlertRules, kind: AlertType, epoch: int, events: pd.DataFrame, row: int, labels: Labels
) -> Finding:
    event = events.iloc[row]
    validator = int(event["validator_index"])
    common = labels.common(np.array([validator]))
    return Finding(
        kind,
        rules.settings(kind, frozenset(common)).severity,
        f"validator:{validator}",
        common,
        (validator,),
        1,
        epoch,
        epoch,
        int(event["slot"]),
        f"validator {validator}: {event['detail']}",
        0,
    )


def _of_group(
    rules: AlertRules,
    kind: AlertType,
    epoch: int,
    events: pd.DataFrame,
    rows: np.ndarray[tuple[int], np.dtype[np.intp]],
    name: str,
    labels: Labels,
) -> Finding:
    validators = np.sort(events["validator_index"].to_numpy(np.int64)[rows])
    first = _of_event(rules, kind, epoch, events, int(rows[0]), labels)
    common = labels.common(validators)
    indices = tuple(validators.tolist())
    return Finding(
        kind,
        rules.settings(kind, frozenset(common)).severity,
        name,
        common,
        indices[:INDICES_KEPT],
        len(indices),
        epoch,
        epoch,
        None,
        about_group(kind, name, indices, len(indices), first.message),
        0,
    )

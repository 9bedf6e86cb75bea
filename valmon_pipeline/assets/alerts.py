"""Applying the alert rules to stored epochs, and to what is seen at the head.

Which epochs are to be evaluated follows from the tables alone: those stored since they were last
evaluated. Alerts, their history and the note that the epoch was evaluated
are one transaction, so that a process killed at any moment has done all of it or nothing, and
whoever comes next does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import pandas as pd

from valmon_pipeline.alerting.evaluation import Evaluation, evaluate_epoch
from valmon_pipeline.alerting.judgements import TABLES_READ, EpochFacts
from valmon_pipeline.alerting.kinds import AlertType
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.life_cycle import Finding
from valmon_pipeline.alerting.live import SystemFacts, evaluate_events, evaluate_system
from valmon_pipeline.alerting.rules import AlertRules
from valmon_pipeline.storage.alert_store import (
    AlertTransaction,
    OnStored,
    StoredChange,
    alert_transaction,
    has_due_epochs,
)
from valmon_pipeline.storage.finality import stored_epochs
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.queries import count_dead_deliveries, missing_facts
from valmon_pipeline.storage.warehouse import Warehouse

EVALUATE: Final = "evaluate alerts"


def tell_nobody(transaction: AlertTransaction, changes: Sequence[StoredChange]) -> None:
    """Alerts are stored only."""


@dataclass(frozen=True)
class Alerting:
    """The rules, and what is done, in their transaction, about changes of alerts."""

    rules: AlertRules = field(default_factory=AlertRules)
    on_stored: OnStored = tell_nobody


@dataclass(slots=True)
class AlertsOutcome:
    """Findings and changes of evaluating epochs; by epoch the rules that lacked a fact to judge by;
    and how many messages about alerts, of whatever age, were given up."""

    findings: dict[int, list[Finding]] = field(default_factory=dict)
    blind: dict[int, frozenset[AlertType]] = field(default_factory=dict)
    changes: list[StoredChange] = field(default_factory=list)
    messages_given_up: int = 0


def evaluate_due_epochs(
    warehouse: Warehouse, alerting: Alerting, now: datetime | None = None
) -> AlertsOutcome:
    """Apply the rules to every epoch that is due, ascending, each in a transaction of its own.

    Epochs that ended more than ``horizon_epochs`` before ``now`` are none of them: history that is
    loaded pages nobody.

    Raises:
        StorageError: the database is away or refuses; what was evaluated before stays.
    """
    outcome = AlertsOutcome()
    network = warehouse.network()
    if network is None:
        return outcome
    now = now or datetime.now(UTC)
    first = epoch_at(network, now) - alerting.rules.horizon_epochs
    tried: set[int] = set()
    while has_due_epochs(warehouse.database, first, now):
        with alert_transaction(warehouse.database, EVALUATE, now) as transaction:
            due = next(
                (one for one in transaction.due_epochs(first) if one.epoch not in tried), None
            )
            if due is None:
                break
            # Stored again while it is evaluated, it is due again, for whoever comes next.
            tried.add(due.epoch)
            history = read_facts(warehouse, network, due.epoch, alerting.rules.window_epochs)
            evaluation = evaluate_epoch(
                alerting.rules,
                history,
                _labels(warehouse, due.epoch, alerting.rules),
                transaction.alerts(due.epoch),
                is_newest=due.is_newest,
            )
            outcome.findings[due.epoch] = evaluation.findings
            outcome.blind[due.epoch] = evaluation.blind
            outcome.changes += _store(transaction, evaluation, alerting)
            transaction.note_evaluated(due, len(evaluation.findings), len(evaluation.changes))
    outcome.messages_given_up = count_dead_deliveries(warehouse)
    return outcome


def evaluate_live_events(
    warehouse: Warehouse, alerting: Alerting, epochs: Sequence[int], now: datetime
) -> list[StoredChange]:
    """Alerts about what was seen at the head in ``epochs``, as it is stored in ``live_events``.

    Once an epoch itself was evaluated, that counts, and not what was seen of it before.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    if network is None:
        return []
    first = epoch_at(network, now) - alerting.rules.horizon_epochs
    changes: list[StoredChange] = []
    for epoch in sorted(set(epochs)):
        events = warehouse.read("live_events", epochs=[epoch])
        if epoch < first or events.empty:
            continue
        with alert_transaction(warehouse.database, EVALUATE, now) as transaction:
            if transaction.is_evaluated(epoch):
                continue
            evaluation = evaluate_events(
                alerting.rules,
                events,
                _labels(warehouse, epoch, alerting.rules),
                transaction.alerts(epoch),
            )
            changes += _store(transaction, evaluation, alerting)
    return changes


def evaluate_system_facts(
    warehouse: Warehouse, alerting: Alerting, facts: SystemFacts, now: datetime
) -> list[StoredChange]:
    """Alerts about the node, the data and the pipeline.

    Raises:
        StorageError: the database is away or refuses.
    """
    with alert_transaction(warehouse.database, EVALUATE, now) as transaction:
        evaluation = evaluate_system(alerting.rules, facts, transaction.alerts())
        return _store(transaction, evaluation, alerting)


def read_facts(
    warehouse: Warehouse, network: NetworkIdentity, epoch: int, window_epochs: int
) -> list[EpochFacts]:
    """What the rules need of ``epoch`` and the epochs before it in the window, descending."""
    first = max(0, epoch - window_epochs + 1)
    epochs = stored_epochs(warehouse.database, first=first, last=epoch)[::-1]
    slots = [slot * network.slots_per_epoch for one in epochs for slot in (one, one + 1)]
    tables = {
        table: warehouse.read(
            table,
            epochs=epochs,
            columns=columns,
            slots=slots if table == "validator_snapshots" else None,
        )
        for table, columns in TABLES_READ.items()
    }
    by_epoch = {
        table: dict(iter(frame.groupby("epoch", sort=False))) for table, frame in tables.items()
    }
    missing = missing_facts(warehouse.database, epochs)
    facts = []
    for one in epochs:
        of_epoch = {
            table: by_epoch[table].get(one, frame.iloc[:0]).reset_index(drop=True)
            for table, frame in tables.items()
        }
        # A leak that cannot be ruled out excuses what a leak excuses.
        leak = bool(of_epoch["network_epochs"]["leak"].fillna(True).any())
        facts.append(
            EpochFacts(one, network.slots_per_epoch, of_epoch, leak, missing.get(one, frozenset()))
        )
    return facts


def epoch_at(network: NetworkIdentity, now: datetime) -> int:
    """The epoch that the clock is in."""
    since_genesis_ms = round(now.timestamp() * 1000) - network.genesis_time * 1000
    return since_genesis_ms // (network.slot_duration_ms * network.slots_per_epoch)


def _labels(warehouse: Warehouse, epoch: int, rules: AlertRules) -> Labels:
    stored: pd.DataFrame = warehouse.read("validator_labels")
    return Labels.in_epoch(stored, epoch, rules.group_by)


def _store(
    transaction: AlertTransaction, evaluation: Evaluation, alerting: Alerting
) -> list[StoredChange]:
    transaction.refresh(evaluation.refreshed)
    stored = transaction.store(evaluation.changes)
    if stored:
        alerting.on_stored(transaction, stored)
    return stored

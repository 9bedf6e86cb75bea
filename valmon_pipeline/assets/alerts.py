"""Applying the alert rules to stored epochs, and to what is seen at the head.

Which epoch is to be evaluated next follows from the tables alone: the oldest one after the newest
evaluated, and those stored again since. Alerts, their history and the note that the epoch was
evaluated are one transaction, so that a process killed at any moment has done all of it or nothing,
and the next one does the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final

import pandas as pd

from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.evaluation import Evaluation, evaluate_epoch
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.live import evaluate_events, evaluate_system
from valmon_pipeline.alerting.rule import EpochFacts, SystemFacts
from valmon_pipeline.alerting.rules import COLUMNS_READ, EPOCH_RULES, SYSTEM_RULES
from valmon_pipeline.assets.alert_order import nothing_is_loaded
from valmon_pipeline.storage.alert_store import (
    AlertTransaction,
    DueEpoch,
    OnStored,
    StoredChange,
    alert_transaction,
    next_due_epoch,
)
from valmon_pipeline.storage.finality import stored_epochs
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.queries import missing_facts
from valmon_pipeline.storage.silences import release_held_back
from valmon_pipeline.storage.warehouse import Warehouse

EVALUATE: Final = "evaluate alerts"
HISTORY_HELD: Final = timedelta(hours=1)
"""Messages about epochs beyond the horizon are held back so long, or until evaluation reaches the
horizon: an outage that is over by then pages nobody."""


def no_notifications(transaction: AlertTransaction, changes: Sequence[StoredChange]) -> None:
    """Alerts are stored only."""


@dataclass(frozen=True)
class Alerting:
    """The rules, and what is done, in their transaction, about changes of alerts."""

    rules: AlertRules = field(default_factory=AlertRules)
    on_stored: OnStored = no_notifications


@dataclass(slots=True)
class AlertsOutcome:
    """The evaluations of epochs and the changes that came of them. ``waiting`` is the epoch that
    waits for older ones, or for its standings; None if none does."""

    evaluations: list[Evaluation] = field(default_factory=list)
    changes: list[StoredChange] = field(default_factory=list)
    waiting: DueEpoch | None = None


def evaluate_due_epochs(
    warehouse: Warehouse,
    alerting: Alerting,
    now: datetime | None = None,
    *,
    must_wait: Callable[[DueEpoch, datetime], bool] = nothing_is_loaded,
    at_most: int | None = None,
    seconds: float = inf,
) -> AlertsOutcome:
    """Apply the rules to the epochs that are due, ascending, each in a transaction of its own:
    ``at_most`` so many, and none begins after ``seconds``.

    Evaluation begins with epochs that ended at most ``horizon_epochs`` before ``now`` and goes on
    where it stopped. ``must_wait`` says which epochs wait for others.

    Raises:
        StorageError: the database is away or refuses; what was evaluated before stays.
    """
    outcome = AlertsOutcome()
    network = warehouse.network()
    if network is None:
        return outcome
    now = now or datetime.now(UTC)
    horizon = epoch_at(network, now) - alerting.rules.horizon_epochs
    end = time.monotonic() + seconds
    # Stored again while it is evaluated, an epoch is due again: for the next call.
    done: set[int] = set()
    while (at_most is None or len(done) < at_most) and time.monotonic() < end:
        due = next_due_epoch(warehouse.database, horizon, now, done)
        if due is None or due.epoch in done:
            break
        if must_wait(due, now):
            outcome.waiting = due
            break
        held = None if due.epoch >= horizon else now + HISTORY_HELD
        with alert_transaction(warehouse.database, EVALUATE, now, held) as transaction:
            # An epoch that it waited for may have been stored since.
            if transaction.next_due(horizon, done) != due:
                continue
            done.add(due.epoch)
            evaluation = evaluate_epoch(
                alerting.rules,
                read_facts(warehouse, network, due.epoch, alerting.rules.window_epochs),
                _labels(warehouse, due.epoch, alerting.rules),
                transaction.alerts(EPOCH_RULES, due.epoch),
                is_newest=due.is_newest,
            )
            outcome.changes += _store(transaction, evaluation, alerting)
            transaction.note_evaluated(due, len(evaluation.findings), len(evaluation.changes))
            if held is None:
                release_held_back(transaction)
        outcome.evaluations.append(evaluation)
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
                transaction.alerts(EPOCH_RULES, epoch),
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
        evaluation = evaluate_system(
            alerting.rules, facts, transaction.alerts([rule.name for rule in SYSTEM_RULES])
        )
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
        for table, columns in COLUMNS_READ.items()
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

"""Made-up epochs for the pure rules: everybody does well, except for what a test says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.evaluation import Evaluation, evaluate_epoch
from valmon_pipeline.alerting.kinds import ChangeKind
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.life_cycle import Alert
from valmon_pipeline.alerting.rule import EpochFacts
from valmon_pipeline.frames import contract_of

SLOTS: Final = 8
Tables = dict[str, pd.DataFrame]


def epoch_facts(
    epoch: int,
    validators: int = 20,
    *,
    missing: Collection[int] = (),
    cause: str = "not_included",
    leak: bool = False,
    unknown: Collection[str] = (),
    change: Callable[[Tables], None] = lambda tables: None,
) -> EpochFacts:
    """Facts of an epoch in which ``missing`` have no attestation on the chain, for ``cause``.
    ``unknown`` are names of facts that no node gave."""
    index = np.arange(validators)
    misses = np.isin(index, list(missing))
    whole = np.full(validators, epoch)
    first = epoch * SLOTS
    tables: Tables = {
        "attestation_outcomes": pd.DataFrame(
            {
                "epoch": whole,
                "validator_index": index,
                "slot": first + index % SLOTS,
                "included": ~misses,
                "miss_cause": pd.Series([cause] * validators).where(misses),
                "cost": pd.array(np.where(misses, 1000, 0), dtype="Int64"),
            }
        ),
        "validator_standings": pd.DataFrame(
            {"epoch": whole, "validator_index": index, "time_weighted_score": 0.99}
        ),
        "epoch_summaries": _summaries(epoch, validators, int(misses.sum()), cause),
        "network_epochs": pd.DataFrame(
            {"epoch": [epoch], "reward_effectiveness_p50": [0.98], "leak": [leak]}
        ),
        "proposer_duties": pd.DataFrame(
            {
                "epoch": np.full(SLOTS, epoch),
                "slot": first + np.arange(SLOTS),
                "validator_index": pd.array(np.arange(SLOTS), dtype="Int32"),
                "outcome": "proposed",
            }
        ),
        "block_rewards": pd.DataFrame(
            {
                "epoch": np.full(SLOTS, epoch),
                "slot": first + np.arange(SLOTS),
                "missed_estimate": pd.array([5_000_000] * SLOTS, dtype="Int64"),
            }
        ),
        "sync_duties": pd.DataFrame(
            {"epoch": [epoch] * 2, "validator_index": [3, 4], "due": [8, 8], "missed": [0, 0]}
        ),
        "validator_snapshots": pd.DataFrame(
            {
                "epoch": np.full(2 * validators, epoch),
                "slot": np.repeat([first, first + SLOTS], validators),
                "validator_index": np.tile(index, 2),
                "status": "active_ongoing",
            }
        ),
        "block_events": pd.DataFrame(
            {
                "epoch": pd.array([], dtype="int32"),
                "event_type": pd.array([], dtype="str"),
                "validator_index": pd.array([], dtype="Int32"),
                "effective": pd.array([], dtype="boolean"),
            }
        ),
        "balance_ledger": _ledger(epoch, validators),
    }
    change(tables)
    return EpochFacts(epoch, SLOTS, tables, leak, frozenset(unknown))


def _summaries(epoch: int, validators: int, missing: int, cause: str) -> pd.DataFrame:
    frame = pd.DataFrame({"epoch": [epoch], "category": ["all"], "value": ["all"]})
    frame["duties"] = validators
    frame["included"] = validators - missing
    for name in ("not_included", "no_opportunity", "exit_boundary", "slashed"):
        frame[f"misses_{name}"] = missing if name == cause else 0
    frame["cost_not_included"] = pd.array([1000 * missing], dtype="Int64")
    frame["scored_reward"] = pd.array([98 * validators], dtype="Int64")
    frame["scored_ideal_reward"] = pd.array([100 * validators], dtype="Int64")
    return frame


def _ledger(epoch: int, validators: int) -> pd.DataFrame:
    zeros = np.zeros(validators, np.int64)
    names = [
        name
        for name in contract_of("balance_ledger").columns
        if name not in ("epoch", "validator_index", "residual_class")
    ]
    return pd.DataFrame(
        {
            "epoch": epoch,
            "validator_index": np.arange(validators),
            **dict.fromkeys(names, zeros),
            "opening_balance": zeros + 32_000_000_000,
            "attestation": zeros + 10_000,
            "residual_class": None,
        }
    )


def labels_of(groups: dict[str, Collection[int]], epoch: int = 0) -> Labels:
    """Labels by ``category:value``."""
    rows = [
        (validator, *label.split(":"), 0, pd.NA)
        for label, members in groups.items()
        for validator in members
    ]
    stored = pd.DataFrame(
        rows, columns=["validator_index", "category", "value", "from_epoch", "until_epoch"]
    )
    stored["validator_index"] = stored["validator_index"].astype("int64")
    stored["from_epoch"] = stored["from_epoch"].astype("int64")
    stored["until_epoch"] = stored["until_epoch"].astype("Int32")
    return Labels.in_epoch(stored, epoch, "operator")


class Run:
    """Epochs evaluated one after the other; ``alerts`` are all there ever were."""

    def __init__(self, rules: AlertRules | None = None, labels: Labels | None = None) -> None:
        self.rules = rules or AlertRules()
        self.labels = labels or labels_of({})
        self.alerts: list[Alert] = []
        self.facts: dict[int, EpochFacts] = {}
        self.evaluated: set[int] = set()

    def add(self, *facts: EpochFacts) -> Evaluation:
        """Store epochs and evaluate each; the last evaluation."""
        for one in facts:
            self.facts[one.epoch] = one
            evaluation = self.evaluate(one.epoch)
        return evaluation

    def evaluate(self, epoch: int) -> Evaluation:
        """Evaluate an epoch that is stored, and take over what it changes."""
        first = epoch - self.rules.window_epochs
        history = [
            self.facts[one] for one in sorted(self.facts, reverse=True) if first < one <= epoch
        ]
        newest = max(self.evaluated, default=-1)
        known = [one for one in self.alerts if one.is_live or one.tells_of(epoch)]
        evaluation = evaluate_epoch(
            self.rules, history, self.labels, known, is_newest=epoch > newest
        )
        self.evaluated.add(epoch)
        for alert in [change.alert for change in evaluation.changes] + evaluation.refreshed:
            self._take(alert)
        return evaluation

    def _take(self, alert: Alert) -> None:
        if alert.alert_id:
            self.alerts[alert.alert_id - 1] = alert
            return
        number = len(self.alerts) + 1
        self.alerts.append(
            Alert(number, alert.finding, alert.status, alert.last_epoch, alert.told_validators)
        )

    def live(self) -> list[tuple[str, str]]:
        """Rule and subject of every live alert, sorted."""
        return sorted(
            (alert.finding.kind, alert.finding.subject) for alert in self.alerts if alert.is_live
        )


def told(evaluation: Evaluation) -> list[tuple[ChangeKind, str, str]]:
    """What an evaluation tells of: change, rule and subject."""
    return [
        (change.kind, change.alert.finding.kind, change.alert.finding.subject)
        for change in evaluation.changes
    ]


def good(epochs: Sequence[int]) -> list[EpochFacts]:
    """Epochs in which nothing is wrong."""
    return [epoch_facts(epoch) for epoch in epochs]

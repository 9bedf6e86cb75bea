"""What the rules would have paged: the life of alerts over past epochs, in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.evaluation import Evaluation, evaluate_epoch
from valmon_pipeline.alerting.kinds import ChangeKind
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.life_cycle import Alert
from valmon_pipeline.alerting.rule import EpochFacts, EpochRule


@dataclass(slots=True)
class PastAlert:
    """An alert as it would have been. ``over_epoch`` is the epoch that ended it, with the
    ``resolution``; None if none did. ``messages`` is how often it would have been told of: opened,
    worsened, resolved."""

    alert: Alert
    over_epoch: int | None = None
    resolution: str = ""
    messages: int = 1


@dataclass(slots=True)
class Backtest:
    """Take the epochs ascending, with :meth:`step`; ``alerts`` is what came of them, as opened.

    Nobody acknowledges or resolves anything here: alerts that end by hand alone never end.
    """

    rules: AlertRules
    only: Collection[EpochRule]
    alerts: list[PastAlert] = field(default_factory=list)

    def step(self, history: Sequence[EpochFacts], labels: Labels) -> Evaluation:
        """The next epoch: the first of ``history``, which goes on with those before it."""
        epoch = history[0].epoch
        evaluation = evaluate_epoch(
            self.rules,
            history,
            labels,
            [past.alert for past in self.alerts],
            is_newest=True,
            only=self.only,
        )
        for refreshed in evaluation.refreshed:
            self.alerts[refreshed.alert_id - 1].alert = refreshed
        for change in evaluation.changes:
            if change.kind is ChangeKind.OPENED:
                alert = replace(change.alert, alert_id=len(self.alerts) + 1)
                self.alerts.append(PastAlert(alert))
                continue
            past = self.alerts[change.alert.alert_id - 1]
            past.alert = change.alert
            past.messages += 1
            if not change.alert.is_live:
                past.over_epoch, past.resolution = epoch, change.reason
        return evaluation

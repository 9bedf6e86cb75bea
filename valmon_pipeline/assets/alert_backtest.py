"""Apply alert rules to epochs that are stored, as if they had just happened. Nothing is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

from valmon_pipeline.alerting.backtest import Backtest, PastAlert
from valmon_pipeline.alerting.judgements import EpochFacts
from valmon_pipeline.alerting.kinds import AlertType
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.rules import AlertRules
from valmon_pipeline.assets.alerts import read_facts
from valmon_pipeline.storage.finality import stored_epochs
from valmon_pipeline.storage.warehouse import Warehouse


def backtest(
    warehouse: Warehouse,
    rules: AlertRules,
    kinds: Collection[AlertType],
    epochs: Sequence[int],
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> tuple[list[PastAlert], int]:
    """What the rules ``kinds`` would have said in ``epochs`` (ascending), as far as they are
    stored, and how many of them are.

    No alert is open at the beginning: what had been wrong before it opens one in the first epoch.
    Labels are those that held in each epoch. At most ``window_epochs`` epochs are in memory.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    if network is None or not epochs:
        return [], 0
    window = rules.window_epochs
    stored = stored_epochs(
        warehouse.database, first=max(0, epochs[0] - window + 1), last=epochs[-1]
    )
    labels = warehouse.read("validator_labels")
    test = Backtest(rules, kinds)
    history: deque[EpochFacts] = deque()
    judged = 0
    for epoch in stored:
        history.extendleft(read_facts(warehouse, network, epoch, 1))
        while history[-1].epoch <= epoch - window:
            history.pop()
        if epoch >= epochs[0]:
            test.step(list(history), Labels.in_epoch(labels, epoch, rules.group_by))
            judged += 1
            on_epoch(epoch)
    return test.alerts, judged

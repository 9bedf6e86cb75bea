"""Apply alert rules to epochs that are stored, as if they had just happened. Nothing is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence

from valmon_pipeline.alerting.backtest import Backtest, PastAlert
from valmon_pipeline.alerting.configured import AlertRules
from valmon_pipeline.alerting.labels import Labels
from valmon_pipeline.alerting.rule import EpochFacts, EpochRule
from valmon_pipeline.assets.alerts import read_facts
from valmon_pipeline.storage.finality import stored_epochs
from valmon_pipeline.storage.warehouse import Warehouse


def backtest(
    warehouse: Warehouse,
    rules: AlertRules,
    only: Collection[EpochRule],
    epochs: Sequence[int],
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> tuple[list[PastAlert], int]:
    """Past alerts of the rules ``only`` in ``epochs`` (ascending), as far as they are stored, and
    the number of epochs that are.

    No alert is open at the beginning: what had been wrong before it opens one in the first epoch.
    Labels are those that held in each epoch.

    Raises:
        StorageError: the database is away or refuses.
    """
    test = Backtest(rules, only)
    judged = 0
    if epochs:
        labels = warehouse.read("validator_labels")
        for history in histories(warehouse, rules, range(epochs[0], epochs[-1] + 1)):
            epoch = history[0].epoch
            test.step(history, Labels.in_epoch(labels, epoch, rules.group_by))
            judged += 1
            on_epoch(epoch)
    return test.alerts, judged


def histories(
    warehouse: Warehouse, rules: AlertRules, epochs: Collection[int]
) -> Iterator[list[EpochFacts]]:
    """The facts of each of ``epochs`` (ascending) that is stored, followed by those before it.

    At most ``window_epochs`` epochs are in memory.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    if network is None or not epochs:
        return
    window = rules.window_epochs
    first, last = min(epochs), max(epochs)
    stored = stored_epochs(warehouse.database, first=max(0, first - window + 1), last=last)
    history: deque[EpochFacts] = deque()
    for epoch in stored:
        history.extendleft(read_facts(warehouse, network, epoch, 1))
        while history and history[-1].epoch <= epoch - window:
            history.pop()
        if epoch in epochs:
            yield list(history)

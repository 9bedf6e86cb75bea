"""Compare stored scores with those of this version's formulas, and sum up their days again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date

import numpy as np

from valmon_pipeline.assets.day_summaries import sum_up_day
from valmon_pipeline.assets.score_batch import (
    FACTS_TAKEN,
    rescore_reason,
    score_batch,
    stored_facts,
)
from valmon_pipeline.assets.standings import StoredFacts, epoch_facts, standings_frames
from valmon_pipeline.epoch.score_frames import SCORES
from valmon_pipeline.errors import ObjectUnavailableError
from valmon_pipeline.frames import contract_of
from valmon_pipeline.scoring.standings import EpochFacts, StandingRules
from valmon_pipeline.storage.moves import ColumnMoves, Moves
from valmon_pipeline.storage.standings_due import STANDINGS
from valmon_pipeline.storage.stored_days import day_of_epoch, stored_days
from valmon_pipeline.storage.warehouse import Warehouse


def diff(
    warehouse: Warehouse,
    rules: StandingRules,
    epochs: Sequence[int],
    on_compared: Callable[[int], None] = lambda epoch: None,
) -> list[ColumnMoves]:
    """What rescoring stored epochs would move, and in the standings that rest on them. Nothing is
    stored. In memory are one epoch and the window of the standings.

    Raises:
        StorageError: the database is away or refuses.
    """
    labels = warehouse.read("validator_labels")
    chosen = set(epochs)
    moves = Moves()

    def facts_of(wanted: Sequence[int]) -> Iterator[EpochFacts]:
        for stored in StoredFacts(warehouse).facts(wanted):
            if stored.epoch not in chosen:
                yield stored
                continue
            tables = {table: warehouse.read(table, epochs=[stored.epoch]) for table in FACTS_TAKEN}
            facts = stored_facts(warehouse, [stored.epoch], tables)
            frames = score_batch(facts, labels, reason=rescore_reason()).step.tables
            for table in SCORES:
                before = warehouse.read(table, epochs=[stored.epoch])
                moves.add(contract_of(table), stored.epoch, before, frames[table])
            on_compared(stored.epoch)
            yield epoch_facts(
                stored.epoch,
                frames["effectiveness_scores"],
                facts[0].tables["attestation_outcomes"],
                duties_known=stored.duties_known,
            )

    affected = _resting_on(warehouse, rules, epochs)
    for epoch, frame in zip(
        affected, standings_frames(warehouse, rules, affected, facts_of), strict=True
    ):
        moves.add(contract_of(STANDINGS), epoch, warehouse.read(STANDINGS, epochs=[epoch]), frame)
    return moves.by_column()


def sum_up_days_again(warehouse: Warehouse, epochs: Sequence[int]) -> dict[date, str | None]:
    """Sum up the days of rescored epochs again that are summed up; by day why one was not, or None.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    assert network is not None
    days = {day_of_epoch(network, epoch) for epoch in epochs}
    told: dict[date, str | None] = {}
    for day in stored_days(warehouse):
        if day.day not in days or not day.summed_up:
            continue
        told[day.day] = None
        if day.summed_up > day.epochs:
            told[day.day] = (
                f"its summary covers {day.summed_up} epochs, of which {day.epochs} are still stored"
            )
        else:
            sum_up_day(warehouse, day.day)
    return told


def stored_in(warehouse: Warehouse, first: int, last: int) -> list[int]:
    """The stored epochs of a range, ascending.

    Raises:
        ObjectUnavailableError: none is stored. StorageError: the database is away.
    """
    epochs = warehouse.scored_epochs(first, last)
    if not epochs:
        raise ObjectUnavailableError(f"no epoch of {first}..{last} is stored")
    return epochs


def _resting_on(warehouse: Warehouse, rules: StandingRules, epochs: Sequence[int]) -> list[int]:
    """The stored epochs whose window has one of ``epochs`` (ascending), ascending."""
    last = epochs[-1] + rules.window_epochs - 1
    later = np.array(warehouse.scored_epochs(epochs[0], last), dtype=np.int64)
    changed = np.asarray(epochs, dtype=np.int64)
    newest_before = changed[np.searchsorted(changed, later, side="right") - 1]
    found: list[int] = later[later - newest_before < rules.window_epochs].tolist()
    return found

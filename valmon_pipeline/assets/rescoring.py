"""Computing scores anew from stored facts, without a node, after a formula has changed.

``rescored_frames`` is where a table belongs whose rows come out differently when a formula changes.
The same functions compute it here and in ``epoch_frames``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.assets.day_summaries import sum_up_day
from valmon_pipeline.assets.standings import StoredFacts, epoch_facts, standings_frames
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.epoch.group_sums import epoch_summaries_frame
from valmon_pipeline.epoch.network_scores import (
    NetworkScores,
    network_bands_frame,
    quantile_values,
    stored_network_scores,
)
from valmon_pipeline.epoch.scores import effectiveness_scores_frame
from valmon_pipeline.errors import ObjectUnavailableError
from valmon_pipeline.frames import contract_of
from valmon_pipeline.scoring.effectiveness import FORMULA_VERSION
from valmon_pipeline.scoring.facts import FACT_COLUMNS
from valmon_pipeline.scoring.rollup import MaskedIntegers
from valmon_pipeline.scoring.standings import EpochFacts, StandingRules
from valmon_pipeline.storage.finality import stored_epochs
from valmon_pipeline.storage.moves import ColumnMoves, Moves
from valmon_pipeline.storage.standings_due import STANDINGS
from valmon_pipeline.storage.stored_days import day_of_epoch, stored_days
from valmon_pipeline.storage.warehouse import Warehouse

RESCORED: Final = ("effectiveness_scores", "epoch_summaries", "network_bands", "network_epochs")
"""The tables that ``rescored_frames`` makes."""

FACTS: Final = (*FACT_COLUMNS, "validator_snapshots", "network_bands", "network_epochs")
"""The tables that it needs."""

NETWORK_COLUMNS: Final = ("network_percentile_rank", "band_percentile_rank")
"""Scores that compare with validators of whom nothing may be stored."""


@dataclass(frozen=True, slots=True)
class Rescored:
    """What rescoring did: epochs whose scores are stored anew, and values that changed in them."""

    epochs: tuple[int, ...]
    corrections: int


def rescore_reason() -> str:
    """What is entered in ``corrections`` with scores that move."""
    return f"rescored with formula version {FORMULA_VERSION}"


def rescored_frames(
    epoch: int, facts: Mapping[str, pd.DataFrame], labels: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Those tables of ``RESCORED`` that can be computed of an epoch, by the formulas of this
    version; pure. What describes the whole network stays as it is unless everybody is stored.

    Args:
        epoch: the epoch.
        facts: the tables ``FACTS`` of the epoch, as stored.
        labels: frame ``validator_labels``.
    """
    network = _network(facts)
    watched = _watched(facts)
    scores = effectiveness_scores_frame(
        epoch,
        network=network,
        bands=_bands(facts),
        attestation_outcomes=facts["attestation_outcomes"],
        attestation_rewards=facts["attestation_rewards"],
        proposer_duties=facts["proposer_duties"],
        sync_duties=facts["sync_duties"],
        watched=watched,
    )
    frames: dict[str, pd.DataFrame] = {}
    if network is None:
        scores = _with_kept_ranks(scores, facts["effectiveness_scores"])
    else:
        frames["network_bands"] = network_bands_frame(epoch, network)
        frames["network_epochs"] = facts["network_epochs"].assign(
            **quantile_values([network]), formula_version=np.int32(FORMULA_VERSION)
        )
    frames["effectiveness_scores"] = scores
    frames["epoch_summaries"] = epoch_summaries_frame(
        epoch, {**facts, "effectiveness_scores": scores}, labels, watched
    )
    return frames


def rescore(
    warehouse: Warehouse,
    epochs: Sequence[int],
    on_rescored: Callable[[int], None] = lambda epoch: None,
) -> Rescored:
    """Store the scores of stored epochs anew, each in a transaction of its own.

    Their standings are due afterwards. One epoch is in memory.

    Raises:
        StorageError: the database is away or refuses; epochs that are stored stay so.
    """
    labels = warehouse.read("validator_labels")
    done, corrections = [], 0

    def compute(epoch: int, facts: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        return rescored_frames(epoch, _at_the_borders(warehouse, epoch, facts), labels)

    for epoch in epochs:
        stored = warehouse.recompute_epoch(
            epoch, FACTS, RESCORED, partial(compute, epoch), correction_reason=rescore_reason()
        )
        if stored is not None:
            done.append(epoch)
            corrections += stored.get("corrections", 0)
            on_rescored(epoch)
    return Rescored(tuple(done), corrections)


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
            facts = _at_the_borders(
                warehouse,
                stored.epoch,
                {table: warehouse.read(table, epochs=[stored.epoch]) for table in FACTS},
            )
            frames = rescored_frames(stored.epoch, facts, labels)
            for table, frame in frames.items():
                before = facts.get(table)
                if before is None:
                    before = warehouse.read(table, epochs=[stored.epoch])
                moves.add(contract_of(table), stored.epoch, before, frame)
            on_compared(stored.epoch)
            yield epoch_facts(
                stored.epoch,
                frames["effectiveness_scores"],
                facts["attestation_outcomes"],
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
    epochs = stored_epochs(warehouse.database, first=first, last=last)
    if not epochs:
        raise ObjectUnavailableError(f"no epoch of {first}..{last} is stored")
    return epochs


def _network(facts: Mapping[str, pd.DataFrame]) -> NetworkScores | None:
    """Everybody's scores, if everybody is stored: as many as were counted when the epoch was read
    with the whole registry, each with a reward that is known. Who is in which band is a fact, and
    which of their sums are known."""
    bands, rewards = facts["network_bands"], facts["attestation_rewards"]
    own = _bands(facts)
    if bands["validators"].sum() != len(rewards) or len(rewards) == 0 or own.mask.any():
        return None
    if rewards["total_reward"].isna().any():
        return None
    return stored_network_scores(
        rewards,
        facts["attestation_outcomes"],
        own.filled(0),
        complete=bool(bands["reward"].notna().all()),
    )


def _watched(facts: Mapping[str, pd.DataFrame]) -> Int64Array:
    """Who was watched: has a snapshot, or where the states are not known, a score."""
    tables = ("validator_snapshots", "effectiveness_scores")
    validators = [facts[table]["validator_index"].to_numpy(np.int64) for table in tables]
    return np.unique(np.concatenate(validators))


def _bands(facts: Mapping[str, pd.DataFrame]) -> MaskedIntegers:
    """The stored band of each row of ``attestation_rewards``, masked where it was not stored."""
    stored = facts["effectiveness_scores"]
    rows = np.searchsorted(
        stored["validator_index"].to_numpy(np.int64),
        facts["attestation_rewards"]["validator_index"].to_numpy(np.int64),
    )
    band = stored["effective_balance_band"].iloc[rows]
    return np.ma.MaskedArray(
        band.to_numpy(np.int64, na_value=0), mask=band.isna().to_numpy(np.bool_)
    )


def _with_kept_ranks(scores: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """``scores`` with the stored ranks in the network where they cannot have changed.

    A rank among validators of whom nothing is stored cannot be computed again. While a validator's
    own reward effectiveness is the same, that of everybody else is taken to be, too; otherwise its
    rank is unknown from now on.
    """
    before = stored.set_index("validator_index").reindex(scores["validator_index"])
    same = before["reward_effectiveness"].to_numpy() == scores["reward_effectiveness"].to_numpy()
    kept = {
        name: np.where(same, before[name].to_numpy(np.float64), np.nan) for name in NETWORK_COLUMNS
    }
    return scores.assign(**kept)


def _at_the_borders(
    warehouse: Warehouse, epoch: int, facts: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """``facts`` with the snapshots of the epoch's own materialization, without those taken live."""
    network = warehouse.network()
    assert network is not None
    borders: Int64Array = np.array([epoch, epoch + 1]) * network.slots_per_epoch
    snapshots = facts["validator_snapshots"]
    at_borders = snapshots[snapshots["slot"].isin(borders)].reset_index(drop=True)
    return {**facts, "validator_snapshots": at_borders}


def _resting_on(warehouse: Warehouse, rules: StandingRules, epochs: Sequence[int]) -> list[int]:
    """The stored epochs whose window has one of ``epochs`` (ascending), ascending."""
    last = epochs[-1] + rules.window_epochs - 1
    later = np.array(stored_epochs(warehouse.database, first=epochs[0], last=last), dtype=np.int64)
    changed = np.asarray(epochs, dtype=np.int64)
    newest_before = changed[np.searchsorted(changed, later, side="right") - 1]
    found: list[int] = later[later - newest_before < rules.window_epochs].tolist()
    return found

"""Days of the whole network: which are stored and summed up, and the sums of one.

A day's epochs may lie in tiles of their own or in packed ones. Sums are made block by block of
validators and for some epochs at a time, so that memory does not grow with the day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.errors import StorageError
from valmon_pipeline.frames import conform, contract_of
from valmon_pipeline.frames.network_validator_days import SUMMED_AMOUNTS, SUMMED_FLAGS
from valmon_pipeline.storage.network_rows import GWEI_PER_ETHER, hold_still
from valmon_pipeline.storage.stored_days import day_of_epoch
from valmon_pipeline.storage.summed_days import (
    SUMMED_DAYS,
    are_stale,
    have_news,
    newest_stored_at,
    summed_day_frame,
    summed_from,
)
from valmon_pipeline.storage.table_reader import Selection, read_table
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.tile_blocks import blocks_of, read_block
from valmon_pipeline.storage.warehouse import Warehouse

NETWORK_DAYS: Final = "network_validator_days"
OUTCOMES_AT_ONCE: Final = 1_000_000
"""About how many outcomes are in memory at once: 80 MB. A day of mainnet has 700,000; in an
inactivity leak an epoch alone can have 100,000."""

_OF_THE_LAST: Final = ("outcome", "balance_ether", "balance_gwei")
_SUMMED: Final = (*SUMMED_FLAGS, *SUMMED_AMOUNTS)


@dataclass(frozen=True, slots=True)
class NetworkDay:
    """A UTC day of which the whole network is stored in ``epochs`` epochs, ``summed_up`` of them in
    its sums. ``is_final``: all of them are final, and the day is over. ``is_stale``: one of them
    was stored again since they were summed up."""

    day: date
    epochs: tuple[int, ...]
    summed_up: int
    is_final: bool
    is_stale: bool

    @property
    def is_due(self) -> bool:
        """Whether sums are to be made: never of fewer epochs than were summed up before."""
        return self.is_final and have_news(len(self.epochs), self.summed_up, is_stale=self.is_stale)


def network_days(warehouse: Warehouse) -> list[NetworkDay]:
    """The days that have epochs of the whole network, oldest first.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    if network is None:
        return []
    states = warehouse.read("network_states", columns=["epoch"])["epoch"].tolist()
    epochs = warehouse.read("network_epochs", columns=["epoch", "finalized", "materialized_at"])
    stored_at = epochs.set_index("epoch")["materialized_at"]
    final = set(epochs.loc[epochs["finalized"], "epoch"].tolist())
    newest = day_of_epoch(network, int(epochs["epoch"].max())) if len(epochs) else date.min
    by_day: dict[date, list[int]] = {}
    for epoch in states:
        by_day.setdefault(day_of_epoch(network, epoch), []).append(epoch)
    sums = table_of(warehouse.schema, NETWORK_DAYS).c
    found = []
    with warehouse.database.transaction("read which days are summed up") as connection:
        made_from = summed_from(connection, warehouse.schema, NETWORK_DAYS)
        for day, stored in sorted(by_day.items()):
            # One row of the day is enough, and there may be a million: no aggregate over them.
            query = sa.select(sums.epochs).where(sums.day == day).limit(1)
            summed_up = connection.execute(query).scalar_one_or_none() or 0
            is_final = day < newest and final.issuperset(stored)
            # An epoch that was dropped since its state was read is in neither, and not final.
            is_stale = are_stale(stored_at.reindex(stored).max(), made_from.get(day))
            found.append(NetworkDay(day, tuple(stored), summed_up, is_final, is_stale))
    return found


def sum_up_network_day(warehouse: Warehouse, day: date, due: range) -> int:
    """Make the sums of a day from what is stored of the whole network; rows stored.

    ``due`` are the epochs that start in it.

    Raises:
        StorageError: the database refuses, or nothing of the whole network is stored of the day.
    """
    days = {found.day: found for found in network_days(warehouse)}
    if day not in days:
        raise StorageError(f"nothing of the whole network is stored of {day}")
    stored_at = newest_stored_at(warehouse, days[day].epochs)
    if stored_at is None:
        raise StorageError(f"the epochs of {day} were dropped meanwhile")
    sums = _sums(warehouse, days[day].epochs)
    took_part = (sums["active"] > 0) | (sums["eligible"] > 0)
    validators = np.flatnonzero(took_part)
    count = len(days[day].epochs)
    frame = conform(
        NETWORK_DAYS,
        {
            "day": np.full(len(validators), np.datetime64(day, "ns")),
            "validator_index": validators,
            "epochs": np.full(len(validators), count),
            "complete": np.full(len(validators), count == len(due)),
            **{name: values[took_part] for name, values in sums.items()},
        },
    )
    made_from = summed_day_frame(day, NETWORK_DAYS, stored_at)
    return warehouse.replace_rows({NETWORK_DAYS: frame, SUMMED_DAYS: made_from})[NETWORK_DAYS]


def _sums(warehouse: Warehouse, epochs: tuple[int, ...]) -> dict[str, npt.NDArray[np.int64]]:
    """The sums of every validator (n) over ``epochs``, and its balance in the last one."""
    schema, contract = warehouse.schema, contract_of("network_states")
    with warehouse.database.transaction("sum up the whole network") as connection:
        hold_still(connection, schema)
        states = read_table(
            connection, schema, contract, contract.columns, Selection({"epoch": [*epochs]})
        )
        n = int(states["validators"].max())
        sums = {name: np.zeros(n, dtype=np.int64) for name in (*_SUMMED, "closing_balance")}
        for piece in _pieces(connection, schema, states):
            offsets, facts = _facts(connection, schema, piece)
            for block in blocks_of(int(piece["validators"].max())):
                found = read_block(connection, schema, piece, block, ["outcome"])["outcome"]
                # Nobody is the last of the facts: nothing.
                numbers = np.where(found < 0, -1, found + offsets[:, np.newaxis])
                kept = slice(block.start, min(block.stop, n))
                for name, values in facts.items():
                    total = values[numbers].sum(axis=0, dtype=np.int64)
                    sums[name][kept] += total[: kept.stop - kept.start]
        last = states[-1:].reset_index(drop=True)
        for block in blocks_of(int(last["validators"].iloc[0])):
            own = read_block(connection, schema, last, block, list(_OF_THE_LAST))
            outcome, ether, gwei = (own[name][0].astype(np.int64) for name in _OF_THE_LAST)
            balance = np.where(outcome < 0, 0, ether * GWEI_PER_ETHER + gwei)
            kept = slice(block.start, min(block.stop, n))
            sums["closing_balance"][kept] = balance[: kept.stop - kept.start]
    return sums


def _pieces(connection: sa.Connection, schema: str, states: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The epochs in turn, as many at a time as have ``OUTCOMES_AT_ONCE``."""
    outcomes = table_of(schema, "network_outcomes").c
    query = (
        sa.select(outcomes.epoch, sa.func.count())
        .where(outcomes.epoch.in_(states["epoch"].tolist()))
        .group_by(outcomes.epoch)
        .order_by(outcomes.epoch)
    )
    counts = np.array([count for _, count in connection.execute(query)])
    piece = np.cumsum(counts) // OUTCOMES_AT_ONCE
    for number in np.unique(piece):
        yield states[piece == number].reset_index(drop=True)


def _facts(
    connection: sa.Connection, schema: str, states: pd.DataFrame
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64]]]:
    """Where each epoch's outcomes begin, and what is summed up of all of them, one after the other;
    the last entry is that of nobody."""
    contract = contract_of("network_outcomes")
    selection = Selection({"epoch": states["epoch"].tolist()})
    rows = read_table(connection, schema, contract, ("epoch", "outcome", *_SUMMED), selection)
    offsets = np.searchsorted(rows["epoch"].to_numpy(), states["epoch"].to_numpy())
    return offsets, {name: np.append(rows[name].to_numpy().astype(np.int64), 0) for name in _SUMMED}

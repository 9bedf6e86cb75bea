"""Which UTC days are stored and summed up, and writing the sums of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import pandas as pd
import sqlalchemy as sa

from valmon_pipeline.errors import ContractViolationError, StorageError
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.summed_days import (
    SUMMED_DAYS,
    are_stale,
    have_news,
    summed_day_frame,
    summed_from,
)
from valmon_pipeline.storage.tables import table_of
from valmon_pipeline.storage.warehouse import Warehouse

DAY_SUMMARIES: Final = "validator_day_summaries"
_DAY = timedelta(days=1)
_MILLISECONDS_PER_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class StoredDay:
    """A UTC day with stored epochs: those whose first slot starts in it.

    ``summed_up`` is how many of its epochs its summary holds, 0 without one; ``is_final`` whether
    every stored epoch of it is final, ``last_epoch`` the newest that is stored, ``stored_at`` when
    the last of them was, whichever that is. ``is_stale``: one was stored again since the summary
    was made of them.
    """

    day: date
    epochs: int
    last_epoch: int
    is_final: bool
    summed_up: int
    stored_at: datetime
    is_stale: bool

    @property
    def is_due(self) -> bool:
        """Whether a summary is to be made: never of fewer epochs than were summed up before."""
        return have_news(self.epochs, self.summed_up, is_stale=self.is_stale)


def stored_days(warehouse: Warehouse) -> list[StoredDay]:
    """The days that have stored epochs, oldest first.

    Raises:
        StorageError: the database is away or refuses.
    """
    network = warehouse.network()
    if network is None:
        return []
    epochs = table_of(warehouse.schema, "network_epochs").c
    day_number = sa.cast(
        sa.func.floor(
            (sa.cast(epochs.epoch, sa.BigInteger) * epoch_milliseconds(network) + _genesis(network))
            / sa.literal(_MILLISECONDS_PER_DAY, sa.Numeric)
        ),
        sa.Integer,
    ).label("number")
    summaries = table_of(warehouse.schema, DAY_SUMMARIES).c
    with warehouse.database.transaction("read which days are stored") as connection:
        days = connection.execute(
            sa.select(
                day_number,
                sa.func.count(),
                sa.func.max(epochs.epoch),
                sa.func.bool_and(epochs.finalized),
                sa.func.max(epochs.materialized_at),
            )
            .group_by(day_number)
            .order_by(day_number)
        ).all()
        summed_up: dict[date, int] = {}
        for number, *_ in days:
            # One row of the day is enough, and there may be a million: no aggregate over them.
            found = connection.execute(
                sa.select(summaries.epochs).where(summaries.day == _day(number)).limit(1)
            ).scalar_one_or_none()
            summed_up[_day(number)] = found or 0
        made_from = summed_from(connection, warehouse.schema, DAY_SUMMARIES)
    return [
        StoredDay(
            day=(day := _day(number)),
            epochs=count,
            last_epoch=last,
            is_final=final,
            summed_up=summed_up[day],
            stored_at=stored_at,
            is_stale=are_stale(stored_at, made_from.get(day)),
        )
        for number, count, last, final, stored_at in days
    ]


def replace_day(warehouse: Warehouse, day: date, frame: pd.DataFrame, stored_at: datetime) -> int:
    """Make ``frame`` the rows of ``validator_day_summaries`` for a day; rows stored. ``stored_at``:
    ``newest_stored_at`` of its epochs before they were read.

    Raises:
        ContractViolationError: the frame breaks the contract, or holds another day.
        StorageError: the database refuses, or the day's stored rows sum up more epochs than these:
            some were dropped since then, and the sums are all that is left of them.
    """
    others = frame.loc[frame["day"] != pd.Timestamp(day), "day"]
    if len(others):
        raise ContractViolationError(
            f"validator_day_summaries: rows of {others.iloc[0]:%Y-%m-%d} among those of {day}",
            table=DAY_SUMMARIES,
        )
    table = table_of(warehouse.schema, DAY_SUMMARIES)
    with warehouse.database.transaction(f"check the summary of {day}") as connection:
        known = connection.execute(
            sa.select(sa.func.max(table.c.epochs)).where(table.c.day == day)
        ).scalar()
    epochs = int(frame["epochs"].max()) if len(frame) else 0
    if known is not None and known > epochs:
        raise StorageError(
            f"the summary of {day} covers {known} epochs, but only {epochs} of them are stored by "
            "now: it is kept as it is. To make it again, load the day's epochs again first."
        )
    made_from = summed_day_frame(day, table.name, stored_at)
    return warehouse.replace_rows({table.name: frame, SUMMED_DAYS: made_from})[table.name]


def day_of_epoch(network: NetworkIdentity, epoch: int) -> date:
    """The UTC day that an epoch's first slot starts in."""
    return _day((epoch * epoch_milliseconds(network) + _genesis(network)) // _MILLISECONDS_PER_DAY)


def epoch_milliseconds(network: NetworkIdentity) -> int:
    """How long an epoch lasts."""
    return network.slots_per_epoch * network.slot_duration_ms


def days_of_epochs(network: NetworkIdentity, epochs: Sequence[int]) -> set[date]:
    """The days of a range of epochs."""
    first, last = day_of_epoch(network, epochs[0]), day_of_epoch(network, epochs[-1])
    return {first + _DAY * number for number in range((last - first).days + 1)}


def _genesis(network: NetworkIdentity) -> int:
    return network.genesis_time * 1000


def _day(number: int) -> date:
    return datetime.fromtimestamp(number * _MILLISECONDS_PER_DAY // 1000, UTC).date()

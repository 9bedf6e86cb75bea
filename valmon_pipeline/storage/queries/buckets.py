"""Stretches of time that series are cut into. All of it is UTC.

An epoch belongs to the bucket that its first slot starts in, whatever the offset of genesis.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from psycopg import sql

from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.stored_days import epoch_milliseconds

Int64Array = npt.NDArray[np.int64]
Moments = npt.NDArray[np.datetime64]
"""Moments in milliseconds, UTC without saying so."""


class Granularity(StrEnum):
    """How long a bucket is; an epoch is one by itself."""

    EPOCH = "epoch"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


_UNITS: Final = {Granularity.HOUR: "h", Granularity.DAY: "D", Granularity.MONTH: "M"}


@dataclass(frozen=True, slots=True)
class Span:
    """The epochs ``first`` to ``last``, both included."""

    first: int
    last: int

    @property
    def epochs(self) -> range:
        return range(self.first, self.last + 1)


def epoch_starts(network: NetworkIdentity, epochs: Int64Array) -> Moments:
    """When the first slot of each epoch (n) starts."""
    milliseconds = network.genesis_time * 1000 + epochs * epoch_milliseconds(network)
    return milliseconds.astype("datetime64[ms]")


def bucket_starts(network: NetworkIdentity, epochs: Int64Array, by: Granularity) -> Moments:
    """When the bucket of each epoch (n) starts."""
    starts = epoch_starts(network, epochs)
    if by is Granularity.EPOCH:
        return starts
    return starts.astype(f"datetime64[{_UNITS[by]}]").astype("datetime64[ms]")


def bucket_spans(
    network: NetworkIdentity, starts: Moments, by: Granularity
) -> tuple[Int64Array, Int64Array]:
    """The first epoch of each bucket (n), and the one after its last: all that belong to it,
    stored or not."""
    if by is Granularity.EPOCH:
        first = _first_epoch_at_or_after(network, starts)
        return first, first + 1
    unit = f"datetime64[{_UNITS[by]}]"
    ends = (starts.astype(unit) + 1).astype("datetime64[ms]")
    return _first_epoch_at_or_after(network, starts), _first_epoch_at_or_after(network, ends)


def bucket_columns(
    network: NetworkIdentity, starts: Moments, epochs: Int64Array, by: Granularity
) -> dict[str, Any]:
    """The columns that every series begins with, for buckets (n) of which so many ``epochs`` are
    summed up: ``start``, ``first_epoch`` and ``last_epoch`` (that belong to the bucket),
    ``epochs``, ``complete`` (whether these are all)."""
    first, end = bucket_spans(network, starts, by)
    return {
        "start": pd.Series(starts).dt.tz_localize("UTC"),
        "first_epoch": first,
        "last_epoch": end - 1,
        "epochs": epochs,
        "complete": epochs == end - first,
    }


def bucket_sql(network: NetworkIdentity, by: Granularity) -> sql.Composable:
    """The start of the bucket of a column ``epoch``, as a timestamp without time zone, in SQL."""
    start = sql.SQL(
        "(timestamp '1970-01-01' + (epoch::bigint * {} + {}) * interval '1 millisecond')"
    ).format(
        sql.Literal(epoch_milliseconds(network)),
        sql.SQL("{}::bigint").format(sql.Literal(network.genesis_time * 1000)),
    )
    if by is Granularity.EPOCH:
        return start
    return sql.SQL("date_trunc({}, {})").format(sql.Literal(by.value), start)


def _first_epoch_at_or_after(network: NetworkIdentity, moments: Moments) -> Int64Array:
    since_genesis = moments.astype(np.int64) - network.genesis_time * 1000
    return np.maximum(0, -(-since_genesis // epoch_milliseconds(network)))

"""Buckets of time, in Python and in SQL, against the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.partitions import epochs_of_day
from valmon_pipeline.storage.database import Database, driver_connection
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.queries.buckets import (
    Granularity,
    bucket_columns,
    bucket_spans,
    bucket_sql,
    bucket_starts,
)

NETWORKS = st.builds(
    NetworkIdentity,
    config_name=st.just("any"),
    genesis_time=st.integers(1_500_000_000, 1_900_000_000),
    genesis_validators_root=st.just(bytes(32)),
    slots_per_epoch=st.sampled_from([8, 16, 32]),
    slot_duration_ms=st.sampled_from([5000, 6000, 12_000, 1_234_567]),
    partition_epochs=st.just(10),
)
EPOCHS = st.integers(0, 500_000)


def moment_of(network: NetworkIdentity, epoch: int) -> datetime:
    slots = epoch * network.slots_per_epoch
    milliseconds = timedelta(milliseconds=slots * network.slot_duration_ms)
    return datetime.fromtimestamp(network.genesis_time, UTC) + milliseconds


def start_of(moment: datetime, by: Granularity) -> datetime:
    if by is Granularity.EPOCH:
        return moment
    day = 1 if by is Granularity.MONTH else moment.day
    hour = moment.hour if by is Granularity.HOUR else 0
    return moment.replace(day=day, hour=hour, minute=0, second=0, microsecond=0)


@given(NETWORKS, EPOCHS, st.sampled_from(Granularity))
def test_an_epoch_is_in_the_bucket_its_first_slot_starts_in(
    network: NetworkIdentity, epoch: int, by: Granularity
) -> None:
    (start,) = bucket_starts(network, np.array([epoch]), by)
    expected = start_of(moment_of(network, epoch), by)
    assert start.item().replace(tzinfo=UTC) == expected
    first, end = (values.item() for values in bucket_spans(network, np.array([start]), by))
    assert first <= epoch < end
    for inside, other in ((first, first - 1), (end - 1, end)):
        assert start_of(moment_of(network, inside), by) == expected
        assert other < 0 or start_of(moment_of(network, other), by) != expected


@given(NETWORKS, EPOCHS)
def test_days_are_those_of_the_partitions(network: NetworkIdentity, epoch: int) -> None:
    start = bucket_starts(network, np.array([epoch]), Granularity.DAY)
    first, end = bucket_spans(network, start, Granularity.DAY)
    day = start[0].astype("datetime64[D]").item()
    assert range(first[0], end[0]) == epochs_of_day(network, network.genesis_time, day)


@pytest.mark.parametrize("by", Granularity)
@pytest.mark.parametrize("slot_ms", [6000, 12_000, 1_234_567])
def test_the_database_has_the_same_buckets(
    database: Database, by: Granularity, slot_ms: int
) -> None:
    network = NetworkIdentity("any", 1_606_824_023, bytes(32), 32, slot_ms, 225)
    epochs = np.arange(0, 400_000, 997)
    query = bucket_sql(network, by)
    with database.transaction("cut time up") as connection:
        rows = (
            driver_connection(connection)
            .execute(
                b"SELECT " + query.as_bytes() + b" FROM unnest(%s::integer[]) AS epoch",
                [epochs.tolist()],
            )
            .fetchall()
        )
    ours = bucket_starts(network, epochs, by)
    assert [row[0] for row in rows] == [start.item() for start in ours]


def test_a_bucket_is_complete_when_all_its_epochs_are_there() -> None:
    network = NetworkIdentity("any", 1_700_000_000, bytes(32), 32, 12_000, 225)
    start = bucket_starts(network, np.array([1000]), Granularity.DAY)
    columns = bucket_columns(network, np.repeat(start, 2), np.array([225, 224]), Granularity.DAY)
    assert columns["complete"].tolist() == [True, False]
    assert (columns["last_epoch"] - columns["first_epoch"]).tolist() == [224, 224]

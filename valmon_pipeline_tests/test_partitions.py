"""Ranges of epochs become partition keys and runs, days become epochs, and nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from dagster import PartitionKeyRange
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    EpochRange,
    contiguous_chunks,
    day_partitions,
    epoch_key,
    epoch_partitions,
    epochs_of_day,
    epochs_of_keys,
    range_tags,
    register_epochs,
    registered_epochs,
)
from valmon_pipeline_tests.chain.presets import GNOSIS, MAINNET, MINIMAL

MAINNET_GENESIS = 1_606_824_023
GNOSIS_GENESIS = 1_638_993_340

_NETWORKS = (f"devnet_{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory; each test has a network of its own in it."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def network() -> str:
    """A network without any partition keys."""
    return next(_NETWORKS)


def epochs_of_range(instance: dg.DagsterInstance, network: str, chunk: Sequence[int]) -> list[int]:
    """The epochs that Dagster itself makes of a chunk's two range tags, in its order."""
    tags = range_tags(chunk)
    keys = PartitionKeyRange(tags[RANGE_START_TAG], tags[RANGE_END_TAG])
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        return [int(key) for key in epoch_partitions(network).get_partition_keys_in_range(keys)]


class TestEpochRange:
    """``5..20`` has both ends in it."""

    @pytest.mark.parametrize(
        ("text", "epochs"),
        [("5..8", [5, 6, 7, 8]), ("7", [7]), ("0..0", [0]), (" 3 .. 4 ", [3, 4]), ("007", [7])],
    )
    def test_it_is_read_as_people_write_it(self, text: str, epochs: list[int]) -> None:
        parsed = EpochRange.parse(text)
        assert list(parsed) == epochs
        assert len(parsed) == len(epochs)

    @pytest.mark.parametrize(
        "text", ["", "..", "5..", "..5", "5-8", "-3..4", "5...8", "a", "1.5", "1..2..3"]
    )
    def test_anything_else_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match=r"is not an epoch range: .* e\.g\. 5\.\.20"):
            EpochRange.parse(text)

    def test_backwards_is_refused_with_what_was_meant(self) -> None:
        with pytest.raises(ConfigurationError, match=r"runs backwards: did you mean 5\.\.20\?"):
            EpochRange.parse("20..5")

    @given(st.integers(0, 9_999_999), st.integers(0, 9_999_999))
    def test_what_it_prints_is_what_it_reads(self, first: int, length: int) -> None:
        written = EpochRange(first, first + length)
        assert EpochRange.parse(str(written)) == written


class TestKeys:
    """Keys are padded, so that they sort as text, and mean their epoch."""

    @given(st.sets(st.integers(0, 9_999_999), max_size=50))
    def test_keys_sort_as_their_epochs_do(self, epochs: set[int]) -> None:
        keys = [epoch_key(epoch) for epoch in epochs]
        assert epochs_of_keys(keys) == sorted(epochs)
        assert [int(key) for key in sorted(keys)] == sorted(epochs)

    def test_a_key_that_comes_twice_is_one_epoch(self) -> None:
        assert epochs_of_keys(["0000009", "0000008", "0000009"]) == [8, 9]


class TestRegistry:
    """One function adds keys, ascending; Dagster keeps them in the order they came."""

    def test_new_epochs_are_added_ascending_and_told(
        self, instance: dg.DagsterInstance, network: str
    ) -> None:
        assert register_epochs(instance, network, [12, 10, 13, 11, 11]) == [10, 11, 12, 13]
        assert register_epochs(instance, network, range(9, 15)) == [9, 14]
        assert register_epochs(instance, network, range(9, 15)) == []
        assert registered_epochs(instance, network) == [10, 11, 12, 13, 9, 14]

    def test_networks_have_keys_of_their_own(
        self, instance: dg.DagsterInstance, network: str
    ) -> None:
        register_epochs(instance, network, [5])
        assert registered_epochs(instance, "mainnet") == []


class TestChunks:
    """A run's range tags select exactly the epochs that it was launched for."""

    def test_a_range_of_keys_out_of_order_is_empty_in_dagster(
        self, instance: dg.DagsterInstance, network: str
    ) -> None:
        """Why chunks exist: what ``8…12`` means when 10–13 were there before 7–9."""
        register_epochs(instance, network, range(10, 14))
        register_epochs(instance, network, range(7, 10))
        assert epochs_of_range(instance, network, range(8, 13)) == []

    def test_8_to_12_after_10_to_13_were_registered_first(
        self, instance: dg.DagsterInstance, network: str
    ) -> None:
        register_epochs(instance, network, range(10, 14))
        register_epochs(instance, network, range(7, 10))
        chunks = contiguous_chunks(registered_epochs(instance, network), range(8, 13), 225)
        assert chunks == [[8, 9], [10, 11, 12]]
        assert [epochs_of_range(instance, network, chunk) for chunk in chunks] == chunks

    def test_a_chunk_may_run_over_a_seam_of_the_registry(
        self, instance: dg.DagsterInstance, network: str
    ) -> None:
        register_epochs(instance, network, [12, 13])
        register_epochs(instance, network, [5, 6])
        chunks = contiguous_chunks(registered_epochs(instance, network), [5, 13], 225)
        assert chunks == [[13, 5]]
        assert epochs_of_range(instance, network, chunks[0]) == [13, 5]

    def test_no_chunk_is_longer_than_a_run_may_be(self) -> None:
        chunks = contiguous_chunks(range(100), range(10, 35), 10)
        assert [(chunk[0], chunk[-1], len(chunk)) for chunk in chunks] == [
            (10, 19, 10),
            (20, 29, 10),
            (30, 34, 5),
        ]

    def test_an_epoch_without_a_key_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"2 epochs have no partition key, .*\[3, 9\]"):
            contiguous_chunks([4, 5], [9, 4, 3], 225)

    def test_nothing_wanted_is_no_run(self) -> None:
        assert contiguous_chunks([4, 5], [], 225) == []

    @given(
        registered=st.lists(st.sets(st.integers(0, 40), max_size=12), max_size=5),
        wanted=st.sets(st.integers(0, 40), min_size=1),
        longest=st.integers(1, 9),
    )
    def test_whatever_the_order_of_registration(
        self,
        instance: dg.DagsterInstance,
        registered: list[set[int]],
        wanted: set[int],
        longest: int,
    ) -> None:
        network = next(_NETWORKS)
        for epochs in (*registered, wanted):
            register_epochs(instance, network, epochs)
        chunks = contiguous_chunks(registered_epochs(instance, network), wanted, longest)
        assert [epochs_of_range(instance, network, chunk) for chunk in chunks] == chunks
        assert sorted(epoch for chunk in chunks for epoch in chunk) == sorted(wanted)
        assert all(1 <= len(chunk) <= longest for chunk in chunks)
        assert chunks == sorted(chunks, key=min)


class TestDays:
    """An epoch belongs to the UTC day in which its first slot starts."""

    def test_days_begin_with_the_first_one_and_reach_today(self) -> None:
        days = day_partitions(date(2026, 11, 1)).get_partition_keys(
            current_time=datetime(2026, 11, 3, 0, 0, 1, tzinfo=UTC)
        )
        assert days == ["2026-11-01", "2026-11-02", "2026-11-03"]

    def test_mainnet_has_225_epochs_a_day(self) -> None:
        day = epochs_of_day(MAINNET, MAINNET_GENESIS, date(2026, 11, 21))
        assert len(day) == 225
        start = datetime.fromtimestamp(MAINNET_GENESIS + day[0] * 384, UTC)
        assert start.date() == date(2026, 11, 21)
        assert (
            datetime.fromtimestamp(MAINNET_GENESIS + (day[0] - 1) * 384, UTC).date() < start.date()
        )

    def test_the_day_of_genesis_is_a_short_one(self) -> None:
        genesis = epochs_of_day(MAINNET, MAINNET_GENESIS, date(2020, 12, 1))
        assert genesis == range(113)  # 12:00:23 to midnight
        assert epochs_of_day(MAINNET, MAINNET_GENESIS, date(2020, 12, 2)) == range(113, 338)

    def test_before_genesis_there_is_nothing(self) -> None:
        assert len(epochs_of_day(MAINNET, MAINNET_GENESIS, date(2020, 11, 30))) == 0

    @given(days=st.integers(1, 3000))
    def test_a_full_day_of_mainnet_is_225_epochs_whatever_the_offset(self, days: int) -> None:
        day = date(2020, 12, 1) + timedelta(days=days)
        assert len(epochs_of_day(MAINNET, MAINNET_GENESIS, day)) == 225

    @given(days=st.integers(1, 3000))
    def test_a_full_day_of_gnosis_is_1080_epochs(self, days: int) -> None:
        day = datetime.fromtimestamp(GNOSIS_GENESIS, UTC).date() + timedelta(days=days)
        assert len(epochs_of_day(GNOSIS, GNOSIS_GENESIS, day)) == 1080

    @given(
        spec=st.sampled_from([MAINNET, GNOSIS, MINIMAL]),
        slot_duration_ms=st.none() | st.integers(100, 30_000),
        genesis_time=st.integers(1_577_836_800, 2_000_000_000),
        days=st.integers(1, 400),
    )
    def test_each_epoch_is_in_exactly_one_day_and_starts_in_it(
        self, spec: ChainSpec, slot_duration_ms: int | None, genesis_time: int, days: int
    ) -> None:
        if slot_duration_ms is not None:
            spec = replace(spec, slot_duration_ms=slot_duration_ms)
        first = datetime.fromtimestamp(genesis_time, UTC).date()
        assert epochs_of_day(spec, genesis_time, first).start == 0
        day = first + timedelta(days=days)
        before, here, after = (
            epochs_of_day(spec, genesis_time, day + timedelta(days=offset)) for offset in (-1, 0, 1)
        )
        assert before.stop == here.start
        assert here.stop == after.start
        midnight_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
        for epoch in {here.start, here.stop - 1} if here else set():
            start_ms = spec.slot_start_ms(genesis_time, spec.first_slot(epoch))
            assert midnight_ms <= start_ms < midnight_ms + 86_400_000

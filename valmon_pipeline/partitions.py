"""Partitions: one key per epoch, one per UTC day, and everything that turns ranges into keys.

Dagster orders dynamic partition keys by *insertion*, and resolves a range of keys in that order.
With keys 10-13 registered before 7-9 the range 8...12 is empty, and the run succeeds having done
nothing. Hence two rules, both kept here: keys are added by one function, ascending; and a run over
many epochs is launched only for keys that are contiguous in the registry, so that its two range
tags mean exactly the epochs that were asked for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol

import dagster as dg

from valmon_pipeline.errors import ConfigurationError

RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"
PARTITION_TAG: Final = "dagster/partition"

# Seven digits hold every epoch of mainnet for the next hundred years, and padded keys sort as text.
_KEY_DIGITS: Final = 7
_EPOCH_RANGE = re.compile(r"^\s*(\d+)\s*(?:\.\.\s*(\d+)\s*)?$")


@dataclass(frozen=True, slots=True)
class EpochRange:
    """The epochs ``first`` to ``last``, both included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> EpochRange:
        """Read ``"5..20"`` or ``"7"``.

        Raises:
            ConfigurationError: if the text is neither, or runs backwards.
        """
        match = _EPOCH_RANGE.match(text)
        if match is None:
            raise ConfigurationError(
                f"{text!r} is not an epoch range: write FIRST..LAST, both included, e.g. 5..20"
            )
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if last < first:
            raise ConfigurationError(
                f"the epoch range {text!r} runs backwards: did you mean {last}..{first}?"
            )
        return cls(first, last)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


def epoch_partitions(network: str) -> dg.DynamicPartitionsDefinition:
    """The dynamic partitions ``epoch_<network>``; keys are made by ``epoch_key``."""
    return dg.DynamicPartitionsDefinition(name=f"epoch_{network}")


def epoch_key(epoch: int) -> str:
    """The partition key of an epoch: zero-padded to seven digits."""
    return f"{epoch:0{_KEY_DIGITS}d}"


def epochs_of_keys(keys: Iterable[str]) -> list[int]:
    """The epochs of partition keys, ascending, each once."""
    return sorted({int(key) for key in keys})


def registered_epochs(instance: dg.DagsterInstance, network: str) -> list[int]:
    """The registered epochs in the registry's own order, which is the order of insertion."""
    name = epoch_partitions(network).name
    assert name is not None
    return [int(key) for key in instance.get_dynamic_partitions(name)]


def register_epochs(instance: dg.DagsterInstance, network: str, epochs: Iterable[int]) -> list[int]:
    """Add the partition keys that are missing, ascending; return the epochs that were added."""
    name = epoch_partitions(network).name
    assert name is not None
    known = set(registered_epochs(instance, network))
    missing = sorted(set(epochs) - known)
    if missing:
        instance.add_dynamic_partitions(name, [epoch_key(epoch) for epoch in missing])
    return missing


def contiguous_chunks(
    registered: Sequence[int], wanted: Iterable[int], max_epochs_per_run: int
) -> list[list[int]]:
    """Split wanted epochs into runs whose range tags select exactly their epochs.

    A chunk holds at most ``max_epochs_per_run`` epochs that lie next to each other in the registry
    (``registered``, in insertion order), in that order. Chunks are ordered by their oldest epoch.

    Raises:
        ConfigurationError: if a wanted epoch is not registered.
    """
    position = {epoch: index for index, epoch in enumerate(registered)}
    unknown = sorted(set(wanted) - position.keys())
    if unknown:
        raise ConfigurationError(
            f"{len(unknown)} epochs have no partition key, e.g. {unknown[:5]}: register them first"
        )
    chunks: list[list[int]] = []
    for index in sorted({position[epoch] for epoch in wanted}):
        follows = chunks and position[chunks[-1][-1]] == index - 1
        if follows and len(chunks[-1]) < max_epochs_per_run:
            chunks[-1].append(registered[index])
        else:
            chunks.append([registered[index]])
    return sorted(chunks, key=min)


def stretches_around(epochs: Sequence[int], bad: Collection[int]) -> list[list[int]]:
    """What to ask for instead of a batch that failed: the stretches around its ``bad`` epochs.

    Where no epoch is to blame, the batch is halved; of a single epoch nothing is left.
    """
    if not any(epoch in bad for epoch in epochs):
        middle = len(epochs) // 2
        return [list(epochs[:middle]), list(epochs[middle:])] if middle else []
    stretches: list[list[int]] = [[]]
    for epoch in epochs:
        if epoch in bad:
            stretches.append([])
        else:
            stretches[-1].append(epoch)
    return [stretch for stretch in stretches if stretch]


def range_tags(chunk: Sequence[int]) -> Mapping[str, str]:
    """The run tags that select a chunk made by ``contiguous_chunks``."""
    return {RANGE_START_TAG: epoch_key(chunk[0]), RANGE_END_TAG: epoch_key(chunk[-1])}


def epochs_of_run_tags(tags: Mapping[str, str], registered: Sequence[int]) -> list[int]:
    """The epochs of a run, in the registry's order; none if its tags name no epochs."""
    first = tags.get(RANGE_START_TAG, tags.get(PARTITION_TAG))
    last = tags.get(RANGE_END_TAG, first)
    if first is None or last is None or not (first.isdigit() and last.isdigit()):
        return []
    try:
        start, end = registered.index(int(first)), registered.index(int(last))
    except ValueError:
        return []
    return list(registered[start : end + 1])


def day_partitions(first_day: date) -> dg.DailyPartitionsDefinition:
    """UTC days since ``first_day``, today included: the day's epochs that are final are loaded."""
    return dg.DailyPartitionsDefinition(
        start_date=first_day.isoformat(), timezone="UTC", end_offset=1
    )


class EpochLength(Protocol):
    """What says how long an epoch lasts: a ``ChainSpec``, or the identity of a stored network."""

    @property
    def slots_per_epoch(self) -> int:
        """Slots of an epoch."""

    @property
    def slot_duration_ms(self) -> int:
        """Length of a slot in milliseconds."""


def epochs_of_day(spec: EpochLength, genesis_time: int, day: date) -> range:
    """The epochs whose first slot starts within a UTC day (225 on mainnet, whatever the offset).

    Args:
        spec: the chain's constants.
        genesis_time: Unix time of slot 0, seconds.
        day: the UTC day.

    Returns:
        A range of epochs; empty if the day ended before genesis.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    epoch_ms = spec.slot_duration_ms * spec.slots_per_epoch

    def first_epoch_at_or_after(moment: datetime) -> int:
        since_genesis_ms = (int(moment.timestamp()) - genesis_time) * 1000
        return max(0, -(-since_genesis_ms // epoch_ms))

    return range(
        first_epoch_at_or_after(midnight), first_epoch_at_or_after(midnight + timedelta(days=1))
    )

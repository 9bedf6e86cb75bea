"""Requests for runs that materialize epochs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import dagster as dg
from dagster import MAX_RUNTIME_SECONDS_TAG

from valmon_pipeline.assets.run_tags import (
    CATCH_UP,
    COMPLETION,
    FINALITY,
    LIVE,
    NETWORK_TAG,
    PROVISIONAL_TAG,
    REASON_TAG,
    WORK_TAG,
)
from valmon_pipeline.dagster_adapter.internals import PRIORITY_TAG
from valmon_pipeline.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    contiguous_chunks,
    epoch_key,
    range_tags,
)
from valmon_pipeline.reading.batch_reader import EPOCH_DEADLINE_SECONDS

_PRIORITY: Final[Mapping[str, str]] = {
    LIVE: "10",
    FINALITY: "5",
    CATCH_UP: "-10",
    COMPLETION: "-20",
}

_STARTING_SECONDS: Final = 60


def epoch_run(network: str, epoch: int, work: str, run_key: str, reason: str) -> dg.RunRequest:
    """A run for one epoch, stored even before it is final."""
    return dg.RunRequest(
        run_key=run_key,
        partition_key=epoch_key(epoch),
        tags=_tags(network, work, reason, epochs=1),
    )


def catch_up_runs(
    network: str, registered: Sequence[int], epochs: Iterable[int], key: str, *, longest: int
) -> Iterator[dg.RunRequest]:
    """Runs for older epochs: as few as there are stretches of neighbours, oldest first, each of at
    most ``longest`` epochs.

    ``registered`` are the registered epochs in the registry's order. ``key`` ends the run keys: it
    tells a request made again from one that Dagster repeats.
    """
    for chunk in contiguous_chunks(registered, epochs, longest):
        for stretch in _consecutive(chunk):
            yield dg.RunRequest(
                run_key=f"epochs:{network}:{stretch[0]}..{stretch[-1]}:{key}",
                tags={
                    **range_tags(stretch),
                    **_tags(network, CATCH_UP, "catch-up", epochs=len(stretch)),
                },
            )


def requested_epochs(request: dg.RunRequest) -> range:
    """The epochs of a run requested by the functions above."""
    if request.partition_key is not None:
        first = last = request.partition_key
    else:
        first, last = request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]
    return range(int(first), int(last) + 1)


def _tags(network: str, work: str, reason: str, *, epochs: int) -> dict[str, str]:
    return {
        NETWORK_TAG: network,
        WORK_TAG: work,
        REASON_TAG: reason,
        PROVISIONAL_TAG: "true",
        PRIORITY_TAG: _PRIORITY[work],
        MAX_RUNTIME_SECONDS_TAG: str(_STARTING_SECONDS + 2 * int(EPOCH_DEADLINE_SECONDS) * epochs),
    }


def _consecutive(epochs: Sequence[int]) -> Iterator[list[int]]:
    """Neighbours in the registry that are also neighbours in number."""
    stretch: list[int] = []
    for epoch in epochs:
        if stretch and epoch != stretch[-1] + 1:
            yield stretch
            stretch = []
        stretch.append(epoch)
    if stretch:
        yield stretch

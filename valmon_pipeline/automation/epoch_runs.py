"""Requests for runs that materialize epochs, and which epochs such runs are at work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import dagster as dg
from dagster import MAX_RUNTIME_SECONDS_TAG

from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.materialization import EPOCH_DEADLINE_SECONDS
from valmon_pipeline.assets.run_tags import (
    CATCH_UP,
    COMPLETION,
    NETWORK_TAG,
    PROVISIONAL_TAG,
    REASON_TAG,
    WORK_TAG,
)
from valmon_pipeline.dagster_adapter.internals import (
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
)
from valmon_pipeline.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    contiguous_chunks,
    epoch_key,
    range_tags,
)

__all__ = ["CATCH_UP", "COMPLETION", "FINALITY", "LIVE"]

LIVE: Final = "live"
FINALITY: Final = "finality"
_PRIORITY: Final[Mapping[str, str]] = {
    LIVE: "10",
    FINALITY: "5",
    CATCH_UP: "-10",
    COMPLETION: "-20",
}

_STARTING_SECONDS: Final = 60

UNFINISHED: Final = tuple(
    status
    for status in dg.DagsterRunStatus
    if status
    not in (
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    )
)
"""Statuses of runs that are queued or running. Dagster's own list of runs in progress leaves out
the queued ones."""


def epoch_run(network: str, epoch: int, work: str, run_key: str, reason: str) -> dg.RunRequest:
    """A run for one epoch, stored even before it is final."""
    return dg.RunRequest(
        run_key=run_key,
        partition_key=epoch_key(epoch),
        tags=_tags(network, work, reason, epochs=1),
    )


def catch_up_runs(
    network: str, registered: Sequence[int], epochs: Iterable[int], newest: int
) -> Iterator[dg.RunRequest]:
    """Runs for older epochs: as few as there are stretches of neighbours, oldest first.

    ``registered`` are the registered epochs in the registry's order. ``newest`` is part of the run
    keys: the same epochs are requested once while no further epoch has closed.
    """
    epochs = list(epochs)
    for chunk in contiguous_chunks(registered, epochs, max(1, len(epochs))):
        for stretch in _consecutive(chunk):
            yield dg.RunRequest(
                run_key=f"epochs:{network}:{stretch[0]}..{stretch[-1]}:at:{newest}",
                tags={
                    **range_tags(stretch),
                    **_tags(network, CATCH_UP, "catch-up", epochs=len(stretch)),
                },
            )


def runs_under_way(instance: dg.DagsterInstance, network: str) -> list[dg.DagsterRun]:
    """The runs of a network that are queued or running, whoever asked for them.

    Runs of valmon's own carry the network as a tag, backfills from the UI select its assets.
    """
    blocks = asset_key(network, "blocks")
    return [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        if run.tags.get(NETWORK_TAG) == network or blocks in (run.asset_selection or ())
    ]


def epochs_under_way(instance: dg.DagsterInstance, network: str) -> set[int]:
    """The epochs of runs that are queued or running, whoever asked for them."""
    epochs: set[int] = set()
    for run in runs_under_way(instance, network):
        first = run.tags.get(RANGE_START_TAG, run.tags.get(PARTITION_NAME_TAG))
        last = run.tags.get(RANGE_END_TAG, first)
        if first is not None and last is not None:
            epochs.update(range(int(first), int(last) + 1))
    return epochs


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

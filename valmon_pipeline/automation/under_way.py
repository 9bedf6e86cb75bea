"""Epochs that queued and running runs hold, so that no second run is requested for any of them.

A run counts from the moment it is wanted: while a backfill has yet to launch it, while it is
queued, while it runs, between a worker's death and Dagster's automatic retry, and for a minute
after a batch failed, in which the epochs around the bad ones are requested again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import dagster as dg

from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.history import EPOCH_HISTORY, LOAD_HISTORY
from valmon_pipeline.assets.run_tags import CATCH_UP, COMPLETION, NETWORK_TAG, WORK_TAG
from valmon_pipeline.dagster_adapter.internals import (
    PARTITION_NAME_TAG,
    RUN_KEY_TAG,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from valmon_pipeline.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    epochs_of_day,
    registered_epochs,
)
from valmon_pipeline.storage.network_identity import NetworkIdentity

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

RETRY_WAIT: Final = timedelta(minutes=10)
"""A run that Dagster has not retried for so long is not going to be."""
SPLIT_WAIT: Final = timedelta(minutes=1)
"""Time to request runs for the stretches of a batch around the epochs that made it fail."""
_MAKES_WAY: Final = frozenset({CATCH_UP, COMPLETION})
"""Work that is requested again by itself, and so gives way to a run that somebody asked for."""


def belongs_to(run: dg.DagsterRun, network: str) -> bool:
    """Return True if a run is of a network's jobs, or materializes assets of it."""
    selected = any(key.path[0] == network for key in run.asset_selection or ())
    return selected or run.tags.get(NETWORK_TAG) == network


def runs_under_way(instance: dg.DagsterInstance, network: str) -> list[dg.DagsterRun]:
    """Runs of a network's assets that are queued, running, or failed and about to be repeated.

    Runs of valmon's jobs carry the network as a tag, runs from the UI select its assets.
    """
    now = datetime.now(UTC)
    unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    failed = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - RETRY_WAIT)
    )
    repeated = [
        record.dagster_run
        for record in failed
        if record.dagster_run.is_complete_and_waiting_to_retry
        or (
            record.start_time is not None
            and _is_batch(record.dagster_run)
            and now - record.update_timestamp.replace(tzinfo=UTC) < SPLIT_WAIT
        )
    ]
    return [run for run in (*unfinished, *repeated) if belongs_to(run, network)]


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Epochs that a run holds or that a backfill has yet to launch a run for, and the run keys of
    those runs that a sensor requested."""

    epochs: frozenset[int]
    run_keys: frozenset[str]


def read_under_way(
    instance: dg.DagsterInstance, network: str, chain: NetworkIdentity | None
) -> UnderWay:
    """Read the epochs and run keys that are under way for a network.

    ``chain`` turns the days that a run loads into epochs; None before anything is stored.
    """
    runs = RunEpochs(instance, network, chain)
    epochs = epochs_of_backfills(instance, network)
    keys = set()
    for run in runs_under_way(instance, network):
        epochs |= runs.of(run)
        keys.add(run.tags.get(RUN_KEY_TAG, ""))
    return UnderWay(frozenset(epochs), frozenset(keys - {""}))


def epochs_of_backfills(instance: dg.DagsterInstance, network: str) -> set[int]:
    """Epochs that backfills in progress have still to make, whether their runs exist or not.

    The daemon launches the runs of a backfill up to a minute after it was requested, and not all
    at once.
    """
    requested = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])
    epochs: set[int] = set()
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        for backfill in instance.get_backfills(filters=requested):
            data = backfill.asset_backfill_data
            if data is None:
                epochs |= _of_job_backfill(backfill)
                continue
            over = (data.materialized_subset, data.failed_and_downstream_subset)
            for key, target in data.target_subset.partitions_subsets_by_asset_key.items():
                if key.path[0] != network:
                    continue
                keys = set(target.get_partition_keys())
                for subset in over:
                    done = subset.partitions_subsets_by_asset_key.get(key)
                    if done is not None:
                        keys.difference_update(done.get_partition_keys())
                epochs |= _epochs_among(keys)
    return epochs


class RunEpochs:
    """Reads which epochs runs are about; the registry of partition keys is read at most once."""

    def __init__(
        self, instance: dg.DagsterInstance, network: str, chain: NetworkIdentity | None
    ) -> None:
        self._instance = instance
        self._network = network
        self._chain = chain
        self._registry: list[int] | None = None

    def of(self, run: dg.DagsterRun) -> set[int]:
        """Epochs that a run materializes; none if it is about days that it sums up."""
        keys = self._keys(run)
        return _epochs_among(keys) | self._of_days(run, keys)

    def _keys(self, run: dg.DagsterRun) -> Collection[str]:
        """The partition keys of a run; of days only the first and the last."""
        if run.partitions_subset is not None:
            with dg.partition_loading_context(dynamic_partitions_store=self._instance):
                return list(run.partitions_subset.get_partition_keys())
        first = run.tags.get(RANGE_START_TAG, run.tags.get(PARTITION_NAME_TAG))
        last = run.tags.get(RANGE_END_TAG, first)
        if first is None or last is None:
            return []
        if first == last or not first.isdecimal() or not last.isdecimal():
            return [first, last]
        # Dagster resolves a range in the order of registration, which need not ascend.
        if self._registry is None:
            self._registry = registered_epochs(self._instance, self._network)
        registry, ends = self._registry, (int(first), int(last))
        if not set(ends) <= set(registry):
            return [str(epoch) for epoch in range(ends[0], ends[1] + 1)]
        begin, end = map(registry.index, ends)
        return [str(epoch) for epoch in registry[begin : end + 1]]

    def _of_days(self, run: dg.DagsterRun, keys: Iterable[str]) -> set[int]:
        """Epochs of the UTC days that a run loads."""
        history = asset_key(self._network, EPOCH_HISTORY)
        days = [date.fromisoformat(key) for key in keys if not key.isdecimal()]
        loads = run.job_name == LOAD_HISTORY or history in (run.asset_selection or ())
        if self._chain is None or not days or not loads:
            return set()
        first, last = (
            epochs_of_day(self._chain, self._chain.genesis_time, day)
            for day in (min(days), max(days))
        )
        return set(range(first.start, last.stop))


def cancel_superseded_runs(
    instance: dg.DagsterInstance, network: str, chain: NetworkIdentity | None
) -> list[str]:
    """Cancel queued runs that valmon requested by itself for epochs that somebody else asked for.

    The other run or backfill makes those epochs. What else the canceled run held is missing, so
    the next tick requests it. The ids of the canceled runs.
    """
    runs = RunEpochs(instance, network, chain)
    theirs = epochs_of_backfills(instance, network)
    queued: list[dg.DagsterRun] = []
    for run in runs_under_way(instance, network):
        if run.tags.get(WORK_TAG) not in _MAKES_WAY:
            theirs |= runs.of(run)
        elif run.status is dg.DagsterRunStatus.QUEUED:
            queued.append(run)
    superseded = [run.run_id for run in queued if not theirs.isdisjoint(runs.of(run))]
    for run_id in superseded:
        instance.run_coordinator.cancel_run(run_id)
    return superseded


def _is_batch(run: dg.DagsterRun) -> bool:
    first, last = run.tags.get(RANGE_START_TAG), run.tags.get(RANGE_END_TAG)
    return first != last


def _of_job_backfill(backfill: PartitionBackfill) -> set[int]:
    """Epochs that a backfill of a job has not requested yet; it requests them in order."""
    names = list(backfill.partition_names or ())
    last = backfill.last_submitted_partition_name
    return _epochs_among(names[names.index(last) + 1 :] if last in names else names)


def _epochs_among(keys: Iterable[str]) -> set[int]:
    """The epochs of partition keys, days left out."""
    return {int(key) for key in keys if key.isdecimal()}

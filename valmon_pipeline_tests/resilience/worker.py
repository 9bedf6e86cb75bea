"""A process that materializes epochs, to be killed: it knows nothing of the test around it.

Workers are forked from a server that has imported everything, so that a test can afford many.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from typing import Final

import dagster as dg

from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.standings import make_due_standings
from valmon_pipeline.config import load_settings
from valmon_pipeline.definitions import MATERIALIZE_EPOCHS, build_definitions
from valmon_pipeline.partitions import epochs_of_keys, range_tags, register_epochs
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import NETWORK, client_opener
from valmon_pipeline_tests.assets.stored import stored_epochs

COMPLETED: Final = 10
INTERRUPTED: Final = 11
INTERRUPTED_OUTSIDE: Final = 12
RULES: Final = StandingRules(window_epochs=5)
QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker does: materialize ``epochs`` into ``schema``, and make their standings."""

    node_url: str
    database_url: str
    schema: str
    epochs: Sequence[int]

    def start(self) -> ForkServerProcess:
        """Start a worker that goes on and on until it is killed."""
        process = _FORKS.Process(target=_materialize_for_ever, args=(self,), daemon=True)
        process.start()
        return process

    def start_making(self) -> ForkServerProcess:
        """Start a worker that makes the standings that are due, and ends."""
        process = _FORKS.Process(target=_make_standings, args=(self,), daemon=True)
        process.start()
        return process

    def start_run(self) -> ForkServerProcess:
        """Start a worker that makes one Dagster run; SIGTERM is obeyed as by Dagster's own.

        If all is well it ends with ``COMPLETED``; or with ``INTERRUPTED``: then the run is marked
        as ended, and Dagster shows nothing as materialized that is not stored; or
        ``INTERRUPTED_OUTSIDE``, if Dagster itself was just beginning or ending the run, which only
        its daemon can clear up.
        """
        process = _FORKS.Process(target=_run_once, args=(self,), daemon=True)
        process.start()
        return process

    def warehouse(self) -> Warehouse:
        """The warehouse it stores in."""
        return Warehouse(Database(self.database_url, self.schema))

    def finish(self, epochs: Sequence[int]) -> None:
        """Materialize in this process, in peace."""
        warehouse = self.warehouse()
        try:
            # Batches of some epochs, so that a kill can come between them.
            materializer = EpochLoader(
                client_opener(self.node_url), warehouse, NETWORK, batch_epochs=2
            )
            outcome = materializer.run(epochs)
            # An epoch in a transaction, so that a kill can come between them.
            standings = make_due_standings(warehouse, RULES, rows_at_once=1)
        finally:
            warehouse.database.close()
        assert outcome.failures == standings.failures == {}


def _materialize_for_ever(work: Work) -> None:
    while True:
        work.finish(work.epochs)


def _make_standings(work: Work) -> None:
    work.finish([])


def _run_once(work: Work) -> None:
    # Dagster's run workers do the same: SIGTERM is handled like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = load_settings(
        None,
        {
            "VALMON_HOME": "/nonexistent",
            "VALMON_NETWORK": work.schema,
            "VALMON_BEACON_URL": work.node_url,
            "VALMON_WATCH": "network",
            "VALMON_RATE_LIMIT__REQUESTS_PER_SECOND": "10000",
            "VALMON_RATE_LIMIT__BURST": "100000",
        },
    )
    try:
        definitions = build_definitions(settings, pipeline_of(settings, lambda: work.database_url))
        job = definitions.resolve_job_def(MATERIALIZE_EPOCHS)
        with dg.DagsterInstance.ephemeral() as instance:
            raise SystemExit(_execute(work, job, instance))
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED_OUTSIDE) from None


def _execute(work: Work, job: dg.JobDefinition, instance: dg.DagsterInstance) -> int:
    register_epochs(instance, work.schema, work.epochs)
    result = job.execute_in_process(
        instance=instance,
        tags=dict(range_tags(work.epochs)),
        raise_on_error=False,
        run_config=QUIET,
    )
    (run,) = instance.get_runs()
    assert run.is_finished, f"the run is left {run.status}"
    shown = instance.get_materialized_partitions(asset_key(work.schema, "network_epochs"))
    assert set(epochs_of_keys(shown)) <= set(_stored(work))
    if result.success:
        return COMPLETED
    (failure,) = [event.job_failure_data for event in result.all_events if event.is_job_failure]
    assert failure.failure_reason is not None
    assert failure.failure_reason.value == "UNEXPECTED_TERMINATION", failure
    return INTERRUPTED


def _stored(work: Work) -> list[int]:
    warehouse = work.warehouse()
    try:
        return stored_epochs(warehouse)
    finally:
        warehouse.database.close()

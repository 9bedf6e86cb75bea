"""Wire a pipeline from the settings: which nodes, which database, whom to watch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Final

from valmon_pipeline.assets.alerts import Alerting
from valmon_pipeline.assets.epoch_worker import OpenMaterializer
from valmon_pipeline.assets.materialization import EpochMaterializer
from valmon_pipeline.assets.resources import NoProgress, Pipeline, Progress
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.breaker_file import BreakerFile
from valmon_pipeline.beacon.circuit_breaker import BreakerPolicy
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.node_health import ExpectedNetwork
from valmon_pipeline.beacon.node_pool import PROBE_SECONDS, NodePool
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.beacon.request_observer import NobodyObserves
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.config import Settings, WatchList
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.errors import ConfigurationError, ObjectUnavailableError, StorageError
from valmon_pipeline.notify.wiring import notifier_of
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.process_counters import CountStore
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline.telemetry import ProcessCounts

NODES_FILE: Final = "nodes-{network}.json"
"""In the home directory: which nodes failed of late."""


def pipeline_of(
    settings: Settings,
    database_url: Callable[[], str],
    progress: Progress | None = None,
    *,
    from_archive: bool = False,
    read_watch_list: Callable[[], WatchList] | None = None,
) -> Pipeline:
    """Wire a pipeline; ``database_url`` is called when the first run needs the database.

    ``from_archive``: the archive answers in place of the nodes. ``read_watch_list`` tells whom to
    watch once the configuration has been edited; without it that is settled.
    """
    watch_list = settings.watch_list
    counts = ProcessCounts()

    @cache
    def warehouse() -> Warehouse:
        return Warehouse(open_database(settings, database_url(), counts))

    def worker_opener(
        watch: Watch, processes: int, *, provisional: bool, correction_reason: str
    ) -> OpenMaterializer:
        return partial(
            _open_worker,
            share_of(settings, processes),
            database_url(),
            watch,
            from_archive=from_archive,
            provisional=provisional,
            correction_reason=correction_reason,
        )

    archive = answer_archive(settings)
    if from_archive:
        open_client: OpenClient = _archived_clients(settings)
    else:
        open_client = node_pool(settings, lambda: warehouse().network(), counts)
    return Pipeline(
        network=settings.network,
        open_client=open_client,
        open_warehouse=warehouse,
        watch=Watch.of(
            watch_list,
            settings.registry_fetch_limit,
            all_events=settings.block_events == "everyone",
            whole_network=settings.whole_network,
        ),
        watch_list=watch_list,
        progress=progress or NoProgress(),
        archive=None if from_archive else archive,
        read_watch_list=read_watch_list,
        standing_rules=settings.scoring.rules,
        alerting=Alerting(settings.alerts.alert_rules, notifier_of(settings)),
        processes=settings.backfill.process_count,
        worker_opener=worker_opener,
        count_store=CountStore(counts),
    )


def _open_worker(
    settings: Settings,
    database_url: str,
    watch: Watch,
    *,
    from_archive: bool,
    provisional: bool,
    correction_reason: str,
) -> EpochMaterializer:
    """The materializer of one of several processes, called in that process."""
    pipeline = pipeline_of(settings, lambda: database_url, from_archive=from_archive)
    return replace(pipeline, watch=watch).materializer_alone(
        provisional=provisional, correction_reason=correction_reason
    )


def share_of(settings: Settings, processes: int) -> Settings:
    """Settings for one of several processes that ask the same nodes at the same time."""
    limit = settings.rate_limit
    return settings.model_copy(
        update={
            "rate_limit": limit.model_copy(
                update={
                    "requests_per_second": limit.requests_per_second / processes,
                    "burst": max(1, limit.burst // processes),
                }
            ),
            "worker_pool_size": max(1, settings.worker_pool_size // processes),
        }
    )


def node_pool(
    settings: Settings,
    stored_network: Callable[[], NetworkIdentity | None] = lambda: None,
    counts: ProcessCounts | None = None,
) -> NodePool:
    """The configured nodes; ``stored_network`` is what the database is of, None if unknown.
    Requests are counted in ``counts``."""

    def expected() -> ExpectedNetwork | None:
        stored = stored_network()
        if stored is None:
            return None
        return ExpectedNetwork(
            stored.config_name,
            stored.genesis_time,
            stored.genesis_validators_root,
            stored.slots_per_epoch,
            stored.slot_duration_ms,
        )

    several = len(settings.beacon_node_urls) > 1
    retry = RetryPolicy(attempts_with_timeouts=1) if several else RetryPolicy()
    nodes = [
        NodeOptions(
            url.reveal(),
            timeout_seconds=settings.http.timeout_seconds,
            max_idle_connections=settings.http.max_idle_conns,
            requests_per_second=settings.rate_limit.requests_per_second,
            burst=settings.rate_limit.burst,
            worker_pool_size=settings.worker_pool_size,
            max_state_bytes=settings.beacon_state_limit_mb * 1_000_000,
            retry=retry,
            observer=NobodyObserves() if counts is None else counts,
        )
        for url in settings.beacon_node_urls
    ]
    return NodePool(
        nodes,
        breakers=BreakerFile(settings.home / NODES_FILE.format(network=settings.network)),
        policy=BreakerPolicy(settings.failover.failures, settings.failover.cool_down_seconds),
        max_slots_behind=settings.failover.max_slots_behind,
        probe_seconds=min(PROBE_SECONDS, settings.http.timeout_seconds),
        stored_network=expected,
        keep_answers=settings.archive.url is not None,
    )


def answer_archive(settings: Settings) -> AnswerArchive | None:
    """Where answers about final epochs are kept, None if they are not."""
    url = settings.archive.url
    return None if url is None else AnswerArchive(url.reveal(), settings.network)


def require_archive(settings: Settings) -> AnswerArchive:
    """The archive that answers in place of a node.

    Raises:
        ConfigurationError: no archive is configured.
        ObjectUnavailableError: there is nothing in it.
        ArchiveError: it cannot be read.
    """
    archive = answer_archive(settings)
    if archive is None:
        raise ConfigurationError("there are no archived answers: archive.url is not set")
    if not archive.subjects():
        raise ObjectUnavailableError(
            f"there are no archived answers: {archive.name} is empty. They are kept from the first "
            "epoch that is materialized with archive.url set."
        )
    return archive


def _archived_clients(settings: Settings) -> OpenClient:
    """How to open a client that answers from the archive."""

    @asynccontextmanager
    async def open_client(avoid: Collection[str] = ()) -> AsyncIterator[BeaconClient]:
        if avoid:
            raise ObjectUnavailableError("there is no other archive to read from")
        archive = require_archive(settings)
        async with BeaconClient.archived(archive, archive.subjects()[-1]) as client:
            yield client

    return open_client


def open_database(settings: Settings, url: str, counts: ProcessCounts | None = None) -> Database:
    """The database with the pool that is configured; nothing is connected yet. Transactions are
    counted in ``counts``."""
    database = settings.database
    return Database(
        url,
        settings.network,
        pool_size=database.pool_size,
        max_overflow=database.max_overflow,
        pool_timeout_seconds=database.pool_timeout_seconds,
        connect_timeout_seconds=database.connect_timeout_seconds,
        statement_timeout_seconds=database.statement_timeout_seconds,
        observer=counts,
    )


def stored_network(settings: Settings) -> NetworkIdentity | None:
    """What the database is of; None if that is nothing yet, or it does not run."""
    try:
        database = open_database(settings, configured_database_url(settings))
        try:
            return Warehouse(database).network()
        finally:
            database.close()
    except StorageError:
        return None


def configured_database_url(settings: Settings) -> str:
    """The configured database, or the embedded one if it runs.

    Raises:
        StorageError: no database is configured and the embedded one does not run.
    """
    if settings.database.url is not None:
        return settings.database.url.reveal()
    return EmbeddedPostgres(settings.home).url()

"""Wire a pipeline from the settings: which nodes, which database, whom to watch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import cache, partial
from typing import Final

from valmon_pipeline.assets.alerts import Alerting
from valmon_pipeline.assets.batch_size import epochs_per_run
from valmon_pipeline.assets.resources import NoProgress, Pipeline, Progress
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.breaker_file import BreakerFile
from valmon_pipeline.beacon.circuit_breaker import BreakerPolicy
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.node_health import ExpectedNetwork
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.beacon.request_budget import LeasedBudget
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
from valmon_pipeline.storage.rate_leases import RateLeases
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

    archive = answer_archive(settings)
    if from_archive:
        open_client: OpenClient = _archived_clients(settings)
    else:
        open_client = node_pool(
            settings,
            lambda: warehouse().network(),
            counts,
            database=lambda: warehouse().database,
        )
    return Pipeline(
        network=settings.network,
        open_client=open_client,
        open_warehouse=warehouse,
        watch=configured_watch(settings, watch_list),
        watch_list=watch_list,
        progress=progress or NoProgress(),
        archive=None if from_archive else archive,
        read_watch_list=read_watch_list,
        standing_rules=settings.scoring.rules,
        alerting=Alerting(settings.alerts.alert_rules, notifier_of(settings)),
        count_store=CountStore(counts),
        probe_seconds=settings.failover.probe_seconds,
        epochs_per_run=epochs_per_run(settings),
    )


def configured_watch(settings: Settings, watch_list: WatchList | None = None) -> Watch:
    """Whom to monitor, and how: of the configured watch list, or of one that was read later."""
    return Watch.of(
        settings.watch_list if watch_list is None else watch_list,
        settings.registry_fetch_limit,
        all_events=settings.block_events == "everyone",
        whole_network=settings.whole_network,
    )


def node_pool(
    settings: Settings,
    stored_network: Callable[[], NetworkIdentity | None] = lambda: None,
    counts: ProcessCounts | None = None,
    *,
    database: Callable[[], Database] | None = None,
) -> NodePool:
    """The configured nodes; ``stored_network`` is what the database is of, None if unknown.

    Requests are counted in ``counts``. The nodes' limits are shared with all processes that use
    ``database``, which is opened by the first request; without it they are this process's own.
    """

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

    budget_of = None if database is None else partial(_shared_budget, RateLeases(database))
    several = len(settings.nodes) > 1
    retry = RetryPolicy(attempts_with_timeouts=1) if several else RetryPolicy()
    nodes = [
        NodeOptions(
            node.url.reveal(),
            name=node.name or "",
            timeout_seconds=node.timeout_seconds,
            max_idle_connections=settings.http.max_idle_conns,
            requests_per_second=node.requests_per_second,
            burst=node.burst,
            max_in_flight=node.max_in_flight,
            archive=node.archive,
            max_state_bytes=settings.beacon_state_limit_mb * 1_000_000,
            retry=retry,
            observer=NobodyObserves() if counts is None else counts,
        )
        for node in settings.nodes
    ]
    return NodePool(
        nodes,
        breakers=BreakerFile(settings.home / NODES_FILE.format(network=settings.network)),
        policy=BreakerPolicy(settings.failover.failures, settings.failover.cool_down_seconds),
        max_slots_behind=settings.failover.max_slots_behind,
        probe_seconds=settings.failover.probe_seconds,
        stored_network=expected,
        keep_answers=settings.archive.url is not None,
        budget_of=budget_of,
    )


def _shared_budget(leases: RateLeases, options: NodeOptions) -> LeasedBudget:
    limits = options.limits
    ask = partial(leases.lease, options.name, limits.requests_per_second, limits.burst)
    return LeasedBudget(options.name, limits, ask)


@contextmanager
def opened_node_pool(settings: Settings) -> Iterator[NodePool]:
    """The configured nodes for a command, compared with what is stored.

    Where the database cannot be used, the nodes are compared with each other, and their limits are
    those of this process alone.
    """
    with ExitStack() as stack:
        try:
            database = open_database(settings, configured_database_url(settings))
            stack.callback(database.close)
            stored = Warehouse(database).network()
        except StorageError:
            yield node_pool(settings)
        else:
            yield node_pool(settings, lambda: stored, database=lambda: database)


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
    async def open_client(
        avoid: Collection[str] = (), *, archive: bool = False
    ) -> AsyncIterator[BeaconClient]:
        if avoid:
            raise ObjectUnavailableError("there is no other archive to read from")
        answers = require_archive(settings)
        async with BeaconClient.archived(answers, answers.subjects()[-1]) as client:
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


def configured_database_url(settings: Settings) -> str:
    """The configured database, or the embedded one if it runs.

    Raises:
        StorageError: no database is configured and the embedded one does not run.
    """
    if settings.database.url is not None:
        return settings.database.url.reveal()
    return EmbeddedPostgres(settings.home).url()

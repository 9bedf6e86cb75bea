"""Wire a pipeline from the settings: which nodes, which database, whom to watch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from valmon_pipeline.assets.epoch_reader import Watch
from valmon_pipeline.assets.resources import NoProgress, Pipeline, Progress
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.first_ready import open_first_ready
from valmon_pipeline.config import Settings
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.warehouse import Warehouse


def pipeline_of(
    settings: Settings, database_url: Callable[[], str], progress: Progress | None = None
) -> Pipeline:
    """Wire a pipeline; ``database_url`` is called when the first run needs the database."""
    watch_list = settings.watch_list
    return Pipeline(
        network=settings.network,
        open_client=client_factory(settings),
        open_warehouse=lambda: Warehouse(open_database(settings, database_url())),
        watch=Watch(
            indices=frozenset(watch_list.indices),
            pubkeys=frozenset(watch_list.pubkeys),
            network=watch_list.everyone,
            registry_limit=settings.registry_fetch_limit,
        ),
        watch_list=watch_list,
        progress=progress or NoProgress(),
    )


def client_factory(
    settings: Settings,
) -> Callable[[], AbstractAsyncContextManager[BeaconClient]]:
    """How to open a client of the first configured node that is ready."""
    nodes = [
        NodeOptions(
            url.reveal(),
            timeout_seconds=settings.http.timeout_seconds,
            max_idle_connections=settings.http.max_idle_conns,
            requests_per_second=settings.rate_limit.requests_per_second,
            burst=settings.rate_limit.burst,
            worker_pool_size=settings.worker_pool_size,
        )
        for url in settings.beacon_node_urls
    ]

    @asynccontextmanager
    async def open_client() -> AsyncIterator[BeaconClient]:
        async with await open_first_ready(nodes) as client:
            yield client

    return open_client


def open_database(settings: Settings, url: str) -> Database:
    """The database with the pool that is configured; nothing is connected yet."""
    database = settings.database
    return Database(
        url,
        settings.network,
        pool_size=database.pool_size,
        max_overflow=database.max_overflow,
        pool_timeout_seconds=database.pool_timeout_seconds,
        connect_timeout_seconds=database.connect_timeout_seconds,
        statement_timeout_seconds=database.statement_timeout_seconds,
    )


def configured_database_url(settings: Settings) -> str:
    """The configured database, or the embedded one if it runs.

    Raises:
        StorageError: no database is configured and the embedded one does not run.
    """
    if settings.database.url is not None:
        return settings.database.url.reveal()
    return EmbeddedPostgres(settings.home).url()

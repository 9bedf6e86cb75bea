"""``valmon metrics``: the server that Prometheus and supervisors ask."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer

from valmon_pipeline.cli.application import HIGHEST_PORT, ConfigOption, app, load, say
from valmon_pipeline.cli.opened_warehouse import opened_warehouse
from valmon_pipeline.config.secrets import secrets_of
from valmon_pipeline.deployment.code_location import CodeLocation
from valmon_pipeline.deployment.demo_node import node_to_ask
from valmon_pipeline.deployment.installation import Installation
from valmon_pipeline.deployment.listening import address_of, listening_socket
from valmon_pipeline.errors import StorageError
from valmon_pipeline.observability.readiness import ReadinessLimits
from valmon_pipeline.pipeline import node_pool, open_database
from valmon_pipeline.storage.network_identity import NetworkIdentity
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline.telemetry.json_logs import use_json_logs

logger = logging.getLogger(__name__)


@app.command()
def metrics(
    config: ConfigOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; whoever reaches it may read everything.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=HIGHEST_PORT, help="Port to listen on. Default: metrics.port."),
    ] = None,
    descriptor: Annotated[
        int | None,
        typer.Option(hidden=True, help="Of a socket that listens already."),
    ] = None,
) -> None:
    """Serve /metrics for Prometheus, /healthz and /readyz, until Ctrl-C.

    Runs within `valmon up`, too. A configured database need not be there when it starts.
    """
    # Here, because no other command needs it, and importing it takes all of them longer.
    import uvicorn

    from valmon_pipeline.observability.server import MetricsServer

    with (
        node_to_ask(load(config)) as installation,
        _warehouse(installation) as warehouse,
    ):
        settings = installation.settings
        location = CodeLocation.configured(os.environ)
        server = MetricsServer(
            warehouse,
            node_pool(
                settings,
                lambda: _stored_network(warehouse),
                database=lambda: warehouse.database,
            ),
            ReadinessLimits(
                settings.metrics.max_head_lag_slots, settings.metrics.max_stored_lag_epochs
            ),
            watches_network=settings.watch_list.everyone,
            per_validator=settings.metrics.per_validator,
            code_problem=None if location is None else location.problem,
        )
        chosen = settings.metrics.port if port is None else port
        log_config: dict[str, Any] | None = uvicorn.config.LOGGING_CONFIG
        if settings.logs.as_json:
            use_json_logs(secrets_of(settings))
            log_config = None
        bound = (
            listening_socket(host, chosen)
            if descriptor is None
            else socket.socket(fileno=descriptor)
        )
        with bound as listening:
            url = f"{address_of(listening)}/metrics"
            if settings.logs.as_json:
                logger.info("serving %s", url)
            else:
                say(f"Metrics: {url}   (Ctrl-C stops)")
            served = uvicorn.Config(
                server.application, log_level="warning", log_config=log_config, access_log=False
            )
            with suppress(KeyboardInterrupt):
                uvicorn.Server(served).run(sockets=[listening])


@contextmanager
def _warehouse(installation: Installation) -> Iterator[Warehouse]:
    """A configured database as it is: that it is away is what the answers have to tell."""
    url = installation.settings.database.url
    if url is None:
        with opened_warehouse(installation) as warehouse:
            yield warehouse
        return
    database = open_database(installation.settings, url.reveal())
    try:
        yield Warehouse(database)
    finally:
        database.close()


def _stored_network(warehouse: Warehouse) -> NetworkIdentity | None:
    """What the database is of; the nodes can be compared with each other without it."""
    try:
        return warehouse.network()
    except StorageError:
        return None

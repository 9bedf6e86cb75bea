"""``valmon metrics``: the server that Prometheus and supervisors ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
import uvicorn

from valmon_pipeline.beacon.node_health import NodeHealth
from valmon_pipeline.cli.application import ConfigOption, app, load, say
from valmon_pipeline.cli.opened_warehouse import opened_warehouse
from valmon_pipeline.deployment.demo_node import node_to_ask
from valmon_pipeline.observability.readiness import ReadinessLimits
from valmon_pipeline.observability.server import application
from valmon_pipeline.pipeline import node_pool


@app.command()
def metrics(
    config: ConfigOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; whoever reaches it may read everything.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to listen on. Default: metrics.port.")
    ] = None,
) -> None:
    """Serve /metrics for Prometheus, /healthz and /readyz, until Ctrl-C."""
    with (
        node_to_ask(load(config)) as installation,
        opened_warehouse(installation) as warehouse,
    ):
        settings = installation.settings
        pool = node_pool(settings, warehouse.network)

        async def ask_nodes() -> Sequence[NodeHealth]:
            return [report.health for report in await pool.reports()]

        served = application(
            warehouse,
            ask_nodes,
            ReadinessLimits(
                settings.metrics.max_head_lag_slots, settings.metrics.max_stored_lag_epochs
            ),
            watches_network=settings.watch_list.everyone,
        )
        chosen = settings.metrics.port if port is None else port
        say(f"Metrics: http://{host}:{chosen}/metrics   (Ctrl-C stops)")
        uvicorn.run(served, host=host, port=chosen, log_level="warning", access_log=False)

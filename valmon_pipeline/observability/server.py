"""The HTTP server that Prometheus and supervisors ask: /metrics, /healthz, /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from valmon_pipeline.beacon.node_health import NodeHealth
from valmon_pipeline.errors import StorageError
from valmon_pipeline.observability.exposition import FiguresCollector
from valmon_pipeline.observability.readiness import (
    Finding,
    ReadinessLimits,
    node_finding,
    stored_findings,
)
from valmon_pipeline.observability.stored_figures import read_figures
from valmon_pipeline.storage.warehouse import Warehouse

AskNodes = Callable[[], Awaitable[Sequence[NodeHealth]]]


def application(
    warehouse: Warehouse,
    ask_nodes: AskNodes,
    limits: ReadinessLimits,
    *,
    watches_network: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Starlette:
    """The ASGI application; the database and the nodes are asked anew for each answer."""

    def metrics(request: Request) -> Response:
        try:
            figures = read_figures(warehouse, now())
        except StorageError as error:
            # Prometheus shows the target as down: better than figures that stand still.
            return PlainTextResponse(f"{error}\n", status_code=503)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(
            FiguresCollector(figures, warehouse.schema, watches_network=watches_network)
        )
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    async def alive(request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def ready(request: Request) -> Response:
        nodes, stored = await asyncio.gather(ask_nodes(), asyncio.to_thread(_stored))
        findings = [node_finding(nodes), *stored]
        is_ready = all(finding.ok for finding in findings)
        return JSONResponse(
            {"ready": is_ready, "checks": [asdict(finding) for finding in findings]},
            status_code=200 if is_ready else 503,
        )

    def _stored() -> list[Finding]:
        try:
            figures = read_figures(warehouse, now())
        except StorageError as error:
            return [Finding("database", ok=False, reason=str(error))]
        return [Finding("database", ok=True), *stored_findings(figures, limits)]

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", alive),
            Route("/readyz", ready),
        ]
    )

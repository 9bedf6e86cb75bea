"""The HTTP server that Prometheus and supervisors ask: /metrics, /healthz, /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.errors import StorageError
from valmon_pipeline.observability.exposition import FiguresCollector
from valmon_pipeline.observability.readiness import (
    Condition,
    ReadinessLimits,
    code_condition,
    node_condition,
    stored_conditions,
)
from valmon_pipeline.storage.queries.figures import FiguresReader
from valmon_pipeline.storage.warehouse import Warehouse


class MetricsServer:
    """The ASGI application; the database and the nodes are asked anew for each answer.

    ``watches_network`` and ``per_validator`` say what is exported, see the collectors.
    ``code_problem`` says why valmon's code is not loaded ("": it is); None where no code server is
    known. Neither the database nor a node has to be there: what is away is what the answers tell.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        nodes: NodePool,
        limits: ReadinessLimits,
        *,
        watches_network: bool = False,
        per_validator: bool = False,
        code_problem: Callable[[], str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._network = warehouse.schema
        self._figures = FiguresReader(warehouse, per_validator=per_validator)
        self._nodes = nodes
        self._limits = limits
        self._watches_network = watches_network
        self._code_problem = code_problem
        self._now = now

    @property
    def application(self) -> Starlette:
        """What to serve."""
        return Starlette(
            routes=[
                Route("/metrics", self._metrics),
                Route("/healthz", self._alive),
                Route("/readyz", self._ready),
            ]
        )

    def _metrics(self, request: Request) -> Response:
        try:
            figures = self._figures.read(self._now())
        except StorageError as error:
            # Prometheus shows the target as down: better than figures that stand still.
            return PlainTextResponse(f"{error}\n", status_code=503)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(
            FiguresCollector(
                self._network,
                figures,
                self._nodes.breaker_states(),
                watches_network=self._watches_network,
            )
        )
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    async def _alive(self, request: Request) -> Response:
        failing = [one for one in await asyncio.to_thread(self._code) if not one.ok]
        return JSONResponse(
            {"alive": not failing, "conditions": [asdict(condition) for condition in failing]},
            status_code=503 if failing else 200,
        )

    async def _ready(self, request: Request) -> Response:
        reports, stored, code = await asyncio.gather(
            self._nodes.reports(), asyncio.to_thread(self._stored), asyncio.to_thread(self._code)
        )
        conditions = [node_condition([report.health for report in reports]), *code, *stored]
        is_ready = all(condition.ok for condition in conditions)
        return JSONResponse(
            {"ready": is_ready, "conditions": [asdict(condition) for condition in conditions]},
            status_code=200 if is_ready else 503,
        )

    def _code(self) -> list[Condition]:
        return [] if self._code_problem is None else [code_condition(self._code_problem())]

    def _stored(self) -> list[Condition]:
        try:
            figures = self._figures.read(self._now())
        except StorageError as error:
            return [Condition("database", ok=False, reason=str(error))]
        return [Condition("database", ok=True), *stored_conditions(figures, self._limits)]

"""The HTTP side of all nodes of ``devnet``: requests in, answers out, a server around them."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from valmon_pipeline.devnet.answer import Answer, RefusalError
from valmon_pipeline.devnet.event_stream import requested_topics
from valmon_pipeline.devnet.question import Question

Handler = Callable[[Question], Answer]
FaultInjector = Callable[[Request], Response | None]
Subscription = Callable[[frozenset[str]], AsyncIterator[bytes]]

DEFAULT_PORT: Final = 5052
_ANY: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class ServedNode(Protocol):
    """What the server needs of a node."""

    @property
    def app(self) -> Starlette:
        """The ASGI application."""
        ...

    def stop(self) -> None:
        """End all event streams; a server waits for its open responses before it stops."""
        ...


NodeT = TypeVar("NodeT", bound=ServedNode)


def application(
    get: Mapping[str, Handler],
    post: Mapping[str, Handler],
    otherwise: Handler,
    ask: Callable[[Handler, Question], Answer],
    subscribe: Subscription,
    faults: FaultInjector | None,
) -> Starlette:
    """Return an application that lets ``ask`` have its handlers answer.

    ``get`` and ``post`` are handlers by path, ``otherwise`` answers everything else; ``subscribe``
    streams events. A response of ``faults`` is sent instead of the answer.
    """

    def endpoint(handler: Handler) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            fault = faults(request) if faults else None
            return fault or as_response(ask(handler, await read_question(request)))

        return answer

    async def events(request: Request) -> Response:
        fault = faults(request) if faults else None
        if fault is not None:
            return fault
        question = await read_question(request)
        try:
            topics = requested_topics(question.query_values.get("topics", ()))
        except RefusalError as refusal:
            return as_response(refusal.answer())
        return StreamingResponse(
            subscribe(topics),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    routes = [
        *(Route(path, endpoint(handler), methods=["GET"]) for path, handler in get.items()),
        *(Route(path, endpoint(handler), methods=["POST"]) for path, handler in post.items()),
        Route("/eth/v1/events", events, methods=["GET"]),
        Route("/{path:path}", endpoint(otherwise), methods=_ANY),
    ]
    return Starlette(routes=routes)


async def read_question(request: Request) -> Question:
    """Return what a request asks."""
    return Question(
        request.method,
        request.url.path,
        request.url.query,
        await request.body(),
        request.headers.get("content-type", ""),
        request.headers.get("accept", "*/*"),
        request.path_params,
    )


def as_response(answer: Answer) -> Response:
    """Return an answer as a response."""
    return Response(answer.body, answer.status, dict(answer.headers))


class NodeServer(uvicorn.Server):
    """A server that ends the node's event streams before it waits for open responses."""

    def __init__(self, node: ServedNode, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                node.app,
                host=host,
                port=port,
                log_level="warning",
                lifespan="off",
                timeout_graceful_shutdown=5,
            )
        )
        self._node = node

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._node.stop()
        await super().shutdown(sockets)


class BackgroundNode(Generic[NodeT]):
    """A node in a thread of this process, on a free port of the loopback interface.

    Used as a context manager; ``url`` is its address while it runs.
    """

    def __init__(self, node: NodeT) -> None:
        self.node = node
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server = NodeServer(node, "127.0.0.1", 0)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    @property
    def url(self) -> str:
        """The node's address, without a trailing slash."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        # The socket listens already: requests that come before the server runs wait in its queue.
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

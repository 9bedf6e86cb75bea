"""One node as the client sees it: a request goes in, a whole answer or a clear error comes out."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import httpx
import msgspec

from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.archive import ExchangeSink, read_exchanges
from valmon_pipeline.beacon.captured_answers import Shelf
from valmon_pipeline.beacon.redact import redact_url
from valmon_pipeline.beacon.request_observer import NobodyObserves, RequestObserver
from valmon_pipeline.beacon.statistics import ClientStatistics
from valmon_pipeline.beacon.transports.archive import (
    ArchivedSubjectsTransport,
    NotInArchiveError,
    RecordingTransport,
    ReplayTransport,
)
from valmon_pipeline.beacon.transports.captured import CapturedTransport
from valmon_pipeline.beacon.transports.node_address import PLACEHOLDER, NodeAddressTransport
from valmon_pipeline.beacon.transports.node_connections import NodeConnections
from valmon_pipeline.beacon.transports.observing import ObservingTransport
from valmon_pipeline.beacon.transports.rate_limit import RateLimitTransport
from valmon_pipeline.beacon.transports.retry import (
    ATTEMPTS,
    DEADLINE,
    RetryPolicy,
    RetryTransport,
)
from valmon_pipeline.beacon.transports.whole_body import (
    BUFFER,
    OversizedAnswerError,
    WholeBodyTransport,
)
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    MalformedAnswerError,
    ObjectUnavailableError,
    RequestRefusedError,
)

MAX_ANSWER_BYTES: Final = 2 << 30
"""A whole mainnet registry as JSON is about 1 GB."""
MAX_STATE_BYTES: Final = 1 << 30
"""A whole mainnet state is about 0.3 GB."""
_STATE_TIMEOUT_SECONDS: Final = 120.0
"""Some nodes take their time to put a whole state together before they send any of it."""
_UNREACHABLE: Final = frozenset({429, 500, 502, 503, 504})
_DEADLINE: ContextVar[float | None] = ContextVar("beacon_deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound everything asked within, retries and waiting included.

    Of nested deadlines the earliest counts. Tasks started within inherit it.
    """
    ends = time.monotonic() + seconds
    outer = _DEADLINE.get()
    token = _DEADLINE.set(ends if outer is None else min(ends, outer))
    try:
        yield
    finally:
        _DEADLINE.reset(token)


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How to talk to one node. ``url`` may hold credentials; they are never shown.

    ``name`` stands for the node in messages and tables; empty: the address without its secrets.
    """

    url: str
    name: str = ""
    timeout_seconds: float = 10.0
    max_idle_connections: int = 20
    requests_per_second: float = 50.0
    burst: int = 100
    worker_pool_size: int = 10
    max_answer_bytes: int = MAX_ANSWER_BYTES
    max_state_bytes: int = MAX_STATE_BYTES
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    observer: RequestObserver = field(default_factory=NobodyObserves)

    def __repr__(self) -> str:
        return f"NodeOptions({redact_url(self.url)})"


class Connection:
    """The transports of one node, or of an archive, put together; see ``beacon.transports``."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        name: str | Callable[[], str],
        statistics: ClientStatistics,
        max_state_bytes: int = MAX_STATE_BYTES,
        shelf: Shelf | None = None,
    ) -> None:
        self._name = name
        self.statistics = statistics
        self._http = http
        self._max_state_bytes = max_state_bytes
        self.shelf = shelf or Shelf()

    @classmethod
    def open(
        cls,
        options: NodeOptions,
        *,
        archive: ExchangeSink | None = None,
        phase: str = "live",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> Connection:
        """Return a connection; nothing is sent yet.

        ``archive`` records every answer, as of ``phase``; it stays the caller's to close.
        ``transport`` stands in for the network connection, e.g. an ``httpx.ASGITransport``.
        """
        statistics = ClientStatistics()
        if transport is None:
            transport = NodeConnections(
                _certificates(),
                max_connections=options.worker_pool_size,
                max_idle=options.max_idle_connections,
            )
        name = options.name or redact_url(options.url)
        transport = NodeAddressTransport(options.url, transport)
        transport = WholeBodyTransport(transport, statistics, options.max_answer_bytes)
        transport = ObservingTransport(transport, name, options.observer)
        transport = RateLimitTransport(
            transport,
            statistics,
            requests_per_second=options.requests_per_second,
            burst=options.burst,
            in_flight=options.worker_pool_size,
            on_wait=lambda seconds: options.observer.waited_for_rate_limit(name, seconds),
        )
        transport = RetryTransport(transport, statistics, options.retry)
        shelf = Shelf()
        # Within the recording, so that an archive also gets what was captured earlier.
        transport = CapturedTransport(transport, shelf)
        if archive is not None:
            transport = RecordingTransport(transport, archive, phase=phase)
        http = _http_client(transport, options.timeout_seconds)
        return cls(http, name, statistics, options.max_state_bytes, shelf)

    @classmethod
    def replay(cls, archive: Path) -> Connection:
        """Return a connection that answers from an archive; nothing is ever sent.

        What the archive does not hold is an ``ObjectUnavailableError``.
        """
        statistics = ClientStatistics()
        transport = WholeBodyTransport(
            ReplayTransport(read_exchanges(archive)), statistics, MAX_ANSWER_BYTES
        )
        return cls(_http_client(transport, timeout=None), archive.name, statistics)

    @classmethod
    def archived(cls, archive: AnswerArchive, otherwise: str) -> Connection:
        """Return a connection that answers from the archive of the subject that is asked about.

        It goes by the name of the node that gave those answers. What is asked about no subject is
        answered from that of ``otherwise``.
        """
        statistics = ClientStatistics()
        archived = ArchivedSubjectsTransport(archive.read, otherwise)
        transport = WholeBodyTransport(archived, statistics, MAX_ANSWER_BYTES)
        http = _http_client(transport, timeout=None)
        return cls(http, lambda: archived.node, statistics)

    @property
    def name(self) -> str:
        """The node's address without secrets, or the archive's file name."""
        return self._name if isinstance(self._name, str) else self._name()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        body: object = None,
        tolerated: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """Return the answer, of status 200 or one of the ``tolerated``.

        ``body`` is sent as JSON.

        Raises:
            BeaconUnreachableError: no usable answer, after the retries or at the deadline.
            ObjectUnavailableError: 404 or 400, or not in the archive.
            RequestRefusedError: any other status.
            MalformedAnswerError: the answer is longer than allowed.
        """
        where = self.where(method, path, params)
        request = self._http.build_request(
            method,
            path,
            params=list(params) or None,
            content=None if body is None else msgspec.json.encode(body),
            headers=None if body is None else {"Content-Type": "application/json"},
        )
        return await self._send(request, where, tolerated)

    async def ask_state(self, path: str) -> tuple[httpx.Headers, memoryview]:
        """Return the headers and the bytes (SSZ) of a whole state, in memory once.

        Raises as :meth:`ask`; longer than the node's ``max_state_bytes`` is malformed.
        """
        where = self.where("GET", path)
        request = self._http.build_request(
            "GET",
            path,
            # Decompression would take longer than what is done with the state.
            headers={"Accept": "application/octet-stream", "Accept-Encoding": "identity"},
            timeout=_longer_timeout(self._http.timeout),
            extensions={BUFFER: self._max_state_bytes},
        )
        response = await self._send(request, where)
        content: memoryview | None = response.extensions.get(BUFFER)
        kind = response.headers.get("content-type", "")
        if content is None or "application/octet-stream" not in kind:
            raise MalformedAnswerError(
                f"{where}: the answer is {kind or 'of no content type'}, expected "
                "application/octet-stream. Ask another node, or set whole_network: off."
            )
        return response.headers, content

    async def _send(
        self, request: httpx.Request, where: str, tolerated: frozenset[int] = frozenset()
    ) -> httpx.Response:
        if (ends := _DEADLINE.get()) is not None:
            request.extensions[DEADLINE] = ends
        try:
            response = await self._http.send(request)
        except (TimeoutError, httpx.TransportError, httpx.DecodingError) as error:
            raise BeaconUnreachableError(
                f"{where}: no answer after {_attempts(request)} "
                f"({type(error).__name__}{f': {error}' if str(error) else ''}). "
                "Is the node running, and is beacon_node_url right?"
            ) from error
        except OversizedAnswerError as error:
            raise MalformedAnswerError(f"{where}: {error}") from error
        except NotInArchiveError as error:
            raise ObjectUnavailableError(f"{where}: {error}") from error
        if response.status_code != httpx.codes.OK and response.status_code not in tolerated:
            raise _refusal(response, where, _attempts(request))
        return response

    def where(self, method: str, path: str, params: Sequence[tuple[str, str]] = ()) -> str:
        """Return how errors name a request: method, path, parameters and node."""
        shown = "&".join(f"{name}={value}" for name, value in params[:3])
        if len(params) > 3:
            shown += "&…"
        return f"{method} {path}{'?' + shown if shown else ''} of {self.name}"


@cache
def _certificates() -> ssl.SSLContext:
    """The authorities to trust; loading them takes longer than most requests."""
    return httpx.create_ssl_context()


def _http_client(transport: httpx.AsyncBaseTransport, timeout: float | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=PLACEHOLDER,
        transport=transport,
        timeout=timeout,
        trust_env=False,  # neither a netrc nor a proxy may answer for the node
        headers={"Accept": "application/json", "User-Agent": "valmon"},
    )


def _longer_timeout(timeout: httpx.Timeout) -> httpx.Timeout:
    longer = httpx.Timeout(timeout)
    if longer.read is not None:
        longer.read = max(longer.read, _STATE_TIMEOUT_SECONDS)
    return longer


def _attempts(request: httpx.Request) -> str:
    attempts = request.extensions.get(ATTEMPTS, 1)
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"


def _refusal(response: httpx.Response, where: str, attempts: str) -> BeaconApiError:
    status = response.status_code
    answer = f"{where}: HTTP {status}{_message(response)}"
    if status in (400, 404):
        return ObjectUnavailableError(
            f"{answer}. The node does not have it: pruned, not there yet, or never proposed."
        )
    if status in _UNREACHABLE:
        return BeaconUnreachableError(
            f"{answer}, after {attempts}. The node is overloaded, or cannot serve this object."
        )
    return RequestRefusedError(f"{answer}. Does the node allow this request?")


def _message(response: httpx.Response) -> str:
    """The node's own words, for people; their meaning is never relied on."""
    try:
        body = msgspec.json.decode(response.content)
        text = str(body.get("message", "")) if isinstance(body, dict) else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = response.text
    text = " ".join(text.split())[:200]
    return f" ({text})" if text else ""

"""One node as the client sees it: a request goes in, a whole answer or a clear error comes out."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from valmon_pipeline.beacon import decode
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.answer_fields import ANSWER_FIELDS
from valmon_pipeline.beacon.archive import ExchangeSink, read_exchanges
from valmon_pipeline.beacon.body_limits import SMALL_BYTES, body_limit
from valmon_pipeline.beacon.captured_answers import Shelf
from valmon_pipeline.beacon.consensus_client import ConsensusClient
from valmon_pipeline.beacon.question_words import meaning_of, subject_of, words_of
from valmon_pipeline.beacon.redact import Secrets, redact_url
from valmon_pipeline.beacon.refusals import Refusal, classify, depends_on_client
from valmon_pipeline.beacon.request_budget import RequestBudget, RequestLimits, local_budget
from valmon_pipeline.beacon.request_observer import (
    ENDPOINT,
    NobodyObserves,
    RequestObserver,
    endpoint_of,
)
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
    is_untrusted_certificate,
)
from valmon_pipeline.beacon.transports.whole_body import (
    BUFFER,
    HEADERS_ONLY,
    LIMIT,
    TIMEOUT,
    EncodingError,
    OversizedAnswerError,
    WholeBodyTransport,
)
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    MalformedAnswerError,
    NodeNotReadyError,
    ObjectUnavailableError,
    RefusalKind,
    RequestRefusedError,
    ValmonError,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

JSON: Final = "application/json"
SSZ: Final = "application/octet-stream"
MAX_ANSWER_BYTES: Final = 2 << 30
"""A whole mainnet registry as JSON is about 1 GB. See ``body_limits`` for what is less."""
MAX_STATE_BYTES: Final = 1 << 30
"""A whole mainnet state is about 0.3 GB."""
_STATE_TIMEOUT_SECONDS: Final = 120.0
"""Some nodes take their time to put a whole state together before they send any of it."""
_VERSION: Final = "/eth/v1/node/version"
_VERSION_SECONDS: Final = 2.0
_MOST_WORDS: Final = 300
_REFUSAL: Final = "valmon_refusal"
"""Response extension: what the refusal means."""
_HEADERS: Final = {
    "Accept": JSON,
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
    "User-Agent": "valmon",
}
_TRANSPORT_FAULTS: Final = (
    TimeoutError,
    httpx.TransportError,
    httpx.DecodingError,
    OversizedAnswerError,
    EncodingError,
    NotInArchiveError,
    RecursionError,
    MemoryError,
)
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


def time_left() -> float | None:
    """Seconds until the deadline that what is asked now has; None without one."""
    ends = _DEADLINE.get()
    return None if ends is None else ends - time.monotonic()


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How to talk to one node. ``url`` may hold credentials; they are never shown.

    ``name`` stands for the node in messages and tables; empty: the address without its secrets.
    ``archive`` says that the node keeps old states. ``budget`` admits its requests; None: one that
    all clients of this process share, of ``requests_per_second``, ``burst`` and ``max_in_flight``.
    """

    url: str
    name: str = ""
    timeout_seconds: float = 10.0
    max_idle_connections: int = 20
    requests_per_second: float = 50.0
    burst: int = 100
    max_in_flight: int = 10
    archive: bool = False
    max_answer_bytes: int = MAX_ANSWER_BYTES
    max_state_bytes: int = MAX_STATE_BYTES
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    observer: RequestObserver = field(default_factory=NobodyObserves)
    budget: RequestBudget | None = None

    @property
    def limits(self) -> RequestLimits:
        """What the node may be sent."""
        return RequestLimits(self.requests_per_second, self.burst, self.max_in_flight)

    def __repr__(self) -> str:
        return f"NodeOptions({redact_url(self.url)})"


class Connection:
    """The transports of one node, or of an archive, put together; see ``beacon.transports``."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        name: str | Callable[[], str],
        statistics: ClientStatistics,
        *,
        options: NodeOptions | None = None,
        refusals: _Refusals | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._transport = transport
        self._name = name
        self.statistics = statistics
        self._max_state_bytes = MAX_STATE_BYTES if options is None else options.max_state_bytes
        self._state_timeout = (
            None if options is None else max(options.timeout_seconds, _STATE_TIMEOUT_SECONDS)
        )
        self._refusals = refusals or _Refusals(transport, Secrets())
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
                max_connections=options.max_in_flight,
                max_idle=options.max_idle_connections,
            )
        name = options.name or redact_url(options.url)
        transport = NodeAddressTransport(options.url, transport)
        transport = WholeBodyTransport(
            transport, statistics, options.max_answer_bytes, options.timeout_seconds
        )
        transport = ObservingTransport(transport, name, options.observer)
        transport = RateLimitTransport(
            transport,
            statistics,
            options.budget or local_budget(options.url, options.limits),
            on_wait=lambda seconds: options.observer.waited_for_rate_limit(name, seconds),
        )
        refusals = _Refusals(transport, Secrets(options.url))
        transport = RetryTransport(transport, statistics, options.retry, refusals.pass_by)
        shelf = Shelf()
        # Within the recording, so that an archive also gets what was captured earlier.
        transport = CapturedTransport(transport, shelf)
        if archive is not None:
            transport = RecordingTransport(
                transport, archive, phase=phase, hide=refusals.secrets.hide
            )
        return cls(transport, name, statistics, options=options, refusals=refusals, shelf=shelf)

    @classmethod
    def replay(cls, archive: Path) -> Connection:
        """Return a connection that answers from an archive; nothing is ever sent.

        What the archive does not hold is an ``ObjectUnavailableError``.
        """
        statistics = ClientStatistics()
        transport = WholeBodyTransport(
            ReplayTransport(read_exchanges(archive)), statistics, MAX_ANSWER_BYTES
        )
        return cls(transport, archive.name, statistics)

    @classmethod
    def archived(cls, archive: AnswerArchive, otherwise: str) -> Connection:
        """Return a connection that answers from the archive of the subject that is asked about.

        It goes by the name of the node that gave those answers. What is asked about no subject is
        answered from that of ``otherwise``.
        """
        statistics = ClientStatistics()
        archived = ArchivedSubjectsTransport(archive.read, otherwise)
        transport = WholeBodyTransport(archived, statistics, MAX_ANSWER_BYTES)
        return cls(transport, lambda: archived.node, statistics)

    @property
    def name(self) -> str:
        """The node's address without secrets, or the archive's file name."""
        return self._name if isinstance(self._name, str) else self._name()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        body: object = None,
        named: int | None = None,
        headers: Mapping[str, str] | None = None,
        tolerated: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """Return the answer, of status 200 or one of the ``tolerated``.

        ``body`` is sent as JSON; ``named`` is the number of validators that the request names,
        which bounds the answer (see ``beacon.body_limits``); ``headers`` replace the usual ones.

        Raises:
            BeaconUnreachableError: no usable answer, after the retries or at the deadline.
            NodeNotReadyError: the node does not answer this while it is syncing.
            ObjectUnavailableError: the node does not have it, or does not offer it; or it is not
                in the archive.
            RequestRefusedError: any other refusal.
            MalformedAnswerError: the answer is longer than allowed, or cannot be decoded.
        """
        endpoint = endpoint_of(path)
        request = _request(
            method,
            path,
            params,
            body,
            headers,
            {LIMIT: body_limit(endpoint, named), ENDPOINT: endpoint},
        )
        return await self._send(request, path, params, tolerated)

    async def ask_state(self, path: str) -> tuple[httpx.Headers, memoryview]:
        """Return the headers and the bytes (SSZ) of a whole state, in memory once.

        Raises as :meth:`ask`; longer than the node's ``max_state_bytes`` is malformed.
        """
        request = _request(
            "GET",
            path,
            # Decompression would take longer than what is done with the state.
            headers={"Accept": SSZ, "Accept-Encoding": "identity"},
            extensions={
                BUFFER: self._max_state_bytes,
                TIMEOUT: self._state_timeout,
                ENDPOINT: endpoint_of(path),
            },
        )
        response = await self._send(request, path)
        content: memoryview | None = response.extensions.get(BUFFER)
        if content is None or not is_ssz(response):
            raise self._not_ssz(response, path)
        return response.headers, content

    async def require_state(self, path: str) -> None:
        """Make sure that the node serves a whole state in SSZ, without reading it.

        Raises as :meth:`ask_state`.
        """
        request = _request(
            "GET",
            path,
            headers={"Accept": SSZ, "Accept-Encoding": "identity"},
            extensions={
                HEADERS_ONLY: True,
                TIMEOUT: self._state_timeout,
                ENDPOINT: endpoint_of(path),
            },
        )
        response = await self._send(request, path)
        if not is_ssz(response):
            raise self._not_ssz(response, path)

    def _not_ssz(self, response: httpx.Response, path: str) -> MalformedAnswerError:
        kind = self._refusals.secrets.hide(response.headers.get("content-type", "")[:100])
        return MalformedAnswerError(
            f"{self.where('GET', path)}: the answer is {kind or 'of no content type'}, "
            f"expected {SSZ}. Ask another node, or set whole_network: off."
        )

    def read(
        self,
        decoder: Callable[[bytes], T],
        response: httpx.Response,
        method: str,
        path: str,
        params: Sequence[tuple[str, str]] = (),
    ) -> T:
        """Decode an answer. Raises as ``decode.decoded``, without the node's secrets."""
        try:
            decoded = decode.decoded(decoder, response.content, self.where(method, path, params))
        except ValmonError as error:
            raise self._refusals.secrets.hide_in(error)  # noqa: B904 (the same error)
        if version := self._refusals.version:
            ANSWER_FIELDS.look_at(self.name, version, endpoint_of(path), response.content)
        return decoded

    def learn(self, version: str) -> str:
        """Take note of what the node says of its version; return it without secrets."""
        return self._refusals.learn(version)

    async def _send(
        self,
        request: httpx.Request,
        path: str,
        params: Sequence[tuple[str, str]] = (),
        tolerated: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        if (ends := _DEADLINE.get()) is not None:
            request.extensions[DEADLINE] = ends
        try:
            response = await self._transport.handle_async_request(request)
        except _TRANSPORT_FAULTS as error:
            where = self.where(request.method, path, params)
            raise self._refusals.secrets.hide_in(_failure(error, where, request)) from error
        status = response.status_code
        if status != httpx.codes.OK and status not in tolerated:
            where = self.where(request.method, path, params)
            raise await self._refusals.error(request, response, where, subject_of(path, params))
        return response

    def where(self, method: str, path: str, params: Sequence[tuple[str, str]] = ()) -> str:
        """Return how errors name a request: method, path, parameters and node."""
        shown = "&".join(f"{name}={value}" for name, value in params[:3])
        if len(params) > 3:
            shown += "&…"
        return f"{method} {path}{'?' + shown if shown else ''} of {self.name}"


def is_ssz(response: httpx.Response) -> bool:
    """Whether an answer's body is SSZ, by its content type."""
    kind: str = response.headers.get("content-type", "")
    return kind.split(";")[0].strip().lower() == SSZ


@cache
def _certificates() -> ssl.SSLContext:
    """The authorities to trust; loading them takes longer than most requests."""
    return httpx.create_ssl_context()


def _request(
    method: str,
    path: str,
    params: Sequence[tuple[str, str]] = (),
    body: object = None,
    headers: Mapping[str, str] | None = None,
    extensions: dict[str, Any] | None = None,
) -> httpx.Request:
    sent = {**_HEADERS, **headers} if headers else _HEADERS
    return httpx.Request(
        method,
        f"{PLACEHOLDER}{path}{'?' + urlencode(params) if params else ''}",
        headers=sent if body is None else {**sent, "Content-Type": JSON},
        content=None if body is None else msgspec.json.encode(body),
        extensions=extensions,
    )


class _Refusals:
    """Finds out what a node's refusals mean; asks the node once which client it is."""

    def __init__(self, transport: httpx.AsyncBaseTransport, secrets: Secrets) -> None:
        self._transport = transport
        self.secrets = secrets
        self._client: ConsensusClient | None = None
        self.version = ""

    async def pass_by(self, request: httpx.Request, response: httpx.Response) -> bool:
        """Tell whether the same request can be answered a moment later."""
        return (await self._refusal(request, response)).passes

    async def error(
        self, request: httpx.Request, response: httpx.Response, where: str, subject: str
    ) -> BeaconApiError:
        """Return the error that says what the node said, what it means, and what comes next."""
        refusal = await self._refusal(request, response)
        said = f" ({refusal.said[:_MOST_WORDS]})" if refusal.said else ""
        location = response.headers.get("location")
        after = ""
        if refusal.passes:
            after = f", after {_attempts(request)}"
        message = (
            f"{where}: HTTP {refusal.status}{said}{after}: "
            f"{meaning_of(refusal, subject, self._client or ConsensusClient.UNKNOWN, location)}"
        )
        message = self.secrets.hide(message)
        if refusal.kind in (RefusalKind.OVERLOADED, RefusalKind.FAILED):
            return BeaconUnreachableError(message)
        if refusal.kind is RefusalKind.SYNCING:
            return NodeNotReadyError(message)
        known: dict[str, Any] = {
            "kind": refusal.kind,
            "status": refusal.status,
            "path": refusal.path,
            "said": refusal.said,
            "unknown_index": refusal.unknown_index,
        }
        no_answer = refusal.status in (400, 404, 410) or refusal.kind is RefusalKind.GONE
        if no_answer or refusal.status in (500, 503):
            return ObjectUnavailableError(message, **known)
        return RequestRefusedError(message, **known)

    async def _refusal(self, request: httpx.Request, response: httpx.Response) -> Refusal:
        known: Refusal | None = response.extensions.get(_REFUSAL)
        if known is not None:
            return known
        path, status = request.url.path, response.status_code
        endpoint = request.extensions.get(ENDPOINT) or endpoint_of(path)
        said = self.secrets.hide(words_of(response.content))
        client = self._client or ConsensusClient.UNKNOWN
        if path != _VERSION and depends_on_client(status, endpoint, said):
            client = await self._learn(request)
        refusal = classify(client, status, path, endpoint, said)
        response.extensions[_REFUSAL] = refusal
        return refusal

    def learn(self, version: str) -> str:
        """Take note of what the node says of its version; return it without secrets."""
        self.version = self.secrets.hide(version)
        self._client = ConsensusClient.of_version(self.version)
        return self.version

    async def _learn(self, refused: httpx.Request) -> ConsensusClient:
        """Ask once; a node that does not say remains unknown."""
        if self._client is None:
            seconds = _VERSION_SECONDS
            if (ends := refused.extensions.get(DEADLINE)) is not None:
                seconds = min(seconds, ends - time.monotonic())
            client = ConsensusClient.UNKNOWN
            try:
                async with asyncio.timeout(seconds):
                    response = await self._transport.handle_async_request(
                        _request("GET", _VERSION, extensions={LIMIT: SMALL_BYTES})
                    )
                self.version = self.secrets.hide(decode.node_version(response.content))
                client = ConsensusClient.of_version(self.version)
            except Exception as error:  # noqa: BLE001 (whatever it is, the refusal counts)
                logger.debug("node/version was not answered: %s", type(error).__name__)
            self._client = client
        return self._client


def _failure(error: BaseException, where: str, request: httpx.Request) -> BeaconApiError:
    """Return the error of a request that got no answer, or one that cannot be taken in."""
    if isinstance(error, NotInArchiveError):
        return ObjectUnavailableError(f"{where}: {error}")
    if isinstance(error, OversizedAnswerError | EncodingError):
        return MalformedAnswerError(
            f"{where}: {error}. Nothing was stored; the node is broken, or harmful: ask another one"
        )
    if isinstance(error, RecursionError | MemoryError):
        return MalformedAnswerError(
            f"{where}: the answer cannot be taken in ({type(error).__name__}). Nothing was stored; "
            "the node is broken, or harmful: ask another one"
        )
    kind = type(error).__name__
    found = f"{kind}: {error}" if str(error) else kind
    if is_untrusted_certificate(error):
        return BeaconUnreachableError(
            f"{where}: the node's certificate is not trusted ({found}). If an authority of your "
            "own signed it, put that authority's certificate into a file and name the file in the "
            "environment variable SSL_CERT_FILE; if it names another host, use that name in the "
            "node's address"
        )
    return BeaconUnreachableError(
        f"{where}: no answer after {_attempts(request)} ({found}). "
        "Is the node running, and is beacon_node_url right?"
    )


def _attempts(request: httpx.Request) -> str:
    attempts = request.extensions.get(ATTEMPTS, 1)
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"

"""Keeps a node's answers in an archive, or answers from one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

import httpx
import msgspec

from valmon_pipeline.beacon.archive import (
    Exchange,
    ExchangeSink,
    RequestKey,
    body_as_json,
    kept_headers,
    request_key,
)
from valmon_pipeline.beacon.subject import current_subject
from valmon_pipeline.beacon.transports.whole_body import BUFFER

PHASES: Final = ("final", "live", "slot", "head", "static")
"""Phases from the best to the last choice when a request was recorded in several."""


_SUBJECTS_OPEN: Final = 3
"""The epoch being read, the one being computed, and that of what has no subject."""


class NotInArchiveError(Exception):
    """The archive holds no answer to this request."""


class RecordingTransport(httpx.AsyncBaseTransport):
    """Hands every final answer to an archive before it is returned.

    Answers in a buffer are not kept: they are no text, and a state is larger than everything else
    that is asked about its epoch. ``hide`` takes a node's secrets out of the words of a refusal.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        writer: ExchangeSink,
        *,
        phase: str = "live",
        hide: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._inner = inner
        self._writer = writer
        self._phase = phase
        self._hide = hide

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and record the exchange."""
        started = time.monotonic()
        response = await self._inner.handle_async_request(request)
        if BUFFER in response.extensions:
            return response
        await response.aread()
        content = response.content
        if response.status_code != httpx.codes.OK:
            content = self._hide(content.decode("utf-8", errors="replace")).encode()
        self._writer.append(
            msgspec.structs.replace(
                exchange_of(request, response),
                body=body_as_json(content),
                phase=self._phase,
                ms=(time.monotonic() - started) * 1000,
            )
        )
        return response

    async def aclose(self) -> None:
        """Close the connections; the writer stays open."""
        await self._inner.aclose()


def exchange_of(request: httpx.Request, response: httpx.Response) -> Exchange:
    """Return a request and its whole answer as a line of an archive, as of now."""
    query = request.url.query.decode("ascii")
    return Exchange(
        method=request.method,
        path=request.url.raw_path.split(b"?")[0].decode("ascii"),
        query=query or None,
        query_is_raw=bool(query),
        request_body=body_as_json(request.content),
        status=response.status_code,
        headers=kept_headers(response.headers),
        body=body_as_json(response.content),
        t=time.time(),
    )


class ArchivedSubjectsTransport(httpx.AsyncBaseTransport):
    """Answers from the archive of the subject that is asked about (see ``beacon.subject``).

    What is asked about no subject is answered from that of ``otherwise``.
    """

    def __init__(self, read: Callable[[str], list[Exchange] | None], otherwise: str) -> None:
        self._read = read
        self._otherwise = otherwise
        self._opened: dict[str, tuple[ReplayTransport, str]] = {}

    @property
    def node(self) -> str:
        """The node that gave the answers about the current subject, as far as they were read."""
        _, node = self._opened.get(current_subject() or self._otherwise, (None, "archive"))
        return node

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as archived.

        Raises:
            NotInArchiveError: there is no archive of the subject, or it has no such answer.
        """
        subject = current_subject() or self._otherwise
        if subject not in self._opened:
            exchanges = await asyncio.to_thread(self._read, subject)
            if exchanges is None:
                raise NotInArchiveError(f"the archive has nothing about {subject}")
            node = next((one.node for one in exchanges if isinstance(one.node, str)), "archive")
            while len(self._opened) >= _SUBJECTS_OPEN:
                del self._opened[next(iter(self._opened))]
            self._opened[subject] = ReplayTransport(exchanges), node
        return await self._opened[subject][0].handle_async_request(request)


class ReplayTransport(httpx.AsyncBaseTransport):
    """Answers from recorded exchanges instead of a node.

    Of several answers to the same request the one of the best phase counts (see :data:`PHASES`),
    among those the last.
    """

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._answers: dict[RequestKey, Exchange] = {}
        for exchange in exchanges:
            known = self._answers.get(exchange.key)
            if known is None or _preference(exchange) <= _preference(known):
                self._answers[exchange.key] = exchange

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as recorded.

        Raises:
            NotInArchiveError: the request was not recorded.
        """
        key = request_key(
            request.method,
            request.url.raw_path.split(b"?")[0].decode("ascii"),
            request.url.query.decode("ascii"),
            await request.aread(),
        )
        exchange = self._answers.get(key)
        if exchange is None:
            body = key.body[:80].decode(errors="replace")
            raise NotInArchiveError(
                f"the archive has no answer to {key.method} {key.path}"
                f"{'?' + key.query if key.query else ''} {body}".rstrip()
            )
        return httpx.Response(
            exchange.status,
            headers=exchange.response_headers,
            content=exchange.content,
            request=request,
        )


def _preference(exchange: Exchange) -> int:
    return PHASES.index(exchange.phase) if exchange.phase in PHASES else len(PHASES)

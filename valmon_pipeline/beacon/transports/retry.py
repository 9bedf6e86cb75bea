"""Asks again when a node is busy, restarting or cut off in the middle of an answer."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias

import httpx

from valmon_pipeline.beacon.statistics import ClientStatistics

DEADLINE: Final = "valmon_deadline"
"""Request extension: when to give up, on the clock of ``time.monotonic``."""
ATTEMPTS: Final = "valmon_attempts"
"""Request extension set here: how often the request was sent."""

Passes: TypeAlias = Callable[[httpx.Request, httpx.Response], Awaitable[bool]]
"""Says of a refusal whether another attempt can help."""

_COUNTED_BYTES: Final = 16 << 20
_RETRIED_STATUS: Final = frozenset({429, 500, 502, 503, 504})
_AMBIGUOUS_STATUS: Final = frozenset({400, 500, 503})
"""Statuses that some clients use for what passes and for what does not."""
_RETRIED_ERRORS: Final = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    httpx.DecodingError,
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when to ask again; times are seconds.

    The wait doubles from ``first_wait`` to ``longest_wait``, each ± ``jitter`` (a fraction). A
    ``Retry-After`` of the node is honoured where it is longer; if it is longer than
    ``longest_retry_after`` or goes beyond the caller's deadline, the answer is returned at once.
    An attempt that timed out is the last one from ``attempts_with_timeouts`` on: where there are
    other nodes to ask, a silent one is not worth waiting for again.
    """

    attempts: int = 6
    attempts_with_timeouts: int = 6
    first_wait: float = 0.1
    longest_wait: float = 30.0
    jitter: float = 0.2
    longest_retry_after: float = 120.0

    def wait(self, attempt: int, retry_after: float = 0.0) -> float:
        """Return how long to wait after the given attempt (the first is 1)."""
        wait: float = min(self.longest_wait, self.first_wait * 2 ** (attempt - 1))
        wait *= random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 (spreads load)
        return max(wait, retry_after)


class RetryTransport(httpx.AsyncBaseTransport):
    """Repeats a request that may be answered a moment later.

    That is one that ended in a timeout, a lost connection or a cut-off body, or a refusal that
    ``passes`` (all of status 429 and 5xx, except 501, without it). Refusals for good are returned
    at once, and a certificate that is not trusted is not tried again. The end is the policy's
    number of attempts or the request's :data:`DEADLINE`, whichever comes first; then the last
    answer is returned, or the last error raised (``TimeoutError`` when the deadline passed during
    an attempt).
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        statistics: ClientStatistics,
        policy: RetryPolicy,
        passes: Passes | None = None,
    ) -> None:
        self._inner = inner
        self._statistics = statistics
        self._policy = policy
        self._passes = passes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, more than once if need be."""
        policy = self._policy
        deadline: float | None = request.extensions.get(DEADLINE)
        attempt = 0
        while True:
            attempt += 1
            request.extensions[ATTEMPTS] = attempt
            most, retry_after, failure = policy.attempts, 0.0, None
            response: httpx.Response | None = None
            try:
                response = await self._attempt(request, deadline)
            except _RETRIED_ERRORS as error:
                failure = error
                if isinstance(error, httpx.TimeoutException):
                    most = min(most, policy.attempts_with_timeouts)
            if response is not None:
                if not await self._is_worth_another_attempt(request, response):
                    return response
                retry_after = _retry_after(response)
            elif failure is not None and is_untrusted_certificate(failure):
                raise failure
            wait = policy.wait(attempt, retry_after)
            if (
                attempt >= most
                or wait > max(policy.longest_retry_after, policy.longest_wait * 2)
                or (deadline is not None and time.monotonic() + wait >= deadline)
            ):
                if response is None:
                    assert failure is not None
                    raise failure
                return response
            self._statistics.retries += 1
            self._statistics.seconds_waited += wait
            await asyncio.sleep(wait)

    async def _attempt(self, request: httpx.Request, deadline: float | None) -> httpx.Response:
        if deadline is None:
            return await self._inner.handle_async_request(request)
        async with asyncio.timeout(deadline - time.monotonic()):
            return await self._inner.handle_async_request(request)

    async def _is_worth_another_attempt(
        self, request: httpx.Request, response: httpx.Response
    ) -> bool:
        status = response.status_code
        if status == httpx.codes.OK:
            return _is_cut_off(response)
        if self._passes is not None and status in _AMBIGUOUS_STATUS:
            return await self._passes(request, response)
        return status in _RETRIED_STATUS

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def is_untrusted_certificate(error: BaseException) -> bool:
    """True if the node's certificate was refused, which another attempt cannot change."""
    one: BaseException | None = error
    seen: set[int] = set()
    # Causes and contexts, taken together, can lead back to where they began.
    while one is not None and id(one) not in seen:
        if isinstance(one, ssl.SSLCertVerificationError):
            return True
        seen.add(id(one))
        one = one.__cause__ or one.__context__
    return False


def _is_cut_off(response: httpx.Response) -> bool:
    """A gateway can end a body early in a way HTTP cannot see; JSON can."""
    if "json" not in response.headers.get("content-type", ""):
        return False
    content = response.content
    if not content[-16:].rstrip().endswith((b"}", b"]")):
        return True
    # It may have ended after an inner object: braces are in no text of the API.
    return len(content) <= _COUNTED_BYTES and content.count(b"{") != content.count(b"}")


def _retry_after(response: httpx.Response) -> float:
    """Seconds the node asks to wait; 0 if it does not say, or not legibly."""
    value: str = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())

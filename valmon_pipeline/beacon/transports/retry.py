"""Asks again when a node is busy, restarting or cut off in the middle of an answer."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
from tenacity import AsyncRetrying, RetryCallState

from valmon_pipeline.beacon.statistics import ClientStatistics

DEADLINE: Final = "valmon_deadline"
"""Request extension: when to give up, on the clock of ``time.monotonic``."""
ATTEMPTS: Final = "valmon_attempts"
"""Request extension set here: how often the request was sent."""

_RETRIED_STATUS: Final = frozenset({429, 500, 502, 503, 504})
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
    """Repeats a request on 429, 500, 502, 503, 504, timeouts, lost connections, cut-off bodies.

    The end is the policy's number of attempts or the request's :data:`DEADLINE`, whichever comes
    first; then the last answer is returned, or the last error raised (``TimeoutError`` when the
    deadline passed during an attempt).
    """

    def __init__(
        self, inner: httpx.AsyncBaseTransport, statistics: ClientStatistics, policy: RetryPolicy
    ) -> None:
        self._inner = inner
        self._statistics = statistics
        self._policy = policy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, more than once if need be."""
        deadline: float | None = request.extensions.get(DEADLINE)

        async def attempt() -> httpx.Response:
            request.extensions[ATTEMPTS] = request.extensions.get(ATTEMPTS, 0) + 1
            remaining = None if deadline is None else deadline - time.monotonic()
            async with asyncio.timeout(remaining):
                return await self._inner.handle_async_request(request)

        def is_over(state: RetryCallState) -> bool:
            timed_out = state.outcome is not None and isinstance(
                state.outcome.exception(), httpx.TimeoutException
            )
            policy = self._policy
            most = policy.attempts_with_timeouts if timed_out else policy.attempts
            if state.attempt_number >= most:
                return True
            wait = state.upcoming_sleep
            if wait > max(self._policy.longest_retry_after, self._policy.longest_wait * 2):
                return True
            return deadline is not None and time.monotonic() + wait >= deadline

        def wait(state: RetryCallState) -> float:
            return self._policy.wait(state.attempt_number, _retry_after(state))

        async def sleep(seconds: float) -> None:
            self._statistics.retries += 1
            self._statistics.seconds_waited += seconds
            await asyncio.sleep(seconds)

        retrying = AsyncRetrying(
            sleep=sleep,
            stop=is_over,
            wait=wait,
            retry=_is_worth_another_attempt,
            retry_error_callback=_last_outcome,
        )
        return await retrying(attempt)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _is_worth_another_attempt(state: RetryCallState) -> bool:
    outcome = state.outcome
    if outcome is None:
        return False
    error = outcome.exception()
    if error is not None:
        return isinstance(error, _RETRIED_ERRORS)
    response: httpx.Response = outcome.result()
    return response.status_code in _RETRIED_STATUS or _is_cut_off(response)


def _is_cut_off(response: httpx.Response) -> bool:
    """A gateway can end a body early in a way HTTP cannot see; JSON can."""
    if response.status_code != httpx.codes.OK:
        return False
    if "json" not in response.headers.get("content-type", ""):
        return False
    return not response.content.rstrip().endswith((b"}", b"]"))


def _last_outcome(state: RetryCallState) -> httpx.Response:
    assert state.outcome is not None
    response: httpx.Response = state.outcome.result()
    return response


def _retry_after(state: RetryCallState) -> float:
    """Seconds the node asks to wait; 0 if it does not say, or not legibly."""
    if state.outcome is None or state.outcome.failed:
        return 0.0
    value: str = state.outcome.result().headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())

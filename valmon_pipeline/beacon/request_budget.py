"""How many requests a node may be sent: so many a second, so many under way, whoever asks.

A budget belongs to a node, not to a client: :class:`LocalBudget` is shared by all clients of a
process, :class:`LeasedBudget` by all processes that can reach the same database. Both may be used
from several threads and from event loops that come and go, as the ticks of sensors do. They hold a
lock for a few instructions and wait for nothing: who is not admitted is told when to ask again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

from valmon_pipeline.errors import ValmonError

logger = logging.getLogger(__name__)

ASK_AGAIN_SECONDS: Final = 0.005
"""After which to look again for a place that is to be freed, or a lease that is under way."""
VALID_SECONDS: Final = 2.0
"""After so long a lease is renewed even if it is not used up: its unused tokens are given back, and
the places are shared anew."""
PATIENCE_SECONDS: Final = 1.0
"""A lease that takes longer is not waited for: the process goes on with its share."""
RETRY_SECONDS: Final = 5.0
"""Between two attempts to reach a database that is away."""
_LOST_SECONDS: Final = 60.0
"""A lease that was asked for so long ago will not come: its event loop ended before it began."""


class RequestBudget(Protocol):
    """Admits requests to one node."""

    def enter(self) -> float:
        """Admit a request, 0.0; or say after how many seconds to ask again, and take nothing."""

    def leave(self) -> None:
        """Give back the place of a request that was admitted."""

    async def renew(self) -> bool:
        """Get what ``enter`` draws on, if that has run out; whether it is worth asking at once."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What a node may be sent: a token bucket, and requests under way at the same time."""

    requests_per_second: float
    burst: int
    max_in_flight: int


class Lease(Protocol):
    """Tokens taken out of a bucket that several processes share.

    ``tokens`` were taken, ``debt`` of which (or more, if others wait) the bucket has yet to refill.
    ``processes`` hold leases, this one included; the others had ``others_in_flight`` requests under
    way.
    """

    @property
    def tokens(self) -> int: ...
    @property
    def debt(self) -> float: ...
    @property
    def processes(self) -> int: ...
    @property
    def others_in_flight(self) -> int: ...


AskForLease = Callable[[int, int], Lease]
"""Gets a lease; blocks. It is given the most requests that were under way since the last one, and
how many tokens of that were not used. Raises ``ValmonError`` if there is none to be had."""


class _TokenBucket:
    """``burst`` tokens at first, refilled at a rate that may change. ``now`` is in seconds."""

    def __init__(self, burst: float) -> None:
        self._tokens = burst
        self._at: float | None = None

    def wait(self, now: float, rate: float, burst: float) -> float:
        """Refill it; the seconds until there is a token, 0.0 if there is one."""
        passed = 0.0 if self._at is None else now - self._at
        self._tokens = min(burst, self._tokens + rate * passed)
        self._at = now
        # a token that is short of a billionth is one: sleeping for less has no effect
        return 0.0 if self._tokens >= 1 - 1e-9 else (1 - self._tokens) / rate

    def take(self) -> None:
        """Take the token that there is."""
        self._tokens -= 1


class LocalBudget:
    """The budget of a node within this process."""

    def __init__(self, limits: RequestLimits, *, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._now = now
        self._lock = threading.Lock()
        self._bucket = _TokenBucket(limits.burst)
        self._in_flight = 0

    def enter(self) -> float:
        """Admit a request, or say when to ask again."""
        limits = self._limits
        with self._lock:
            if self._in_flight >= limits.max_in_flight:
                return ASK_AGAIN_SECONDS
            wait = self._bucket.wait(self._now(), limits.requests_per_second, limits.burst)
            if wait == 0:
                self._bucket.take()
                self._in_flight += 1
            return wait

    def leave(self) -> None:
        """Give back the place of a request."""
        with self._lock:
            self._in_flight -= 1

    async def renew(self) -> bool:
        """Nothing to renew."""
        return False


@cache
def local_budget(node: str, limits: RequestLimits) -> LocalBudget:
    """The budget of ``node`` that all clients in this process share, as long as limits agree."""
    return LocalBudget(limits)


class LeasedBudget:
    """The budget of a node for all processes that get their leases at the same place.

    Before a request can be admitted, tokens are leased for a while, some hundred milliseconds'
    worth; then it costs what a local budget costs. While there are no leases to be had, the process
    goes on with its share: the limits divided by the processes of its last lease.
    """

    def __init__(
        self,
        node: str,
        limits: RequestLimits,
        ask: AskForLease,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._limits = limits
        self._ask = ask
        self._now = now
        self._lock = threading.Lock()
        self._bucket = _TokenBucket(limits.burst)
        self._lease: Lease | None = None
        self._leased_at = 0.0
        self._used = 0
        self._processes = 1
        self._places = limits.max_in_flight
        self._in_flight = 0
        self._peak = 0
        self._asked_at: float | None = None
        self._retry_at = 0.0
        self._is_away = False

    def enter(self) -> float:
        """Admit a request, or say when to ask again."""
        with self._lock:
            if self._in_flight >= self._places:
                return ASK_AGAIN_SECONDS
            now = self._now()
            rate, burst = self._limits.requests_per_second, self._limits.burst
            if self._has_lease(now):
                until_due = self._due(self._used + 1) - now
            elif self._goes_alone(now):
                until_due, rate = 0.0, rate / self._processes
            else:
                return ASK_AGAIN_SECONDS
            share = max(1.0, burst / self._processes)
            wait = max(until_due, self._bucket.wait(now, rate, share))
            if wait > 0:
                return wait
            self._bucket.take()
            self._used += 1
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)
            return 0.0

    def leave(self) -> None:
        """Give back the place of a request."""
        with self._lock:
            self._in_flight -= 1

    async def renew(self) -> bool:
        """Get another lease if this one is used up; False if somebody is about to, or failed to."""
        with self._lock:
            now = self._now()
            asking = self._asked_at is not None and now - self._asked_at < _LOST_SECONDS
            if asking or now < self._retry_at or self._has_lease(now):
                return False
            self._asked_at = now
        asked = asyncio.ensure_future(asyncio.to_thread(self._get_lease))
        # Not cancelled with us: others wait for the same lease.
        done, _ = await asyncio.wait({asked}, timeout=PATIENCE_SECONDS)
        for finished in done:
            finished.result()
        return True

    def _has_lease(self, now: float) -> bool:
        lease = self._lease
        if lease is None or self._used >= lease.tokens:
            return False
        return now < self._due(lease.tokens) + VALID_SECONDS

    def _due(self, number: int) -> float:
        """When the shared bucket will have refilled the token of that number, from 1."""
        lease = self._lease
        assert lease is not None
        missing = number - lease.tokens + lease.debt
        return self._leased_at + max(0.0, missing) / self._limits.requests_per_second

    def _goes_alone(self, now: float) -> bool:
        late = self._asked_at is not None and now - self._asked_at >= PATIENCE_SECONDS
        return late or now < self._retry_at

    def _get_lease(self) -> None:
        with self._lock:
            # Whatever becomes of the question, they are not used any more.
            unused = 0 if self._lease is None else self._lease.tokens - self._used
            peak, self._lease = self._peak, None
        try:
            lease = self._ask(peak, max(0, unused))
        except ValmonError as error:
            with self._lock:
                self._retry_at = self._now() + RETRY_SECONDS
                was_away, self._is_away = self._is_away, True
            if not was_away:
                share = self._limits.requests_per_second / self._processes
                logger.warning(
                    "the rate limit of node %s cannot be shared with other processes: %s; this "
                    "process goes on with %g requests a second",
                    self._node,
                    error,
                    share,
                )
            return
        finally:
            self._asked_at = None
        most = self._limits.max_in_flight
        with self._lock:
            self._lease, self._used = lease, 0
            # Since the answer, not the question: rather too late than too early.
            self._leased_at = self._now()
            self._processes = lease.processes
            self._places = max(1, most // lease.processes, most - lease.others_in_flight)
            self._peak = self._in_flight
            self._retry_at = 0.0
            was_away, self._is_away = self._is_away, False
        if was_away:
            logger.info("the rate limit of node %s is shared again", self._node)

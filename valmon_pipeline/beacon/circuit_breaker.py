"""When to stop asking a node that keeps failing, and when to try it again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class BreakerState(StrEnum):
    """Closed: the node is asked. Open: it is left alone. Half-open: it gets one more chance."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Open after so many failures in a row; half-open after a cool-down in seconds."""

    failures: int = 3
    cool_down_seconds: float = 30.0


class CircuitBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one node's failures; times are Unix seconds.

    ``in_use``: the last failure was one of a reading, which an answered probe does not outweigh.
    """

    failures: int = 0
    in_use: bool = False
    opened_at: float | None = None
    last_error: str | None = None
    last_error_at: float | None = None

    def after_failure(
        self, policy: BreakerPolicy, now: float, error: str, *, in_use: bool
    ) -> CircuitBreaker:
        """Count a failure of a probe, or of a reading; a failed last chance opens it again."""
        failures = self.failures + 1
        return CircuitBreaker(
            failures=failures,
            in_use=in_use or self.in_use,
            opened_at=now if failures >= policy.failures else None,
            last_error=error,
            last_error_at=now,
        )

    def after_success(self, *, in_use: bool) -> CircuitBreaker:
        """Close it after a reading, or after a probe if only probes had failed."""
        if self.failures == 0 or (self.in_use and not in_use):
            return self
        return msgspec.structs.replace(self, failures=0, in_use=False, opened_at=None)

    def state(self, policy: BreakerPolicy, now: float) -> BreakerState:
        """Say whether to ask the node; a clock that was set back keeps no node out."""
        if self.opened_at is None:
            return BreakerState.CLOSED
        cooling = 0 <= now - self.opened_at < policy.cool_down_seconds
        return BreakerState.OPEN if cooling else BreakerState.HALF_OPEN

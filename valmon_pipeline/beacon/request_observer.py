"""Who is told of every request that is sent, so that a client knows nothing of metrics."""

from __future__ import annotations

import re
from typing import Final, Protocol

_STATES: Final = frozenset({"states", "headers", "blocks"})
_NAMED: Final = frozenset({"head", "finalized", "justified", "genesis"})
_NUMBER: Final = re.compile(r"\d+|0x[0-9a-fA-F]*")


class RequestObserver(Protocol):
    """Told from within the event loop: it must not block."""

    def answered(self, node: str, endpoint: str, outcome: str, seconds: float) -> None:
        """An attempt ended after ``seconds``: with an HTTP status, or an error's name."""

    def waited_for_rate_limit(self, node: str, seconds: float) -> None:
        """A request waited for the client's own rate limit."""


class NobodyObserves:
    """Ignores everything."""

    def answered(self, node: str, endpoint: str, outcome: str, seconds: float) -> None:
        """Ignore it."""

    def waited_for_rate_limit(self, node: str, seconds: float) -> None:
        """Ignore it."""


def endpoint_of(path: str) -> str:
    """The endpoint that a path is of: its slots, epochs, roots and state names become ``{}``."""
    segments = path.split("/")
    return "/".join(
        "{}" if _NUMBER.fullmatch(segment) or (segment in _NAMED and before in _STATES) else segment
        for before, segment in zip(["", *segments], segments, strict=False)
    )

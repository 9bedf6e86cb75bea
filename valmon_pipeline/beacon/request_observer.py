"""Who is told of every request that is sent, so that a client knows nothing of metrics."""

from __future__ import annotations

import re
from typing import Final, Protocol

ENDPOINT: Final = "valmon_endpoint"
"""Request extension: the endpoint of the request's path, where it is known already."""
_STATES: Final = frozenset({"states", "headers", "blocks"})
_NAMED: Final = frozenset({"head", "finalized", "justified", "genesis"})
_ROOT: Final = re.compile(r"0x[0-9a-fA-F]*")


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
    before = ""
    for place, segment in enumerate(segments):
        if (
            segment.isdigit()
            or _ROOT.fullmatch(segment)
            or (segment in _NAMED and before in _STATES)
        ):
            segments[place] = "{}"
        before = segment
    return "/".join(segments)

"""The circuit breakers of all nodes, in a file that the processes of an installation share.

Every run is a process of its own: what the last one learnt about a dead node must not be lost.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from valmon_pipeline.beacon.circuit_breaker import CircuitBreaker

logger = logging.getLogger(__name__)

Breakers = dict[str, CircuitBreaker]


class BreakerFile:
    """Breakers by node name. Without a path, or where it cannot be written, kept in memory.

    It is a memory aid, not a record: an unreadable file is one without failures.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known: Breakers = {}

    def read(self) -> Breakers:
        """Return the breaker of every node that ever failed."""
        if self.path is None:
            return self._known
        try:
            self._known = msgspec.json.decode(self.path.read_bytes(), type=Breakers)
        except FileNotFoundError:
            self._known = {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("%s cannot be read and is ignored: %s", self.path, error)
        return self._known

    def update(self, node: str, change: Callable[[CircuitBreaker], CircuitBreaker]) -> None:
        """Change one node's breaker, whatever other processes do to it meanwhile."""
        known = self._known.get(node, CircuitBreaker())
        if change(known) == known:
            return  # nothing is written while all is well
        if self.path is None:
            self._known[node] = change(known)
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                breakers = self.read()
                breakers[node] = change(breakers.get(node, CircuitBreaker()))
                written = self.path.with_suffix(".new")
                written.write_bytes(msgspec.json.format(msgspec.json.encode(breakers)))
                written.replace(self.path)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self.path, error.strerror)
            self._known[node] = change(known)

"""Who is told of transactions and writes, so that storage knows nothing of metrics."""

from __future__ import annotations

from typing import Protocol


class DatabaseObserver(Protocol):
    """Told from within transactions: it must be quick."""

    def connected(self, seconds: float, in_use: int) -> None:
        """A transaction waited so long for its connection; so many of the pool are in use."""

    def wrote(self, table: str, rows: int, seconds: float) -> None:
        """Rows of an epoch were replaced; the transaction is still open."""


class NobodyObserves:
    """Ignores everything."""

    def connected(self, seconds: float, in_use: int) -> None:
        """Ignore it."""

    def wrote(self, table: str, rows: int, seconds: float) -> None:
        """Ignore it."""

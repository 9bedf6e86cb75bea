"""Logs why a sensor could not do its work, without repeating it every few seconds."""

from __future__ import annotations

import re
from typing import Protocol

from valmon_pipeline.errors import ValmonError, brief_reason


class _Log(Protocol):
    def warning(self, message: str, /) -> None: ...


class ReasonLog:
    """Logs each reason of one sensor once, and again after another one or after a good tick.

    A reason that differs in numbers only, such as the slot of a node that is syncing, is the same.
    """

    def __init__(self) -> None:
        self._logged = ""

    def note(self, error: ValmonError, log: _Log) -> str:
        """Log ``error`` if that is news; its short sentence, for the tick to show."""
        brief = brief_reason(error)
        kind = re.sub(r"\d+", "#", brief)
        if kind != self._logged:
            self._logged = kind
            log.warning(str(error))
        return brief

    def all_is_well(self) -> None:
        """A tick did its work: the next reason is news."""
        self._logged = ""

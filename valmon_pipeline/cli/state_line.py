"""What a command waits for: one line that changes on a terminal, a line per change elsewhere."""

from __future__ import annotations

import re

from rich.console import Console
from rich.status import Status
from rich.text import Text

_BESIDE_THE_TEXT = 3
"""The spinner, a space, and the column that some terminals keep free."""


class StateLine:
    """Shows the current state on ``console``; ``shown`` was printed as a line before."""

    def __init__(self, console: Console, shown: str = "") -> None:
        self._console = console
        self._shown = shown
        self._status: Status | None = None

    def show(self, text: str) -> None:
        """Replace what is shown. Where lines stay, only numbers that change are not news."""
        if self._console.is_terminal:
            width = self._console.width - _BESIDE_THE_TEXT
            line = text if len(text) <= width else f"{text[: width - 1]}…"
            if self._status is None:
                self._status = self._console.status(Text(line))
                self._status.start()
            else:
                self._status.update(Text(line))
        elif _without_numbers(text) != _without_numbers(self._shown):
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._shown = text

    def clear(self) -> None:
        """Show nothing any more."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        self._shown = ""


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "#", text)

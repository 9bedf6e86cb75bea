"""What is waited for, on a terminal and in a log."""

from __future__ import annotations

from io import StringIO

from rich.console import Console
from rich.text import Text

from valmon_pipeline.cli.state_line import StateLine

SYNCING = "waiting for a beacon node: local is syncing, at slot {}"


def test_where_lines_stay_only_what_is_news_is_printed() -> None:
    console = Console(file=StringIO(), width=80)
    line = StateLine(console, SYNCING.format(1))
    for text in (SYNCING.format(2), SYNCING.format(300), "waiting: local", "waiting: local"):
        line.show(text)
    line.clear()
    assert console.file.getvalue() == "waiting: local\n"  # type: ignore[attr-defined]


def test_on_a_terminal_the_line_fits_and_changes() -> None:
    console = Console(file=StringIO(), width=80, force_terminal=True, legacy_windows=False)
    line = StateLine(console)
    line.show(SYNCING.format(1))
    line.show(SYNCING.format(2) + "; another does not answer; a third one does not, either")
    line.clear()
    printed = Text.from_ansi(console.file.getvalue()).plain  # type: ignore[attr-defined]
    (last,) = [text.rstrip() for text in printed.splitlines() if "at slot 2" in text]
    assert last.endswith("…")
    assert len(last) <= 80
    assert "; another" in last

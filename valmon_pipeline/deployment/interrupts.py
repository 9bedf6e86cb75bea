"""Ctrl-C, ``kill`` and a closed terminal all end a command the same way: cleaned up, once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, the first time; later ones are ignored.

    A SIGINT that the parent ignores is obeyed again: a shell that starts a background job makes it
    ignore SIGINT, and children would inherit that; Dagster then ignores SIGTERM for ever. A SIGHUP
    that is ignored (nohup) stays ignored.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if number != signal.SIGHUP or handler != signal.SIG_IGN:
            signal.signal(number, _interrupt_once)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back until the end of the block, where they raise KeyboardInterrupt."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            interrupt()


def interrupt() -> None:
    """End the command as Ctrl-C would.

    From here on only cleaning up counts: another signal would leave processes behind. So they are
    ignored, also by the programs that stop the database.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    interrupt()

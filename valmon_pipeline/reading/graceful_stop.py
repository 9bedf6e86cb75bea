"""Signals that end a process do so between two epochs, never in the middle of the event loop.

A handler that raises (Dagster's do, and Python's own for Ctrl-C) may be run anywhere, also between
two steps of the event loop's own bookkeeping. There the exception is swallowed and the run goes on
as if nothing had been asked, or a wait is never woken and the run hangs. So while a loop runs,
signals cancel its main task, which the loop knows how to do, and reach their handlers afterwards.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")

Handler = Callable[[int, FrameType | None], Any] | int
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_until_signalled(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, except that SIGINT and SIGTERM cancel ``main``; their handlers are called
    when it has ended.

    A second signal is handed on at once: who insists is obeyed, and what is not committed is rolled
    back. Ignored signals stay ignored. Outside the main thread, which alone is told of signals,
    this is ``asyncio.run``.

    Raises:
        KeyboardInterrupt: a signal came and its handler raised nothing itself.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(main)
    received: list[int] = []
    handlers = _handlers()

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        cancel = task.cancel

        def on_signal(number: int, frame: FrameType | None) -> None:
            received.append(number)
            if len(received) > 1:
                _install(handlers)
                signal.raise_signal(number)
            loop.call_soon_threadsafe(cancel)

        _install(dict.fromkeys(handlers, on_signal))
        return await main

    try:
        result = asyncio.run(cancellable())
    except asyncio.CancelledError:
        if not received:
            raise
    finally:
        _install(handlers)
    if received:
        signal.raise_signal(received[0])
        raise KeyboardInterrupt
    return result


def _handlers() -> dict[signal.Signals, Handler]:
    """The handlers of the signals that are not ignored; none outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    return {
        number: handler
        for number, handler in found.items()
        if handler is not None and handler != signal.SIG_IGN
    }


def _install(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


async def to_the_end(work: Awaitable[T]) -> T:
    """The result of ``work``, whose outcome must be known: a cancellation waits until it is over,
    and takes effect where its caller waits next."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        result = await task
        caller = asyncio.current_task()
        assert caller is not None
        caller.cancel()
        return result

"""Materialize many epochs in several processes at once.

Reading, decoding and computing an epoch keep one core busy, so a long backfill takes as many as it
may have. Every epoch is still read from one node by one process and stored in one transaction, and
needs no other epoch: what is stored does not depend on how many processes there were.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Final

from valmon_pipeline.assets.epoch_worker import (
    STOP_SECONDS,
    EpochFailure,
    Message,
    OpenMaterializer,
)
from valmon_pipeline.assets.graceful_stop import signals_noted
from valmon_pipeline.assets.materialization import EpochMaterializer, EpochReport, RunOutcome

EPOCHS_PER_PROCESS: Final = 32
"""Fewer are not worth the seconds that a process needs to start."""
_FIRST_BATCH: Final = 4
_LARGEST_BATCH: Final = 64
_BATCH_SECONDS: Final = 10.0
"""Long enough that choosing a node anew for each batch does not matter, short enough that the
processes end together."""
_POLL_SECONDS: Final = 0.5
_REAP_SECONDS: Final = 5.0


class ParallelMaterializer:
    """Like ``EpochMaterializer``, with up to ``processes`` workers where that pays.

    ``alone`` does what one process does best. ``opener`` gives what each of the processes
    unpickles and calls. ``is_cancelled`` is asked now and then: if so,
    the run ends as it would by a signal.
    """

    def __init__(
        self,
        alone: EpochMaterializer,
        opener: Callable[[], OpenMaterializer],
        processes: int,
        *,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._alone = alone
        self._opener = opener
        self._processes = processes
        self._is_cancelled = is_cancelled

    def run(
        self,
        epochs: Sequence[int],
        on_stored: Callable[[EpochReport], None] = lambda report: None,
        on_failed: Callable[[int, str], None] = lambda epoch, reason: None,
    ) -> RunOutcome:
        """Materialize epochs, the first ones first; what is told of them comes as they end.

        Otherwise as ``EpochMaterializer.run``. On a signal every worker ends its epoch at hand.

        Raises:
            BeaconApiError, StorageError: as ``EpochMaterializer.run``, if nothing was done yet.
        """
        processes = min(self._processes, len(epochs) // EPOCHS_PER_PROCESS)
        if processes < 2:
            return self._alone.run(epochs, on_stored, on_failed)
        with signals_noted() as signalled, _workers(self._opener(), processes) as workers:
            run = _Run(epochs, workers, on_stored, on_failed)
            try:
                while run.goes_on and not signalled():
                    if self._is_cancelled():
                        raise asyncio.CancelledError
                    run.step()
            finally:
                run.stop()
        return run.outcome


class _Worker:
    """One process, and what of its batch is not accounted for yet."""

    def __init__(self, open_worker: OpenMaterializer) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, a module of our own
                [
                    sys.executable,
                    "-m",
                    "valmon_pipeline.assets.epoch_worker",
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Ctrl-C is for the one who started the run, and reaches the workers through it.
                start_new_session=True,
            )
        self.connection = Connection(os.dup(self._socket.fileno()))
        self.batch: list[int] = []
        self.is_busy = False
        self.started = 0.0
        self.size = 0
        self.connection.send(open_worker)

    def give(self, batch: list[int]) -> None:
        """Have the next epochs materialized."""
        self.batch, self.size, self.started = batch, len(batch), time.monotonic()
        self.is_busy = True
        self.connection.send(list(batch))

    def let_end(self) -> None:
        """There will be no more batches, and of the one at hand no further epoch is begun."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def ending(self) -> str:
        """How the process ended, in words, once it hung up."""
        code = self._process.wait(_REAP_SECONDS)
        return f"by signal {-code}" if code < 0 else f"with code {code}"

    def close(self) -> None:
        """Wait for the end of the process, and force it if need be."""
        self.let_end()
        try:
            self._process.wait(STOP_SECONDS + _REAP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.connection.close()
        self._socket.close()


@contextmanager
def _workers(open_worker: OpenMaterializer, processes: int) -> Iterator[list[_Worker]]:
    workers: list[_Worker] = []
    try:
        while len(workers) < processes:
            workers.append(_Worker(open_worker))
        yield workers
    finally:
        for worker in workers:
            worker.let_end()
        for worker in workers:
            worker.close()


class _Run:
    """Hands out batches of epochs and collects what becomes of them."""

    def __init__(
        self,
        epochs: Sequence[int],
        workers: Sequence[_Worker],
        on_stored: Callable[[EpochReport], None],
        on_failed: Callable[[int, str], None],
    ) -> None:
        self.outcome = RunOutcome()
        self._left = deque(epochs)
        self._workers = {worker.connection: worker for worker in workers}
        self._processes = len(workers)
        self._on_stored = on_stored
        self._on_failed = on_failed
        self._seconds_per_epoch: float | None = None
        self._gone: str | None = None
        for worker in workers:
            self._give_next(worker)

    @property
    def goes_on(self) -> bool:
        """Whether epochs are under way."""
        return any(worker.is_busy for worker in self._workers.values())

    def step(self) -> None:
        """Take what has come in, waiting a moment for something to come."""
        for worker, message in self._received():
            if message is None:
                self._lose(worker)
            else:
                self._take(worker, message)

    def stop(self) -> None:
        """Let every worker end its epoch at hand, and take what they still tell."""
        self._left.clear()
        for worker in self._workers.values():
            worker.let_end()
        ends = time.monotonic() + STOP_SECONDS
        while self._workers and time.monotonic() < ends:
            for worker, message in self._received():
                if message is None:
                    del self._workers[worker.connection]
                    continue
                # Whoever is told may say again that it has had enough.
                with suppress(asyncio.CancelledError):
                    self._take(worker, message)
        self.outcome.stored.sort()

    def _received(self) -> Iterator[tuple[_Worker, Message | None]]:
        """What has come in within a moment; None from a worker that hung up."""
        for connection in wait(list(self._workers), _POLL_SECONDS):
            assert isinstance(connection, Connection)
            message: Message | None
            try:
                message = connection.recv()
            except (EOFError, ConnectionResetError):
                message = None
            yield self._workers[connection], message

    def _take(self, worker: _Worker, message: Message) -> None:
        if isinstance(message, EpochReport):
            worker.batch.remove(message.epoch)
            self.outcome.stored.append(message.epoch)
            self._on_stored(message)
        elif isinstance(message, EpochFailure):
            worker.batch.remove(message.epoch)
            self._fail(message.epoch, message.reason)
        elif isinstance(message, RunOutcome):
            for table, reasons in message.broken_contracts.items():
                self.outcome.broken_contracts.setdefault(table, {}).update(reasons)
            worker.is_busy = False
            self._measure(worker)
            if message.gone is not None:
                self._give_up(message.gone)
            self._give_next(worker)
        else:
            if not self.outcome.stored and not self.outcome.failures:
                raise message
            batch, worker.batch = worker.batch, []
            worker.is_busy = False
            self._give_up(str(message), batch)

    def _lose(self, worker: _Worker) -> None:
        """A process has ended by itself: its epochs fail, the others go on."""
        del self._workers[worker.connection]
        reason = f"the process that materialized it ended {worker.ending()}"
        for epoch in worker.batch:
            self._fail(epoch, reason)
        worker.batch = []
        if not self._workers:
            self._give_up(reason)

    def _give_up(self, reason: str, batch: Sequence[int] = ()) -> None:
        """Begin no further epoch; ``batch`` was begun and is not done."""
        left, self._left = [*batch, *self._left], deque()
        for epoch in left:
            self._fail(epoch, f"not tried: {reason}")

    def _fail(self, epoch: int, reason: str) -> None:
        self.outcome.failures[epoch] = reason
        self._on_failed(epoch, reason)

    def _measure(self, worker: _Worker) -> None:
        taken = (time.monotonic() - worker.started) / worker.size
        known = self._seconds_per_epoch
        self._seconds_per_epoch = taken if known is None else (known + taken) / 2

    def _give_next(self, worker: _Worker) -> None:
        if self._left:
            size = batch_size(len(self._left), self._processes, self._seconds_per_epoch)
            worker.give([self._left.popleft() for _ in range(size)])


def batch_size(left: int, processes: int, seconds_per_epoch: float | None) -> int:
    """How many of the epochs that are left a worker gets: about ten seconds' work, but at the end
    of a run no more than half its share, so that nobody waits for the last one."""
    by_time = (
        _FIRST_BATCH
        if seconds_per_epoch is None
        else round(_BATCH_SECONDS / max(seconds_per_epoch, 1e-3))
    )
    return max(1, min(by_time, _LARGEST_BATCH, math.ceil(left / (2 * processes))))

"""A process that materializes batches of epochs for another one, see ``parallel_materialization``.

    python -m valmon_pipeline.assets.epoch_worker DESCRIPTOR

The descriptor is that of a socket. What comes in is a callable that opens the materializer, then
batches of epochs; what goes out is told by :data:`Message`. When nothing can come in any more,
since the other process has had enough or is gone, the batch at hand ends as it does on Ctrl-C: the
epoch that is being stored is stored, the next one is not begun.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Final

from valmon_pipeline.assets.materialization import EpochMaterializer, EpochReport, RunOutcome
from valmon_pipeline.errors import ValmonError

STOP_SECONDS: Final = 15.0
"""How long the epoch at hand may take to end; then the process is gone, and it is rolled back."""

OpenMaterializer = Callable[[], EpochMaterializer]


@dataclass(frozen=True, slots=True)
class EpochFailure:
    """An epoch of the batch was not stored."""

    epoch: int
    reason: str


Message = EpochReport | EpochFailure | RunOutcome | ValmonError
"""An epoch stored or not; the batch is over; or its end, for a reason that is not an epoch's."""


def work(connection: Connection) -> None:
    """Do batches until there are no more."""
    open_materializer: OpenMaterializer = connection.recv()
    materializer = open_materializer()
    batches: SimpleQueue[Sequence[int] | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, batches), daemon=True).start()
    while (batch := batches.get()) is not None:
        message: Message
        try:
            message = materializer.run(
                batch,
                connection.send,
                lambda epoch, reason: connection.send(EpochFailure(epoch, reason)),
            )
        except ValmonError as error:
            message = error
        connection.send(message)


def _listen(connection: Connection, batches: SimpleQueue[Sequence[int] | None]) -> None:
    """Pass batches on; end the process when there will be none."""
    while True:
        try:
            batches.put(connection.recv())
        except (EOFError, OSError):
            break
    batches.put(None)
    last = threading.Timer(STOP_SECONDS, os._exit, (1,))
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    """Serve the socket whose descriptor is the argument."""
    with suppress(KeyboardInterrupt, BrokenPipeError, ConnectionResetError, EOFError):
        with Connection(int(sys.argv[1])) as connection:
            work(connection)
        # Who hangs up also interrupts, maybe only now.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()

"""Sends the outbox within the ticks of the sensor that evaluates alerts, without delaying them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from valmon_pipeline.errors import ValmonError
from valmon_pipeline.notify.sender import RoundOutcome, Sender
from valmon_pipeline.storage.database import Database

PATIENCE_SECONDS: Final = 2.0
"""A tick waits so long for its round: one without a channel that hangs has ended by then."""


class Delivery:
    """Rounds of sending, one at a time, in a thread of their own.

    A round takes up to 20 s where a channel hangs, see ``notify.sender``. The tick goes on after
    ``patience_seconds``, and a later one tells how the round ended.
    """

    def __init__(self, sender: Sender, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._sender = sender
        self._patience_seconds = patience_seconds
        self._round: Future[RoundOutcome] | None = None

    def send_due(self, open_database: Callable[[], Database], log: logging.Logger) -> str:
        """Start a round, unless one is still going on, and wait for it for a while.

        What happened is logged, and said in a few words; "" if there was nothing to send.
        """
        if self._round is None:
            self._round = self._start(open_database)
        try:
            outcome = self._round.result(self._patience_seconds)
        except TimeoutError:
            return "messages are being sent"
        except ValmonError as error:
            self._round = None
            log.warning(str(error))
            return str(error)
        except BaseException:
            self._round = None
            raise
        self._round = None
        for channel, problem in outcome.problems.items():
            log.warning(f"channel {channel}: {problem}")
        if outcome.dead:
            log.error(
                f"{outcome.dead} messages were given up: see `valmon alerts show`, and "
                "`valmon alerts retry` when the channel is mended"
            )
        return _summary(outcome)

    def _start(self, open_database: Callable[[], Database]) -> Future[RoundOutcome]:
        future: Future[RoundOutcome] = Future()

        def send() -> None:
            try:
                future.set_result(self._sender.send_due(open_database()))
            except BaseException as error:  # noqa: BLE001 - raised again by the tick
                future.set_exception(error)

        threading.Thread(target=send, name="delivery", daemon=True).start()
        return future


def _summary(outcome: RoundOutcome) -> str:
    counts = (
        (outcome.sent, "sent"),
        (outcome.failed, "to be tried again"),
        (outcome.dead, "given up"),
    )
    return ", ".join(f"{count} {what}" for count, what in counts if count)

"""Sending what is in the outbox: at least once, with growing pauses, and then given up, visibly.

A round is bounded in time whatever a channel does. Every channel is sent to by a thread of its own,
which is waited for so long; who hangs longer is left alone until it comes back.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from valmon_pipeline.alerting.templates import Message
from valmon_pipeline.notify.bundle import bundles, message_of
from valmon_pipeline.notify.errors import DeliveryError
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.outbox import (
    Delivery,
    claim,
    due_channels,
    note_failed,
    note_sent,
    release,
)

FIRST_PAUSE: Final = timedelta(seconds=15)
LONGEST_PAUSE: Final = timedelta(hours=1)
ATTEMPTS: Final = 12
"""With the pauses, more than four hours until a message is given up."""
SEND_SECONDS: Final = 10.0
"""What one message may take, connecting and all."""
ROUND_SECONDS: Final = 20.0
"""What a round may take before it leaves the rest to the next one."""

Send = Callable[[Message, str], None]
"""Sends a message of a severity; DeliveryError if it is not accepted."""


@dataclass(slots=True)
class RoundOutcome:
    """What became of the messages of a round. ``problems`` is by channel."""

    sent: int = 0
    failed: int = 0
    dead: int = 0
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timing:
    """Limits on a round, and the clock."""

    send_seconds: float = SEND_SECONDS
    round_seconds: float = ROUND_SECONDS
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Sender:
    """Sends to channels by name; there is one per process, it knows which of them still hang."""

    def __init__(self, channels: Mapping[str, Send], timing: Timing | None = None) -> None:
        self._channels = channels
        self._timing = timing or Timing()
        self._hanging: dict[str, threading.Thread] = {}

    def send_due(self, database: Database) -> RoundOutcome:
        """Send what is due, oldest first, to all channels at once.

        A channel that fails is left alone for the rest of the round. Killed between sending and
        noting it, a message is sent again.

        Raises:
            StorageError: the database is away; what was sent and not noted is sent again.
        """
        outcome = RoundOutcome()
        timing = self._timing
        started = time.monotonic()
        lease = timedelta(seconds=2 * timing.round_seconds)
        reports: queue.SimpleQueue[_Sending] = queue.SimpleQueue()
        under_way: dict[str, _Sending] = {}
        for name in due_channels(database, timing.now()):
            hanging = self._hanging.pop(name, None)
            if hanging is not None and hanging.is_alive():
                self._hanging[name] = hanging
                outcome.problems[name] = "it still hangs"
                continue
            claimed = claim(database, name, timing.now(), lease)
            if name not in self._channels:
                _fail(database, claimed, "there is no such channel any more", None, outcome)
                continue
            if claimed:
                sending = _Sending(name, bundles(claimed), self._channels[name], reports)
                under_way[name] = sending
                sending.start()
        try:
            self._follow(database, under_way, reports, started, outcome)
        finally:
            for sending in under_way.values():
                sending.go_on(stop=True)
        return outcome

    def _follow(
        self,
        database: Database,
        under_way: dict[str, _Sending],
        reports: queue.SimpleQueue[_Sending],
        started: float,
        outcome: RoundOutcome,
    ) -> None:
        """Note what the threads report until all are done or had their time."""
        end = started + self._timing.round_seconds
        while under_way:
            limits = [min(one.began + self._timing.send_seconds, end) for one in under_way.values()]
            try:
                sending = reports.get(timeout=max(0.0, min(limits) - time.monotonic()))
            except queue.Empty:
                self._give_up_waiting(database, under_way, end, outcome)
                continue
            if sending.name not in under_way:
                continue  # it was waited for too long, and is sent again
            self._note(database, sending, outcome, is_late=time.monotonic() > end)
            if sending.is_over:
                del under_way[sending.name]

    def _note(
        self, database: Database, sending: _Sending, outcome: RoundOutcome, *, is_late: bool
    ) -> None:
        bundle, problem = sending.bundle, sending.problem
        if problem is None:
            note_sent(database, bundle, self._timing.now())
            outcome.sent += len(bundle)
        else:
            _fail(database, bundle, problem, self._timing.now(), outcome)
        sending.go_on(stop=problem is not None or is_late)
        if sending.is_over and sending.rest:
            release(database, sending.rest, self._timing.now())

    def _give_up_waiting(
        self,
        database: Database,
        under_way: dict[str, _Sending],
        end: float,
        outcome: RoundOutcome,
    ) -> None:
        """Take the channels that had their time as failed, though they may still succeed."""
        now = time.monotonic()
        timing = self._timing
        for name, sending in list(under_way.items()):
            seconds = now - sending.began
            if seconds < timing.send_seconds and now < end:
                continue
            del under_way[name]
            sending.go_on(stop=True)
            self._hanging[name] = sending.thread
            problem = f"no answer within {seconds:.0f} s"
            _fail(database, sending.bundle, problem, timing.now(), outcome)
            if sending.rest:
                release(database, sending.rest, timing.now())


class _Sending:
    """The bundles for one channel, sent by a thread one after the other.

    It reports after each of them, and waits until that is noted before it goes on.
    """

    def __init__(
        self,
        name: str,
        all_bundles: list[list[Delivery]],
        send: Send,
        reports: queue.SimpleQueue[_Sending],
    ) -> None:
        self.name = name
        self.problem: str | None = None
        self.began = time.monotonic()
        self.is_over = False
        self._bundles = all_bundles
        self._position = 0
        self._send = send
        self._reports = reports
        self._noted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=f"send to {name}", daemon=True)

    @property
    def bundle(self) -> list[Delivery]:
        """What is being sent."""
        return self._bundles[self._position]

    @property
    def rest(self) -> list[Delivery]:
        """What was not tried."""
        return [one for bundle in self._bundles[self._position + 1 :] for one in bundle]

    def start(self) -> None:
        self.thread.start()

    def go_on(self, *, stop: bool) -> None:
        """Send the next bundle, unless there is none or it is to ``stop``."""
        self.is_over = stop or self._position + 1 == len(self._bundles)
        if not self.is_over:
            self._position += 1
            self.began = time.monotonic()
        self._noted.put(not self.is_over)

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            message, severity = message_of(self.bundle)
            try:
                self._send(message, severity)
                self.problem = None
            except DeliveryError as error:
                self.problem = str(error)
            except Exception as error:  # noqa: BLE001
                # Not told, the round would wait for it; its text may quote the address.
                self.problem = type(error).__name__
            self._reports.put(self)
            goes_on = self._noted.get()


def _fail(
    database: Database,
    deliveries: list[Delivery],
    problem: str,
    now: datetime | None,
    outcome: RoundOutcome,
) -> None:
    """Note that sending failed; ``now`` None: there is no use in trying again."""
    by_attempts: dict[int, list[Delivery]] = {}
    for delivery in deliveries:
        by_attempts.setdefault(delivery.attempts, []).append(delivery)
        outcome.problems[delivery.channel] = problem
    for attempts, same in by_attempts.items():
        gives_up = now is None or attempts >= ATTEMPTS
        note_failed(
            database, same, problem, None if gives_up or now is None else now + pause(attempts)
        )
        outcome.dead += len(same) if gives_up else 0
        outcome.failed += 0 if gives_up else len(same)


def pause(attempts: int) -> timedelta:
    """How long to wait after so many attempts."""
    return min(FIRST_PAUSE * (1 << min(attempts - 1, 20)), LONGEST_PAUSE)

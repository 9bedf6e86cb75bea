"""Remembers the runs that a sensor requested, and how often each epoch failed in one that ran.

A request counts against an epoch once its run has ended and the epoch is still wanted. A run that
never began does not count: its epochs are requested again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import dagster as dg

from valmon_pipeline.automation.catch_up import Attempt, attempts_of, spans_of
from valmon_pipeline.automation.epoch_runs import requested_epochs
from valmon_pipeline.automation.run_outcomes import request_outcome

LAUNCH_SECONDS: Final = 60
"""Time that the daemon has to make a run of a request, and the pause after one that never ran."""


@dataclass(frozen=True, slots=True)
class Request:
    """A run that was requested for the epochs ``first`` to ``last``, at a Unix time."""

    run_key: str
    first: int
    last: int
    at: int

    @property
    def epochs(self) -> range:
        """The epochs of the run."""
        return range(self.first, self.last + 1)


@dataclass(frozen=True, slots=True)
class RequestLedger:
    """Open requests, and attempts that failed, by epoch; part of a sensor's cursor.

    ``number`` counts the ticks that requested runs. It is part of the run keys: Dagster starts one
    run per key, so a tick that it repeats starts none twice, and a request made again starts one.
    """

    attempts: Mapping[int, Attempt] = field(default_factory=dict)
    requests: tuple[Request, ...] = ()
    number: int = 0

    @classmethod
    def parse(cls, cursor: Mapping[str, Any]) -> RequestLedger:
        """The ledger in a cursor, also in one written by a version that had no requests in it."""
        return cls(
            attempts_of(cursor.get("attempts", [])),
            tuple(Request(*entry) for entry in cursor.get("requests", [])),
            cursor.get("number", 0),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the entries of a cursor that ``parse`` reads."""
        return {
            "attempts": spans_of(self.attempts),
            "requests": [[one.run_key, one.first, one.last, one.at] for one in self.requests],
            "number": self.number,
        }

    @property
    def epochs(self) -> set[int]:
        """The epochs of open requests."""
        return {epoch for request in self.requests for epoch in request.epochs}

    def settled(
        self,
        instance: dg.DagsterInstance,
        run_keys: Collection[str],
        *,
        wanted: Collection[int],
        newest: int,
        now: float,
    ) -> RequestLedger:
        """Close the requests whose runs have ended, and note what they did not make.

        ``run_keys`` are those of runs that are under way, ``wanted`` the epochs that are still to
        be made, ``newest`` is what attempts are dated by. Epochs that are not wanted any more are
        forgotten.
        """
        wanted = set(wanted)
        attempts = {epoch: one for epoch, one in self.attempts.items() if epoch in wanted}
        still_open: list[Request] = []
        for request in self.requests:
            left = wanted.intersection(request.epochs)
            if not left:
                continue
            if request.run_key in run_keys:
                still_open.append(request)
                continue
            outcome = request_outcome(instance, request.run_key)
            if not outcome.ran:
                if now - request.at < LAUNCH_SECONDS:
                    still_open.append(request)
                continue
            for epoch in left & outcome.named if outcome.named else left:
                before = attempts.get(epoch)
                attempts[epoch] = Attempt(before.count + 1 if before else 1, newest)
        return replace(self, attempts=attempts, requests=tuple(still_open))

    def with_requests(self, requests: Sequence[dg.RunRequest], now: float) -> RequestLedger:
        """The ledger with runs that are requested in this tick."""
        if not requests:
            return self
        return replace(
            self,
            requests=(*self.requests, *_entries(requests, int(now))),
            number=self.number + 1,
        )


def _entries(requests: Iterable[dg.RunRequest], at: int) -> Iterable[Request]:
    for request in requests:
        epochs = requested_epochs(request)
        assert request.run_key is not None
        yield Request(request.run_key, epochs[0], epochs[-1], at)

"""A beacon node made of recorded answers: ``python -m valmon_pipeline.devnet.replay_node``.

Exact requests get the recorded body byte for byte. Requests for some validators get the rows of
the recorded answer for all of them. What the recording does not hold is refused in the API's form.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.answer import Answer, RefusalError, recorded_answer
from valmon_pipeline.devnet.block_answers import BlockAnswers
from valmon_pipeline.devnet.chain_view import ChainView
from valmon_pipeline.devnet.clients.asked import NodeSettings
from valmon_pipeline.devnet.clients.catalogue import CLIENTS, profile_of
from valmon_pipeline.devnet.clients.profile import ProfiledNode
from valmon_pipeline.devnet.clock import Clock, LiveClock, StoppedClock
from valmon_pipeline.devnet.duty_answers import DutyAnswers
from valmon_pipeline.devnet.event_stream import EventStream, events_path, read_events
from valmon_pipeline.devnet.node_answers import NodeAnswers
from valmon_pipeline.devnet.node_server import (
    DEFAULT_PORT,
    BackgroundNode,
    FaultInjector,
    Handler,
    NodeServer,
    application,
)
from valmon_pipeline.devnet.question import Question
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.recording_error import RecordingError
from valmon_pipeline.devnet.reward_answers import RewardAnswers
from valmon_pipeline.devnet.state_answers import StateAnswers
from valmon_pipeline.errors import ConfigurationError

_DEBUG_STATES: Final = "/eth/v2/debug/beacon/states/"


class ReplayNode:
    """The ASGI application of a replay node, and what it replays.

    ``live`` shifts the recorded clock so that ``start_slot`` (default: the first recorded slot)
    begins now, and lets the chain run ``speed`` times as fast as recorded. Otherwise the chain
    stands at its last recorded slot and everything recorded is final.

    ``events`` is the recorded event stream, by default the file beside the recording whose name
    ends in ``.events.sse.zst``; without one, subscribers wait for events that never come.
    ``now`` is the wall clock in Unix seconds.

    ``faults`` is asked before every answer; the response it returns is sent instead.

    ``client`` makes the node answer as that client does by default (``clients.catalogue.CLIENTS``):
    only what its windows of time allow for the chain's head and finality, with its refusals. On a
    stopped clock finality is then that recorded for the last slot. ``archive`` is a node of that
    client with its archive options; without ``execution_layer`` payloads cannot be rebuilt;
    Lodestar does not find finalized blocks by slot for ``archive_lag_slots`` after finality.

    Raises :class:`ConfigurationError` for an unknown client, and for its options without one.
    """

    def __init__(
        self,
        recording: Recording | Path = RECORDING_PATH,
        *,
        live: bool = False,
        start_slot: int | None = None,
        speed: float = 1.0,
        events: Path | None = None,
        faults: FaultInjector | None = None,
        now: Callable[[], float] = time.time,
        client: str | None = None,
        archive: bool = False,
        execution_layer: bool = True,
        archive_lag_slots: int = 1,
    ) -> None:
        if client is None and (archive or not execution_layer):
            raise ConfigurationError(
                "An archive and a missing execution layer are options of a client; choose one of "
                f"{', '.join(CLIENTS)}"
            )
        if isinstance(recording, Path):
            events = events or events_path(recording)
            recording = Recording.load(recording)
        self.recording = recording
        self.clock: Clock = (
            _live_clock(recording, start_slot, speed, now) if live else _stopped(recording)
        )
        self.view = ChainView(recording, self.clock, has_finality=client is not None)
        settings = NodeSettings(archive, execution_layer, archive_lag_slots)
        self.profiled = (
            None if client is None else ProfiledNode(profile_of(client), self.view, settings)
        )
        self._serves_states = self.profiled is not None or len(recording.states) > 0
        self.events = EventStream(read_events(events) if live and events else (), self.clock)
        self.faults = faults
        self.app = self._application()

    @property
    def first_epoch(self) -> int:
        """The first epoch that can be processed from the recording; see ``Recording.epochs``."""
        return self._epochs()[0]

    @property
    def last_epoch(self) -> int:
        """The last epoch that can be processed from the recording; see ``Recording.epochs``."""
        return self._epochs()[-1]

    def _epochs(self) -> range:
        if not self.recording.epochs:
            raise RecordingError(
                f"{self.recording.name}: no epoch has all its blocks, those of the next epoch, and "
                "the validators at three epoch boundaries"
            )
        return self.recording.epochs

    def _application(self) -> Starlette:
        node = NodeAnswers(self.view)
        states = StateAnswers(self.view, any_epoch=self.profiled is not None)
        blocks, rewards = BlockAnswers(self.view), RewardAnswers(self.view)
        duties = DutyAnswers(self.view)
        state, validator = "/eth/v1/beacon/states/{state_id}", "/eth/v1/validator"
        get: dict[str, Handler] = {
            "/eth/v1/config/spec": node.spec,
            "/eth/v1/beacon/genesis": node.genesis,
            "/eth/v1/node/syncing": node.syncing,
            "/eth/v1/node/health": node.health,
            f"{state}/validators": states.validators,
            f"{state}/validators/{{validator_id}}": states.validator,
            f"{state}/validator_balances": states.validator_balances,
            f"{state}/committees": states.committees,
            f"{state}/sync_committees": states.sync_committees,
            f"{state}/finality_checkpoints": states.finality_checkpoints,
            f"{state}/fork": states.fork,
            f"{state}/root": states.root,
            f"{state}/{{rest:path}}": states.other,
            "/eth/v1/beacon/headers": blocks.headers,
            "/eth/v1/beacon/headers/{block_id}": blocks.by_block_id,
            "/eth/v2/beacon/blocks/{block_id}": blocks.by_block_id,
            "/eth/v2/beacon/blocks/{block_id}/attestations": blocks.by_block_id,
            "/eth/v1/beacon/blocks/{block_id}/attestations": blocks.by_block_id,
            "/eth/v1/beacon/blocks/{block_id}/root": blocks.by_block_id,
            "/eth/v1/beacon/blinded_blocks/{block_id}": blocks.by_block_id,
            "/eth/v1/beacon/rewards/blocks/{block_id}": blocks.by_block_id,
            f"{validator}/duties/proposer/{{epoch}}": duties.proposer,
        }
        if self._serves_states:
            get[f"{_DEBUG_STATES}{{state_id}}"] = states.debug_state
        if self.profiled is not None:
            get["/eth/v2/validator/duties/proposer/{epoch}"] = duties.proposer_since_fulu
        post: dict[str, Handler] = {
            f"{state}/validators": states.validators,
            f"{state}/validator_balances": states.validator_balances,
            f"{state}/validator_identities": states.validator_identities,
            "/eth/v1/beacon/rewards/attestations/{epoch}": rewards.attestations,
            "/eth/v1/beacon/rewards/sync_committee/{block_id}": rewards.sync_committee,
            f"{validator}/duties/attester/{{epoch}}": duties.attester,
            f"{validator}/duties/sync/{{epoch}}": duties.sync,
            f"{validator}/liveness/{{epoch}}": duties.liveness,
        }
        return application(
            get, post, _RecordedOnly(self.recording), self._ask, self.events.subscribe, self._fault
        )

    def stop(self) -> None:
        """End all event streams."""
        self.events.stop()

    def _fault(self, request: Request) -> Response | None:
        """What ``faults`` says at the moment: it may be changed while the node serves."""
        return None if self.faults is None else self.faults(request)

    def _ask(self, handler: Handler, question: Question) -> Answer:
        if self.profiled is not None:
            return self.profiled.answer(partial(self._answer, handler), question)
        try:
            return self._answer(handler, question)
        except RefusalError as refusal:
            exchange = self.recording.best(
                question.method,
                question.path,
                question.query,
                question.body,
                phases=frozenset({"error"}),
            )
            if exchange is not None and exchange.status >= 400:
                return recorded_answer(exchange)
            return refusal.answer()

    def _answer(self, handler: Handler, question: Question) -> Answer:
        if not (self._serves_states and question.path.startswith(_DEBUG_STATES)):
            question.refuse_other_formats()
        answer = handler(question)
        question.refuse_unaccepted(answer)
        return answer


class _RecordedOnly:
    """Answers requests that have no rule of their own, if exactly that was recorded."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __call__(self, question: Question) -> Answer:
        exchange = self._recording.best(
            question.method, question.path, question.query, question.body
        )
        if exchange is None:
            raise RefusalError(404, f"Route {question.method}:{question.path} not found")
        return recorded_answer(exchange)


def _stopped(recording: Recording) -> StoppedClock:
    return StoppedClock(recording.slots[-1])


def _live_clock(
    recording: Recording, start_slot: int | None, speed: float, now: Callable[[], float]
) -> LiveClock:
    slots = recording.slots
    if speed <= 0:
        raise RecordingError(f"The speed is {speed}; it must be more than 0")
    start = slots[0] if start_slot is None else start_slot
    if start not in slots:
        raise RecordingError(
            f"{recording.name}: cannot start at slot {start}; slots {slots[0]} to {slots[-1]} are "
            "recorded"
        )
    duration_ms = max(1, round(recording.slot_duration_ms / speed))
    return LiveClock.starting_now(start, slots[-1], duration_ms, now)


def serve(
    recording: Path = RECORDING_PATH,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    live: bool = False,
    start_slot: int | None = None,
    speed: float = 1.0,
    events: Path | None = None,
    faults: FaultInjector | None = None,
    client: str | None = None,
    archive: bool = False,
) -> None:
    """Serve a recording until the process is told to stop (SIGINT, SIGTERM); see ``ReplayNode``.

    Raises :class:`~valmon_pipeline.errors.ValmonError` for a recording that cannot be replayed.
    """
    node = ReplayNode(
        recording,
        live=live,
        start_slot=start_slot,
        speed=speed,
        events=events,
        faults=faults,
        client=client,
        archive=archive,
    )
    NodeServer(node, host, port).run()


class BackgroundReplayNode(BackgroundNode[ReplayNode]):
    """A replay node in a thread of this process, see ``node_server.BackgroundNode``."""


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="replay_node", description=__doc__)
    parser.add_argument("recording", nargs="?", type=Path, default=RECORDING_PATH)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--live", action="store_true", help="let the recorded chain run now")
    parser.add_argument("--start-slot", type=int, default=None)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--events", type=Path, default=None, help="the recorded event stream")
    parser.add_argument("--client", choices=tuple(CLIENTS), help="answer as this client would")
    parser.add_argument("--archive", action="store_true", help="the client keeps old states")
    options = parser.parse_args(arguments)
    serve(
        options.recording,
        options.host,
        options.port,
        live=options.live,
        start_slot=options.start_slot,
        speed=options.speed,
        events=options.events,
        client=options.client,
        archive=options.archive,
    )


if __name__ == "__main__":
    main()

"""The node of a simulated chain: the same Beacon API as the replay node, over real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from starlette.applications import Starlette

from valmon_pipeline.devnet.answer import Answer, RefusalError
from valmon_pipeline.devnet.clock import LiveClock
from valmon_pipeline.devnet.node_server import (
    BackgroundNode,
    FaultInjector,
    Handler,
    application,
)
from valmon_pipeline.devnet.question import Question
from valmon_pipeline.devnet.simulator import incidents as words
from valmon_pipeline.devnet.simulator.block_answers import BlockAnswers
from valmon_pipeline.devnet.simulator.duty_answers import DutyAnswers
from valmon_pipeline.devnet.simulator.node_answers import NodeAnswers
from valmon_pipeline.devnet.simulator.node_view import NodeView
from valmon_pipeline.devnet.simulator.reward_answers import RewardAnswers
from valmon_pipeline.devnet.simulator.simulation import Simulation
from valmon_pipeline.devnet.simulator.state_answers import StateAnswers

DEFAULT_GENESIS_TIME: Final = 1_700_000_000
_DEBUG_STATE: Final = "/eth/v2/debug/beacon/states/{state_id}"
_SERVES_SSZ: Final = "/eth/v2/debug/"
_NO_LAST_SLOT: Final = 2**62
_POLL_SECONDS: Final = 0.1
_KEEP_ALIVE_SECONDS: Final = 15.0


class SimulatedNode:
    """The ASGI application of a simulated chain's node.

    By hand (the default), the chain is where ``simulation.advance_to`` has brought it, and its time
    is the middle of that slot (``now()``). ``live``: genesis is set so that ``start_slot`` begins
    now, and the chain follows the wall clock, ``now`` in Unix seconds.

    ``faults`` is asked before every answer, as by the replay node; the script's node faults work
    without it.
    """

    def __init__(
        self,
        simulation: Simulation,
        *,
        live: bool = False,
        start_slot: int | None = None,
        genesis_time: int = DEFAULT_GENESIS_TIME,
        faults: FaultInjector | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.simulation = simulation
        duration_ms = simulation.parameters.slot_duration_ms
        clock = None
        if live:
            start = simulation.head_slot if start_slot is None else start_slot
            clock = LiveClock.starting_now(start, _NO_LAST_SLOT, duration_ms, now)
            genesis_time = clock.genesis_time
        self.view = NodeView(simulation, clock, genesis_time)
        self.faults = faults
        self._question_number = 0
        self._is_stopping = False
        self.app = self._application()

    def now(self) -> float:
        """The chain's time in Unix seconds: of a chain by hand the middle of its slot."""
        if self.view.clock is not None:
            return self.view.clock.now()
        duration_ms = self.simulation.parameters.slot_duration_ms
        return self.view.genesis_time + (self.simulation.head_slot + 0.5) * duration_ms / 1000

    def stop(self) -> None:
        """End all event streams."""
        self._is_stopping = True

    def _application(self) -> Starlette:
        node, states = NodeAnswers(self.view), StateAnswers(self.view)
        blocks, duties = BlockAnswers(self.view), DutyAnswers(self.view)
        attestation_rewards = RewardAnswers(self.view)
        state, validator = "/eth/v1/beacon/states/{state_id}", "/eth/v1/validator"
        get: dict[str, Handler] = {
            "/eth/v1/config/spec": node.spec,
            "/eth/v1/config/fork_schedule": node.fork_schedule,
            "/eth/v1/config/deposit_contract": node.deposit_contract,
            "/eth/v1/beacon/genesis": node.genesis,
            "/eth/v1/node/version": node.version,
            "/eth/v1/node/syncing": node.syncing,
            "/eth/v1/node/health": node.health,
            "/eth/v1/node/peer_count": node.peer_count,
            "/eth/v1/node/peers": node.peers,
            f"{state}/validators": states.validators,
            f"{state}/validators/{{validator_id}}": states.validator,
            f"{state}/validator_balances": states.validator_balances,
            f"{state}/committees": states.committees,
            f"{state}/sync_committees": states.sync_committees,
            f"{state}/finality_checkpoints": states.finality_checkpoints,
            f"{state}/fork": states.fork,
            f"{state}/root": states.root,
            f"{state}/randao": states.randao,
            f"{state}/pending_deposits": states.pending_deposits,
            f"{state}/pending_partial_withdrawals": states.pending_partial_withdrawals,
            f"{state}/pending_consolidations": states.pending_consolidations,
            f"{state}/proposer_lookahead": states.proposer_lookahead,
            _DEBUG_STATE: states.debug_state,
            "/eth/v1/beacon/headers": blocks.headers,
            "/eth/v1/beacon/headers/{block_id}": blocks.header,
            "/eth/v2/beacon/blocks/{block_id}": blocks.block,
            "/eth/v2/beacon/blocks/{block_id}/attestations": blocks.attestations,
            "/eth/v1/beacon/blocks/{block_id}/attestations": blocks.attestations_before_electra,
            "/eth/v1/beacon/blocks/{block_id}/root": blocks.root,
            "/eth/v1/beacon/blinded_blocks/{block_id}": blocks.blinded_block,
            "/eth/v1/beacon/rewards/blocks/{block_id}": blocks.rewards,
            f"{validator}/duties/proposer/{{epoch}}": duties.proposer,
            "/eth/v2/validator/duties/proposer/{epoch}": duties.proposer_since_fulu,
        }
        post: dict[str, Handler] = {
            f"{state}/validators": states.validators,
            f"{state}/validator_balances": states.validator_balances,
            f"{state}/validator_identities": states.validator_identities,
            "/eth/v1/beacon/rewards/attestations/{epoch}": attestation_rewards.attestations,
            "/eth/v1/beacon/rewards/sync_committee/{block_id}": blocks.sync_committee_rewards,
            f"{validator}/duties/attester/{{epoch}}": duties.attester,
            f"{validator}/duties/sync/{{epoch}}": duties.sync,
            f"{validator}/liveness/{{epoch}}": duties.liveness,
        }
        return application(get, post, _unknown, self._ask, self._subscribe, self.faults)

    def _ask(self, handler: Handler, question: Question) -> Answer:
        # One moment for the whole answer, whoever advances the chain meanwhile.
        with self.simulation.lock:
            try:
                self.view.refresh()
                self._fail_as_scripted()
                if not question.path.startswith(_SERVES_SSZ):
                    question.refuse_other_formats()
                return handler(question)
            except RefusalError as refusal:
                return refusal.answer()

    def _fail_as_scripted(self) -> None:
        self._question_number += 1
        for fault in self.simulation.script.faults(self.view.slot):
            if isinstance(fault, words.Errors) and bool(
                self.simulation.entropy.happens(1, fault.rate, "error", self._question_number)[0]
            ):
                raise RefusalError(fault.status, "The script wants this request to fail")

    async def _subscribe(self, topics: frozenset[str]) -> AsyncIterator[bytes]:
        """Yield the events of ``topics`` from now on, as the chain advances."""
        loop = asyncio.get_running_loop()
        _, number = self.simulation.events_since(0)
        next_comment = loop.time() + _KEEP_ALIVE_SECONDS
        while not self._is_stopping:
            self.view.refresh()
            slot = self.view.slot
            events, _ = self.simulation.events_since(number)
            for event in events:
                if event.slot > slot:
                    break
                number += 1
                if event.topic in topics:
                    data = msgspec.json.encode(event.data)
                    yield b"event: %s\ndata: %s\n\n" % (event.topic.encode(), data)
            if loop.time() >= next_comment:
                next_comment += _KEEP_ALIVE_SECONDS
                yield b": keep-alive\n\n"
            await asyncio.sleep(_POLL_SECONDS)


def _unknown(question: Question) -> Answer:
    raise RefusalError(404, f"Route {question.method}:{question.path} not found")


@contextmanager
def simulated_node(
    simulation: Simulation,
    *,
    live: bool = False,
    start_slot: int | None = None,
    genesis_time: int = DEFAULT_GENESIS_TIME,
    faults: FaultInjector | None = None,
    now: Callable[[], float] = time.time,
) -> Iterator[BackgroundNode[SimulatedNode]]:
    """Serve a simulation in a thread of this process; yields its ``url`` and its ``node``.

    The options are those of :class:`SimulatedNode`.
    """
    node = SimulatedNode(
        simulation,
        live=live,
        start_slot=start_slot,
        genesis_time=genesis_time,
        faults=faults,
        now=now,
    )
    with BackgroundNode(node) as served:
        yield served

"""Chooses the node to work with from several, and remembers which ones failed.

The nodes are an ordered list: the first one that is ready is read from, so that a node of one's
own is preferred to a hosted one. A client is of one node for as long as it lives.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from valmon_pipeline.beacon.answer_keeper import AnswerKeeper
from valmon_pipeline.beacon.breaker_file import BreakerFile
from valmon_pipeline.beacon.chain_view import chain_view, common_slot
from valmon_pipeline.beacon.circuit_breaker import BreakerPolicy, BreakerState, CircuitBreaker
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.beacon.connection import time_left
from valmon_pipeline.beacon.disagreements import Disagreement, disagreements
from valmon_pipeline.beacon.node_health import (
    ExpectedNetwork,
    NodeHealth,
    NodeIdentity,
    NodeProbe,
    NodeState,
    assess,
    probe,
    waiting_sentence,
)
from valmon_pipeline.beacon.redact import redact_url
from valmon_pipeline.beacon.request_budget import RequestBudget
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    ChainRuleViolationError,
    ConfigurationError,
    EpochNotFinalError,
    NodeNotReadyError,
    ObjectUnavailableError,
)

PROBE_SECONDS: Final = 10.0
_PROBE_SHARE: Final = 0.5
"""Of the time that there is for a look, so that a node that hangs leaves some for another one."""
_IDENTITY_SECONDS: Final = 600.0
"""A node that was set up anew for another network is noticed at the latest after this time."""
_NOT_ITS_FAULT: Final = (EpochNotFinalError, ObjectUnavailableError)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node's health beside what is remembered of its failures."""

    health: NodeHealth
    breaker: CircuitBreaker
    breaker_state: BreakerState


class NodePool:
    """The configured nodes; an ``OpenClient``. It keeps no connection open between two uses.

    ``stored_network`` says which network is stored already, None if none is yet: then the first
    node that is used decides. ``keep_answers`` gives every client an ``AnswerKeeper``.
    ``budget_of`` makes the budget of each node; None: it is this process's own. ``now`` is the wall
    clock in Unix seconds.
    """

    def __init__(
        self,
        nodes: Iterable[NodeOptions],
        *,
        breakers: BreakerFile | None = None,
        policy: BreakerPolicy | None = None,
        max_slots_behind: int = 4,
        probe_seconds: float = PROBE_SECONDS,
        stored_network: Callable[[], ExpectedNetwork | None] = lambda: None,
        keep_answers: bool = False,
        budget_of: Callable[[NodeOptions], RequestBudget] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._nodes = _named_apart(nodes)
        if budget_of is not None:
            self._nodes = [replace(options, budget=budget_of(options)) for options in self._nodes]
        self._breakers = breakers or BreakerFile()
        self._policy = policy or BreakerPolicy()
        self._max_slots_behind = max_slots_behind
        self._probe_seconds = probe_seconds
        self._stored_network = stored_network
        self._network: ExpectedNetwork | None = None
        self._reference: NodeIdentity | None = None
        self._keep_answers = keep_answers
        self._now = now
        self._identities: dict[str, tuple[float, NodeIdentity]] = {}
        self._disagreements: tuple[float, list[Disagreement]] = (0.0, [])

    @property
    def names(self) -> list[str]:
        """The nodes in the order of preference, without secrets."""
        return [options.name for options in self._nodes]

    @property
    def options(self) -> Sequence[NodeOptions]:
        """How to talk to each of them, by the names of the reports."""
        return self._nodes

    @asynccontextmanager
    async def __call__(
        self, avoid: Collection[str] = (), *, archive: bool = False
    ) -> AsyncIterator[BeaconClient]:
        """Open a client of the first node that is ready and not to be avoided.

        With ``archive``, nodes that keep old states come before all others.

        An error of the node that ends its use is remembered against it. A node whose breaker is
        open is asked only if no other is left: one bad node is better than none.

        Raises:
            BeaconUnreachableError: no node answered; the message lists every node's reason.
            NodeNotReadyError: at least one answered, but none is ready; likewise.
        """
        if not self._nodes:
            raise ConfigurationError("no beacon node is configured: set beacon_node_url")
        async with await self._first_ready(avoid, archive=archive) as client:
            try:
                yield client
            except (
                BeaconApiError,
                ChainRuleViolationError,
                RecursionError,
                MemoryError,
            ) as error:
                if not isinstance(error, _NOT_ITS_FAULT):
                    reason = str(error) or type(error).__name__
                    self._remember_failure(client.name, reason, in_use=True)
                raise
            self._breakers.update(client.name, lambda breaker: breaker.after_success(in_use=True))

    def breaker_states(self) -> dict[str, BreakerState]:
        """Whether each node is left alone because it failed; no node is asked."""
        known, now = self._breakers.read(), self._now()
        return {
            name: known.get(name, CircuitBreaker()).state(self._policy, now) for name in self.names
        }

    async def reports(self) -> list[NodeReport]:
        """Ask every node how it is and which chain it follows, whatever its breaker.

        Nothing is remembered.
        """
        verdicts, found = await self._look()
        verdicts = [
            replace(
                verdict,
                disagreement="; ".join(one.text for one in found if verdict.name in one.nodes),
            )
            for verdict in verdicts
        ]
        known, now = self._breakers.read(), self._now()
        return [
            NodeReport(
                verdict,
                breaker := known.get(verdict.name, CircuitBreaker()),
                breaker.state(self._policy, now),
            )
            for verdict in verdicts
        ]

    async def disagreements(self, *, at_most_every: float = 0.0) -> list[Disagreement]:
        """Ask every node which chain it follows; a single node is not asked.

        An answer of less than ``at_most_every`` seconds ago is given again.
        """
        if len(self._nodes) < 2:
            return []
        looked_at, found = self._disagreements
        if not 0 <= self._now() - looked_at < at_most_every:
            _, found = await self._look()
            self._disagreements = self._now(), found
        return found

    async def _look(self) -> tuple[list[NodeHealth], list[Disagreement]]:
        clients = self._clients(self._nodes)
        try:
            probes = await self._probes(clients)
            verdicts = self._assess(probes)
            probes = await self._with_chains(clients, probes, verdicts)
        finally:
            await _close(clients.values())
        return verdicts, disagreements(probes)

    async def _with_chains(
        self,
        clients: Mapping[str, BeaconClient],
        probes: Sequence[NodeProbe],
        verdicts: Sequence[NodeHealth],
    ) -> list[NodeProbe]:
        """Ask the nodes that keep up for their chains, if there are two to be compared."""
        fit = {verdict.name for verdict in verdicts if verdict.is_ready}
        heads = [one.sync.head_slot for one in probes if one.sync is not None and one.name in fit]
        if len(fit) < 2:
            return list(probes)

        async def view(one: NodeProbe) -> NodeProbe:
            if one.name not in fit or one.identity is None:
                return one
            spec = one.identity.spec
            slot = common_slot(heads, spec)
            chain = await chain_view(clients[one.name], slot, spec, self._probe_seconds)
            return replace(one, chain=chain)

        return await asyncio.gather(*map(view, probes))

    async def _first_ready(self, avoid: Collection[str], *, archive: bool) -> BeaconClient:
        """Probe the nodes side by side; the chosen one's client is the caller's to close."""
        candidates = [options for options in self._nodes if options.name not in avoid]
        if not candidates:
            raise BeaconUnreachableError("there is no other beacon node to ask")
        if archive:
            candidates.sort(key=lambda options: not options.archive)
        known, now = self._breakers.read(), self._now()
        open_breakers = {
            name
            for name, breaker in known.items()
            if breaker.state(self._policy, now) is BreakerState.OPEN
        }
        rested = [options for options in candidates if options.name not in open_breakers]
        paused = [options for options in candidates if options.name in open_breakers]
        verdicts: list[NodeHealth] = []
        for group in filter(None, (rested, paused)):
            client = await self._first_ready_of(group, verdicts)
            if client is not None:
                return client
        answered = any(verdict.state is not NodeState.UNREACHABLE for verdict in verdicts)
        message = "no beacon node can be used:" + "".join(
            f"\n  - {verdict.name}: {verdict.reason}" for verdict in verdicts
        )
        kind = NodeNotReadyError if answered else BeaconUnreachableError
        raise kind(message, summary=waiting_sentence(verdicts))

    async def _first_ready_of(
        self, nodes: Sequence[NodeOptions], verdicts: list[NodeHealth]
    ) -> BeaconClient | None:
        """The client of the first ready node; what was found out is added to ``verdicts``."""
        clients = self._clients(nodes)
        try:
            found = await self._verdicts(clients)
            verdicts += found
            for verdict in found:
                self._remember_probe(verdict)
            chosen = next((verdict.name for verdict in found if verdict.is_ready), None)
            if chosen is None:
                return None
            self._reference = self._identities[chosen][1]
            self._network = self._network or self._reference.network
            return clients.pop(chosen)
        finally:
            await _close(clients.values())

    async def _verdicts(self, clients: Mapping[str, BeaconClient]) -> list[NodeHealth]:
        return self._assess(await self._probes(clients))

    def _assess(self, probes: Sequence[NodeProbe]) -> list[NodeHealth]:
        return assess(
            probes, self._network, self._max_slots_behind, self._reference, now=self._now()
        )

    async def _probes(self, clients: Mapping[str, BeaconClient]) -> list[NodeProbe]:
        if self._network is None:
            # In a thread: the answer is in the database.
            self._network = await asyncio.to_thread(self._stored_network)
        return await asyncio.gather(*(self._probe(client) for client in clients.values()))

    async def _probe(self, client: BeaconClient) -> NodeProbe:
        """Ask a node who it is, too, unless it said so not long ago and was up ever since."""
        asked_at, known = self._identities.get(client.name, (0.0, None))
        if not 0 <= self._now() - asked_at < _IDENTITY_SECONDS:
            known = None
        left = time_left()
        seconds = self._probe_seconds
        if left is not None:
            seconds = min(seconds, left * _PROBE_SHARE)
        found = await probe(client, seconds, known)
        if found.identity is None:
            self._identities.pop(client.name, None)
        elif known is None:
            self._identities[client.name] = (self._now(), found.identity)
        return found

    def _clients(self, nodes: Iterable[NodeOptions]) -> dict[str, BeaconClient]:
        return {
            options.name: BeaconClient.open(
                options,
                archive=AnswerKeeper(options.name) if self._keep_answers else None,
                phase="final",
            )
            for options in nodes
        }

    def _remember_probe(self, verdict: NodeHealth) -> None:
        if verdict.state in (NodeState.UNREACHABLE, NodeState.UNUSABLE):
            self._remember_failure(verdict.name, verdict.reason, in_use=False)
        else:
            self._breakers.update(verdict.name, lambda breaker: breaker.after_success(in_use=False))

    def _remember_failure(self, node: str, reason: str, *, in_use: bool) -> None:
        self._breakers.update(
            node,
            lambda breaker: breaker.after_failure(self._policy, self._now(), reason, in_use=in_use),
        )


async def _close(clients: Iterable[BeaconClient]) -> None:
    for client in clients:
        await client.close()


def _named_apart(nodes: Iterable[NodeOptions]) -> list[NodeOptions]:
    """Give every node a name of its own: what tells two accounts at one host apart is secret."""
    named: list[NodeOptions] = []
    seen: Counter[str] = Counter()
    for options in nodes:
        name = options.name or redact_url(options.url)
        seen[name] += 1
        named.append(replace(options, name=f"{name} ({seen[name]})" if seen[name] > 1 else name))
    return named

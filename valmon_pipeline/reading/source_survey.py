"""Asks one node a few cheap questions: from which source it gives each fact, and since when not.

The questions and their order are those of the ladders; nothing is stored, and no captured answer
is used. What following live gives is asked as it is captured: at the head and at the boundary of
its epoch. What the node still gives after an outage is asked of an epoch of five epochs ago: the
youngest of which default nodes of three clients have dropped every state. History is asked only on
request: some clients replay thousands of blocks for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Final

from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.consensus_client import ConsensusClient
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.chain.blocks import Block, BlockHeader
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.epoch.source_names import SourceName
from valmon_pipeline.errors import BeaconApiError, ChainRuleViolationError, ObjectUnavailableError
from valmon_pipeline.reading.ladder import REFUSALS, reason_of, sources_of

logger = logging.getLogger(__name__)

Ask = Callable[[], Awaitable[object]]

_OUTAGE_EPOCHS: Final = 5
_MILLISECONDS_PER_DAY: Final = 86_400_000
_DAYS_PER_MONTH: Final = 30
_SLOTS_UNTIL_READ: Final = 2
"""A sensor's tick after the block that closes a window, the run has begun to read."""
_DUE: Final = 2
"""An epoch is read when the chain has reached the second epoch after it."""


class Moment(StrEnum):
    """The age of what is asked about."""

    NOW = "now"
    """As following live asks: captured at the boundary, read when the window has closed."""
    OUTAGE = "after an outage"
    DAY = "a day ago"
    MONTH = "a month ago"


HISTORY: Final = (Moment.DAY, Moment.MONTH)

NULL_WITHOUT: Final[Mapping[Fact, str]] = MappingProxyType(
    {
        Fact.BLOCKS: "the whole epoch",
        Fact.WITHDRAWALS: "withdrawals, ledger",
        Fact.REGISTRY_AT_START: "balances, ideals, ledger",
        Fact.COMMITTEES: "attestation duties, outcomes",
        Fact.SYNC_COMMITTEE: "sync duties and rewards",
        Fact.PROPOSERS: "proposers of empty slots",
        Fact.FINALITY: "whether a leak was on",
        Fact.ATTESTATION_REWARDS: "vote rewards, ledger",
        Fact.BLOCK_REWARDS: "proposal rewards, ledger",
        Fact.SYNC_REWARDS: "sync rewards, ledger",
        Fact.PENDING_QUEUES: "causes of some residuals",
        Fact.NETWORK_STATE: "rows of whole_network",
    }
)
"""The facts that a survey asks for, in the order of reports, and what is NULL without each: in a
few words, for a column of a table.

The registry at the end of an epoch is that at the start of the next one, the attestation rewards
of the epoch before are those of another epoch: neither is asked for apart.
"""


@dataclass(frozen=True, slots=True)
class SurveyLimits:
    """Seconds: for one question, and for all questions about one moment."""

    question: float = 10.0
    moment: float = 30.0
    history_question: float = 30.0
    history_moment: float = 90.0

    def of(self, moment: Moment) -> tuple[float, float]:
        """Return both limits for ``moment``."""
        if moment in HISTORY:
            return self.history_question, self.history_moment
        return self.question, self.moment


@dataclass(frozen=True, slots=True)
class FactReport:
    """The source that a node gives a fact from, at one age.

    ``source`` is None if no source gives it: it would be NULL. ``reason`` has the refusals, in the
    node's words, of every source that was asked before, None if there are none. Facts that were
    not asked for since the time was over have ``is_asked`` False.
    """

    fact: Fact
    moment: Moment
    epoch: int
    source: SourceName | None
    reason: str | None
    is_asked: bool = True

    @property
    def is_missing(self) -> bool:
        """Whether the fact would be NULL."""
        return self.is_asked and self.source is None


@dataclass(frozen=True, slots=True)
class Survey:
    """What one node gives. ``reports`` are ordered by moment, then as :data:`NULL_WITHOUT`.

    ``version`` is what the node says it is, "" if it does not say; ``whole_registry`` whether
    epochs are read with the registry of the whole network, which makes most rewards computable.
    """

    node: str
    version: str
    client: ConsensusClient
    whole_registry: bool
    reports: tuple[FactReport, ...]

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The moments that were asked about."""
        return tuple(dict.fromkeys(report.moment for report in self.reports))

    def of(self, fact: Fact, moment: Moment) -> FactReport | None:
        """Return the report on one fact, None if it was not asked for."""
        found = (one for one in self.reports if (one.fact, one.moment) == (fact, moment))
        return next(found, None)


async def survey_node(
    client: BeaconClient,
    watch: Watch,
    *,
    history: bool = False,
    limits: SurveyLimits | None = None,
) -> Survey:
    """Ask a node what it gives; with ``history`` also about a day and a month ago.

    Every refusal is part of the survey.

    Raises:
        BeaconApiError: the node does not give its constants or its head.
    """
    limits = limits or SurveyLimits()
    with client.deadline(limits.moment):
        spec, head = await client.spec(), await client.head()
        version = await _version(client)
    surveyor = _Surveyor(client, spec, watch, head, limits)
    reports: list[FactReport] = []
    for moment, epoch in _moments(spec, head, history):
        reports += await surveyor.reports(moment, epoch)
    return Survey(
        client.name,
        version,
        ConsensusClient.of_version(version),
        surveyor.whole_registry,
        tuple(reports),
    )


async def _version(client: BeaconClient) -> str:
    try:
        return await client.node_version()
    except BeaconApiError as error:
        logger.debug("%s does not say its version: %s", client.name, error)
        return ""


def _moments(spec: ChainSpec, head: BlockHeader, history: bool) -> Iterator[tuple[Moment, int]]:
    """The moments to ask about, with the epoch of each, as far as the chain is old enough."""
    now = spec.epoch_of(head.slot)
    a_day = max(1, _MILLISECONDS_PER_DAY // spec.epoch_duration_ms)
    ages = {Moment.NOW: _DUE, Moment.OUTAGE: _OUTAGE_EPOCHS}
    if history:
        ages |= {Moment.DAY: a_day, Moment.MONTH: _DAYS_PER_MONTH * a_day}
    for moment, age in ages.items():
        if now >= age:
            yield moment, now - age


@dataclass(frozen=True, slots=True)
class _Target:
    """Slots and epochs that the questions of one moment name.

    ``epoch`` is the epoch whose rows would be made; its registry, finality and duties are asked of
    ``captured``, the head's epoch, where they are captured while they are current.
    """

    moment: Moment
    epoch: int
    captured: int
    finality_slot: int


@dataclass(slots=True)
class _Surveyor:
    """Asks one node; what one moment tells, such as who is in a committee, serves the others."""

    client: BeaconClient
    spec: ChainSpec
    watch: Watch
    head: BlockHeader
    limits: SurveyLimits
    whole_registry: bool = field(init=False)
    _member: int = 0
    _known: set[Fact] = field(default_factory=set)
    _headers: dict[str, BlockHeader] = field(default_factory=dict)
    _blocks: dict[bytes, Block] = field(default_factory=dict)
    _states: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.whole_registry = self.watch.network

    async def reports(self, moment: Moment, epoch: int) -> list[FactReport]:
        """Ask about one moment, each fact from its first source on."""
        self._known.clear()
        self._headers.clear()
        target = self._target(moment, epoch)
        seconds, seconds_for_all = self.limits.of(moment)
        ends = time.monotonic() + seconds_for_all
        found: dict[Fact, FactReport] = {}
        with self.client.deadline(seconds_for_all):
            for fact in self._order(epoch):
                if time.monotonic() >= ends:
                    found[fact] = FactReport(
                        fact,
                        moment,
                        epoch,
                        None,
                        f"not asked: the questions before it took {seconds_for_all:g} s",
                        is_asked=False,
                    )
                    continue
                found[fact] = await self._asked(fact, target, min(seconds, seconds_for_all))
                if found[fact].source is not None:
                    self._known.add(fact)
        return [found[fact] for fact in NULL_WITHOUT if fact in found]

    def _order(self, epoch: int) -> list[Fact]:
        """The facts to ask for. Proposers come last: on Lodestar 1.39 that request can spoil the
        state for the sync committee."""
        facts = [fact for fact in NULL_WITHOUT if fact is not Fact.PROPOSERS] + [Fact.PROPOSERS]
        if not self.watch.network_state:
            facts.remove(Fact.NETWORK_STATE)
        if self.spec.fork_at_epoch(epoch) < Fork.ELECTRA:
            facts.remove(Fact.PENDING_QUEUES)
        return facts

    def _target(self, moment: Moment, epoch: int) -> _Target:
        spec = self.spec
        if moment is Moment.NOW:
            now = spec.epoch_of(self.head.slot)
            return _Target(moment, epoch, now, spec.first_slot(now))
        return _Target(moment, epoch, epoch, spec.first_slot(epoch + _DUE))

    async def _asked(self, fact: Fact, target: _Target, seconds: float) -> FactReport:
        reasons: list[str] = []
        for source in sources_of(fact, self._asks(fact, target)):
            started = time.monotonic()
            try:
                with self.client.deadline(seconds):
                    await source.ask()
            except REFUSALS as error:
                is_late = time.monotonic() - started >= seconds
                said = f"no answer within {seconds:g} s" if is_late else reason_of(error)
                reasons.append(f"{source.name}: {said}")
                continue
            reason = "; ".join(reasons) or None
            return FactReport(fact, target.moment, target.epoch, source.name, reason)
        reason = "; ".join(reasons) or "no source gives it"
        return FactReport(fact, target.moment, target.epoch, None, reason)

    def _asks(self, fact: Fact, target: _Target) -> dict[SourceName, Ask]:
        """The questions about a fact, by the names of its ladder."""
        client, spec, epoch = self.client, self.spec, target.epoch
        captured, start = target.captured, spec.first_slot(target.captured)
        end_state = partial(self._state, spec.last_slot(epoch + 1))
        match fact:
            case Fact.BLOCKS:
                return {SourceName.BLOCKS: lambda: self._block(target)}
            case Fact.WITHDRAWALS:
                return {SourceName.BLOCKS: lambda: self._withdrawals(target)}
            case Fact.REGISTRY_AT_START:
                one = self.watch.ids[:1] or [0]
                return {SourceName.REGISTRY: lambda: client.validators(start, one)}
            case Fact.COMMITTEES:
                shuffled_from = spec.first_slot(max(captured, spec.epoch_of(self.head.slot)))
                return {
                    SourceName.HEAD_COMMITTEES: lambda: self._committees("head", target),
                    SourceName.COMMITTEES: lambda: self._committees(start, target),
                    SourceName.SHUFFLING: partial(self._state, shuffled_from),
                }
            case Fact.SYNC_COMMITTEE:
                return {
                    SourceName.HEAD_SYNC_COMMITTEE: lambda: client.sync_committee("head", captured),
                    SourceName.SYNC_COMMITTEE: lambda: client.sync_committee(start, captured),
                    SourceName.STATE: partial(self._state, start),
                }
            case Fact.PROPOSERS:
                return {
                    SourceName.PROPOSER_DUTIES: lambda: client.proposer_duties(captured),
                    SourceName.STATE: partial(self._state, start),
                }
            case Fact.FINALITY:
                slot = target.finality_slot
                return {SourceName.FINALITY: lambda: client.finality_checkpoints(slot)}
            case Fact.ATTESTATION_REWARDS:
                return {
                    **self._computed(SourceName.OUTCOMES, Fact.COMMITTEES, Fact.FINALITY),
                    SourceName.ATTESTATION_REWARDS: lambda: client.attestation_rewards(
                        epoch, [self._member]
                    ),
                    SourceName.PARTICIPATION: end_state,
                }
            case Fact.BLOCK_REWARDS:
                return {
                    SourceName.BLOCK_REWARDS: lambda: self._block_rewards(target),
                    **self._computed(SourceName.VOTES, Fact.COMMITTEES),
                }
            case Fact.SYNC_REWARDS:
                return {
                    **self._computed(SourceName.SEATS, Fact.SYNC_COMMITTEE),
                    SourceName.SYNC_REWARDS: lambda: self._sync_rewards(target),
                }
            case Fact.PENDING_QUEUES:
                asks: dict[SourceName, Ask] = {SourceName.QUEUES: lambda: self._queues(epoch)}
                if self.whole_registry or self.watch.network_state:
                    asks[SourceName.STATE] = partial(self._state, spec.first_slot(epoch))
                return asks
            case _:
                return {SourceName.STATE: end_state}

    def _computed(self, name: SourceName, *needed: Fact) -> dict[SourceName, Ask]:
        """A rule of the specification, where epochs are read with the whole registry."""

        async def is_computable() -> None:
            missing = {Fact.REGISTRY_AT_START, *needed} - self._known
            if missing:
                names = " and ".join(sorted(fact.value for fact in missing))
                raise ChainRuleViolationError(f"it takes {names}")

        return {name: is_computable} if self.whole_registry else {}

    async def _committees(self, state: int | str, target: _Target) -> None:
        found = await self.client.committees(state, target.captured)
        found.require_epoch(self.spec, target.captured)
        self._member = int(found.validator_index[0])
        if target.moment is Moment.NOW:
            active = len(found.validator_index)
            self.whole_registry = self.watch.network or active <= self.watch.registry_limit

    async def _state(self, slot: int) -> None:
        if slot not in self._states:
            await self.client.require_state(slot)
            self._states.add(slot)

    async def _queues(self, epoch: int) -> None:
        slot = self.spec.first_slot(epoch)
        deposits = await self.client.pending_deposits(slot)
        consolidations = await self.client.pending_consolidations(slot)
        if deposits is None or consolidations is None:
            raise ObjectUnavailableError(
                "the node does not list pending deposits and consolidations of that state"
            )

    async def _withdrawals(self, target: _Target) -> None:
        block = await self._block(target)
        if block.operations.withdrawals is None:
            raise ObjectUnavailableError(
                "blocks can only be read blinded: the node cannot put their payloads together"
            )

    async def _block(self, target: _Target) -> Block:
        root = (await self._first_block(target)).root
        if root not in self._blocks:
            self._blocks[root] = await self.client.full_or_blinded_block(root)
        return self._blocks[root]

    async def _block_rewards(self, target: _Target) -> None:
        await self.client.block_rewards((await self._first_block(target)).root)

    async def _sync_rewards(self, target: _Target) -> None:
        if Fact.SYNC_COMMITTEE not in self._known:
            raise ChainRuleViolationError("it takes sync_committee")
        root = (await self._last_block(target)).root
        await self.client.sync_committee_rewards(root, EVERYONE)

    async def _first_block(self, target: _Target) -> BlockHeader:
        """The block to ask about: the head, which is captured as it comes, or the first one of
        the epoch, which is the first to be forgotten."""
        if target.moment is Moment.NOW:
            return self.head
        first = max(1, self.spec.first_slot(target.epoch))
        return await self._header("first", range(first, self.spec.last_slot(target.epoch) + 1))

    async def _last_block(self, target: _Target) -> BlockHeader:
        """The newest block of the epoch: one of them tells what a seat earns. While following,
        it is asked for right after the window has closed, an epoch and a moment later."""
        last = self.spec.last_slot(target.epoch)
        if target.moment is Moment.NOW:
            last = max(last, self.head.slot - self.spec.slots_per_epoch - _SLOTS_UNTIL_READ)
        return await self._header("last", range(last, max(0, last - self.spec.slots_per_epoch), -1))

    async def _header(self, name: str, slots: range) -> BlockHeader:
        """The first block in ``slots``."""
        if name not in self._headers:
            for slot in slots:
                header = await self.client.header(slot)
                if header is not None:
                    self._headers[name] = header
                    break
            else:
                raise ObjectUnavailableError(
                    f"the node has no block in slots {min(slots)} to {max(slots)}"
                )
        return self._headers[name]

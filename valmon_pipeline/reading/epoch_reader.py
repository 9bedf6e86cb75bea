"""Everything that can be known of one epoch, read from one node and proved to be one chain.

Epoch E needs the blocks of its inclusion window (first slot of E to last slot of E+1). Everything
else has a ladder of sources (see ``reading.ladder``) and may be missing: the registry at both ends
of E, committees, proposers, the sync committee, rewards, and the finality that decides whether a
leak was on. Sources: consensus-specs (inclusion windows, EIP-7045; rewards applied at the
transition E+1 to E+2), and how long clients keep what.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from valmon_pipeline.beacon.answers import BlockRewards, Genesis, ProposerDuties
from valmon_pipeline.beacon.captured_answers import AnswerStore
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.attestations import AttestationOutcomes, attestation_outcomes
from valmon_pipeline.chain.committees import Committees
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.rewards import is_inactivity_leak
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.state_rewards import StateRewards
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.epoch_answers import EpochAnswers, PendingQueues
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.epoch.movements import has_correlation_penalties, has_queue_effects
from valmon_pipeline.epoch.settlement import settle_rounding, settled
from valmon_pipeline.epoch.source_names import SourceName
from valmon_pipeline.errors import (
    ChainChangedError,
    ChainRuleViolationError,
    EpochNotFinalError,
    MalformedAnswerError,
    NodeNotReadyError,
    ObjectUnavailableError,
    UnsupportedForkError,
)
from valmon_pipeline.reading.computed_block_rewards import computed_block_rewards
from valmon_pipeline.reading.duty_reader import DutyReader
from valmon_pipeline.reading.ladder import Ladder, Source, sources_of
from valmon_pipeline.reading.registries import RegistryReader, resolve_watched
from valmon_pipeline.reading.registry_bounds import require_known
from valmon_pipeline.reading.rewards_reader import RewardsReader
from valmon_pipeline.reading.side_by_side import all_of, side_by_side
from valmon_pipeline.reading.state_reader import StateReader
from valmon_pipeline.reading.window_reader import Window, WindowReader

logger = logging.getLogger(__name__)


class _Forgetful(Protocol):
    """A reader that keeps answers for the epochs that follow."""

    def forget(self) -> None:
        """Drop everything: the chain has changed."""


class EpochReader:
    """Reads epochs from one node; neighbouring epochs share their blocks and registries.

    At most three epochs of blocks and two registries are kept, whatever the length of the run.
    ``head_epoch`` is that of the node's head when the reader was opened. ``captured`` has the
    answers that were kept while they were current.
    """

    def __init__(
        self,
        client: BeaconClient,
        spec: ChainSpec,
        genesis: Genesis,
        watch: Watch,
        head_epoch: int,
        captured: AnswerStore | None = None,
    ) -> None:
        self.client = client
        self.spec = spec
        self.genesis = genesis
        self.head_epoch = head_epoch
        self._watch = watch
        self._captured = captured
        self._ladder = Ladder(client)
        self._windows = WindowReader(client)
        self._states = StateReader(client, spec, genesis)
        self._registries = RegistryReader(client, self._ladder, watch)
        committees: dict[int, Committees] = {}
        self._duties = DutyReader(client, spec, self._ladder, self._states, head_epoch, committees)
        # For the committees of neighbouring epochs, whose sources are not those of the epoch.
        self._aside = DutyReader(client, spec, Ladder(client), self._states, head_epoch, committees)
        self._rewards = RewardsReader(client, spec, self._ladder, self._states)
        self._finalized_epoch = -1

    @property
    def _readers(self) -> tuple[_Forgetful, ...]:
        return self._windows, self._states, self._registries, self._duties, self._rewards

    @classmethod
    async def open(
        cls, client: BeaconClient, watch: Watch, captured: AnswerStore | None = None
    ) -> EpochReader:
        """Read the chain's constants and refuse a node whose answers must not be stored.

        Raises:
            NodeNotReadyError: the node is syncing or optimistic.
            BeaconApiError: it does not answer as the API promises.
        """
        async with side_by_side() as tasks:
            spec_task = tasks.create_task(client.spec())
            genesis_task = tasks.create_task(client.genesis())
            syncing_task = tasks.create_task(client.syncing())
        spec, genesis, syncing = spec_task.result(), genesis_task.result(), syncing_task.result()
        if syncing.is_syncing or syncing.is_optimistic:
            state = "syncing" if syncing.is_syncing else "optimistic"
            raise NodeNotReadyError(
                f"{client.name} is {state} (head slot {syncing.head_slot}, "
                f"{syncing.sync_distance} behind): its answers are not stored. Wait until "
                "it has caught up, or name another node."
            )
        return cls(client, spec, genesis, watch, spec.epoch_of(syncing.head_slot), captured)

    async def finalized_epoch(self) -> int:
        """The node's finalized epoch, now."""
        checkpoints = await self.client.finality_checkpoints("head")
        self._finalized_epoch = checkpoints.finalized.epoch
        return self._finalized_epoch

    async def require_final(self, epoch: int) -> None:
        """Refuse an epoch whose rows could still change.

        Raises:
            EpochNotFinalError: the finalized epoch is below E+2, where the rewards of E are
            settled.
        """
        if self._finalized_epoch < epoch + 2 and await self.finalized_epoch() < epoch + 2:
            raise EpochNotFinalError(
                f"epoch {epoch} is not final yet: its rewards are settled when epoch {epoch + 2} "
                f"is finalized, and {self.client.name} has finalized epoch {self._finalized_epoch}"
            )

    async def read(self, epoch: int, *, provisional: bool = False) -> EpochAnswers:
        """Read what can be known of an epoch; with ``provisional`` also of one that is not final
        yet, as soon as its attestation window has closed.

        An epoch whose answers turn out to be of two chains, since the chain was reorganized while
        it was read, is read once more from the start.

        Raises:
            EpochNotFinalError: the epoch is not final yet, or its window is not closed yet.
            UnsupportedForkError: the epoch or its window lies in a fork without implemented rules.
            ChainRuleViolationError: the blocks are not one chain, a gap is not proved, or answers
                contradict each other and nothing settles it.
            BeaconApiError: the node does not give the blocks, or does not answer at all.
        """
        self._require_supported(epoch)
        finalized = True
        try:
            await self.require_final(epoch)
        except EpochNotFinalError:
            if not provisional:
                raise
            finalized = False
        await self._windows.require_closed(epoch, self.spec.last_slot(epoch + 1))
        # A block that was reorganized away between its header and itself is a 404.
        reorganized = (
            ChainChangedError if finalized else (ChainChangedError, ObjectUnavailableError)
        )
        try:
            return await self._read_once(epoch, finalized)
        except reorganized as error:
            logger.info("reading epoch %d again: %s", epoch, error)
            for reader in self._readers:
                reader.forget()
            await self._windows.require_closed(epoch, self.spec.last_slot(epoch + 1))
            return await self._read_once(epoch, finalized)

    async def _read_once(self, epoch: int, finalized: bool) -> EpochAnswers:
        spec, client, ladder = self.spec, self.client, self._ladder
        first, end = spec.first_slot(epoch), spec.first_slot(epoch + 1)
        ladder.begin()
        self._windows.forget_before(first - spec.slots_per_epoch)
        self._registries.forget_before(first)
        self._states.release()
        await self._take_captured(epoch)
        window = await self._read_window(epoch)

        async with side_by_side() as tasks:
            committees_task = tasks.create_task(self._committees(epoch, window))
            finality_task = tasks.create_task(self._finality(epoch))
        (committees, outcomes), finality = committees_task.result(), finality_task.result()
        whole = self._watch.network or (
            committees is not None and len(committees.validator_index) <= self._watch.registry_limit
        )
        at_start, at_end = await all_of(
            self._registries.at(Fact.REGISTRY_AT_START, first, whole),
            self._registries.at(Fact.REGISTRY_AT_END, end, whole),
        )
        life_cycles = None
        if at_start is None or at_end is None:
            life_cycles = await self._registries.life_cycles(whole)
        watched, unknown = self._watched(at_end or life_cycles or at_start, whole)
        everyone = at_start if whole else None
        if committees is not None and everyone is not None and _beyond(committees, everyone):
            # Only now is it known who there is; another source may name nobody else.
            committees, outcomes = await self._committees(epoch, window, everyone)
        seats = await self._duties.sync_committee(
            epoch, window, partial(_require_members, "the sync committee", everyone)
        )
        proposers = await self._duties.proposers(
            epoch, window, partial(_require_proposers, everyone)
        )
        leak = None if finality is None else is_inactivity_leak(spec, epoch, finality)
        existed = watched if at_start is None else _both(watched, at_start)
        async with side_by_side() as tasks:
            rewards_task = tasks.create_task(
                self._rewards.attestations(
                    Fact.ATTESTATION_REWARDS,
                    epoch,
                    watched,
                    window,
                    everyone=self._watch.network,
                    leak=leak,
                )
            )
            computed = self._computed_rewards(epoch, at_start, at_end) if whole else None
            blocks_task = tasks.create_task(
                self._rewards.blocks(
                    epoch,
                    window,
                    proposers,
                    watched,
                    computed,
                    # No request is needed if the blocks of the epoch before are here. An archive
                    # is to hold all that its epoch takes.
                    computed_first=client.archive is None
                    and self._windows.has(spec.first_slot(max(0, epoch - 1)), first),
                )
            )
            seats_task = tasks.create_task(
                self._seat_rewards(epoch, window, seats, watched, at_end, whole)
            )
            network_task = tasks.create_task(self._network(epoch, window))
        # Not beside the others: what refuses this epoch's rewards is not asked for the last one's.
        previous = await self._rewards.attestations(
            Fact.PREVIOUS_ATTESTATION_REWARDS,
            epoch - 1,
            existed,
            window,
            everyone=self._watch.network,
            leak=leak,
        )
        answers = EpochAnswers(
            epoch=epoch,
            node=client.name,
            finalized=finalized,
            canonical=window.canonical,
            blocks=window.blocks,
            committees=committees,
            outcomes=outcomes,
            proposer_duties=proposers,
            sync_committee=seats,
            registry_at_start=at_start,
            registry_at_end=at_end,
            whole_registry=whole,
            watched=watched,
            unknown_ids=unknown,
            attestation_rewards=rewards_task.result(),
            block_rewards=blocks_task.result(),
            sync_rewards={},
            finalized_epoch_at_transition=finality,
            previous_attestation_rewards=previous,
            life_cycles=life_cycles,
            seat_reward=seats_task.result()[0],
            seat_reward_at_end=seats_task.result()[1],
            sync_committee_at_end=seats_task.result()[2],
            network_rewards=network_task.result(),
            sources=tuple(ladder.taken.values()),
        )
        answers = await asyncio.to_thread(settled, spec, answers)
        self._rewards.settle(epoch, answers.attestation_rewards, answers.sources)
        answers = settle_rounding(spec, await self._with_queues(answers, window))
        if not finalized:
            await self._windows.confirm(window)
        return answers

    async def _take_captured(self, epoch: int) -> None:
        """Load what was captured about the epoch and its neighbours, unless it is here already."""
        shelf = self.client.shelf
        shelf.epoch = epoch
        shelf.canonical = set()
        if self._captured is None:
            return
        shelf.drop_before(epoch - 1)
        wanted = set(range(max(0, epoch - 1), epoch + 3)) - shelf.epochs
        if wanted:
            shelf.put(wanted, await asyncio.to_thread(self._captured.load, wanted))

    async def _read_window(self, epoch: int) -> Window:
        spec, ladder = self.spec, self._ladder
        await self._windows.know(self.client.shelf.blocks())
        window = await self._windows.read(spec.first_slot(epoch), spec.last_slot(epoch + 1))
        self.client.shelf.canonical = window.roots
        ladder.know(Fact.BLOCKS, SourceName.BLOCKS.value)
        if any(block.operations.withdrawals is None for block in window.blocks.values()):
            ladder.miss(Fact.WITHDRAWALS, "blocks could only be read blinded")
        return window

    async def _committees(
        self, epoch: int, window: Window, everyone: ValidatorRegistry | None = None
    ) -> tuple[Committees, AttestationOutcomes] | tuple[None, None]:
        spec, blocks = self.spec, [*window.blocks.values()]

        async def judge(found: Committees) -> AttestationOutcomes:
            _require_members("the committees", everyone, found.validator_index)
            try:
                return await asyncio.to_thread(
                    attestation_outcomes, spec, epoch, found, window.canonical, blocks
                )
            except ChainRuleViolationError as error:
                # The chain is proved: it is the committees that are wrong.
                raise MalformedAnswerError(str(error)) from error

        return await self._duties.committees(epoch, window, judge) or (None, None)

    async def _finality(self, epoch: int) -> int | None:
        async def asked() -> int:
            slot = self.spec.first_slot(epoch + 2)
            return (await self.client.finality_checkpoints(slot)).finalized.epoch

        return await self._ladder.climb(
            Fact.FINALITY, sources_of(Fact.FINALITY, {SourceName.FINALITY: asked})
        )

    def _watched(
        self, registry: ValidatorRegistry | None, whole: bool
    ) -> tuple[Int64Array, tuple[int | str, ...]]:
        """The watched indices; without any registry those that are watched by index."""
        if registry is not None:
            return resolve_watched(self._watch, registry, whole)
        return np.array(sorted(self._watch.indices), dtype=np.int64), ()

    def _computed_rewards(
        self, epoch: int, at_start: ValidatorRegistry | None, at_end: ValidatorRegistry | None
    ) -> Source[dict[int, BlockRewards]]:
        async def committees_of(one: int, window: Window) -> Committees | None:
            async def judge(found: Committees) -> None:
                found.require_epoch(self.spec, one)

            found = await self._aside.committees(one, window, judge)
            return None if found is None else found[0]

        return Source(
            SourceName.VOTES,
            lambda: computed_block_rewards(
                self.spec, epoch, self._windows, committees_of, at_start, at_end
            ),
        )

    async def _seat_rewards(
        self,
        epoch: int,
        window: Window,
        seats: Int64Array | None,
        watched: Int64Array,
        registry: ValidatorRegistry | None,
        whole: bool,
    ) -> tuple[int | None, int | None, Int64Array | None]:
        """What a seat earns in a block of the epoch and in the first of the next, and who holds
        the seats in that one. Where everybody is known, the specification says it."""
        at_end = seats
        if (epoch + 1) % self.spec.epochs_per_sync_committee_period == 0:
            is_right = partial(
                _require_members, "the next sync committee", registry if whole else None
            )
            at_end = await self._duties.next_sync_committee(epoch + 1, window, is_right)
        if whole:
            return None, None, at_end
        in_epoch, price_at_end = await self._rewards.seats(epoch, window, seats, at_end, watched)
        return in_epoch, price_at_end, at_end

    async def _network(self, epoch: int, window: Window) -> StateRewards | None:
        if not self._watch.network_state:
            return None
        return await self._ladder.climb(
            Fact.NETWORK_STATE,
            sources_of(
                Fact.NETWORK_STATE,
                {SourceName.STATE: lambda: self._states.network(epoch, window)},
            ),
        )

    async def _with_queues(self, answers: EpochAnswers, window: Window) -> EpochAnswers:
        """Add what is only asked for if balances moved that nothing else explains."""
        epoch, ladder = answers.epoch, self._ladder
        if has_correlation_penalties(self.spec, answers) and self._watch.network_state:
            sums = await ladder.climb(
                Fact.SLASHED_BALANCE,
                sources_of(
                    Fact.SLASHED_BALANCE,
                    {SourceName.STATE: lambda: self._states.slashing_sums(epoch, window)},
                ),
            )
            answers = replace(answers, slashing_sums=sums)
        if has_queue_effects(self.spec, answers):
            asks: dict[SourceName, Callable[[], Awaitable[PendingQueues]]] = {
                SourceName.QUEUES: lambda: self._queues(epoch)
            }
            if self._watch.network_state or answers.whole_registry:
                asks[SourceName.STATE] = lambda: self._states.queues(epoch, window)
            queues = await ladder.climb(Fact.PENDING_QUEUES, sources_of(Fact.PENDING_QUEUES, asks))
            answers = replace(answers, queues=queues)
        asked_now = (Fact.SLASHED_BALANCE, Fact.PENDING_QUEUES)
        added = tuple(ladder.taken[fact] for fact in asked_now if fact in ladder.taken)
        return replace(answers, sources=answers.sources + added)

    async def _queues(self, epoch: int) -> PendingQueues:
        """The queues at both ends."""
        ends = (self.spec.first_slot(epoch), self.spec.first_slot(epoch + 1))
        async with side_by_side() as tasks:
            deposits = [tasks.create_task(self.client.pending_deposits(slot)) for slot in ends]
            consolidations = [
                tasks.create_task(self.client.pending_consolidations(slot)) for slot in ends
            ]
        deposits_at_start, deposits_at_end = (task.result() for task in deposits)
        consolidations_at_start, consolidations_at_end = (task.result() for task in consolidations)
        if (
            deposits_at_start is None
            or deposits_at_end is None
            or consolidations_at_start is None
            or consolidations_at_end is None
        ):
            raise ObjectUnavailableError(
                f"{self.client.name} does not list the queues of deposits and consolidations in "
                f"the states of slots {ends[0]} and {ends[1]}"
            )
        return PendingQueues(
            deposits_at_start, deposits_at_end, consolidations_at_start, consolidations_at_end
        )

    def _require_supported(self, epoch: int) -> None:
        self.spec.require_supported(epoch)
        try:
            self.spec.require_supported(epoch + 1)
        except UnsupportedForkError as error:
            raise UnsupportedForkError(
                f"epoch {epoch} is settled in the one after it, and {error}"
            ) from None


def newest_epoch_readable(finalized_epoch: int) -> int:
    """The newest epoch whose rows are final: E with finalized epoch E+2 (negative: none yet)."""
    return finalized_epoch - 2


def _both(watched: Int64Array, registry: ValidatorRegistry) -> Int64Array:
    return np.intersect1d(watched, registry.validator_index)


def _beyond(committees: Committees, everyone: ValidatorRegistry) -> bool:
    return int(committees.validator_index.max(initial=-1)) >= len(everyone)


def _require_members(what: str, everyone: ValidatorRegistry | None, indices: Int64Array) -> None:
    """Refuse members that are not in the whole registry, if that is known."""
    if everyone is not None:
        require_known(what, indices, everyone)


def _require_proposers(everyone: ValidatorRegistry | None, duties: ProposerDuties) -> None:
    _require_members("the proposers", everyone, duties.validator_index)

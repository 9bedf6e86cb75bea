"""Everything the node has to say about one epoch, read from one node and checked to be one chain.

Epoch E needs the blocks of its inclusion window (first slot of E to last slot of E+1), the registry
at both ends of E, the committees, the proposers, the sync committee, the rewards that the node
reports for E and the finality that decides whether a leak was on. See ``domain`` facts in the
consensus specification: inclusion windows (EIP-7045), rewards applied at the transition E+1 to E+2.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from valmon_pipeline.beacon.answers import Genesis
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.epoch_answers import EpochAnswers, PendingQueues, SlashingSums
from valmon_pipeline.epoch.movements import has_correlation_penalties, has_queue_effects
from valmon_pipeline.errors import (
    ChainChangedError,
    EpochNotFinalError,
    NodeNotReadyError,
    ObjectUnavailableError,
    UnsupportedForkError,
)
from valmon_pipeline.reading.registry_bounds import require_known, require_whole
from valmon_pipeline.reading.rewards_reader import RewardsReader
from valmon_pipeline.reading.side_by_side import all_of, side_by_side
from valmon_pipeline.reading.state_reader import NetworkAnswer, StateReader
from valmon_pipeline.reading.window_reader import Window, WindowReader

logger = logging.getLogger(__name__)


class EpochReader:
    """Reads epochs from one node; neighbouring epochs share their blocks and registries.

    At most two epochs of blocks and two registries are kept, whatever the length of the run.
    ``head_epoch`` is that of the node's head when the reader was opened.
    """

    def __init__(
        self,
        client: BeaconClient,
        spec: ChainSpec,
        genesis: Genesis,
        watch: Watch,
        head_epoch: int,
    ) -> None:
        self.client = client
        self.spec = spec
        self.genesis = genesis
        self.head_epoch = head_epoch
        self._watch = watch
        self._windows = WindowReader(client)
        self._rewards = RewardsReader(client)
        self._states = StateReader(client, spec, genesis)
        self._registries: dict[int, ValidatorRegistry] = {}
        self._finalized_epoch = -1

    @classmethod
    async def open(cls, client: BeaconClient, watch: Watch) -> EpochReader:
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
        return cls(client, spec, genesis, watch, spec.epoch_of(syncing.head_slot))

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
        """Read everything about an epoch; with ``provisional`` also one that is not final yet, as
        soon as its attestation window has closed.

        An epoch whose answers turn out to be of two chains, since the chain was reorganized while
        it was read, is read once more from the start.

        Raises:
            EpochNotFinalError: the epoch is not final yet, or its window is not closed yet.
            UnsupportedForkError: the epoch or its window lies in a fork without implemented rules.
            ChainRuleViolationError: the answers do not belong to one chain.
            BeaconApiError: the node cannot give an answer, or gives a malformed one.
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
            self._windows.forget()
            self._rewards.forget()
            self._registries.clear()
            return await self._read_once(epoch, finalized)

    async def _read_once(self, epoch: int, finalized: bool) -> EpochAnswers:
        spec, client = self.spec, self.client
        first, end = spec.first_slot(epoch), spec.first_slot(epoch + 1)
        self._windows.forget_before(first)
        self._registries = {slot: kept for slot, kept in self._registries.items() if slot >= first}

        async with side_by_side() as tasks:
            committees_task = tasks.create_task(client.committees(first, epoch))
            proposers_task = tasks.create_task(client.proposer_duties(epoch))
            seats_task = tasks.create_task(client.sync_committee(first, epoch))
            checkpoints_task = tasks.create_task(
                client.finality_checkpoints(spec.first_slot(epoch + 2))
            )
            window_task = tasks.create_task(self._windows.read(first, spec.last_slot(epoch + 1)))
        committees, sync_committee = committees_task.result(), seats_task.result()
        window = window_task.result()
        whole = self._watch.network or len(committees.validator_index) <= self._watch.registry_limit
        at_start, at_end = await all_of(self._registry(first, whole), self._registry(end, whole))
        watched, unknown = self._resolve_watched(at_end, whole)
        members = np.intersect1d(watched, sync_committee)
        async with side_by_side() as tasks:
            rewards_task = tasks.create_task(
                self._rewards.attestations(epoch, watched, everyone=self._watch.network)
            )
            previous_task = tasks.create_task(
                self._rewards.previous_attestations(
                    epoch,
                    np.intersect1d(watched, at_start.validator_index),
                    everyone=self._watch.network,
                )
            )
            block_rewards_task = tasks.create_task(
                self._rewards.blocks(spec, epoch, window, proposers_task.result(), watched)
            )
            sync_rewards_task = tasks.create_task(
                self._rewards.sync_committee(spec, epoch, window, members)
            )
            network_task = tasks.create_task(self._network(epoch, window))
        network = network_task.result()
        answers = EpochAnswers(
            epoch=epoch,
            node=client.name,
            finalized=finalized,
            canonical=window.canonical,
            blocks=window.blocks,
            committees=committees,
            proposer_duties=proposers_task.result(),
            sync_committee=sync_committee,
            registry_at_start=at_start,
            registry_at_end=at_end,
            whole_registry=whole,
            watched=watched,
            unknown_ids=unknown,
            attestation_rewards=rewards_task.result(),
            block_rewards=block_rewards_task.result(),
            sync_rewards=sync_rewards_task.result(),
            finalized_epoch_at_transition=checkpoints_task.result().finalized.epoch,
            previous_attestation_rewards=previous_task.result(),
            network_rewards=network.rewards,
            network_unavailable=network.unavailable,
        )
        if has_correlation_penalties(spec, answers):
            answers = replace(answers, slashing_sums=await self._slashing_sums(epoch, window))
        if has_queue_effects(spec, answers):
            queues = await self._queues(first, end)
            if queues is None and self._watch.network_state:
                queues = await self._states.queues(epoch, window)
            answers = replace(answers, queues=queues)
        await self._windows.confirm(window)
        if whole:
            self._require_known_validators(answers, first, end)
        return answers

    def _require_supported(self, epoch: int) -> None:
        self.spec.require_supported(epoch)
        try:
            self.spec.require_supported(epoch + 1)
        except UnsupportedForkError as error:
            raise UnsupportedForkError(
                f"epoch {epoch} is settled in the one after it, and {error}"
            ) from None

    def _require_known_validators(self, answers: EpochAnswers, first: int, end: int) -> None:
        epoch, rewards = answers.epoch, answers.attestation_rewards
        state = f"GET /eth/v1/beacon/states/{first}"
        proposers = answers.proposer_duties.validator_index
        for field, indices in (
            (f"{state}/committees: validators", answers.committees.validator_index),
            (f"{state}/sync_committees: validators", answers.sync_committee),
            (f"GET /eth/v1/validator/duties/proposer/{epoch}: validator_index", proposers),
        ):
            require_known(field, answers.node, indices, answers.registry_at_start, first)
        # Some nodes list zeros for everybody they know by now, and by then there may be more.
        not_zero = (rewards.source | rewards.target | rewards.head | rewards.inactivity) != 0
        require_known(
            f"POST /eth/v1/beacon/rewards/attestations/{epoch}: total_rewards.validator_index",
            answers.node,
            rewards.validator_index[not_zero],
            answers.registry_at_end,
            end,
        )

    async def _network(self, epoch: int, window: Window) -> NetworkAnswer:
        if not self._watch.network_state:
            return NetworkAnswer(None)
        return await self._states.network(epoch, window)

    async def _slashing_sums(self, epoch: int, window: Window) -> SlashingSums | None:
        if not self._watch.network_state:
            return None
        return await self._states.slashing_sums(epoch, window)

    async def _registry(self, slot: int, whole: bool) -> ValidatorRegistry:
        registry = self._registries.get(slot)
        if registry is None:
            registry = await self.client.validators(slot, EVERYONE if whole else self._watch.ids)
            if whole:
                require_whole(registry, self.client.name, slot)
            self._registries[slot] = registry
        return registry

    def _resolve_watched(
        self, registry: ValidatorRegistry, whole: bool
    ) -> tuple[Int64Array, tuple[int | str, ...]]:
        if self._watch.network:
            return registry.validator_index, ()
        by_index = np.isin(registry.validator_index, np.fromiter(self._watch.indices, np.int64))
        wanted_keys = np.array(
            [bytes.fromhex(key.removeprefix("0x")) for key in sorted(self._watch.pubkeys)],
            dtype="S48",
        )
        # Fixed-width byte strings compare whole keys at once; a key never ends in a zero byte that
        # matters, since both sides are padded alike.
        keys = np.ascontiguousarray(registry.pubkey).view("S48").reshape(-1)
        by_key = np.isin(keys, wanted_keys)
        known_keys = {bytes(row).hex() for row in registry.pubkey[by_key]}
        known_indices = set(registry.validator_index[by_index].tolist())
        unknown: list[int | str] = sorted(self._watch.indices - known_indices)
        unknown += sorted(
            key for key in self._watch.pubkeys if key.removeprefix("0x") not in known_keys
        )
        mask = by_index | by_key if whole else np.ones(len(registry), dtype=np.bool_)
        return registry.validator_index[mask], tuple(unknown)

    async def _queues(self, first: int, end: int) -> PendingQueues | None:
        """The queues at both ends; None if the node does not list them."""
        async with side_by_side() as tasks:
            deposits = [
                tasks.create_task(self.client.pending_deposits(slot)) for slot in (first, end)
            ]
            consolidations = [
                tasks.create_task(self.client.pending_consolidations(slot)) for slot in (first, end)
            ]
        deposits_at_start, deposits_at_end = (task.result() for task in deposits)
        consolidations_at_start, consolidations_at_end = (task.result() for task in consolidations)
        if (
            deposits_at_start is None
            or deposits_at_end is None
            or consolidations_at_start is None
            or consolidations_at_end is None
        ):
            return None
        return PendingQueues(
            deposits_at_start, deposits_at_end, consolidations_at_start, consolidations_at_end
        )


def newest_epoch_readable(finalized_epoch: int) -> int:
    """The newest epoch whose rows are final: E with finalized epoch E+2 (negative: none yet)."""
    return finalized_epoch - 2

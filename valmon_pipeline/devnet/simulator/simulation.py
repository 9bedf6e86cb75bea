"""A simulated chain: advanced slot by slot, with everything that happened on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import RLock

import numpy as np

from valmon_pipeline.devnet.simulator.blocks import Operations, ProposerRewards, SimulatedBlock
from valmon_pipeline.devnet.simulator.branch import Branch, Happening, Rules
from valmon_pipeline.devnet.simulator.entropy import Entropy
from valmon_pipeline.devnet.simulator.epoch_processing import RewardedEpoch
from valmon_pipeline.devnet.simulator.events import ChainEvent, block_events, reorg_event
from valmon_pipeline.devnet.simulator.genesis import Genesis, genesis_state, public_key
from valmon_pipeline.devnet.simulator.history import History, SlotRecord
from valmon_pipeline.devnet.simulator.incidents import Incident, Operation, Reorg
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.presets import config as preset_config
from valmon_pipeline.devnet.simulator.script import Script
from valmon_pipeline.devnet.simulator.state import ZERO_ROOT, Int64Array
from valmon_pipeline.errors import ConfigurationError


class Simulation:
    """A chain from genesis to ``head_slot``, deterministic by its arguments.

    ``config`` is the chain's ``config/spec`` (see ``presets.config``), ``validators`` a number or a
    :class:`Genesis`, ``incidents`` the script. ``miss_rate`` loses that share of all votes and sync
    committee messages for no reason, ``repeats`` aggregates per block hold nothing new,
    ``history_epochs`` bounds what is remembered.

    All methods may be called from any thread; hold ``lock`` to read several things of one moment.

    Raises:
        ConfigurationError: parameters or incidents that cannot be simulated, all named at once.
    """

    def __init__(
        self,
        config: Mapping[str, object] | None = None,
        validators: int | Genesis = 64,
        *,
        seed: int = 0,
        incidents: Iterable[Incident] = (),
        miss_rate: float = 0.0,
        repeats: int = 0,
        history_epochs: int | None = None,
    ) -> None:
        if not 0 <= miss_rate < 1:
            raise ConfigurationError(f"a miss rate of {miss_rate}; it must be at least 0, below 1")
        if repeats < 0:
            raise ConfigurationError(f"a block cannot repeat {repeats} aggregates")
        if history_epochs is not None and history_epochs < 4:
            raise ConfigurationError("fewer than 4 epochs of history do not reach finality")
        self.config = dict(preset_config() if config is None else config)
        self.parameters = Parameters.from_config(self.config)
        self.entropy = Entropy(seed)
        genesis = validators if isinstance(validators, Genesis) else Genesis.of(validators)
        self.script = Script(self.parameters, len(genesis))
        self.script.add(incidents)
        self.lock = RLock()
        self.history = History(self.parameters.slots_per_epoch, history_epochs)
        self.events: list[ChainEvent] = []
        self._history_epochs = history_epochs
        self._first_event = 0
        self._fork: _Fork | None = None
        self._branch = self._genesis_branch(genesis, miss_rate, repeats)

    @property
    def head_slot(self) -> int:
        """The slot that the chain has reached, with or without a block."""
        return self._branch.state.slot

    @property
    def head_epoch(self) -> int:
        """The epoch of ``head_slot``."""
        return self._branch.epoch

    @property
    def finalized_epoch(self) -> int:
        """The finalized epoch in the state of ``head_slot``."""
        return self._branch.state.finalized.epoch

    @property
    def happenings(self) -> list[Happening]:
        """The scripted operations that blocks of the chain hold, in order."""
        return list(self._branch.happenings)

    @property
    def waiting(self) -> list[Operation]:
        """The scripted operations that no block holds yet."""
        with self.lock:
            done = self._branch.done
            return [known for known in self.script.operations if id(known) not in done]

    def advance_to(self, slot: int) -> None:
        """Let the chain reach ``slot``; nothing happens if it has."""
        with self.lock:
            while self.head_slot < slot:
                self._step()

    def advance_to_epoch(self, epoch: int) -> None:
        """Let the chain reach the first slot of ``epoch``."""
        self.advance_to(self.parameters.first_slot(epoch))

    def add(self, *incidents: Incident) -> None:
        """Script more incidents, all of them after ``head_slot``.

        Raises:
            ConfigurationError: incidents that cannot be played.
        """
        with self.lock:
            self.script.add(incidents, after_slot=self.head_slot)

    def record(self, slot: int) -> SlotRecord:
        """The state after ``slot`` on the canonical chain.

        Raises:
            KeyError: the chain has not reached the slot, or has forgotten it.
        """
        return self.history.records[slot]

    def block(self, slot: int) -> SimulatedBlock | None:
        """The canonical block of a slot; None if it has none. Raises as :meth:`record`."""
        return self.record(slot).block

    def balances(self, slot: int) -> Int64Array:
        """The balances of everybody in the state after ``slot`` (n), gwei."""
        return np.asarray(self.record(slot).column("balance"), np.int64)

    def rewarded(self, epoch: int) -> RewardedEpoch:
        """What was paid for the attestations of target ``epoch``, at the end of the epoch after.

        Raises:
            KeyError: not paid yet, or forgotten.
        """
        return self.history.rewarded[epoch]

    def index_of(self, pubkey: bytes) -> int | None:
        """The validator with a public key, or None."""
        return self._branch.state.index_of.get(pubkey)

    def has_voted(self, epoch: int) -> Int64Array:
        """The validators whose votes of the current or the previous epoch were seen so far."""
        with self.lock:
            first = self.parameters.first_slot(epoch)
            voted = [
                self._branch.votes[slot].members[self._branch.votes[slot].choice >= 0]
                for slot in range(first, first + self.parameters.slots_per_epoch)
                if slot in self._branch.votes
            ]
            return np.concatenate([np.zeros(0, np.int64), *voted])

    def deposit_key(self, number: int) -> bytes:
        """The public key of the script's ``Deposit`` with this number, counted from 0."""
        return public_key(self.entropy, "deposit", number)

    def proposers(self, epoch: int) -> Int64Array:
        """The proposer of each slot of an epoch up to the next one, as known now.

        Raises:
            KeyError: an epoch ahead of the next one, or forgotten.
        """
        with self.lock:
            if epoch <= self.head_epoch or epoch in self._branch.state.proposers:
                last = min(self.head_slot, self.parameters.first_slot(epoch + 1) - 1)
                return self.record(last).proposers[epoch]
            if epoch == self.head_epoch + 1:
                return self._branch.proposers_as_of_now(epoch, self._branch.head.root)
        raise KeyError(epoch)

    def events_since(self, number: int) -> tuple[list[ChainEvent], int]:
        """The events from a running number on, and the number that comes next."""
        with self.lock:
            skipped = max(0, number - self._first_event)
            return self.events[skipped:], self._first_event + len(self.events)

    def _genesis_branch(self, genesis: Genesis, miss_rate: float, repeats: int) -> Branch:
        parameters, entropy = self.parameters, self.entropy
        root = entropy.hex(32, "block", 0)
        state = genesis_state(parameters, entropy, genesis, root)
        block = SimulatedBlock(
            slot=0,
            root=root,
            parent_root=ZERO_ROOT,
            state_root=entropy.hex(32, "state", root, 0),
            proposer_index=0,
            fork=parameters.fork_at(0),
            number=0,
            attestations=(),
            sync_committee=state.current_sync_committee,
            sync_bits=np.zeros(parameters.sync_committee_size, np.bool_),
            participant_reward=0,
            withdrawals=(),
            operations=Operations(),
            proposer_rewards=ProposerRewards(),
            initial_penalties={},
            switched_excess={},
            deposit_count=0,
            max_committees_per_slot=parameters.max_committees_per_slot,
        )
        rules = Rules(parameters, entropy, self.script, miss_rate, repeats)
        branch = Branch(rules, state, block, {}, set(), [])
        branch.prepare_genesis()
        self.history.remember(self._record_of(branch, block, None), None)
        branch.vote()
        return branch

    def _step(self) -> None:
        slot = self.head_slot + 1
        reorg = self.script.reorg_at(slot)
        if reorg is not None and self._fork is None:
            self._fork = _Fork(reorg, self._branch.copy())
        if self._fork is not None and slot >= self._fork.reorg.slot and self._switch(slot):
            return
        before = self.record(self.head_slot)
        rewarded = self._branch.advance()
        block = self._branch.propose() if self._branch.can_propose() else None
        record = self._record_of(self._branch, block, before)
        self.history.remember(record, rewarded)
        self._branch.vote()
        self._announce(record, before)

    def _switch(self, slot: int) -> bool:
        """Let the block of ``slot`` build on the chain before the fork, if there can be one."""
        assert self._fork is not None
        branch = self._fork.base.copy()
        first = branch.state.slot + 1
        before = self.record(branch.state.slot)
        steps: list[tuple[SlotRecord, RewardedEpoch | None]] = []
        for number in range(first, slot):
            rewarded = branch.advance()
            branch.votes[number] = self._branch.votes[number].on_another_chain()
            steps.append((self._record_of(branch, None, before), rewarded))
            before = steps[-1][0]
        rewarded = branch.advance()
        if not branch.can_propose():
            return False
        old = self.record(self.head_slot)
        record = self._record_of(branch, branch.propose(), before)
        for step in (*steps, (record, rewarded)):
            self.history.remember(*step)
        self._branch, self._fork = branch, None
        branch.vote()
        if old.head.root != before.head.root:
            depth = slot - first
            self._emit([reorg_event(old, record, depth, self.parameters.slots_per_epoch)])
        self._announce(record, before)
        return True

    def _record_of(
        self, branch: Branch, block: SimulatedBlock | None, before: SlotRecord | None
    ) -> SlotRecord:
        slot, spe = branch.state.slot, self.parameters.slots_per_epoch
        root = (
            block.state_root
            if block is not None
            else self.entropy.hex(32, "state", branch.head.root, slot)
        )
        return SlotRecord.of(
            branch.state,
            block,
            branch.head,
            root,
            before,
            epoch=branch.epoch,
            starts_epoch=slot % spe == 0,
            ends_epoch=slot % spe == spe - 1,
        )

    def _announce(self, record: SlotRecord, before: SlotRecord) -> None:
        late = record.block is not None and self.script.is_late(record.slot)
        # A late block is seen when the next slot begins.
        slot = record.slot + 1 if late else record.slot
        spe = self.parameters.slots_per_epoch
        # The event is sent when finality moves on, and then that state is a recent one.
        finalized = self.history.records.get(record.finalized.epoch * spe, record)
        self._emit(block_events(self.entropy, record, before, finalized.state_root, slot, spe))

    def _emit(self, events: Iterable[ChainEvent]) -> None:
        self.events += events
        if self._history_epochs is None:
            return
        oldest = self.head_slot - self._history_epochs * self.parameters.slots_per_epoch
        forgotten = sum(1 for _ in _takewhile_older(self.events, oldest))
        del self.events[:forgotten]
        self._first_event += forgotten


@dataclass(frozen=True, slots=True)
class _Fork:
    """A reorganization under way, and the chain that it will build on."""

    reorg: Reorg
    base: Branch


def _takewhile_older(events: list[ChainEvent], slot: int) -> Iterable[ChainEvent]:
    for event in events:
        if event.slot >= slot:
            return
        yield event

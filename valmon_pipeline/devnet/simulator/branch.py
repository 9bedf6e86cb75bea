"""One chain under way: its state, the votes and operations that wait, and how it takes a slot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator import incidents as words
from valmon_pipeline.devnet.simulator.block_building import choose_operations
from valmon_pipeline.devnet.simulator.block_processing import process_block
from valmon_pipeline.devnet.simulator.blocks import AttestationData, SimulatedBlock
from valmon_pipeline.devnet.simulator.entropy import Entropy
from valmon_pipeline.devnet.simulator.epoch_processing import (
    RewardedEpoch,
    checkpoint,
    process_epoch,
)
from valmon_pipeline.devnet.simulator.fork_upgrade import upgrade_to_electra
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.script import Script
from valmon_pipeline.devnet.simulator.shuffling import Shuffling, draw_proposers
from valmon_pipeline.devnet.simulator.state import BoolArray, Checkpoint, Int64Array, State
from valmon_pipeline.devnet.simulator.votes import SlotVotes, pack_attestations


@dataclass(frozen=True, slots=True)
class Rules:
    """What all chains of a simulation share.

    ``miss_rate`` is the share of votes and sync committee messages that get lost for no reason;
    ``repeats`` is how many aggregates per block hold nothing new.
    """

    parameters: Parameters
    entropy: Entropy
    script: Script
    miss_rate: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Happening:
    """A scripted operation that a block holds; ``ignored`` tells why a request had no effect."""

    slot: int
    block_root: str
    incident: words.Operation
    ignored: str | None = None

    @property
    def is_effective(self) -> bool:
        """Whether it changed the state."""
        return self.ignored is None


@dataclass(slots=True)
class Branch:
    """A chain up to ``state.slot``; ``head`` is its newest block."""

    rules: Rules
    state: State
    head: SimulatedBlock
    votes: dict[int, SlotVotes]
    done: set[int]
    happenings: list[Happening]

    def copy(self) -> Branch:
        """An independent copy."""
        return Branch(
            self.rules,
            self.state.copy(),
            self.head,
            {slot: replace(cast, waiting=cast.waiting.copy()) for slot, cast in self.votes.items()},
            set(self.done),
            list(self.happenings),
        )

    @property
    def epoch(self) -> int:
        """The epoch of ``state.slot``."""
        return self.rules.parameters.epoch_of(self.state.slot)

    def prepare_genesis(self) -> None:
        """Draw who serves in the first two epochs."""
        genesis_root = self.head.root
        for epoch in (0, 1):
            self.state.shufflings[epoch] = self._shuffling(epoch, genesis_root)
        self._draw_proposers(0, genesis_root)
        if self.rules.parameters.fork_at(0) >= Fork.FULU:
            self._draw_proposers(1, genesis_root)

    def advance(self) -> RewardedEpoch | None:
        """Go to the next slot, over an epoch's end if there is one, without a block yet."""
        state, parameters = self.state, self.rules.parameters
        rewarded = None
        starts_epoch = (state.slot + 1) % parameters.slots_per_epoch == 0
        if starts_epoch:
            rewarded = process_epoch(parameters, self.rules.entropy, state)
        state.slot += 1
        state.roots.append(state.roots[-1])
        if starts_epoch:
            self._start_epoch()
        return rewarded

    def proposer(self) -> int:
        """Whose turn it is to propose in ``state.slot``."""
        position = self.state.slot % self.rules.parameters.slots_per_epoch
        return int(self.state.proposers[self.epoch][position])

    def can_propose(self) -> bool:
        """Whether the slot gets a block: not if it is skipped, or its proposer slashed or away."""
        proposer = self.proposer()
        script = self.rules.script
        away = script.in_spell(
            (words.MissProposal, words.Offline), self.epoch, np.array([proposer])
        )
        return not (
            script.is_skipped(self.state.slot) or self.state.validators.slashed[proposer] or away[0]
        )

    def propose(self) -> SimulatedBlock:
        """Make the block of ``state.slot`` and apply it."""
        state, rules = self.state, self.rules
        parameters, entropy = rules.parameters, rules.entropy
        slot, proposer, parent = state.slot, self.proposer(), self.head
        root = entropy.hex(32, "block", slot, parent.root)
        waiting = [known for known in rules.script.operations if id(known) not in self.done]
        chosen = choose_operations(parameters, entropy, state, waiting, rules.script.deposit_number)
        operations = chosen.as_block_content()
        attestations = pack_attestations(parameters, state, self.votes, rules.repeats)
        sync_committee, sync_bits = state.current_sync_committee, self._sync_bits()
        effects = process_block(parameters, state, proposer, operations, attestations, sync_bits)
        state.deposit_count += len(operations.deposits) + len(operations.deposit_requests)
        state.roots[slot] = root
        self.head = SimulatedBlock(
            slot=slot,
            root=root,
            parent_root=parent.root,
            state_root=entropy.hex(32, "state", root, slot),
            proposer_index=proposer,
            fork=parameters.fork_at(self.epoch),
            number=parent.number + 1,
            attestations=attestations,
            sync_committee=sync_committee,
            sync_bits=sync_bits,
            participant_reward=effects.participant_reward,
            withdrawals=effects.withdrawals,
            operations=operations,
            proposer_rewards=effects.proposer_rewards(),
            initial_penalties=effects.initial_penalties,
            switched_excess=effects.switched_excess,
            deposit_count=state.deposit_count,
            max_committees_per_slot=parameters.max_committees_per_slot,
        )
        included = [(incident, None) for incident in chosen.others] + [
            (incident, effects.ignored.get(position))
            for position, incident in enumerate(chosen.requests)
        ]
        self.done |= {id(incident) for incident, _ in included}
        self.happenings += [
            Happening(slot, root, incident, ignored) for incident, ignored in included
        ]
        return self.head

    def vote(self) -> None:
        """Let the committees of ``state.slot`` attest to what they see now."""
        state, parameters, script = self.state, self.rules.parameters, self.rules.script
        slot, epoch = state.slot, self.epoch
        shuffling, position = state.shufflings[epoch], slot % parameters.slots_per_epoch
        members = shuffling.of_slot(position)
        absent = script.in_spell((words.Miss, words.Offline), epoch, members) | self._lost(
            len(members), "vote"
        )
        old = script.votes_for_old_head(slot, members) if self.head.slot > 0 else None
        if old is not None and script.is_late(slot) and self.head.slot != slot:
            old[:] = False  # there is no block that could come late
        target = checkpoint(parameters, state, epoch)
        data = [AttestationData(slot, self.head.root, state.current_justified, target)]
        choice = np.zeros(len(members), np.int64)
        if old is not None and old.any():
            data.append(self._old_view(target))
            choice[old] = 1
        choice[absent] = -1
        ready = slot + script.inclusion_delay(epoch, members)
        self.votes[slot] = SlotVotes.cast(shuffling, position, data, choice, ready)
        for known in [
            known for known in self.votes if known < (epoch - 1) * parameters.slots_per_epoch
        ]:
            del self.votes[known]

    def _old_view(self, target: Checkpoint) -> AttestationData:
        """What is seen by those who miss the newest block."""
        state = self.state
        parent_root = self.head.parent_root
        first = self.rules.parameters.first_slot(self.epoch)
        # The newest block is the target itself only if it is the epoch's first slot's.
        if self.head.slot == first:
            target = Checkpoint(target.epoch, parent_root)
        return AttestationData(state.slot, parent_root, state.current_justified, target)

    def _sync_bits(self) -> BoolArray:
        script, state = self.rules.script, self.state
        seats = state.current_sync_committee
        absent = script.in_spell((words.MissSync, words.Offline), self.epoch, seats)
        absent |= self._lost(len(seats), "sync")
        if self.head.slot == state.slot - 1 and script.is_late(self.head.slot):
            absent[:] = True
        return ~absent

    def _lost(self, count: int, what: str) -> BoolArray:
        if self.rules.miss_rate <= 0:
            return np.zeros(count, np.bool_)
        return self.rules.entropy.happens(
            count, self.rules.miss_rate, "lost", what, self.state.slot
        )

    def _start_epoch(self) -> None:
        state, parameters, epoch = self.state, self.rules.parameters, self.epoch
        state.refresh_total_active_balance(parameters)
        if epoch == parameters.electra_fork_epoch:
            upgrade_to_electra(parameters, state)
        last_root = state.roots[-2]
        state.shufflings[epoch + 1] = self._shuffling(epoch + 1, last_root)
        if epoch not in state.proposers:
            self._draw_proposers(epoch, last_root)
        if parameters.fork_at(epoch) >= Fork.FULU:
            self._draw_proposers(epoch + 1, last_root)
        for known in (state.shufflings, state.proposers):
            for old in [old for old in known if old < epoch - 1]:
                del known[old]

    def _shuffling(self, epoch: int, dependent_root: str) -> Shuffling:
        return Shuffling.draw(
            self.rules.parameters,
            self.rules.entropy,
            epoch,
            np.flatnonzero(self.state.validators.is_active(epoch)),
            dependent_root,
        )

    def _draw_proposers(self, epoch: int, dependent_root: str) -> None:
        self.state.proposers[epoch] = self.proposers_as_of_now(epoch, dependent_root)

    def proposers_as_of_now(self, epoch: int, dependent_root: str) -> Int64Array:
        """The proposers of an epoch if nothing changed until its start."""
        active = np.flatnonzero(self.state.validators.is_active(epoch))
        balances = self.state.validators.effective_balance[active]
        return draw_proposers(
            self.rules.parameters, self.rules.entropy, epoch, active, balances, dependent_root
        )

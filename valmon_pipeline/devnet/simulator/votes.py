"""Votes on their way into blocks: cast once per slot, included once per chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator.blocks import Aggregate, AttestationData
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.shuffling import Shuffling
from valmon_pipeline.devnet.simulator.state import BoolArray, Int64Array, State


@dataclass(frozen=True, slots=True)
class SlotVotes:
    """The votes of a slot's committees, m members one committee after the other.

    ``choice`` is the position in ``data`` of what a member voted for, -1 for no vote; ``ready`` the
    first slot whose block can include it. ``waiting`` tells which votes no block of this chain has
    included yet.
    """

    data: Sequence[AttestationData]
    members: Int64Array
    bounds: Int64Array
    choice: Int64Array
    ready: Int64Array
    waiting: BoolArray

    @classmethod
    def cast(
        cls,
        shuffling: Shuffling,
        slot_in_epoch: int,
        data: Sequence[AttestationData],
        choice: Int64Array,
        ready: Int64Array,
    ) -> SlotVotes:
        """The votes of all committees of a slot."""
        numbers = shuffling.committees(slot_in_epoch)
        bounds = shuffling.bounds[numbers.start : numbers.stop + 1]
        members = shuffling.of_slot(slot_in_epoch)
        return cls(data, members, bounds - bounds[0], choice, ready, choice >= 0)

    def on_another_chain(self) -> SlotVotes:
        """The same votes where no block has included them."""
        return replace(self, waiting=self.choice >= 0)

    def aggregates(
        self, number: int, chosen: BoolArray, fork: Fork
    ) -> Iterator[tuple[Aggregate, BoolArray]]:
        """Yield aggregates of the ``chosen`` votes (m) for ``data[number]``, with their votes (m).

        Since Electra all committees in one, before one for each committee.
        """
        count = len(self.bounds) - 1
        lengths = np.diff(self.bounds)
        committee_of = np.repeat(np.arange(count), lengths)
        present = np.unique(committee_of[chosen])
        groups = (
            [present] if fork >= Fork.ELECTRA else [present[k : k + 1] for k in range(len(present))]
        )
        for group in groups:
            of_group = np.isin(committee_of, group)
            taken = chosen & of_group
            aggregate = Aggregate(
                self.data[number], tuple(group.tolist()), taken[of_group], self.members[taken]
            )
            yield aggregate, taken


def pack_attestations(
    parameters: Parameters, state: State, votes: dict[int, SlotVotes], repeats: int = 0
) -> tuple[Aggregate, ...]:
    """Choose the aggregates of a block at ``state.slot``, newest votes first; mark them included.

    Votes with another source than the chain's would make the block invalid and stay out. If there
    is room, up to ``repeats`` aggregates hold votes that the chain has already.
    """
    epoch = parameters.epoch_of(state.slot)
    fork = parameters.fork_at(epoch)
    electra = fork >= Fork.ELECTRA
    limit = parameters.max_attestations_electra if electra else parameters.max_attestations
    first = parameters.first_slot(max(epoch - 1, 0))
    newest = state.slot - parameters.min_attestation_inclusion_delay
    slots = [slot for slot in range(newest, first - 1, -1) if slot in votes]
    packed: list[Aggregate] = []
    included = {slot: (votes[slot].choice >= 0) & ~votes[slot].waiting for slot in slots}
    for slot in slots:
        cast = votes[slot]
        ready = cast.waiting & (cast.ready <= state.slot)
        for aggregate, taken in _valid_aggregates(parameters, state, slot, cast, ready):
            if len(packed) == limit:
                return tuple(packed)
            packed.append(aggregate)
            cast.waiting[taken] = False
    room = min(repeats, limit - len(packed))
    again = (
        aggregate
        for slot in slots
        for aggregate, _ in _valid_aggregates(parameters, state, slot, votes[slot], included[slot])
    )
    return (*packed, *islice(again, room))


def _valid_aggregates(
    parameters: Parameters, state: State, slot: int, cast: SlotVotes, wanted: BoolArray
) -> Iterator[tuple[Aggregate, BoolArray]]:
    """Yield aggregates of the ``wanted`` votes of a slot that a block now may hold."""
    if not wanted.any():
        return
    epoch = parameters.epoch_of(state.slot)
    is_current = parameters.epoch_of(slot) == epoch
    source = state.current_justified if is_current else state.previous_justified
    for number, data in enumerate(cast.data):
        chosen = wanted & (cast.choice == number)
        if data.source == source and chosen.any():
            yield from cast.aggregates(number, chosen, parameters.fork_at(epoch))

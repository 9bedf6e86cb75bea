"""What moved the balances of the watched validators between the first slots of E and E+1.

Everything a node tells is posted as it says; what it does not tell (the moment's balance that a
switch or an upgrade takes away, a queue's entries) follows from what is posted before it, in the
order in which the chain works. Where a fact is missing, ``epoch.unknown_movements`` says what it
leaves unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from valmon_pipeline.chain.block_events import BlockEvent, EventType, block_events
from valmon_pipeline.chain.blocks import Block
from valmon_pipeline.chain.credentials import COMPOUNDING_PREFIX
from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import BoolArray, Int64Array, ValidatorRegistry
from valmon_pipeline.chain.rewards import total_active_balance
from valmon_pipeline.chain.slashings import (
    correlation_penalty,
    is_correlation_penalty_due,
    slashed_balance_candidates,
)
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.epoch_answers import EpochAnswers, PendingQueues
from valmon_pipeline.epoch.queue_movements import applied_consolidations, applied_deposits
from valmon_pipeline.epoch.unknown_movements import unknown_components
from valmon_pipeline.ledger.balance_ledger import residual_of
from valmon_pipeline.ledger.postings import Component, Postings, Stage
from valmon_pipeline.ledger.residuals import ResidualClass, ResidualEvidence
from valmon_pipeline.ledger.unknown import UnknownComponents


@dataclass(frozen=True, slots=True)
class Movements:
    """The watched validators (n), their balances at both ends, and what moved them in between.

    ``opening`` is 0 where the validator did not exist yet. ``events`` are those of everybody, of
    the blocks after the first slot of E up to the first of E+1, and of the transition between. What
    is posted for a component that is ``unknown`` means nothing.

    Of an epoch with an unknown registry there are the events of its blocks, and no validators.
    """

    validator_index: Int64Array
    opening: Int64Array
    closing: Int64Array
    postings: Postings
    events: Sequence[BlockEvent]
    evidence: ResidualEvidence
    unknown: UnknownComponents

    @property
    def residual(self) -> Int64Array:
        """What the postings do not explain of each change of balance (n), gwei."""
        return residual_of(self.opening, self.closing, self.postings)


def has_queue_effects(spec: ChainSpec, answers: EpochAnswers) -> bool:
    """Whether balances moved by what only the queues of deposits and consolidations can tell."""
    if spec.fork_at_epoch(answers.epoch + 1) < Fork.ELECTRA:
        return False
    if answers.registry_at_start is None or answers.registry_at_end is None:
        return False
    movements = epoch_movements(spec, answers)
    by_other_causes = movements.evidence.correlation_due | (
        # No attestation earns or costs as much as the smallest deposit.
        movements.unknown.any & (np.abs(movements.residual) < spec.min_deposit_amount)
    )
    # A validator that did not exist before was credited by a deposit, of which only the size is
    # known so far.
    new = ~np.isin(movements.validator_index, answers.registry_at_start.validator_index)
    return bool((((movements.residual != 0) & ~by_other_causes) | new).any())


def has_correlation_penalties(spec: ChainSpec, answers: EpochAnswers) -> bool:
    """Whether watched validators are known to pay correlation penalties at the end of the epoch."""
    registry = answers.registry_at_start
    if registry is None:
        return False
    due = registry.validator_index[is_correlation_penalty_due(spec, answers.epoch, registry)]
    return bool(np.isin(due, answers.watched).any())


def epoch_movements(spec: ChainSpec, answers: EpochAnswers) -> Movements:
    """The movements of the epoch of ``answers``; the queues count if the answers have them."""
    at_start, at_end = answers.registry_at_start, answers.registry_at_end
    events = block_events(spec, ledger_blocks(spec, answers), at_start, at_end, answers.life_cycles)
    if at_start is None or at_end is None:
        return _movements_of_nobody(spec, events)
    return _Bookkeeper(spec, answers, at_start, at_end, events).movements()


def ledger_blocks(spec: ChainSpec, answers: EpochAnswers) -> list[Block]:
    """The blocks between the states at both ends of the epoch, ascending: those after its first
    slot up to the first slot of the next one."""
    first, end = spec.first_slot(answers.epoch), spec.first_slot(answers.epoch + 1)
    slots = answers.canonical.slot.tolist()
    return [answers.blocks[slot] for slot in slots if first < slot <= end]


def _movements_of_nobody(spec: ChainSpec, events: Sequence[BlockEvent]) -> Movements:
    nothing, no_gwei = np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.int64)
    evidence = ResidualEvidence(
        correlation_due=nothing,
        consolidated=nothing,
        switched=nothing,
        compounding=nothing,
        queue_unknown=True,
        minimum_deposit=spec.min_deposit_amount,
    )
    return Movements(
        no_gwei,
        no_gwei,
        no_gwei,
        Postings.joined([]),
        events,
        evidence,
        UnknownComponents.of_facts(0, {}),
    )


class _Bookkeeper:
    """Posts one group of movements after the other; later ones see the balances left by earlier."""

    def __init__(
        self,
        spec: ChainSpec,
        answers: EpochAnswers,
        at_start: ValidatorRegistry,
        at_end: ValidatorRegistry,
        events: Sequence[BlockEvent],
    ) -> None:
        self._spec = spec
        self._answers = answers
        self._at_start = at_start
        self._at_end = at_end
        self._first = spec.first_slot(answers.epoch)
        self._end = spec.first_slot(answers.epoch + 1)
        self._watched = answers.watched
        self._opening, self._existed = self._balances_at_start()
        self._rows_at_end = at_end.rows_of(answers.watched)
        self._closing = at_end.balance[self._rows_at_end]
        prefix = at_end.withdrawal_credentials[self._rows_at_end, 0]
        self._compounding: BoolArray = prefix == COMPOUNDING_PREFIX
        self._postings = Postings.joined([])
        self._events = list(events)
        self._correlation_due = np.isin(
            self._watched,
            at_start.validator_index[is_correlation_penalty_due(spec, answers.epoch, at_start)],
        )
        self._consolidated = np.zeros(len(self._watched), dtype=np.bool_)
        self._switched = np.zeros(len(self._watched), dtype=np.bool_)
        self._unknown = unknown_components(spec, answers, at_start, at_end)
        # Where a component was booked by the balance of a moment.
        self._by_balance = {
            component: np.zeros(len(self._watched), dtype=np.bool_) for component in Component
        }
        # The number of events of the block at the end, with which those of the transition go on.
        self._events_are_numbered = all(
            block.operations.withdrawals is not None
            for block in ledger_blocks(spec, answers)
            if block.slot == self._end
        )

    def movements(self) -> Movements:
        self._post(*self._attestations(), *self._sync(), *self._proposals(), *self._operations())
        self._post_switches()
        if self._answers.queues is not None:
            self._post_deposit_queue(self._answers.queues)
            self._post_consolidation_queue(self._answers.queues)
        self._post_upgrade()
        self._post_correlation()
        self._post_new_validators()
        if self._answers.queues is None:
            self._note_consolidations()
        smallest = self._spec.min_deposit_amount
        return Movements(
            self._watched,
            self._opening,
            self._closing,
            self._postings,
            self._events,
            ResidualEvidence(
                correlation_due=self._correlation_due,
                consolidated=self._consolidated,
                switched=self._switched,
                compounding=self._compounding,
                minimum_deposit=smallest,
                queue_unknown=self._is_queue_unknown,
            ),
            self._unknown.and_what_follows(
                self._by_balance,
                near_zero=np.minimum(self._opening, self._closing) < smallest,
            ),
        )

    @property
    def _is_queue_unknown(self) -> bool:
        """Whether deposits are queued, and the queue is not known."""
        return (
            self._answers.queues is None
            and self._spec.fork_at_epoch(self._answers.epoch + 1) >= Fork.ELECTRA
        )

    # What the node reports.

    def _attestations(self) -> Iterator[Postings]:
        rewards = self._answers.previous_attestation_rewards
        if rewards is None:
            return
        total = rewards.source + rewards.target + rewards.head + rewards.inactivity
        yield self._of_validators(
            rewards.validator_index,
            self._end,
            Stage.ATTESTATION_DELTAS,
            Component.ATTESTATION,
            total,
        )

    def _sync(self) -> Iterator[Postings]:
        for slot, rewards in self._answers.sync_rewards.items():
            if slot > self._first:
                yield self._of_validators(
                    rewards.validator_index,
                    slot,
                    Stage.SYNC_AGGREGATE,
                    Component.SYNC,
                    rewards.reward,
                )

    def _proposals(self) -> Iterator[Postings]:
        for slot, rewards in self._answers.block_rewards.items():
            if slot <= self._first or slot > self._end:
                continue
            row = self._row(rewards.proposer_index)
            if row is None:
                continue
            slashings = rewards.proposer_slashings + rewards.attester_slashings
            for stage, component, amount in (
                (Stage.SLASHINGS, Component.WHISTLEBLOWER, slashings),
                (Stage.ATTESTATIONS, Component.PROPOSER, rewards.attestations),
                (Stage.SYNC_AGGREGATE, Component.PROPOSER, rewards.sync_aggregate),
            ):
                if amount:
                    yield Postings.one(row, slot, stage, component, amount)

    def _operations(self) -> Iterator[Postings]:
        for event in self._events:
            booked = _BOOKED.get(event.event_type)
            row = None if event.validator_index is None else self._row(event.validator_index)
            if booked is None or row is None or not event.effective or not event.amount:
                continue
            if event.event_type is EventType.DEPOSIT and self._queues_deposits(event.slot):
                continue
            stage, component, sign = booked
            yield Postings.one(row, event.slot, stage, component, sign * event.amount)

    def _queues_deposits(self, slot: int) -> bool:
        """Since Electra the last deposits of the old bridge are queued as all others are
        (consensus-specs, ``apply_deposit``)."""
        return self._spec.fork_at_epoch(self._spec.epoch_of(slot)) >= Fork.ELECTRA

    # What follows from the balance of the moment, or from the queues.

    def _post_switches(self) -> None:
        """A switch to compounding moves what is above the minimum into the queue of deposits
        (consensus-specs, ``switch_to_compounding_validator``)."""
        for at, event in enumerate(self._events):
            if event.event_type is not EventType.COMPOUNDING_REQUEST or not event.effective:
                continue
            row = None if event.validator_index is None else self._row(event.validator_index)
            if row is None:
                continue
            self._switched[row] = True
            if self._is_balance_unknown(row, event.slot):
                self._by_balance[Component.COMPOUNDING_SWITCH][row] = True
                continue
            balance = self._postings.balance_at(self._opening, row, event.slot, Stage.REQUESTS)
            excess = max(0, balance - self._spec.min_activation_balance)
            self._events[at] = replace(event, amount=excess)
            self._post(
                Postings.one(row, event.slot, Stage.REQUESTS, Component.COMPOUNDING_SWITCH, -excess)
            )

    def _is_balance_unknown(self, row: int, slot: int) -> bool:
        """Whether anything that may have moved a balance before a moment is not known; attestations
        are paid in the transition."""
        attestation = ResidualClass.ATTESTATION_UNKNOWN.code
        because = int(self._unknown.because[row])
        return because >= 0 and (because != attestation or slot == self._end)

    def _post_deposit_queue(self, queues: PendingQueues) -> None:
        credited = []
        for applied in applied_deposits(
            self._spec, self._answers.epoch, queues, self._at_end, self._events
        ):
            self._add_event(
                EventType.DEPOSIT_APPLIED, applied.validator_index, None, applied.amount
            )
            row = self._row(applied.validator_index)
            if row is not None:
                credited.append((row, applied.amount))
        self._post_deposits(credited)

    def _post_deposits(self, credited: Sequence[tuple[int, int]]) -> None:
        """Deposits by row and gwei, credited in the transition."""
        rows, amounts = np.array(credited, dtype=np.int64).reshape(-1, 2).T
        stage = Stage.PENDING_DEPOSITS
        self._post(Postings.of(rows, self._end, stage, Component.DEPOSITS, amounts))

    def _post_consolidation_queue(self, queues: PendingQueues) -> None:
        """The smaller of balance and effective balance moves from source to target
        (consensus-specs, ``process_pending_consolidations``)."""
        moved, stage = Component.CONSOLIDATIONS, Stage.PENDING_CONSOLIDATIONS
        for source, target in applied_consolidations(
            self._spec, self._answers.epoch, queues, self._at_end, self._events
        ):
            source_row, target_row = self._row(source), self._row(target)
            if source_row is None:
                # What the source holds at that moment is known of watched validators only.
                if target_row is not None:
                    self._consolidated[target_row] = True
                self._add_event(EventType.CONSOLIDATION_APPLIED, source, target, None)
                continue
            because = self._unknown.because
            if because[source_row] >= 0:
                # What the target got is as little known as what the source had.
                self._by_balance[moved][source_row] = True
                if target_row is not None:
                    self._by_balance[moved][target_row] = True
                    if because[target_row] < 0:
                        because[target_row] = because[source_row]
                self._add_event(EventType.CONSOLIDATION_APPLIED, source, target, None)
                continue
            balance = self._postings.balance_at(self._opening, source_row, self._end, stage)
            row_at_start = self._at_start.rows_of(np.array([source]))
            amount = min(balance, int(self._at_start.effective_balance[row_at_start][0]))
            self._add_event(EventType.CONSOLIDATION_APPLIED, source, target, amount)
            self._post(Postings.one(source_row, self._end, stage, moved, -amount))
            if target_row is not None:
                self._post(Postings.one(target_row, self._end, stage, moved, amount))

    def _post_upgrade(self) -> None:
        """The upgrade to Electra moves balances into the queue of deposits: of validators that were
        not activated yet all, of compounding ones what is above the minimum (consensus-specs,
        ``upgrade_to_electra``)."""
        if self._answers.epoch + 1 != self._spec.fork_epochs[Fork.ELECTRA]:
            return
        registry, rows = self._at_end, self._rows_at_end
        earlier = (self._postings.slot < self._end) | (
            (self._postings.slot == self._end) & (self._postings.stage < Stage.FORK_UPGRADE)
        )
        balance = self._opening.copy()
        np.add.at(balance, self._postings.row[earlier], self._postings.amount[earlier])
        not_activated = registry.activation_epoch[rows] == NEVER
        excess = np.where(
            not_activated,
            balance,
            np.where(self._compounding, balance - self._spec.min_activation_balance, 0),
        )
        self._by_balance[Component.OTHER] |= not_activated | self._compounding
        moved = np.flatnonzero(excess > 0)
        self._post(
            Postings.of(moved, self._end, Stage.FORK_UPGRADE, Component.OTHER, -excess[moved])
        )

    def _post_correlation(self) -> None:
        """Booked only where it closes the balance to the gwei; elsewhere it stays a residual of its
        class."""
        due = np.flatnonzero(self._correlation_due)
        self._by_balance[Component.SLASHING_CORRELATION] |= self._correlation_due
        spec, epoch, registry = self._spec, self._answers.epoch, self._at_start
        known = self._answers.slashing_sums
        sums: Sequence[int]
        if not len(due):
            return
        if known is not None:
            total, sums = known.total_active_balance, [known.slashed_balance]
        elif self._answers.whole_registry:
            total = total_active_balance(spec, registry, epoch)
            sums = slashed_balance_candidates(spec, epoch, registry)
        else:
            return
        residual = residual_of(self._opening, self._closing, self._postings)
        effective_balance = registry.effective_balance[registry.rows_of(self._watched[due])]
        for row, balance in zip(due.tolist(), effective_balance.tolist(), strict=True):
            lost = -int(residual[row])
            penalties = (
                correlation_penalty(spec, epoch, balance, slashed, total) for slashed in sums
            )
            if lost and lost in penalties:
                stage = Stage.CORRELATION_PENALTIES
                booked = Component.SLASHING_CORRELATION
                self._post(Postings.one(row, self._end, stage, booked, -lost))

    def _post_new_validators(self) -> None:
        """A validator that did not exist before has its whole balance from deposits. Without the
        queue it is not known how many there were, nor which events came before them."""
        self._by_balance[Component.DEPOSITS] |= ~self._existed
        residual = residual_of(self._opening, self._closing, self._postings)
        new = np.flatnonzero(~self._existed & (residual > 0)).tolist()
        credited = [(row, int(residual[row])) for row in new]
        for row, amount in credited:
            if not self._is_queue_unknown:
                self._add_event(EventType.DEPOSIT_APPLIED, int(self._watched[row]), None, amount)
        self._post_deposits(credited)

    def _note_consolidations(self) -> None:
        """Without the queue: a source that is withdrawable lost its balance or its effective
        balance, and a compounding target has just as much too much."""
        if self._spec.fork_at_epoch(self._answers.epoch + 1) < Fork.ELECTRA:
            return
        registry, rows = self._at_end, self._rows_at_end
        residual = residual_of(self._opening, self._closing, self._postings)
        may_be_source = (
            (residual < 0)
            & ~self._unknown.any
            & ~registry.slashed[rows]
            & (registry.withdrawable_epoch[rows] <= self._answers.epoch + 1)
        )
        at_start = self._at_start
        for row in np.flatnonzero(may_be_source & self._existed).tolist():
            stage = Stage.PENDING_CONSOLIDATIONS
            balance = self._postings.balance_at(self._opening, row, self._end, stage)
            held = at_start.effective_balance[at_start.rows_of(self._watched[[row]])]
            lost = -int(residual[row])
            if lost in (balance, int(held[0])):
                self._consolidated[row] = True
                self._consolidated |= self._compounding & (residual == lost)

    # Bookkeeping.

    def _post(self, *postings: Postings) -> None:
        self._postings = Postings.joined([self._postings, *postings])

    def _add_event(
        self, kind: EventType, index: int, target: int | None, amount: int | None
    ) -> None:
        """An event of the transition; it is counted after those of the block of the same slot. If
        that was read without its withdrawals, the number of the event is not known."""
        if not self._events_are_numbered:
            return
        last = self._events[-1] if self._events else None
        position = last.position + 1 if last is not None and last.slot == self._end else 0
        self._events.append(BlockEvent(self._end, position, kind, index, target, amount, True))

    def _balances_at_start(self) -> tuple[Int64Array, BoolArray]:
        registry = self._at_start
        at = np.searchsorted(registry.validator_index, self._watched)
        existed: BoolArray = np.append(registry.validator_index, -1)[at] == self._watched
        return np.where(existed, np.append(registry.balance, 0)[at], 0), existed

    def _of_validators(
        self,
        validators: Int64Array,
        slot: int,
        stage: Stage,
        component: Component,
        amount: Int64Array,
    ) -> Postings:
        """A movement for each of ``validators`` that is watched and gets or loses anything."""
        at = np.searchsorted(self._watched, validators)
        ours = (np.append(self._watched, -1)[at] == validators) & (amount != 0)
        return Postings.of(at[ours], slot, stage, component, amount[ours])

    def _row(self, index: int) -> int | None:
        row = int(self._watched.searchsorted(index))
        if row < len(self._watched) and int(self._watched[row]) == index:
            return row
        return None


_BOOKED = {
    EventType.PARTIAL_WITHDRAWAL: (Stage.WITHDRAWALS, Component.PARTIAL_WITHDRAWALS, -1),
    EventType.FULL_WITHDRAWAL: (Stage.WITHDRAWALS, Component.FULL_WITHDRAWALS, -1),
    EventType.PROPOSER_SLASHING: (Stage.SLASHINGS, Component.SLASHING, -1),
    EventType.ATTESTER_SLASHING: (Stage.SLASHINGS, Component.SLASHING, -1),
    EventType.DEPOSIT: (Stage.DEPOSITS, Component.DEPOSITS, 1),
}

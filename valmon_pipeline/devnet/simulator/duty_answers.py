"""Answers about duties and liveness, for past epochs as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.answer import Answer, RefusalError
from valmon_pipeline.devnet.question import Question, natural
from valmon_pipeline.devnet.simulator.history import SlotRecord
from valmon_pipeline.devnet.simulator.node_view import NodeView, refuse_too_far
from valmon_pipeline.devnet.simulator.state import Int64Array
from valmon_pipeline.devnet.simulator.state_answers import sync_committee


class DutyAnswers:
    """Answers to ``/eth/v*/validator/duties/…`` and ``/eth/v1/validator/liveness/…``."""

    def __init__(self, view: NodeView) -> None:
        self._view = view
        self._parameters = view.simulation.parameters

    def proposer(self, question: Question) -> Answer:
        """Proposers of an epoch's slots, depending on the last block before the epoch."""
        epoch = self._epoch(question)
        return self._proposers(epoch, self._root_at(self._parameters.first_slot(epoch) - 1))

    def proposer_since_fulu(self, question: Question) -> Answer:
        """Proposers of an epoch's slots, depending on the last block before the epoch before it."""
        epoch = self._epoch(question)
        if self._parameters.fork_at(epoch) < Fork.FULU:
            raise RefusalError(404, f"Route GET:{question.path} not found")
        return self._proposers(epoch, self._root_at(self._parameters.first_slot(epoch - 1) - 1))

    def attester(self, question: Question) -> Answer:
        """Attestation duties of the validators in the body."""
        ids = _at_least_one(question)
        epoch = self._epoch(question)
        record = self._record_around(epoch)
        shuffling = record.shuffling if record.shuffling.epoch == epoch else record.next_shuffling
        place = np.full(len(record), -1, np.int64)
        place[shuffling.members] = np.arange(len(shuffling.members))
        indices = self._indices(ids, record)
        keys = self._view.pubkeys(len(record))
        first, per_slot = self._parameters.first_slot(epoch), shuffling.committees_per_slot
        rows = []
        for index in indices:
            if place[index] < 0:
                continue
            number = int(np.searchsorted(shuffling.bounds, place[index], side="right")) - 1
            start, stop = shuffling.bounds[number : number + 2].tolist()
            rows.append(
                {
                    "pubkey": keys[index],
                    "validator_index": str(index),
                    "committee_index": str(number % per_slot),
                    "committee_length": str(stop - start),
                    "committees_at_slot": str(per_slot),
                    "validator_committee_index": str(int(place[index]) - start),
                    "slot": str(first + number // per_slot),
                }
            )
        return self._answer(rows, shuffling.dependent_root)

    def sync(self, question: Question) -> Answer:
        """Sync committee duties of those validators in the body that have any."""
        ids = _at_least_one(question)
        epoch = natural(question.parameters["epoch"], "epoch")
        length = self._parameters.epochs_per_sync_committee_period
        head = self._view.head
        state_epoch = self._parameters.epoch_of(head.slot)
        if epoch // length < state_epoch // length:
            head = self._record_around(epoch)
            state_epoch = epoch
        elif self._view.sync_distance:
            raise RefusalError(503, "Node is syncing")
        seats = sync_committee(head, state_epoch, epoch, length)
        keys = self._view.pubkeys(len(head))
        rows: list[dict[str, object]] = []
        for index in self._indices(ids, head):
            held = np.flatnonzero(seats == index)
            if len(held):
                rows.append(
                    {
                        "pubkey": keys[index],
                        "validator_index": str(index),
                        "validator_sync_committee_indices": list(map(str, held.tolist())),
                    }
                )
        return self._answer(rows, None)

    def liveness(self, question: Question) -> Answer:
        """Whether the node has seen votes of the validators in the body."""
        epoch = natural(question.parameters["epoch"], "epoch")
        current = self._view.head_epoch
        if self._view.sync_distance:
            raise RefusalError(503, "Node is syncing")
        if abs(epoch - current) > 1:
            raise RefusalError(
                400,
                f"Request epoch {epoch} is more than one epoch before or after the current epoch "
                f"{current}",
            )
        voted = set(self._view.simulation.has_voted(epoch).tolist())
        indices = self._indices(question.listed_ids(), self._view.head)
        rows = [{"index": str(index), "is_live": index in voted} for index in indices]
        return self._answer(rows, None)

    def _epoch(self, question: Question) -> int:
        epoch = natural(question.parameters["epoch"], "epoch")
        refuse_too_far(self._view, epoch)
        return epoch

    def _record_around(self, epoch: int) -> SlotRecord:
        """The newest state of an epoch that is there; of the next epoch: that of the clock's slot.

        Who serves is known as soon as an epoch begins, whether its first block is there or not.
        """
        last = self._parameters.first_slot(epoch + 1) - 1
        records = self._view.simulation.history.records
        record = records.get(min(last, self._view.head_slot))
        if record is None:
            raise RefusalError(404, f"The states of epoch {epoch} are pruned")
        return record

    def _proposers(self, epoch: int, dependent_root: str) -> Answer:
        try:
            proposers: Int64Array = self._view.simulation.proposers(epoch)
        except KeyError as error:
            raise RefusalError(404, f"The states of epoch {epoch} are pruned") from error
        keys = self._view.pubkeys(int(proposers.max()) + 1)
        first = self._parameters.first_slot(epoch)
        rows = [
            {"slot": str(slot), "validator_index": str(index), "pubkey": keys[index]}
            for slot, index in enumerate(proposers.tolist(), start=first)
        ]
        return self._answer(rows, dependent_root)

    def _root_at(self, slot: int) -> str:
        """The root of the block at or before a slot; the head's for slots ahead."""
        record = self._view.record(min(max(slot, 0), self._view.head.slot))
        if record is None:
            raise RefusalError(404, f"The state of slot {slot} is pruned")
        return record.head.root

    def _indices(self, ids: tuple[str, ...], record: SlotRecord) -> list[int]:
        found = (self._view.index(an_id) for an_id in dict.fromkeys(ids))
        return [index for index in found if index is not None and index < len(record)]

    def _answer(self, rows: Sequence[object], root: str | None) -> Answer:
        slot = self._view.head.slot
        return self._view.answer(rows, slot, dependent_root=root, has_finality=False)


def _at_least_one(question: Question) -> tuple[str, ...]:
    ids = question.listed_ids()
    if not ids:
        raise RefusalError(400, "No validator to get attester duties")
    return ids

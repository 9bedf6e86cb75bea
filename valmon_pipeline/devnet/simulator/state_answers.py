"""Answers about states: validators, balances, committees, queues, finality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.answer import Answer, RefusalError
from valmon_pipeline.devnet.question import Question, as_ids
from valmon_pipeline.devnet.simulator import block_json
from valmon_pipeline.devnet.simulator.history import SlotRecord
from valmon_pipeline.devnet.simulator.node_view import NodeView
from valmon_pipeline.devnet.simulator.shuffling import Shuffling
from valmon_pipeline.devnet.simulator.state import Int64Array
from valmon_pipeline.devnet.simulator.state_ssz import StateNotKeptError, encode_state
from valmon_pipeline.devnet.simulator.validator_rows import epoch_text, statuses, validator_rows


class StateAnswers:
    """Answers to ``/eth/v1/beacon/states/{state_id}/…``."""

    def __init__(self, view: NodeView) -> None:
        self._view = view
        self._parameters = view.simulation.parameters

    def validators(self, question: Question) -> Answer:
        """Validators of a state, all or by ids and statuses (GET parameters or POST body)."""
        record = self._record(question)
        ids, wanted = _validator_filter(question)
        rows = self._rows(record, ids)
        epoch = self._parameters.epoch_of(record.slot)
        if wanted:
            status = statuses(record, epoch)
            rows = rows[[_has_status(status[row], wanted) for row in rows.tolist()]]
        data = validator_rows(record, epoch, self._view.pubkeys, rows)
        return self._view.answer(data, record.slot)

    def validator(self, question: Question) -> Answer:
        """One validator of a state."""
        record = self._record(question)
        validator_id = question.parameters["validator_id"]
        rows = self._rows(record, as_ids([validator_id]))
        if len(rows) == 0:
            raise RefusalError(404, f"Validator not found: {validator_id}")
        epoch = self._parameters.epoch_of(record.slot)
        data = validator_rows(record, epoch, self._view.pubkeys, rows)
        return self._view.answer(data[0], record.slot)

    def validator_balances(self, question: Question) -> Answer:
        """Balances of a state, all or by ids (GET parameters or POST body)."""
        record = self._record(question)
        rows = self._rows(record, _listed_ids(question))
        balances = record.column("balance")[rows]
        data = [
            {"index": str(index), "balance": str(balance)}
            for index, balance in zip(rows.tolist(), balances.tolist(), strict=True)
        ]
        return self._view.answer(data, record.slot)

    def validator_identities(self, question: Question) -> Answer:
        """Index, public key and activation epoch of validators."""
        record = self._record(question)
        rows = self._rows(record, _listed_ids(question))
        keys = self._view.pubkeys(len(record))
        activation = record.column("activation_epoch")
        data = [
            {
                "index": str(index),
                "pubkey": keys[index],
                "activation_epoch": epoch_text(int(activation[index])),
            }
            for index in rows.tolist()
        ]
        return self._view.answer(data, record.slot)

    def committees(self, question: Question) -> Answer:
        """Committees of an epoch around the state's, all or of one slot or index."""
        record = self._record(question)
        state_epoch = self._parameters.epoch_of(record.slot)
        epoch = question.query_integer("epoch")
        shuffling = self._shuffling(record, state_epoch if epoch is None else epoch)
        slot, index = question.query_integer("slot"), question.query_integer("index")
        first, per_slot = (
            self._parameters.first_slot(shuffling.epoch),
            shuffling.committees_per_slot,
        )
        data = [
            {
                "index": str(number % per_slot),
                "slot": str(first + number // per_slot),
                "validators": list(map(str, shuffling.committee(number).tolist())),
            }
            for number in range(len(shuffling.bounds) - 1)
            if slot in (None, first + number // per_slot) and index in (None, number % per_slot)
        ]
        return self._view.answer(data, record.slot)

    def sync_committees(self, question: Question) -> Answer:
        """The sync committee of an epoch in the state's period or the next one."""
        record = self._record(question)
        state_epoch = self._parameters.epoch_of(record.slot)
        epoch = question.query_integer("epoch")
        seats = sync_committee(
            record,
            state_epoch,
            state_epoch if epoch is None else epoch,
            self._parameters.epochs_per_sync_committee_period,
        )
        texts = list(map(str, seats.tolist()))
        quarter = len(texts) // 4
        aggregates = [texts[at : at + quarter] for at in range(0, len(texts), quarter)]
        data = {"validators": texts, "validator_aggregates": aggregates}
        return self._view.answer(data, record.slot)

    def finality_checkpoints(self, question: Question) -> Answer:
        """Finality checkpoints; of the head: what the node considers final now."""
        is_head = question.parameters["state_id"] == "head"
        record = self._view.head if is_head else self._record(question)
        data = {
            name: block_json.checkpoint(getattr(record, name))
            for name in ("previous_justified", "current_justified", "finalized")
        }
        return self._view.answer(data, record.slot)

    def fork(self, question: Question) -> Answer:
        """The fork of a state."""
        record = self._record(question)
        fork = self._parameters.fork_at(self._parameters.epoch_of(record.slot))
        config = self._view.simulation.config
        data = {
            "previous_version": config[f"{Fork(fork - 1).name}_FORK_VERSION"],
            "current_version": config[f"{fork.name}_FORK_VERSION"],
            "epoch": config[f"{fork.name}_FORK_EPOCH"],
        }
        return self._view.answer(data, record.slot)

    def root(self, question: Question) -> Answer:
        """The root of a state."""
        record = self._record(question)
        return self._view.answer({"root": record.state_root}, record.slot)

    def randao(self, question: Question) -> Answer:
        """The randomness of a state."""
        record = self._record(question)
        randao = self._view.simulation.entropy.hex(32, "randao", record.head.root)
        return self._view.answer({"randao": randao}, record.slot)

    def pending_deposits(self, question: Question) -> Answer:
        """The deposit queue, since Electra."""
        record = self._record_since(question, Fork.ELECTRA)
        return self._queue(
            record,
            [
                {
                    "pubkey": "0x" + entry.pubkey.hex(),
                    "withdrawal_credentials": "0x" + entry.withdrawal_credentials.hex(),
                    "amount": str(entry.amount),
                    "signature": entry.signature,
                    "slot": str(entry.slot),
                }
                for entry in record.pending_deposits
            ],
        )

    def pending_partial_withdrawals(self, question: Question) -> Answer:
        """The queue of requested withdrawals, since Electra."""
        record = self._record_since(question, Fork.ELECTRA)
        return self._queue(
            record,
            [
                {
                    "validator_index": str(entry.validator_index),
                    "amount": str(entry.amount),
                    "withdrawable_epoch": str(entry.withdrawable_epoch),
                }
                for entry in record.pending_partial_withdrawals
            ],
        )

    def pending_consolidations(self, question: Question) -> Answer:
        """The queue of consolidations, since Electra."""
        record = self._record_since(question, Fork.ELECTRA)
        return self._queue(
            record,
            [
                {"source_index": str(entry.source_index), "target_index": str(entry.target_index)}
                for entry in record.pending_consolidations
            ],
        )

    def proposer_lookahead(self, question: Question) -> Answer:
        """The proposers of the state's epoch and the next one, since Fulu."""
        record = self._record_since(question, Fork.FULU)
        epoch = self._parameters.epoch_of(record.slot)
        proposers = np.concatenate([record.proposers[epoch], record.proposers[epoch + 1]])
        return self._queue(record, list(map(str, proposers.tolist())))

    def debug_state(self, question: Question) -> Answer:
        """The whole state in SSZ, of the first and last slots of epochs."""
        if "octet-stream" not in question.accept.lower():
            raise RefusalError(406, "The whole state is served as application/octet-stream only")
        record = self._record(question)
        try:
            content = encode_state(self._view.simulation, record, self._view.genesis_time)
        except StateNotKeptError as error:
            raise RefusalError(404, f"No state found for id '{record.slot}': {error}") from error
        fork = self._parameters.fork_at(self._parameters.epoch_of(record.slot))
        enveloped = self._view.answer(None, record.slot, version=fork.name.lower())
        headers = {**enveloped.headers, "content-type": "application/octet-stream"}
        return Answer(200, content, headers)

    def _record(self, question: Question) -> SlotRecord:
        return self._view.state(question.parameters["state_id"])

    def _record_since(self, question: Question, fork: Fork) -> SlotRecord:
        record = self._record(question)
        if self._parameters.fork_at(self._parameters.epoch_of(record.slot)) < fork:
            raise RefusalError(400, f"The state of slot {record.slot} is before {fork.name}")
        return record

    def _queue(self, record: SlotRecord, rows: Sequence[object]) -> Answer:
        fork = self._parameters.fork_at(self._parameters.epoch_of(record.slot))
        return self._view.answer(rows, record.slot, version=fork.name.lower())

    def _shuffling(self, record: SlotRecord, epoch: int) -> Shuffling:
        """Return the committees of an epoch around the state's, on the chain of the state."""
        state_epoch = self._parameters.epoch_of(record.slot)
        if epoch == state_epoch + 1:
            return record.next_shuffling
        if epoch == state_epoch:
            return record.shuffling
        before = self._view.record(self._parameters.first_slot(state_epoch) - 1)
        if epoch != state_epoch - 1 or before is None:
            raise RefusalError(500, "EPOCH_CONTEXT_ERROR_DECISION_ROOT_EPOCH_OUT_OF_RANGE")
        return before.shuffling

    def _rows(self, record: SlotRecord, ids: Iterable[str]) -> Int64Array:
        """Return the rows of the ids in the order asked for, unknown ones left out; [] is all."""
        wanted = list(ids)
        if not wanted:
            return np.arange(len(record))
        rows = [self._view.index(an_id) for an_id in dict.fromkeys(wanted)]
        return np.array([row for row in rows if row is not None and row < len(record)], np.int64)


def sync_committee(record: SlotRecord, state_epoch: int, epoch: int, length: int) -> Int64Array:
    """Return the seats of an epoch in a state's period (of ``length`` epochs) or the next one."""
    ahead = epoch // length - state_epoch // length
    if ahead not in (0, 1):
        raise RefusalError(500, "EPOCH_CONTEXT_ERROR_NO_SYNC_COMMITTEE")
    return record.next_sync_committee if ahead else record.current_sync_committee


def _listed_ids(question: Question) -> tuple[str, ...]:
    if question.method == "POST":
        return question.listed_ids()
    return as_ids(list(question.query_values.get("id", ())))


def _validator_filter(question: Question) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids and statuses asked for; none of them means all."""
    if question.method == "GET":
        return question.query_values.get("id", ()), question.query_values.get("status", ())
    body = question.json()
    if body is None:
        return (), ()
    if not isinstance(body, dict):
        raise RefusalError(400, " must be object")
    return as_ids(body.get("ids")), tuple(map(str, body.get("statuses") or ()))


def _has_status(status: str, wanted: tuple[str, ...]) -> bool:
    """Whether a status is one of those wanted, or belongs to a group of them such as ``active``."""
    return status in wanted or status.partition("_")[0] in wanted

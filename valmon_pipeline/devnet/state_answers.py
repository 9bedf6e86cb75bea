"""Answers about states: validators, balances, committees, finality."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from valmon_pipeline.devnet.answer import (
    Answer,
    NotRecordedError,
    RefusalError,
    enveloped,
    recorded_answer,
    with_body,
)
from valmon_pipeline.devnet.answerer import STATES_PATH, Answerer
from valmon_pipeline.devnet.chain_view import ChainView
from valmon_pipeline.devnet.question import Question, as_ids
from valmon_pipeline.devnet.rows import Rows


class StateAnswers(Answerer):
    """Answers to ``/eth/v1/beacon/states/{state_id}/…``, and whole states in SSZ.

    ``any_epoch`` gives committees and sync committees of any recorded epoch whatever the state:
    the limits are then those of a client profile, not the recorded client's.
    """

    def __init__(self, view: ChainView, *, any_epoch: bool = False) -> None:
        super().__init__(view)
        self._any_epoch = any_epoch

    def validators(self, question: Question) -> Answer:
        """Validators of a state, all or by ids and statuses (GET parameters or POST body)."""
        slot = self._slot(question)
        answer = self._exact(question, slot, "validators")
        if answer is None:
            ids, statuses = _validator_filter(question)
            rows = self.registry(slot)
            answer = rows.select(_chosen(rows, self.indices(ids) if ids else None, statuses))
        return self.as_of_now(slot, answer)

    def validator(self, question: Question) -> Answer:
        """One validator of a state."""
        slot = self._slot(question)
        rows = self.registry(slot)
        positions = rows.of_validators(self.indices(as_ids([question.parameters["validator_id"]])))
        if not positions:
            raise RefusalError(404, f"Validator not found: {question.parameters['validator_id']}")
        one = rows.select(positions)
        row = rows.raw[positions[0]]
        return self.as_of_now(slot, with_body(one, one.body.replace(b"[" + row + b"]", row, 1)))

    def validator_balances(self, question: Question) -> Answer:
        """Balances of a state, all or by ids (GET parameters or POST body)."""
        slot = self._slot(question)
        answer = self._exact(question, slot, "validator_balances")
        if answer is None:
            ids = _listed_ids(question)
            rows = self.recorded_rows(f"{STATES_PATH}/{slot}/validator_balances")
            answer = rows.select(rows.of_validators(self.indices(ids))) if ids else rows.answer
        return self.as_of_now(slot, answer)

    def validator_identities(self, question: Question) -> Answer:
        """Index, public key and activation epoch of validators, made from the registry's rows."""
        slot = self._slot(question)
        answer = self._exact(question, slot, "validator_identities")
        if answer is None:
            ids = _listed_ids(question)
            rows = self.registry(slot)
            chosen = _chosen(rows, self.indices(ids) if ids else None, ())
            answer = rows.replace(_identity(rows.raw[position]) for position in chosen)
        return self.as_of_now(slot, answer)

    def committees(self, question: Question) -> Answer:
        """Committees of an epoch around the state's, all or of one slot or index."""
        state_slot = self._slot(question)
        answer = self._exact(question, state_slot, "committees")
        if answer is None or (self._any_epoch and answer.status != 200):
            epoch, state_epoch = self._epochs(question, state_slot)
            if abs(epoch - state_epoch) > 1 and not self._any_epoch:
                raise RefusalError(500, "EPOCH_CONTEXT_ERROR_DECISION_ROOT_EPOCH_OUT_OF_RANGE")
            rows = Rows(self.of_any_epoch([epoch], "committees"))
            slot, index = question.query_integer("slot"), question.query_integer("index")
            answer = rows.select(
                position
                for position, row in enumerate(rows.fields)
                if (slot is None or row.slot == str(slot))
                and (index is None or row.index == str(index))
            )
        return self.as_of_now(state_slot, answer)

    def sync_committees(self, question: Question) -> Answer:
        """The sync committee of an epoch in the state's period or the next one."""
        state_slot = self._slot(question)
        answer = self._exact(question, state_slot, "sync_committees")
        if answer is None or (self._any_epoch and answer.status != 200):
            epoch, state_epoch = self._epochs(question, state_slot)
            length = self.recording.epochs_per_sync_committee_period
            period = epoch // length
            if period - state_epoch // length not in (0, 1) and not self._any_epoch:
                raise RefusalError(500, "EPOCH_CONTEXT_ERROR_NO_SYNC_COMMITTEE")
            answer = self.sync_committee_of(epoch)
        return self.as_of_now(state_slot, answer)

    def finality_checkpoints(self, question: Question) -> Answer:
        """Finality checkpoints; of the head: what the node considers final now."""
        slot = self._slot(question)
        answer = self._of_state_or_epoch(slot, "finality_checkpoints")
        if question.parameters["state_id"] != "head":
            return self.as_of_now(slot, answer)
        data = msgspec.json.encode(self.view.checkpoints())
        tail = b',"execution_optimistic":false,"finalized":false}'
        return self.as_of_now(slot, with_body(answer, b'{"data":' + data + tail))

    def fork(self, question: Question) -> Answer:
        """The fork of a state; it changes with the epoch only."""
        slot = self._slot(question)
        try:
            answer = self._of_state_or_epoch(slot, "fork")
        except NotRecordedError:
            answer = self._scheduled_fork(slot)
        return self.as_of_now(slot, answer)

    def root(self, question: Question) -> Answer:
        """The root of a state; known as well from the header of its block."""
        slot = self._slot(question)
        answer = self._exact(question, slot, "root")
        if answer is None:
            block = self.recording.blocks.get(slot)
            if block is None:
                raise NotRecordedError(question.path)
            answer = enveloped({"root": block.state_root})
        return self.as_of_now(slot, answer)

    def other(self, question: Question) -> Answer:
        """Anything else about a state, if exactly that was recorded."""
        slot = self._slot(question)
        answer = self._exact(question, slot, question.parameters["rest"])
        if answer is None:
            raise NotRecordedError(question.path)
        return self.as_of_now(slot, answer)

    def debug_state(self, question: Question) -> Answer:
        """The whole state in SSZ, of slots whose state was recorded."""
        slot = self._slot(question)
        state = self.recording.states.at(slot)
        if state is None:
            raise NotRecordedError(question.path)
        if "octet-stream" not in question.accept.lower() and "*/*" not in question.accept:
            raise RefusalError(406, "Recorded states are served as application/octet-stream only")
        headers = {
            "content-type": "application/octet-stream",
            "eth-consensus-version": state.version,
            "eth-consensus-finalized": "true",
            "eth-execution-optimistic": "false",
        }
        return self.as_of_now(slot, Answer(200, state.content(), headers))

    def _of_state_or_epoch(self, slot: int, name: str) -> Answer:
        """Return what changes at the start of an epoch only, recorded for its first state.

        Falls back to the first state when the one at ``slot`` was refused, too.
        """
        first = slot // self.recording.slots_per_epoch * self.recording.slots_per_epoch
        paths = [f"{STATES_PATH}/{known}/{name}" for known in (slot, first)]
        answers = [
            recorded_answer(exchange)
            for exchange in (self.recording.best("GET", path) for path in paths)
            if exchange is not None
        ]
        if not answers:
            raise NotRecordedError(paths[0])
        return next((answer for answer in answers if answer.status == 200), answers[0])

    def _scheduled_fork(self, slot: int) -> Answer:
        epoch = slot // self.recording.slots_per_epoch
        begun = [fork for fork in self.recording.fork_schedule if int(fork["epoch"]) <= epoch]
        if not begun:
            raise NotRecordedError(f"{STATES_PATH}/{slot}/fork")
        return enveloped(begun[-1])

    def _slot(self, question: Question) -> int:
        return self.view.state_slot(question.parameters["state_id"])

    def _exact(self, question: Question, slot: int, name: str) -> Answer | None:
        return self.exact(question, f"{STATES_PATH}/{slot}/{name}")

    def _epochs(self, question: Question, state_slot: int) -> tuple[int, int]:
        """Return the epoch asked for (the state's by default) and the state's."""
        state_epoch = state_slot // self.recording.slots_per_epoch
        epoch = question.query_integer("epoch")
        return state_epoch if epoch is None else epoch, state_epoch


class _Validator(msgspec.Struct):
    pubkey: str
    activation_epoch: str


class _RegistryRow(msgspec.Struct):
    index: str
    validator: _Validator


_row_decoder = msgspec.json.Decoder(_RegistryRow)


def _identity(raw: bytes) -> bytes:
    row = _row_decoder.decode(raw)
    return msgspec.json.encode(
        {
            "index": row.index,
            "pubkey": row.validator.pubkey,
            "activation_epoch": row.validator.activation_epoch,
        }
    )


def _listed_ids(question: Question) -> tuple[str, ...]:
    if question.method == "POST":
        return question.listed_ids()
    return as_ids(list(question.query_values.get("id", ())))


def _validator_filter(question: Question) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids and statuses asked for; none of them means all."""
    if question.method == "GET":
        # The recorded client leaves out an id it cannot read instead of refusing the request.
        return question.query_values.get("id", ()), question.query_values.get("status", ())
    body = question.json()
    if body is None:
        return (), ()
    if not isinstance(body, dict):
        raise RefusalError(400, " must be object")
    statuses = body.get("statuses") or ()
    return as_ids(body.get("ids")), tuple(map(str, statuses))


def _chosen(rows: Rows, indices: list[str] | None, statuses: tuple[str, ...]) -> Iterable[int]:
    positions = range(len(rows.raw)) if indices is None else rows.of_validators(indices)
    if not statuses:
        return positions
    return [
        position
        for position in positions
        if _has_status(rows.fields[position].status or "", statuses)
    ]


def _has_status(status: str, wanted: tuple[str, ...]) -> bool:
    """Whether a status is one of those wanted, or belongs to a group of them such as ``active``."""
    return status in wanted or status.partition("_")[0] in wanted

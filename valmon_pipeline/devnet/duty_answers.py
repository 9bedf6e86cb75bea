"""Answers about duties and liveness, whole or for some validators.

The recorded client refuses duties of past epochs. The replay node answers with what was recorded
while the epoch was current, as clients do that keep the history.
"""

from __future__ import annotations

from typing import Final

import msgspec

from valmon_pipeline.devnet.answer import (
    Answer,
    NotRecordedError,
    RefusalError,
    json_answer,
    recorded_answer,
)
from valmon_pipeline.devnet.answerer import Answerer
from valmon_pipeline.devnet.question import Question, natural
from valmon_pipeline.devnet.rows import Rows

_VALIDATOR: Final = "/eth/v1/validator"
_DEPENDENT_ROOT: Final = "eth-consensus-dependent-root"
_OK: Final = 200


class _Seats(msgspec.Struct):
    validators: list[str]


class _SyncCommittee(msgspec.Struct):
    data: _Seats


class DutyAnswers(Answerer):
    """Answers to ``/eth/v1/validator/duties/…`` and ``/eth/v1/validator/liveness/…``."""

    def proposer(self, question: Question) -> Answer:
        """Proposers of an epoch's slots."""
        epoch = self._epoch(question)
        return self.recorded(f"{_VALIDATOR}/duties/proposer/{epoch}")

    def proposer_since_fulu(self, question: Question) -> Answer:
        """Proposers of an epoch's slots in version 2, from those of version 1 if not recorded.

        The proposers are the same. The block they depend on is the last one of the epoch before,
        or, once the lookahead of Fulu has an epoch behind it, that of the epoch before that one.
        """
        epoch = self._epoch(question)
        answer = self.exact(question, question.path)
        if answer is not None and answer.status == _OK:
            return answer
        answer = self.recorded(f"{_VALIDATOR}/duties/proposer/{epoch}")
        if answer.status != _OK:
            return answer
        fulu = str(self.recording.spec.get("FULU_FORK_EPOCH", ""))
        decided = epoch - 1 if fulu.isdigit() and epoch > int(fulu) else epoch
        last_slot = max(0, decided * self.recording.slots_per_epoch - 1)
        block = self.recording.block_at_or_before(last_slot)
        if block is None:
            raise NotRecordedError(question.path)
        value = msgspec.json.decode(answer.body, type=dict[str, msgspec.Raw])
        value["dependent_root"] = msgspec.Raw(msgspec.json.encode(block.root))
        headers = {**answer.headers, _DEPENDENT_ROOT: block.root}
        return Answer(_OK, msgspec.json.encode(value), headers)

    def attester(self, question: Question) -> Answer:
        """Attestation duties of the validators in the body."""
        return self._for_validators(_at_least_one(question), "duties/attester")

    def sync(self, question: Question) -> Answer:
        """Sync committee duties of those validators in the body that have any.

        From the recorded sync committee where the duties themselves were not recorded.
        """
        try:
            return self._for_validators(_at_least_one(question), "duties/sync")
        except NotRecordedError:
            return self._seats(self._epoch(question), self.indices(question.listed_ids()))

    def liveness(self, question: Question) -> Answer:
        """Whether the node has seen the validators in the body."""
        return self._for_validators(question, "liveness")

    def _epoch(self, question: Question) -> int:
        epoch = natural(question.parameters["epoch"], "epoch")
        if epoch > self.view.head_epoch + 1:
            raise RefusalError(
                400, f"Requested epoch {epoch} must not be more than one epoch in the future"
            )
        return epoch

    def _seats(self, epoch: int, indices: list[str]) -> Answer:
        committee = msgspec.json.decode(self.sync_committee_of(epoch).body, type=_SyncCommittee)
        seats: dict[str, list[str]] = {}
        for seat, index in enumerate(committee.data.validators):
            seats.setdefault(index, []).append(str(seat))
        keys = {index: key for key, index in self.recording.validator_indices.items()}
        rows = [
            {
                "pubkey": keys.get(index, ""),
                "validator_index": index,
                "validator_sync_committee_indices": seats[index],
            }
            for index in indices
            if index in seats
        ]
        return json_answer({"data": rows, "execution_optimistic": False})

    def _for_validators(self, question: Question, name: str) -> Answer:
        path = f"{_VALIDATOR}/{name}/{self._epoch(question)}"
        ids = question.listed_ids()
        whole = self.recording.largest("POST", path)
        if whole is None:
            raise NotRecordedError(path)
        rows = Rows(recorded_answer(whole))
        return rows.select(rows.of_validators(self.indices(ids)))


def _at_least_one(question: Question) -> Question:
    if not question.listed_ids():
        raise RefusalError(400, "The body must list at least one validator index")
    return question

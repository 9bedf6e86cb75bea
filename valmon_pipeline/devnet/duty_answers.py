"""Answers about duties and liveness, whole or for some validators.

The recorded client refuses duties of past epochs. The replay node answers with what was recorded
while the epoch was current, as clients do that keep the history.
"""

from __future__ import annotations

from valmon_pipeline.devnet.answer import Answer, RefusalError, recorded_answer
from valmon_pipeline.devnet.answerer import Answerer, not_recorded
from valmon_pipeline.devnet.question import Question, natural
from valmon_pipeline.devnet.rows import Rows

_VALIDATOR = "/eth/v1/validator"


class DutyAnswers(Answerer):
    """Answers to ``/eth/v1/validator/duties/…`` and ``/eth/v1/validator/liveness/…``."""

    def proposer(self, question: Question) -> Answer:
        """Proposers of an epoch's slots."""
        epoch = self._epoch(question)
        return self.recorded(f"{_VALIDATOR}/duties/proposer/{epoch}")

    def attester(self, question: Question) -> Answer:
        """Attestation duties of the validators in the body."""
        return self._for_validators(_at_least_one(question), "duties/attester")

    def sync(self, question: Question) -> Answer:
        """Sync committee duties of those validators in the body that have any."""
        return self._for_validators(_at_least_one(question), "duties/sync")

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

    def _for_validators(self, question: Question, name: str) -> Answer:
        path = f"{_VALIDATOR}/{name}/{self._epoch(question)}"
        ids = question.listed_ids()
        whole = self.recording.largest("POST", path)
        if whole is None:
            raise not_recorded(path)
        rows = Rows(recorded_answer(whole))
        return rows.select(rows.of_validators(self.indices(ids)))


def _at_least_one(question: Question) -> Question:
    if not question.listed_ids():
        raise RefusalError(400, "The body must list at least one validator index")
    return question

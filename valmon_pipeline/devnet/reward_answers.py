"""Answers about rewards, whole or for some validators."""

from __future__ import annotations

from valmon_pipeline.devnet.answer import Answer, NotRecordedError, RefusalError, recorded_answer
from valmon_pipeline.devnet.answerer import Answerer
from valmon_pipeline.devnet.question import Question, natural
from valmon_pipeline.devnet.rows import Rows

_ATTESTATION_REWARDS = "/eth/v1/beacon/rewards/attestations"
_SYNC_REWARDS = "/eth/v1/beacon/rewards/sync_committee"
# Everybody's rewards were recorded by asking for nobody in particular.
_EVERYBODY = b"[]"


class RewardAnswers(Answerer):
    """Answers to ``/eth/v1/beacon/rewards/…`` that take a list of validators."""

    def attestations(self, question: Question) -> Answer:
        """Attestation rewards of a target epoch; there once the epoch after it is over."""
        epoch = natural(question.parameters["epoch"], "epoch")
        last_slot = (epoch + 2) * self.recording.slots_per_epoch - 1
        if self.view.clock.is_live and last_slot > self.view.head_slot:
            raise RefusalError(404, f"State is unavailable for slot {last_slot}")
        path = f"{_ATTESTATION_REWARDS}/{epoch}"
        return self.as_of_now(last_slot, self._subset(question, path, ("data", "total_rewards")))

    def sync_committee(self, question: Question) -> Answer:
        """Sync committee rewards of a block."""
        block = self.view.block(question.parameters["block_id"])
        block_id = block.root if block.is_orphan else block.slot
        return self.as_of_now(
            block.slot,
            self._subset(question, f"{_SYNC_REWARDS}/{block_id}", ("data",), block.phases),
        )

    def _subset(
        self,
        question: Question,
        path: str,
        keys: tuple[str, ...],
        phases: frozenset[str] | None = None,
    ) -> Answer:
        exact = self.exact(question, path, phases=phases)
        if exact is not None:
            return exact
        ids = question.listed_ids()
        whole = self.recording.best("POST", path, "", _EVERYBODY, phases=phases)
        if whole is None:
            raise NotRecordedError(path)
        answer = recorded_answer(whole)
        if answer.status != 200 or not ids:
            return answer
        rows = Rows(answer, keys)
        wanted = set(self.indices(ids))
        return rows.select(
            position for position, row in enumerate(rows.fields) if row.validator_index in wanted
        )

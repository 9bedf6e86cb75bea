"""What all groups of answers share: recorded answers, as they read at the clock's slot."""

from __future__ import annotations

from collections.abc import Iterable

from valmon_pipeline.devnet.answer import (
    Answer,
    NotRecordedError,
    RefusalError,
    as_finalized,
    as_not_finalized,
    recorded_answer,
)
from valmon_pipeline.devnet.chain_view import ChainView
from valmon_pipeline.devnet.question import Question
from valmon_pipeline.devnet.rows import Rows

STATES_PATH = "/eth/v1/beacon/states"


class Answerer:
    """Base of the groups of answers; looks things up in the recording."""

    def __init__(self, view: ChainView) -> None:
        self.view = view
        self.recording = view.recording

    def exact(
        self, question: Question, path: str, *, phases: frozenset[str] | None = None
    ) -> Answer | None:
        """Return what was recorded for this method, query and body at ``path``, or None."""
        exchange = self.recording.best(
            question.method, path, question.query, question.body, phases=phases
        )
        return None if exchange is None else recorded_answer(exchange)

    def recorded(self, *paths: str) -> Answer:
        """Return the recorded answer to a plain GET of the first of ``paths`` that has one.

        Refuses with 404 when none was recorded.
        """
        for path in paths:
            exchange = self.recording.best("GET", path)
            if exchange is not None:
                return recorded_answer(exchange)
        raise NotRecordedError(paths[0])

    def recorded_rows(self, path: str) -> Rows:
        """Return the rows of the recorded answer to a plain GET; refuses what the node refused."""
        answer = self.recorded(path)
        if answer.status != 200:
            raise RefusalError(answer.status, f"The recorded node refused GET {path}")
        return Rows(answer)

    def as_of_now(self, slot: int, answer: Answer) -> Answer:
        """Return an answer about ``slot`` with the finality it has at the clock's slot."""
        if not self.view.is_finalized(slot):
            return as_not_finalized(answer)
        return answer if self.recording.has_history else as_finalized(answer)

    def registry(self, slot: int) -> Rows:
        """Return the validators of the state at ``slot``.

        Registries are recorded for the first slot of an epoch, balances for every slot. Within an
        epoch the registry is the epoch's first with the balances of ``slot``; what a block changed
        since (a slashing, an exit) shows at the next epoch only.

        Where the balances of ``slot`` were not recorded, the epoch's first registry stands for the
        head alone (its life cycle is right, its balances are those of the epoch's start), and for
        slots before the epoch's next block. Other slots are refused: they would be invented.
        """
        spe = self.recording.slots_per_epoch
        for candidate in range(slot, slot // spe * spe - 1, -1):
            exchange = self.recording.best("GET", f"{STATES_PATH}/{candidate}/validators")
            if exchange is not None and exchange.status == 200:
                rows = Rows(recorded_answer(exchange))
                if candidate == slot or self._has_no_block(candidate + 1, slot):
                    return rows
                return self._with_balances_of(slot, rows)
        if slot == 0:
            return self.recorded_rows(f"{STATES_PATH}/genesis/validators")
        raise NotRecordedError(f"{STATES_PATH}/{slot}/validators")

    def indices(self, ids: Iterable[str]) -> list[str]:
        """Return validator indices for indices and public keys; unknown keys are left out."""
        return [
            index
            for index in (
                self.recording.validator_indices.get(an_id) if an_id.startswith("0x") else an_id
                for an_id in ids
            )
            if index is not None
        ]

    def sync_committee_of(self, epoch: int) -> Answer:
        """Return the recorded sync committee of an epoch: that of any epoch of its period."""
        length = self.recording.epochs_per_sync_committee_period
        first = epoch // length * length
        return self.of_any_epoch(range(first, first + length), "sync_committees")

    def of_any_epoch(self, epochs: Iterable[int], name: str) -> Answer:
        """Return what was recorded about an epoch, asked of its first state or the one before.

        Or of the head, while it was there: what is said of an epoch does not depend on the state.
        """
        spe = self.recording.slots_per_epoch
        for epoch in epochs:
            for state_id in (epoch * spe, (epoch - 1) * spe, "head"):
                path = f"{STATES_PATH}/{state_id}/{name}"
                answer = self.exact(Question("GET", path, f"epoch={epoch}"), path)
                if answer is not None and answer.status == 200:
                    return answer
        raise NotRecordedError(f"{name} of the epoch")

    def _has_no_block(self, first: int, last: int) -> bool:
        return not any(slot in self.recording.blocks for slot in range(first, last + 1))

    def _with_balances_of(self, slot: int, registry: Rows) -> Rows:
        balances = self.recording.best("GET", f"{STATES_PATH}/{slot}/validator_balances")
        if balances is None or balances.status != 200:
            if slot == self.view.head_state_slot or self.recording.has_history:
                return registry
            raise NotRecordedError(f"{STATES_PATH}/{slot}/validators")
        by_index = {
            row.index: row.balance for row in Rows(recorded_answer(balances)).fields if row.balance
        }
        return Rows(
            registry.replace(
                _with_balance(raw, row.balance, by_index.get(row.index))
                for raw, row in zip(registry.raw, registry.fields, strict=True)
            )
        )


def _with_balance(raw: bytes, old: str | None, new: str | None) -> bytes:
    if old is None or new is None:
        return raw
    return raw.replace(b'"balance":"%s"' % old.encode(), b'"balance":"%s"' % new.encode(), 1)

"""Answers about blocks, their headers and what they paid."""

from __future__ import annotations

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.answer import Answer, RefusalError
from valmon_pipeline.devnet.question import Question, natural
from valmon_pipeline.devnet.simulator import block_json
from valmon_pipeline.devnet.simulator.blocks import SimulatedBlock
from valmon_pipeline.devnet.simulator.node_view import NodeView


class BlockAnswers:
    """Answers to everything that is asked by a block id."""

    def __init__(self, view: NodeView) -> None:
        self._view = view
        self._entropy = view.simulation.entropy
        self._parameters = view.simulation.parameters

    def header(self, question: Question) -> Answer:
        """The header of a block."""
        block = self._block(question)
        return self._view.answer(self._header(block), block.slot)

    def headers(self, question: Question) -> Answer:
        """The header of a slot or of a block's children, as a list; without either, the head's.

        A slot without a block has none: an empty list.
        """
        parent, slot = question.query_value("parent_root"), question.query_value("slot")
        if parent is not None:
            blocks = self._view.children(parent.lower())
        elif slot is not None:
            record = self._view.record(natural(slot, "slot"))
            blocks = [record.block] if record is not None and record.block is not None else []
        else:
            blocks = [self._view.block("head")]
        newest = max((block.slot for block in blocks), default=self._view.head.slot)
        return self._view.answer([self._header(block) for block in blocks], newest)

    def root(self, question: Question) -> Answer:
        """The root of a block."""
        block = self._block(question)
        return self._view.answer({"root": block.root}, block.slot)

    def block(self, question: Question) -> Answer:
        """A signed block with its whole body."""
        block = self._block(question)
        data = block_json.signed_block(
            self._parameters, self._entropy, block, genesis_time=self._view.genesis_time
        )
        return self._view.answer(data, block.slot, version=block.fork.name.lower())

    def blinded_block(self, question: Question) -> Answer:
        """A signed block with the header of its payload."""
        block = self._block(question)
        data = block_json.blinded_block(
            self._parameters, self._entropy, block, genesis_time=self._view.genesis_time
        )
        return self._view.answer(data, block.slot, version=block.fork.name.lower())

    def attestations(self, question: Question) -> Answer:
        """The attestations of a block, in its fork's form."""
        block = self._block(question)
        data = block_json.attestations(self._entropy, block)
        return self._view.answer(data, block.slot, version=block.fork.name.lower())

    def attestations_before_electra(self, question: Question) -> Answer:
        """The attestations of a block by the old version of the endpoint."""
        block = self._block(question)
        if block.fork >= Fork.ELECTRA:
            raise RefusalError(400, f"Use v2: the block of slot {block.slot} is of Electra")
        return self._view.answer(block_json.attestations(self._entropy, block), block.slot)

    def rewards(self, question: Question) -> Answer:
        """What a block paid its proposer."""
        block = self._block(question)
        paid = block.proposer_rewards
        data = {
            "proposer_index": str(block.proposer_index),
            "total": str(paid.total),
            "attestations": str(paid.attestations),
            "sync_aggregate": str(paid.sync_aggregate),
            "proposer_slashings": str(paid.proposer_slashings),
            "attester_slashings": str(paid.attester_slashings),
        }
        return self._view.answer(data, block.slot)

    def sync_committee_rewards(self, question: Question) -> Answer:
        """What the sync committee earned in a block, one row per member; [] is all of them."""
        block = self._block(question)
        earned = block.sync_rewards()
        ids = question.listed_ids()
        members = earned.keys() if not ids else [self._view.index(an_id) for an_id in ids]
        data = [
            {"validator_index": str(index), "reward": str(earned[index])}
            for index in dict.fromkeys(members)
            if index is not None and index in earned
        ]
        return self._view.answer(data, block.slot)

    def _block(self, question: Question) -> SimulatedBlock:
        return self._view.block(question.parameters["block_id"])

    def _header(self, block: SimulatedBlock) -> block_json.Json:
        canonical = self._view.is_canonical(block)
        return block_json.header(self._entropy, block, canonical=canonical)

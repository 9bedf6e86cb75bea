"""Answers about blocks and their headers."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from valmon_pipeline.devnet.answer import (
    Answer,
    NotRecordedError,
    RefusalError,
    enveloped,
    with_body,
)
from valmon_pipeline.devnet.answerer import Answerer
from valmon_pipeline.devnet.chain_view import BlockReference
from valmon_pipeline.devnet.question import Question, natural
from valmon_pipeline.devnet.recording import HEADERS_PATH


class BlockAnswers(Answerer):
    """Answers to everything that is asked by a block id."""

    def by_block_id(self, question: Question) -> Answer:
        """What was recorded for the block, asked for by its slot or by its root."""
        block_id = question.parameters["block_id"]
        block = self.view.block(block_id)
        ids = [str(block.slot)]
        if block.root is not None:
            ids = [block.root] if block.is_orphan else [*ids, block.root]
        if block.slot == 0:
            ids.append("genesis")
        paths = [_with_segment(question.path, block_id, known_id) for known_id in ids]
        for path in paths:
            answer = self.exact(question, path, phases=block.phases)
            if answer is not None:
                return self.as_of_now(block.slot, answer)
        if block.root is None:
            raise RefusalError(404, f"No block found for id '{block_id}'")
        return self.as_of_now(block.slot, self._derived(question, block))

    def _derived(self, question: Question, block: BlockReference) -> Answer:
        """Return what was not recorded itself, but follows from the recorded block."""
        kind = _DERIVED.fullmatch(question.path)
        if kind is None:
            raise NotRecordedError(question.path)
        if kind["root"]:
            return enveloped({"root": block.root})
        ids = [str(block.slot), block.root]
        paths = [f"/eth/v2/beacon/blocks/{known_id}" for known_id in ids]
        asked = (self.recording.best("GET", path, phases=block.phases) for path in paths)
        whole = next((found for found in asked if found is not None and found.status == 200), None)
        if whole is None:
            raise NotRecordedError(question.path)
        signed = msgspec.json.decode(whole.content, type=_BlockAnswer)
        if kind["attestations"]:
            return enveloped(signed.data["message"]["body"]["attestations"], version=signed.version)
        return enveloped(_blinded(signed.data), version=signed.version)

    def headers(self, question: Question) -> Answer:
        """The header of a slot or of the child of a block, as a list; without either, the head's.

        In live mode a block that is reorged away later is listed while its slot lasts.
        """
        parent = question.query_value("parent_root")
        slot_text = question.query_value("slot")
        if parent is not None:
            ids = self._children(parent.lower())
        elif slot_text is not None:
            ids = [str(natural(slot_text, "slot"))]
        else:
            ids = ["head"]
        found = [header for header in map(self._header, ids) if header is not None]
        template = self.recorded(f"{HEADERS_PATH}/{self.recording.slots.start}")
        rows = b",".join(_data(header.body) for header in found)
        tail = b',"execution_optimistic":false,"finalized":false}'
        return with_body(
            Answer(200, b"", {**template.headers, "eth-consensus-finalized": "false"}),
            b'{"data":[' + rows + b"]" + tail,
        )

    def _children(self, parent_root: str) -> list[str]:
        return [
            block.root
            for block in self.recording.blocks.values()
            if block.parent_root == parent_root and block.slot <= self.view.head_slot
        ]

    def _header(self, block_id: str) -> Answer | None:
        path = f"{HEADERS_PATH}/{block_id}"
        try:
            answer = self.by_block_id(Question("GET", path, parameters={"block_id": block_id}))
        except RefusalError:
            return None
        return answer if answer.status == 200 else None


class _BlockAnswer(msgspec.Struct):
    version: str
    data: dict[str, Any]


_DERIVED: Final = re.compile(
    r"(?P<root>/eth/v1/beacon/blocks/[^/]+/root)"
    r"|(?P<attestations>/eth/v2/beacon/blocks/[^/]+/attestations)"
    r"|/eth/v1/beacon/blinded_blocks/[^/]+"
)
_LISTS: Final = ("transactions", "withdrawals")
# Roots of the lists would need hash tree roots; nothing that asks for blinded blocks reads them.
_UNKNOWN_ROOT: Final = "0x" + "00" * 32


def _blinded(signed: dict[str, Any]) -> dict[str, Any]:
    """Return the signed block with the payload's header: its lists are gone, their roots zero."""
    message = signed["message"]
    body = dict(message["body"])
    payload = body.pop("execution_payload")
    header = {name: value for name, value in payload.items() if name not in _LISTS}
    header |= {f"{name}_root": _UNKNOWN_ROOT for name in _LISTS if name in payload}
    body["execution_payload_header"] = header
    return {**signed, "message": {**message, "body": body}}


def _with_segment(path: str, old: str, new: str) -> str:
    """Return the path with one of its segments exchanged."""
    return "/".join(new if segment == old else segment for segment in path.split("/"))


def _data(body: bytes) -> bytes:
    return bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["data"])

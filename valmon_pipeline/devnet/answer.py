"""What the replay node answers: status, body and headers of one HTTP response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from valmon_pipeline.beacon.archive import Exchange

_JSON: Final = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response, ready to be sent."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ssz(self) -> bool:
        """Whether the body is SSZ, which not everybody accepts."""
        return self.headers.get("content-type", "").lower().startswith("application/octet-stream")


class RefusalError(Exception):
    """The node refuses a request; becomes an error object of the beacon API."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def answer(self) -> Answer:
        """Return the refusal in the form of the beacon API."""
        return json_answer({"code": self.status, "message": self.message}, status=self.status)


def json_answer(value: object, *, status: int = 200) -> Answer:
    """Return an answer made by the replay node itself."""
    return Answer(status, msgspec.json.encode(value), {"content-type": _JSON})


def recorded_answer(exchange: Exchange) -> Answer:
    """Return a recorded answer, its body byte for byte and its headers about the content."""
    headers = {
        name: value
        for name, value in exchange.headers.items()
        if name == "content-type" or name.startswith("eth-")
    }
    return Answer(exchange.status, exchange.content, headers)


def with_body(answer: Answer, body: bytes) -> Answer:
    """Return the same answer with another body."""
    return Answer(answer.status, body, answer.headers)


def as_not_finalized(answer: Answer) -> Answer:
    """Return the answer as it read before its slot was finalized.

    Recordings hold history as asked after finality; while a replayed chain is live the same facts
    are not final yet. Only JSON says so in the body.
    """
    body = answer.body
    if not answer.is_ssz:
        head, key, tail = body.rpartition(b'"finalized":true')
        body = head + b'"finalized":false' + tail if key else body
    headers = dict(answer.headers)
    if "eth-consensus-finalized" in headers:
        headers["eth-consensus-finalized"] = "false"
    return Answer(answer.status, body, headers)

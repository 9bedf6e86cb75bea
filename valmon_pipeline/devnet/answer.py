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


class NotRecordedError(RefusalError):
    """A node would have the answer, but the recording has not."""

    def __init__(self, what: str) -> None:
        super().__init__(404, f"Not in the recording: {what}")


def json_answer(value: object, *, status: int = 200) -> Answer:
    """Return an answer made by the replay node itself."""
    return Answer(status, msgspec.json.encode(value), {"content-type": _JSON})


def enveloped(data: object, *, version: str | None = None) -> Answer:
    """Return data in the envelope of final states and blocks, made from what was recorded."""
    value = {"data": data, "execution_optimistic": False, "finalized": True}
    headers = {"eth-execution-optimistic": "false", "eth-consensus-finalized": "true"}
    if version is not None:
        value = {"version": version, **value}
        headers["eth-consensus-version"] = version
    answer = json_answer(value)
    return Answer(answer.status, answer.body, {**answer.headers, **headers})


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
    return _with_finality(answer, b"true", b"false")


def as_finalized(answer: Answer) -> Answer:
    """Return the answer as it reads once its slot is finalized; it was recorded before."""
    return _with_finality(answer, b"false", b"true")


def _with_finality(answer: Answer, old: bytes, new: bytes) -> Answer:
    body = answer.body
    if not answer.is_ssz:
        head, key, tail = body.rpartition(b'"finalized":' + old)
        body = head + b'"finalized":' + new + tail if key else body
    headers = dict(answer.headers)
    if "eth-consensus-finalized" in headers:
        headers["eth-consensus-finalized"] = new.decode()
    return Answer(answer.status, body, headers)

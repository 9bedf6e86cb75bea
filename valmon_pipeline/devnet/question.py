"""One request to the replay node, and the identifiers in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote_plus

import msgspec

from valmon_pipeline.devnet.answer import Answer, RefusalError


@dataclass(frozen=True)
class Question:
    """Method, path, raw query, body and path parameters of a request."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    content_type: str = ""
    accept: str = "*/*"
    parameters: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def query_values(self) -> Mapping[str, tuple[str, ...]]:
        """The query's values by name.

        Like the recorded client: a comma separates values, an encoded comma is part of a value.
        """
        values: dict[str, tuple[str, ...]] = {}
        for pair in filter(None, self.query.split("&")):
            name, _, text = pair.partition("=")
            decoded = tuple(unquote_plus(value) for value in text.split(","))
            values[unquote_plus(name)] = values.get(unquote_plus(name), ()) + decoded
        return values

    def query_value(self, name: str) -> str | None:
        """Return the last value of a parameter, or None."""
        values = self.query_values.get(name)
        return values[-1] if values else None

    def query_integer(self, name: str) -> int | None:
        """Return a parameter as a non-negative integer; refuses anything else with 400."""
        value = self.query_value(name)
        return None if value is None else natural(value, name)

    def refuse_other_formats(self) -> None:
        """Refuse what is not JSON: 415 for the request's body, 406 for the answer's."""
        if self.body and self.content_type and "json" not in self.content_type.lower():
            raise RefusalError(415, f"Unsupported media type: {self.content_type}")
        self._require_accepted("json")

    def refuse_unaccepted(self, answer: Answer) -> None:
        """Refuse an answer that was recorded in SSZ to whoever does not accept that."""
        if answer.is_ssz:
            self._require_accepted("octet-stream")

    def _require_accepted(self, kind: str) -> None:
        accepted = self.accept.lower()
        if accepted and not any(name in accepted for name in (kind, "*/*", "application/*")):
            raise RefusalError(406, f"Accepted media types not supported: {self.accept}")

    def json(self) -> object:
        """Return the decoded body, None when it is empty; refuses broken text with 400."""
        if not self.body:
            return None
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RefusalError(400, f"The body is not JSON: {error}") from error

    def listed_ids(self) -> tuple[str, ...]:
        """Return the ids of a body that is a list; empty when there is none, or an empty one."""
        return as_ids(self.json())


def as_ids(value: object) -> tuple[str, ...]:
    """Return a JSON list of indices or public keys as text; None is an empty list."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RefusalError(400, " must be array")
    return tuple(map(_as_id, value))


def _as_id(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    if isinstance(value, str):
        text = value.lower()
        if text.isascii() and text.isdigit():
            return str(int(text))
        if text.startswith("0x"):
            return text
    raise RefusalError(400, f"Invalid validator id {value!r}")


def natural(text: str, name: str) -> int:
    """Return a non-negative integer; refuses anything else with 400."""
    if text.isascii() and text.isdigit():
        return int(text)
    is_negative = text.startswith("-") and text[1:].isdigit()
    raise RefusalError(400, f"{name} must be >= 0" if is_negative else f"{name} must be integer")

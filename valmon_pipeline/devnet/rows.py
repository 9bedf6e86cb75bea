"""Rows of recorded all-validator answers, selected without touching their bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec

from valmon_pipeline.devnet.answer import Answer, with_body


class _RowFields(msgspec.Struct):
    """The fields that identify a row, whatever the endpoint calls them."""

    index: str | None = None
    validator_index: str | None = None
    status: str | None = None
    slot: str | None = None
    balance: str | None = None


_row_decoder: Final = msgspec.json.Decoder(_RowFields)
_rows_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_object_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Rows:
    """The list of rows at ``keys`` of an answer, e.g. ``("data", "total_rewards")``.

    Answers made from a selection of the rows have everything else as it was recorded.
    """

    answer: Answer
    keys: tuple[str, ...] = ("data",)

    @cached_property
    def _list(self) -> bytes:
        raw = self.answer.body
        for key in self.keys:
            raw = bytes(_object_decoder.decode(raw)[key])
        return raw

    @cached_property
    def raw(self) -> list[bytes]:
        """The rows as JSON text."""
        return [bytes(row) for row in _rows_decoder.decode(self._list)]

    @cached_property
    def fields(self) -> list[_RowFields]:
        """What identifies each row."""
        return [_row_decoder.decode(row) for row in self.raw]

    @cached_property
    def positions(self) -> dict[str, list[int]]:
        """The positions of each validator's rows, by validator index as text."""
        found: dict[str, list[int]] = {}
        for position, row in enumerate(self.fields):
            found.setdefault(row.validator_index or row.index or "", []).append(position)
        return found

    def of_validators(self, indices: Iterable[str]) -> list[int]:
        """Return the positions of the validators' rows in the order asked for; unknown: none."""
        return [position for index in indices for position in self.positions.get(index, ())]

    def select(self, positions: Iterable[int]) -> Answer:
        """Return the answer with these rows only."""
        return self.replace(self.raw[position] for position in positions)

    def replace(self, rows: Iterable[bytes]) -> Answer:
        """Return the answer with other rows."""
        body, old = self.answer.body, self._list
        start = body.rindex(old)
        new = b"[" + b",".join(rows) + b"]"
        return with_body(self.answer, body[:start] + new + body[start + len(old) :])

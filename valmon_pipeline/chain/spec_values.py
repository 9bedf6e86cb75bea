"""Reading single values out of ``config/spec``, collecting every mistake on the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from valmon_pipeline.chain.epochs import FAR_FUTURE_EPOCH, NEVER
from valmon_pipeline.chain.forks import Fork

_INT64_MAX: Final = 2**63 - 1
# What a malformed value is read as while the remaining mistakes are collected.
_PLACEHOLDER: Final = 1
# 2**64 - 1 has twenty digits; longer text is no number of this protocol.
_MAX_DIGITS: Final = 20


class SpecReader:
    """Typed look-ups in the answer of ``config/spec``; ``mistakes`` lists what was wrong."""

    def __init__(self, data: Mapping[str, object]) -> None:
        self._data = data
        self.mistakes: list[str] = []

    def text(self, name: str) -> str:
        """A required non-empty string."""
        value = self._data.get(name)
        if isinstance(value, str) and value:
            return value
        return str(self._mistake(name, "a name"))

    def integer(self, name: str, *, minimum: int = 0, instead_of: str | None = None) -> int:
        """A required integer of at least ``minimum`` that fits int64; no float, no boolean."""
        number = _as_integer(self._data.get(name))
        if number is None or not minimum <= number <= _INT64_MAX:
            label = name if instead_of is None else f"{instead_of} or {name}"
            return self._mistake(name, f"an integer of at least {minimum}", label)
        return number

    def positive(self, name: str, *, instead_of: str | None = None) -> int:
        """A required integer of at least 1: counts, and everything that is divided by."""
        return self.integer(name, minimum=1, instead_of=instead_of)

    def positive_if_listed(self, name: str) -> int | None:
        """An integer of at least 1, or None if there is no such entry."""
        return self.positive(name) if name in self._data else None

    def hex_bytes(self, name: str, length: int) -> bytes:
        """A required ``0x…`` string of ``length`` bytes."""
        value = self._data.get(name)
        if isinstance(value, str) and value[:2] == "0x" and len(value) == 2 + 2 * length:
            try:
                return bytes.fromhex(value[2:])
            except ValueError:
                pass
        self._mistake(name, f"{length} bytes as hexadecimal (0x…)")
        return bytes(length)

    def epoch(self, name: str) -> int:
        """An epoch that may be absent or FAR_FUTURE_EPOCH: both are ``NEVER``."""
        if name not in self._data:
            return NEVER
        if _as_integer(self._data[name]) == FAR_FUTURE_EPOCH:
            return NEVER
        return self.integer(name)

    def by_fork(self, names: Mapping[Fork, str], in_effect: Collection[Fork]) -> dict[Fork, int]:
        """The value at every fork of a parameter that some forks redefine under another name.

        A name is required only if a fork of ``in_effect`` uses it; forks whose name is absent are
        left out.
        """
        values = {}
        for fork in Fork:
            name = names[max(since for since in names if since <= fork)]
            if fork in in_effect or name in self._data:
                values[fork] = self.positive(name)
        return values

    def _mistake(self, name: str, expected: str, label: str | None = None) -> int:
        found = f"is {self._data[name]!r}" if name in self._data else "is missing"
        text = f"{label or name} {found}, expected {expected}"
        if text not in self.mistakes:
            self.mistakes.append(text)
        return _PLACEHOLDER


def _as_integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(value) <= _MAX_DIGITS and value.isascii() and value.isdigit():
        return int(value)
    return None

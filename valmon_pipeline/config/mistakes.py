"""What is wrong in a configuration, collected first and reported in one go."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from valmon_pipeline.config.secret_url import SecretUrl
from valmon_pipeline.errors import ConfigurationError

KeyPath = tuple[str | int, ...]

SHOWN_AT_MOST = 100
"""A file of another format can have a mistake per validator; nobody reads ten thousand of them."""

_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a line of the file, or an environment variable."""

    key: str
    line: int | None = None
    variable: str | None = None

    def __str__(self) -> str:
        if self.variable is not None:
            return self.variable
        return f"line {self.line}" if self.line is not None else self.key


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to correct. ``value`` is already safe to print, or None when it is not shown."""

    place: Place
    problem: str
    value: str | None = None

    def __str__(self) -> str:
        where = self.place.variable or self.place.key
        written = where if self.value is None else f"{where} = {self.value}"
        if self.place.line is not None:
            written = f"line {self.place.line}: {written}".removesuffix(": ")
        return f"{written}\n    {self.problem}"


class InvalidConfigurationError(ConfigurationError):
    """The configuration cannot be used; ``mistakes`` holds everything to correct, in file order."""

    def __init__(self, source: str, mistakes: Sequence[Mistake]) -> None:
        """Compose the message: ``source`` is what was read, e.g. the path of the file."""
        self.source = source
        self.mistakes = tuple(sorted(mistakes, key=_reading_order))
        count = len(self.mistakes)
        lines = [f"{source}: {count} mistake{'s' if count != 1 else ''} in the configuration.", ""]
        lines += [str(mistake) for mistake in self.mistakes[:SHOWN_AT_MOST]]
        if count > SHOWN_AT_MOST:
            lines.append(f"... and {count - SHOWN_AT_MOST} more")
        lines += [
            "",
            "Correct the above and try `valmon config check`. Every key: docs/configuration.md",
        ]
        super().__init__("\n".join(lines))


def format_key(path: KeyPath) -> str:
    """Write a key path as people do: ``validators[3].labels[0]``, list positions from 0."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: object) -> str | None:
    """Return ``value`` as it may appear in a message; None for what could hold a secret.

    Addresses can carry passwords, 32 bytes of hex can be a signing key, and many words can be a
    mnemonic, wherever they were pasted by accident.
    """
    if isinstance(value, dict | list | tuple):
        return None
    if isinstance(value, str):
        if "://" in value:
            address = str(SecretUrl(value))
            return None if address.startswith("…") else address
        digits = value.strip().lower().removeprefix("0x")
        is_hex = bool(digits) and all(character in "0123456789abcdef" for character in digits)
        if "@" in value or len(value.split()) > 5 or (is_hex and len(digits) == 64):
            return None
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} long)"


def shown_address(value: object) -> str | None:
    """Return what is not an address but stands for one: only host and port are sure to be open."""
    text = str(value)
    return shown(value) if "://" in text or re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]+", text) else None


def _reading_order(mistake: Mistake) -> tuple[bool, int, str]:
    line = mistake.place.line
    return (line is None, line or 0, mistake.place.variable or mistake.place.key)

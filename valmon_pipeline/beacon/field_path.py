"""The value behind a field path of msgspec's messages, which name the place but not the value."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

MISSING: Final = "<missing>"

_STEP: Final = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<row>\d+)\]")


def value_at(content: bytes | msgspec.Raw, path: str) -> Any:
    """Return the value at ``path`` (like ``.data[3].balance``), or ``MISSING``.

    A fault can be met before the end of an answer that is also truncated: then it is missing, too.
    """
    try:
        value: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError):
        return MISSING
    for step in _STEP.finditer(path):
        try:
            value = value[step["name"] or int(step["row"])]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return value

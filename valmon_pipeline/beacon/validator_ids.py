"""Which validators a request is about: named ones, or explicitly everybody."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Final, SupportsIndex

PUBKEY: Final = re.compile(r"(?:0x)?[0-9a-f]{96}\Z")


class Everyone(Enum):
    """The type of :data:`EVERYONE`."""

    EVERYONE = "everyone"


EVERYONE: Final = Everyone.EVERYONE
"""Asks for all validators. An empty list never does: it asks for nobody."""


def unique_indices(indices: Iterable[SupportsIndex]) -> list[int]:
    """Return validator indices ascending, each once. Raises ValueError for a negative one."""
    unique = sorted({operator.index(index) for index in indices})
    if unique and unique[0] < 0:
        raise ValueError(f"validator index {unique[0]} is negative")
    return unique


def split_ids(ids: Iterable[SupportsIndex | str]) -> tuple[list[int], list[str]]:
    """Return the distinct indices and the distinct public keys (lower case, with ``0x``).

    An index may be given as a decimal string. Raises ValueError for anything else.
    """
    indices: set[int] = set()
    pubkeys: set[str] = set()
    for identifier in ids:
        if not isinstance(identifier, str):
            indices.add(operator.index(identifier))
        elif PUBKEY.match(key := identifier.lower()):
            pubkeys.add("0x" + key.removeprefix("0x"))
        elif identifier.isascii() and identifier.isdigit():
            indices.add(int(identifier))
        else:
            raise ValueError(f"{identifier!r} is neither a validator index nor a public key")
    return unique_indices(indices), sorted(pubkeys)


def chunks(ids: Iterable[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the ids in lists of at most ``size``."""
    remaining = iter(ids)
    while chunk := list(islice(remaining, size)):
        yield chunk

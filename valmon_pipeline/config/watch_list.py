"""Who is watched: the entries of the configuration, merged and free of duplicates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

ValidatorId = int | str
"""A validator index, or a public key in lower-case hex with 0x."""


class Entry(Protocol):
    """What the watch list needs of an entry, whatever form it was written in."""

    @property
    def ranges(self) -> tuple[range, ...]: ...

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def label_values(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class WatchList:
    """The validators to watch, by index and by public key, and the labels they were given.

    ``indices`` ascend and ``pubkeys`` are sorted, both without repetition. ``labels`` has an
    entry (category to value) for each id that was given any. An index and a public key may name
    the same validator: only the registry knows. With ``everyone`` the whole network is watched,
    and the ids listed are those with labels.
    """

    everyone: bool
    indices: tuple[int, ...]
    pubkeys: tuple[str, ...]
    labels: Mapping[ValidatorId, Mapping[str, str]]

    @property
    def is_empty(self) -> bool:
        """True when there is nobody to watch."""
        return not (self.everyone or self.indices or self.pubkeys)

    @property
    def fingerprint(self) -> str:
        """Another one for everybody who is watched or labelled otherwise; 16 hex digits."""
        labels = sorted((str(name), sorted(values.items())) for name, values in self.labels.items())
        text = json.dumps([self.everyone, self.indices, self.pubkeys, labels])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def of(cls, entries: Iterable[Entry], *, everyone: bool) -> WatchList:
        """Merge ``entries``; of duplicates (see :func:`find_duplicates`) the last labels stay."""
        indices: set[int] = set()
        pubkeys: set[str] = set()
        labels: dict[ValidatorId, Mapping[str, str]] = {}
        for entry in entries:
            values = dict(entry.label_values)
            for indices_of_entry in entry.ranges:
                indices.update(indices_of_entry)
                if values:
                    labels.update(dict.fromkeys(indices_of_entry, values))
            pubkeys.update(entry.keys)
            if values:
                labels.update(dict.fromkeys(entry.keys, values))
        return cls(
            everyone=everyone,
            indices=tuple(sorted(indices)),
            pubkeys=tuple(sorted(pubkeys)),
            labels=labels,
        )


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Validators that entry ``position`` repeats from entry ``first`` (equal: within itself)."""

    position: int
    first: int
    validators: str


def find_duplicates(entries: Iterable[Entry]) -> Iterator[Duplicate]:
    """Find validators listed twice; positions are those in ``entries``. n log n in their number."""
    spans: list[tuple[int, int, int]] = []
    first_with_key: dict[str, int] = {}
    for position, entry in enumerate(entries):
        spans += [(span.start, span.stop, position) for span in entry.ranges]
        for key in entry.keys:
            if key in first_with_key:
                yield Duplicate(position, first_with_key[key], f"{key[:10]}…{key[-4:]}")
            first_with_key.setdefault(key, position)
    spans.sort()
    reaching_furthest: tuple[int, int, int] | None = None
    for span in spans:
        start, stop, position = span
        if reaching_furthest is not None and start < reaching_furthest[1]:
            last = min(stop, reaching_furthest[1]) - 1
            validators = str(start) if start == last else f"{start}..{last}"
            earlier, later = sorted((position, reaching_furthest[2]))
            yield Duplicate(later, earlier, validators)
        if reaching_furthest is None or stop > reaching_furthest[1]:
            reaching_furthest = span

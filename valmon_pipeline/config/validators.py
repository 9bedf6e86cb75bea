"""One entry of ``validators`` (or ``watched_keys``): which validators, and their labels."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from valmon_pipeline.config.field_types import FieldType, refuse
from valmon_pipeline.config.mistakes import shown

MAX_VALIDATOR_INDEX = 2**31 - 1
"""Indices are stored in PostgreSQL's ``integer``; the registry is at two millions."""

MAX_RANGE = 1_000_000
NAMES_NOBODY = "names no validator: expected index, indices, pubkey or pubkeys"
RESERVED_CATEGORIES = frozenset({"scope", "all"})
"""``scope:watched``, ``scope:all-network`` and the group ``all`` of everybody are made by valmon
itself."""


class IndexRange(FieldType):
    """Validator indices: one number, or ``first..last``, both included; read as a ``range``."""

    @property
    def expected(self) -> str:
        return f"a validator index from 0 to {MAX_VALIDATOR_INDEX}, or a range such as 0..39"

    def written(self, value: object) -> object:
        if not isinstance(value, range):
            return value
        return value[0] if len(value) == 1 else f"{value[0]}..{value[-1]}"

    def parse(self, value: object) -> range:
        if isinstance(value, range):
            return value
        if isinstance(value, bool) or not isinstance(value, int | str):
            self.refuse()
        written = re.fullmatch(r"\s*([0-9]{1,10})(?:\s*\.\.\s*([0-9]{1,10}))?\s*", str(value))
        if written is None:
            self.refuse()
        first = int(written[1])
        last = first if written[2] is None else int(written[2])
        if last > MAX_VALIDATOR_INDEX:
            self.refuse()
        if last < first:
            refuse(f"expected a range that ascends, such as {last}..{first}")
        if last - first >= MAX_RANGE:
            refuse(f"expected at most {MAX_RANGE} validators in a range; see `watch: network`")
        return range(first, last + 1)


class PublicKey(FieldType):
    """A validator's BLS public key, read as lower-case hex with ``0x``."""

    @property
    def expected(self) -> str:
        return "a public key: 0x and 96 hex digits"

    def parse(self, value: object) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            self.refuse()
        if not isinstance(value, str):
            self.refuse()
        digits = value.strip().lower().removeprefix("0x")
        if not re.fullmatch(r"[0-9a-f]*", digits):
            self.refuse()
        if len(digits) != 96:
            refuse(f"expected {self.expected}; this has {len(digits)} digits")
        return f"0x{digits}"


class Label(FieldType):
    """A ``category:value`` label, read as the pair; the value may hold further colons."""

    @property
    def expected(self) -> str:
        return 'a label of the form category:value, such as "operator:a"'

    def written(self, value: object) -> object:
        return ":".join(value) if isinstance(value, tuple) else value

    def parse(self, value: object) -> tuple[str, str]:
        if isinstance(value, tuple) and len(value) == 2:
            value = ":".join(str(part) for part in value)
        if not isinstance(value, str):
            self.refuse()
        category, colon, text = (part.strip() for part in value.partition(":"))
        if not colon or not category or not text:
            self.refuse()
        return _checked_label(category, text)


class WatchedKeyLabel(Label):
    """A label as eth-validator-watcher has them: one without a colon is its own category."""

    @property
    def expected(self) -> str:
        return 'a label, such as "operator:a" or "my-group"'

    def parse(self, value: object) -> tuple[str, str]:
        if isinstance(value, str) and ":" not in value and value.strip():
            return _checked_label(value.strip(), value.strip())
        return super().parse(value)


def _checked_label(category: str, value: str) -> tuple[str, str]:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", category):
        refuse(
            "expected a category that starts with a letter and has letters, digits, _ . or -, "
            "at most 63"
        )
    if len(value) > 200 or not value.isprintable():
        refuse("expected a label value of at most 200 printable characters")
    if category in RESERVED_CATEGORIES:
        refuse(f"the category {category} is valmon's own; choose another name")
    return category, value


class _Entry(BaseModel, ABC):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @property
    @abstractmethod
    def ranges(self) -> tuple[range, ...]:
        """Validator indices of the entry, ranges in the order written."""

    @property
    @abstractmethod
    def keys(self) -> tuple[str, ...]:
        """Public keys of the entry, lower-case with 0x, in the order written."""

    @property
    @abstractmethod
    def label_values(self) -> dict[str, str]:
        """Labels of every validator of the entry: category to value."""


class ValidatorEntry(_Entry):
    """An entry of ``validators``: an index, a range, a public key, or these with labels."""

    index: Annotated[range | None, IndexRange()] = None
    indices: tuple[Annotated[range, IndexRange()], ...] = ()
    pubkey: Annotated[str | None, PublicKey()] = None
    pubkeys: tuple[Annotated[str, PublicKey()], ...] = ()
    labels: tuple[Annotated[tuple[str, str], Label()], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_short_forms(cls, value: Any) -> Any:
        if isinstance(value, bool | float) or value is None:
            refuse("expected a validator index, a range such as 0..39, a public key, or a section")
        if isinstance(value, int):
            return {"index": value}
        if isinstance(value, str):
            digits = value.strip().lower().removeprefix("0x")
            # sixteen digits are more than any index has: it is meant to be a key
            is_key = value.strip().lower().startswith("0x") or len(digits) > 16
            return {"pubkey": value} if is_key else {"index": value}
        if not isinstance(value, dict):
            return value
        entry = {key: written for key, written in value.items() if written is not None}
        for plural in ("indices", "pubkeys"):
            if plural in entry and not isinstance(entry[plural], list | tuple):
                entry[plural] = [entry[plural]]
        entry["labels"] = _label_list(entry.get("labels", ()))
        return entry

    @model_validator(mode="after")
    def _names_validators(self) -> ValidatorEntry:
        if not self.ranges and not self.keys:
            refuse(NAMES_NOBODY)
        for problem in label_conflicts(self.labels):
            refuse(problem)
        return self

    @property
    def ranges(self) -> tuple[range, ...]:
        """Validator indices of the entry, ranges in the order written."""
        return self.indices if self.index is None else (self.index, *self.indices)

    @property
    def keys(self) -> tuple[str, ...]:
        """Public keys of the entry, lower-case with 0x, in the order written."""
        return self.pubkeys if self.pubkey is None else (self.pubkey, *self.pubkeys)

    @property
    def label_values(self) -> dict[str, str]:
        """Labels of every validator of the entry: category to value."""
        return dict(self.labels)


class WatchedKey(_Entry):
    """An entry of ``watched_keys``, the list of Kiln's eth-validator-watcher, as it is there."""

    public_key: Annotated[str, PublicKey()]
    labels: tuple[Annotated[tuple[str, str], WatchedKeyLabel()], ...] = ()
    fee_recipient: Annotated[str | None, Field(repr=False)] = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        entry = {key: written for key, written in value.items() if written is not None}
        entry["labels"] = _label_list(entry.get("labels", ()))
        return entry

    @model_validator(mode="after")
    def _labels_agree(self) -> WatchedKey:
        for problem in label_conflicts(self.labels):
            refuse(problem)
        return self

    @property
    def ranges(self) -> tuple[range, ...]:
        """No indices: this form knows public keys only."""
        return ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The public key, lower-case with 0x."""
        return (self.public_key,)

    @property
    def label_values(self) -> dict[str, str]:
        """Labels of the key: category to value."""
        return dict(self.labels)


def _label_list(labels: object) -> object:
    """Accept ``{operator: a}`` and one bare label for a list of labels."""
    if isinstance(labels, dict):
        return [f"{category}:{_label_text(value)}" for category, value in labels.items()]
    return [labels] if isinstance(labels, str) else labels


def _label_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, dict | list):
        return ""  # refused as a label without a value
    return str(value)


def label_conflicts(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a problem for each label whose category has another value already."""
    seen: dict[str, str] = {}
    for category, value in labels:
        first = seen.setdefault(category, value)
        if first != value:
            yield (
                f"the label category {shown(category)} has two values, {shown(first)} and "
                f"{shown(value)}; expected one"
            )


def hidden_problems(
    model: type[ValidatorEntry] | type[WatchedKey], written: object
) -> Iterator[str]:
    """Yield what the checks of a whole entry would say, had its single values been right.

    pydantic runs them on valid values only; without this, correcting one mistake would bring up
    the next.
    """
    if not isinstance(written, dict):
        return
    naming = {"index", "indices", "pubkey", "pubkeys"}
    if model is ValidatorEntry and not naming & written.keys():
        yield NAMES_NOBODY
    label = WatchedKeyLabel() if model is WatchedKey else Label()
    labels = _label_list(written.get("labels"))
    pairs: list[tuple[str, str]] = []
    for value in labels if isinstance(labels, list) else ():
        with suppress(PydanticCustomError):
            pairs.append(label.parse(value))
    yield from label_conflicts(pairs)

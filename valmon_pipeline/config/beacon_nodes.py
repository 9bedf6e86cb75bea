"""One entry of ``beacon_nodes``: a node's address, its name, and settings of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field

from valmon_pipeline.config.field_types import FieldType, NodeUrl, Number, WholeNumber
from valmon_pipeline.config.labels import Switch
from valmon_pipeline.config.mistakes import KeyPath, Mistake
from valmon_pipeline.config.secret_url import SecretUrl
from valmon_pipeline.config.section import Section
from valmon_pipeline.config.yaml_file import Document

SHORT_FORM: Final = "beacon_node_url"
LONG_FORM: Final = "beacon_nodes"

REQUESTS_PER_SECOND: Final = Number(0.1, 10_000)
BURST: Final = WholeNumber(1, 100_000)
IN_FLIGHT: Final = WholeNumber(1, 1000)
TIMEOUT: Final = Number(0.1, 600, "seconds")


class NodeName(FieldType):
    """The name of a beacon node; nothing that could be an address or a secret in one."""

    @property
    def expected(self) -> str:
        return "a name such as local or hosted-1: letters, digits, - and _, at most 30"

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][\w-]{0,29}", value, re.A):
            self.refuse()
        return value


class NodeRateLimitSettings(Section):
    """The rate limit of one node, where it differs from ``rate_limit``."""

    requests_per_second: Annotated[float | None, REQUESTS_PER_SECOND] = None
    burst: Annotated[int | None, BURST] = None


class BeaconNodeSettings(Section):
    """One beacon node as it is written; None stands for the default of all nodes."""

    url: Annotated[SecretUrl, NodeUrl()]
    name: Annotated[str | None, NodeName()] = None
    rate_limit: NodeRateLimitSettings = Field(default_factory=NodeRateLimitSettings)
    max_in_flight: Annotated[int | None, IN_FLIGHT] = None
    timeout_seconds: Annotated[float | None, TIMEOUT] = None
    archive: Annotated[bool, Switch()] = False

    def revealed(self) -> dict[str, Any]:
        """The entry as it could be written in a file, with the secrets in its address."""
        return {**self.model_dump(mode="json", exclude_none=True), "url": self.url.reveal()}


@dataclass(frozen=True, slots=True)
class BeaconNode:
    """One beacon node with the settings that hold for it; ``name`` is None if it was given none.

    The rate limit and ``max_in_flight`` are for all processes together.
    """

    url: SecretUrl
    name: str | None
    requests_per_second: float
    burst: int
    max_in_flight: int
    timeout_seconds: float
    archive: bool

    @property
    def shown(self) -> str:
        """The name, or the address without its secrets."""
        return self.name or str(self.url)


def contradictions(data: Mapping[str, Any], document: Document) -> Iterator[Mistake]:
    """Yield what is wrong with the nodes taken together: both forms, a node or a name twice."""
    if data.get(SHORT_FORM) and data.get(LONG_FORM):
        yield Mistake(
            document.place((LONG_FORM,)),
            f"{SHORT_FORM} ({document.place((SHORT_FORM,))}) names nodes, too: keep one of the two",
        )
    addresses: dict[KeyPath, object] = {}
    names: dict[KeyPath, object] = {}
    for position, url in enumerate(_items(data.get(SHORT_FORM))):
        addresses[SHORT_FORM, position] = url
    for position, entry in enumerate(_items(data.get(LONG_FORM))):
        if isinstance(entry, dict):
            addresses[LONG_FORM, position, "url"] = entry.get("url")
            names[LONG_FORM, position, "name"] = entry.get("name")
    yield from _repeated(addresses, "the same node is already listed", document)
    yield from _repeated(names, "another node has the same name", document)


def _items(written: object) -> list[object]:
    return written if isinstance(written, list) else []


def _repeated(
    values: Mapping[KeyPath, object], problem: str, document: Document
) -> Iterator[Mistake]:
    first_place: dict[str, KeyPath] = {}
    for path, value in values.items():
        if not isinstance(value, str):
            continue
        first = first_place.setdefault(value.rstrip("/"), path)
        if first != path:
            yield Mistake(document.place(path), f"{problem} ({document.place(first)})")

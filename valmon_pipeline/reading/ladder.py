"""The ladder of sources: each fact from the first source that gives it, or not at all.

A source is a request, or a rule of the specification with what it needs. It refuses by raising: the
node does not keep the object any more, has no such route, or sends an answer that cannot be right.
Then the next source is asked. Only a node that does not answer at all ends the climb, so that
another node can be asked for the whole epoch.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from valmon_pipeline.beacon.captured_answers import captured_nodes, capturing
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.epoch.facts import Fact, FactSource
from valmon_pipeline.epoch.source_names import LADDERS, SourceName
from valmon_pipeline.errors import (
    BeaconApiError,
    BeaconUnreachableError,
    ChainChangedError,
    ChainRuleViolationError,
    NodeNotReadyError,
    ObjectUnavailableError,
    RefusalKind,
    RequestRefusedError,
    UnsupportedForkError,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

REFUSALS: Final = (BeaconApiError, ChainRuleViolationError, UnsupportedForkError)
"""What a source refuses with. A chain that changed meanwhile is no refusal: the epoch is read
again."""
_REFUSALS_IN_A_ROW: Final = 3
_REST_CLIMBS: Final = 64
_PROBE_SECONDS: Final = 5.0
_REASON_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Source(Generic[T]):
    """One way to a fact. ``name`` is what is stored, ``ask`` gives the fact or raises."""

    name: SourceName
    ask: Callable[[], Awaitable[T]]


def sources_of(
    fact: Fact, asks: Mapping[SourceName, Callable[[], Awaitable[T]]]
) -> list[Source[T]]:
    """Return the sources of ``fact`` that ``asks`` has, in the order of its ladder.

    Raises:
        ValueError: a name is not on the ladder of the fact.
    """
    if strange := asks.keys() - set(LADDERS[fact]):
        raise ValueError(f"{sorted(strange)} are no sources of {fact.value}")
    return [Source(name, asks[name]) for name in LADDERS[fact] if name in asks]


@dataclass(slots=True)
class Ladder:
    """Climbs for the facts of one epoch after the other, at one node.

    A source that was refused a few times in a row is asked last for a while, so that a backfill
    does not ask in vain for every epoch. ``taken`` are the sources of the current epoch.
    """

    client: BeaconClient
    taken: dict[Fact, FactSource] = field(default_factory=dict)
    _refused: Counter[str] = field(default_factory=Counter)
    _rests: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Forget the sources of the epoch before."""
        self.taken = {}

    async def climb(
        self, fact: Fact, sources: Sequence[Source[T]], *, may_contradict: bool = True
    ) -> T | None:
        """Return the fact from the first source that gives it; None if none does.

        Raises:
            BeaconUnreachableError: the node has stopped answering.
            NodeNotReadyError: it has not verified its answers.
            ChainChangedError: the chain was reorganized while it was read.
            ChainRuleViolationError: a source contradicts what is known and none settles it, unless
                that ``may_contradict``, which only leaves the fact unknown.
        """
        reasons: list[str] = []
        contradiction: ChainRuleViolationError | None = None
        for source in self._in_order(sources):
            with capturing() as captured, captured_nodes() as nodes:
                try:
                    value = await source.ask()
                except (ChainChangedError, NodeNotReadyError):
                    raise  # the whole epoch is read again, or from another node
                except REFUSALS as error:
                    await self._require_answering(error)
                    if isinstance(error, ChainRuleViolationError):
                        contradiction = error
                    self._count_refusal(source.name, error)
                    reasons.append(f"{source.name}: {reason_of(error)}")
                    logger.info("no %s from %s: %s", fact.value, source.name, error)
                    continue
            # Answers that turned out to be wrong are not kept for a later attempt.
            captured.hand_over()
            self._refused[source.name] = 0
            kept = ", ".join(sorted(nodes))
            self.know(
                fact,
                f"kept {source.name}" if kept else source.name.value,
                node=kept or self.client.name,
                reason="; ".join(reasons) or None,
            )
            return value
        if contradiction is not None and not may_contradict:
            raise contradiction
        self.miss(fact, "; ".join(reasons) or "no source gives it")
        return None

    def know(
        self, fact: Fact, source: str, *, node: str | None = None, reason: str | None = None
    ) -> None:
        """Enter where a fact came from."""
        self.taken[fact] = FactSource(fact, source, node or self.client.name, reason)

    def miss(self, fact: Fact, reason: str) -> None:
        """Enter why a fact is not known."""
        self.taken[fact] = FactSource(fact, None, None, reason)

    def _in_order(self, sources: Sequence[Source[T]]) -> list[Source[T]]:
        """The sources as they were given, those that rest behind the others."""
        resting = {source.name for source in sources if self._rests[source.name] > 0}
        for name in resting:
            self._rests[name] -= 1
        return sorted(sources, key=lambda source: source.name in resting)

    def _count_refusal(self, name: str, error: Exception) -> None:
        """A source rests after refusals in a row, one that the client does not have at once."""
        self._refused[name] += 1
        missing = getattr(error, "kind", None) is RefusalKind.NO_SUCH_ROUTE
        if missing or self._refused[name] % _REFUSALS_IN_A_ROW == 0:
            self._rests[name] = _REST_CLIMBS

    async def _require_answering(self, error: Exception) -> None:
        """A request that got no answer is a refusal only if the node answers others."""
        if not isinstance(error, BeaconUnreachableError):
            return
        with self.client.deadline(_PROBE_SECONDS):
            try:
                await self.client.syncing()
            except BeaconApiError:
                raise error from None


def reason_of(error: Exception) -> str:
    """Return why a source gave nothing: the node's status and words, or the error."""
    if isinstance(error, ObjectUnavailableError | RequestRefusedError) and error.status:
        said = f" ({error.said})" if error.said else ""
        return f"HTTP {error.status}{said}"
    text = " ".join(str(error).split())
    return text if len(text) <= _REASON_LENGTH else f"{text[: _REASON_LENGTH - 1]}…"

"""The mechanism of client profiles: rules before a recorded answer, its words and form after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from valmon_pipeline.devnet.answer import Answer, NotRecordedError, RefusalError, json_answer
from valmon_pipeline.devnet.chain_view import ChainView
from valmon_pipeline.devnet.clients.asked import BLOCK_KINDS, Asked, Kind, NodeSettings
from valmon_pipeline.devnet.question import Question

Condition = Callable[[Asked], bool]
Rewrite = Callable[[Asked, Answer], Answer]
Mode = Literal["default", "archive"]
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """The exact words of a refusal.

    ``message`` may name values of ``Asked.words``. Without a message the body is empty; ``data``
    is an answer that looks like one, without anything in it.
    """

    status: int
    message: str | None = None
    data: object = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A refusal under a condition; ``only`` limits it to nodes with or without an archive."""

    when: Condition
    refusal: Refusal
    only: Mode | None = None

    def applies(self, asked: Asked) -> bool:
        """Whether the node refuses the request by this rule."""
        mode: Mode = "archive" if asked.node.archive else "default"
        return self.only in (None, mode) and self.when(asked)


@dataclass(frozen=True, slots=True)
class ClientProfile:
    """One client at one version.

    ``rules`` are checked in order, the first that applies refuses the request. ``state_missing``
    and ``block_missing`` are the client's words for what is not there, also used for what the
    recording does not hold; ``unrecorded`` has other words for some kinds. ``rewrites`` change a
    recorded answer into the client's, ``remembers`` what the node does to itself by answering.
    ``error_fields`` stand beside ``code`` and ``message`` in every error.
    """

    name: str
    version: str
    state_missing: Refusal
    block_missing: Refusal
    rules: Mapping[Kind, Sequence[Rule]]
    unrecorded: Mapping[Kind, Refusal] = field(default_factory=dict)
    rewrites: Mapping[Kind, Sequence[Rewrite]] = field(default_factory=dict)
    remembers: Mapping[Kind, Callable[[Asked], None]] = field(default_factory=dict)
    error_fields: Mapping[str, object] = field(default_factory=dict)


def rules_by_kind(
    *groups: tuple[Iterable[Kind], Sequence[Rule]],
) -> dict[Kind, tuple[Rule, ...]]:
    """Return the rules of each kind, those of earlier groups first."""
    found: dict[Kind, tuple[Rule, ...]] = {}
    for kinds, rules in groups:
        for kind in kinds:
            found[kind] = (*found.get(kind, ()), *rules)
    return found


class ProfiledNode:
    """Recorded answers as one client would give them at the clock's slot."""

    def __init__(self, profile: ClientProfile, view: ChainView, settings: NodeSettings) -> None:
        self.profile = profile
        self.settings = settings
        self._view = view

    def refusal(self, question: Question) -> Answer | None:
        """Return how the client refuses a request by its rules, or None when it answers."""
        asked = Asked.of(question, self._view, self.settings)
        try:
            return None if asked is None else self._refused(asked)
        except RefusalError as refusal:
            return self._error(refusal.status, refusal.message)

    def answer(self, handler: Callable[[Question], Answer], question: Question) -> Answer:
        """Return what the client answers; ``handler`` knows what was recorded."""
        try:
            asked = Asked.of(question, self._view, self.settings)
            if asked is None:
                return handler(question)
            if asked.kind is Kind.VERSION:
                return json_answer({"data": {"version": self.profile.version}})
            refused = self._refused(asked)
            return refused if refused is not None else self._recorded(handler, asked)
        except RefusalError as refusal:
            return self._error(refusal.status, refusal.message)

    def _refused(self, asked: Asked) -> Answer | None:
        for rule in self.profile.rules.get(asked.kind, ()):
            if rule.applies(asked):
                return self._as_answer(rule.refusal, asked)
        return None

    def _recorded(self, handler: Callable[[Question], Answer], asked: Asked) -> Answer:
        try:
            answer = handler(asked.question)
        except NotRecordedError:
            return self._unrecorded(asked)
        if answer.status != _OK:
            return self._unrecorded(asked)
        for rewrite in self.profile.rewrites.get(asked.kind, ()):
            answer = rewrite(asked, answer)
        if asked.kind in self.profile.remembers:
            self.profile.remembers[asked.kind](asked)
        return answer

    def _unrecorded(self, asked: Asked) -> Answer:
        profile = self.profile
        common = profile.block_missing if asked.kind in BLOCK_KINDS else profile.state_missing
        return self._as_answer(profile.unrecorded.get(asked.kind, common), asked)

    def _as_answer(self, refusal: Refusal, asked: Asked) -> Answer:
        if refusal.data is not None:
            return json_answer(refusal.data, status=refusal.status)
        if refusal.message is None:
            return Answer(refusal.status)
        return self._error(refusal.status, refusal.message.format_map(asked.words()))

    def _error(self, status: int, message: str) -> Answer:
        return json_answer(
            {"code": status, "message": message, **self.profile.error_fields}, status=status
        )

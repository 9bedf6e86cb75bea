"""The daily message: how validators did, and what is wrong still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from valmon_pipeline.alerting.templates import LONGEST_BODY, Message, shortened

GROUPS_NAMED: Final = 10
ALERTS_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class GroupDay:
    """How a group did: attestations owed and missed, the share of the ideal reward (None: there was
    none) and what was earned, in gwei (None: not known). ``incomplete_epochs`` is how many epochs
    lack facts, so that these figures are of what is known."""

    name: str
    validators: int
    duties: int
    missed: int
    reward_effectiveness: float | None
    earned_gwei: int | None
    incomplete_epochs: int = 0

    def __str__(self) -> str:
        share = self.reward_effectiveness
        ideal = "–" if share is None else f"{share:.2%} of ideal"
        gwei = self.earned_gwei
        earned = "rewards not known" if gwei is None else f"{gwei:,} gwei earned"
        return (
            f"{self.name}: {self.validators:,} validators, {self.missed:,} of {self.duties:,} "
            f"attestations missed, {ideal}, {earned}"
        )


@dataclass(frozen=True, slots=True)
class DigestFacts:
    """A day: the stored epochs of it, groups (everybody first), changes of alerts by kind, the
    sentences of live alerts, those of alerts that ended within the day, and messages that could not
    be delivered."""

    network: str
    epochs: Sequence[int]
    groups: Sequence[GroupDay]
    changes: Mapping[str, int]
    live: Sequence[str]
    ended: Sequence[str]
    dead_messages: int


def digest(facts: DigestFacts) -> Message:
    """The message about a day; the groups that earned the least of the ideal come first."""
    lines = [
        f"epochs {facts.epochs[0]} to {facts.epochs[-1]}: {len(facts.epochs)} stored"
        if facts.epochs
        else "no epochs are stored"
    ]
    everybody, others = facts.groups[:1], list(facts.groups[1:])
    if everybody and everybody[0].incomplete_epochs:
        lines.append(
            f"{everybody[0].incomplete_epochs} of them lack facts, the figures are of what is "
            "known: valmon status"
        )
    others.sort(key=lambda one: (one.reward_effectiveness is None, one.reward_effectiveness or 0.0))
    lines += [str(one) for one in (*everybody, *others[:GROUPS_NAMED])]
    if len(others) > GROUPS_NAMED:
        lines.append(f"… and {len(others) - GROUPS_NAMED} more groups")
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(facts.changes.items()))
    lines.append(f"alerts: {told or 'nothing new'}; {len(facts.live)} still open")
    lines += _named(facts.live, "valmon alerts list")
    if facts.ended:
        lines.append(f"ended: {len(facts.ended)}")
        lines += _named(facts.ended, "valmon alerts list --all")
    if facts.dead_messages:
        lines.append(f"{facts.dead_messages} messages were given up: valmon alerts retry")
    title = f"[{facts.network}] daily digest: {len(facts.live)} alerts open"
    return Message(title, shortened("\n".join(lines), LONGEST_BODY))


def _named(alerts: Sequence[str], command: str) -> list[str]:
    """The first few ``alerts``, and the ``command`` that lists the others."""
    lines = [f"- {shortened(one, 150)}" for one in alerts[:ALERTS_NAMED]]
    if len(alerts) > ALERTS_NAMED:
        lines.append(f"… and {len(alerts) - ALERTS_NAMED} more: {command}")
    return lines

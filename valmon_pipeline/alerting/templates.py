"""What messages about alerts say. Templates are Python's ``string.Template`` texts: ``$subject``.

A message must go out whatever its template is like: one that cannot be filled is replaced by the
default one when it comes to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from types import MappingProxyType
from typing import Final

from valmon_pipeline.alerting.kinds import ChangeKind
from valmon_pipeline.alerting.life_cycle import Alert
from valmon_pipeline.alerting.messages import listed
from valmon_pipeline.alerting.rules import RULES

VALIDATORS_NAMED: Final = 20
LONGEST_TITLE: Final = 200
LONGEST_BODY: Final = 1700
"""With the title, below the shortest limit of the common channels (Discord: 2000)."""

FIELDS: Final = (
    *("network", "change", "severity", "rule", "title", "subject", "labels", "message", "reason"),
    *("epoch", "since_epoch", "slot", "validators", "validator_count", "cost_gwei", "alert_id"),
    "link",
)
"""What templates can name."""

DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "opened": "[$network] $severity: $title – $subject",
        "worsened": "[$network] $severity, worse: $title – $subject",
        "resolved": "[$network] over: $title – $subject",
        "retracted": "[$network] not so: $title – $subject",
        "body": "$message\n\n"
        "$change: $reason\n"
        "epochs: $since_epoch to $epoch, slot $slot\n"
        "validators: $validator_count ($validators)\n"
        "labels: $labels\n"
        "cost so far: $cost_gwei gwei\n"
        "more: valmon alerts show $alert_id $link",
    }
)
"""Titles by change, and the body of all."""


@dataclass(frozen=True, slots=True)
class Message:
    """A title and a body, short enough for every channel."""

    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Templates:
    """Texts in place of some of ``DEFAULTS``; ``link`` is where to look, "" if it is not known."""

    network: str
    link: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)

    def message_about(self, kind: ChangeKind, alert: Alert, reason: str) -> Message:
        """What is told of a change of an alert."""
        values = self._values(kind, alert, reason)
        return Message(
            shortened(self._filled(kind.value, values).replace("\n", " "), LONGEST_TITLE),
            shortened(self._filled("body", values).strip(), LONGEST_BODY),
        )

    def _filled(self, name: str, values: Mapping[str, str]) -> str:
        text = self.texts.get(name)
        if text is not None and mistake_in(text) is None:
            return Template(text).substitute(values)
        return Template(DEFAULTS[name]).substitute(values)

    def _values(self, kind: ChangeKind, alert: Alert, reason: str) -> dict[str, str]:
        finding = alert.finding
        named = listed(finding.validator_indices, VALIDATORS_NAMED)
        return {
            "network": self.network,
            "change": kind.value,
            "severity": finding.severity.value,
            "rule": finding.kind,
            "title": RULES[finding.kind].title,
            "subject": finding.subject,
            "labels": ", ".join(finding.labels) or "none",
            "message": finding.message,
            "reason": reason,
            "epoch": str(alert.last_epoch),
            "since_epoch": str(finding.since_epoch),
            "slot": "–" if finding.slot is None else str(finding.slot),
            "validators": named or "none",
            "validator_count": str(finding.validators),
            "cost_gwei": f"{finding.cost:,}",
            "alert_id": str(alert.alert_id),
            "link": self.link,
        }


def mistake_in(text: str) -> str | None:
    """Why a template cannot be filled, in words; None if it can."""
    try:
        Template(text).substitute(dict.fromkeys(FIELDS, ""))
    except KeyError as error:
        known = ", ".join(f"${one}" for one in FIELDS)
        return f"it names ${error.args[0]}; there are {known}"
    except ValueError as error:
        return f"{str(error)[:1].lower()}{str(error)[1:]}; write $$ for a dollar sign"
    return None


def shortened(text: str, longest: int) -> str:
    """``text``, cut off with an ellipsis if it is longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"

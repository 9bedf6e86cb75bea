"""Who is told of what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.life_cycle import Alert

_ASCENDING: Final = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel gets alerts from a severity on and, with ``labels``, those about one of them.

    ``address`` is Apprise's, and secret as a whole: it is in no text.
    """

    name: str
    address: str
    minimum_severity: Severity = Severity.INFO
    labels: frozenset[str] = frozenset()
    digest: bool = False

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"

    def wants(self, alert: Alert) -> bool:
        """Whether it is told of ``alert``."""
        finding = alert.finding
        if _ASCENDING.index(finding.severity) < _ASCENDING.index(self.minimum_severity):
            return False
        return not self.labels or not self.labels.isdisjoint((*finding.labels, finding.subject))

"""Several messages as one of bounded size, so that an outage is not a storm of messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.templates import LONGEST_BODY, Message
from valmon_pipeline.storage.outbox import Delivery

SINGLY: Final = 3
"""So many messages to a channel are sent one by one."""
_WORST_FIRST: Final = [severity.value for severity in Severity][::-1]


def bundles(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
    """What is sent together: every message alone, or all as one if there are many.

    Messages about no alert (digests) are always alone.
    """
    others = [[one] for one in deliveries if one.kind == "digest"]
    alerts = [one for one in deliveries if one.kind != "digest"]
    if len(alerts) > SINGLY:
        return [alerts, *others]
    return [*([one] for one in alerts), *others]


def message_of(deliveries: Sequence[Delivery]) -> tuple[Message, str]:
    """The message that tells of ``deliveries``, and its severity.

    Of several: how many of each kind, then their titles, the worst first, as many as fit.
    """
    if len(deliveries) == 1:
        (only,) = deliveries
        return Message(only.title, only.body), only.severity
    worst_first = sorted(deliveries, key=lambda one: _WORST_FIRST.index(one.severity))
    kinds = Counter(one.kind for one in deliveries)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    network = (
        deliveries[0].title.partition("] ")[0] + "] " if deliveries[0].title[:1] == "[" else ""
    )
    lines: list[str] = []
    left = LONGEST_BODY - 80
    for one in worst_first:
        if len(one.title) + 1 > left:
            break
        lines.append(one.title)
        left -= len(one.title) + 1
    if len(lines) < len(worst_first):
        lines.append(f"… and {len(worst_first) - len(lines)} more: valmon alerts list")
    title = f"{network}{len(deliveries)} messages: {counted}"
    return Message(title, "\n".join(lines)), worst_first[0].severity

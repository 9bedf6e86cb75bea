"""Writing the messages about changes of alerts, in their transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from valmon_pipeline.alerting.kinds import ChangeKind
from valmon_pipeline.alerting.templates import Templates
from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.storage.alert_store import AlertTransaction, StoredChange
from valmon_pipeline.storage.outbox import NewDelivery, cancel_held_back, told, write_deliveries
from valmon_pipeline.storage.silences import current_silences, silenced_until

TOLD: Final = frozenset(
    {ChangeKind.OPENED, ChangeKind.WORSENED, ChangeKind.RESOLVED, ChangeKind.RETRACTED}
)
ENDS: Final = frozenset({ChangeKind.RESOLVED, ChangeKind.RETRACTED})


@dataclass(frozen=True)
class Notifier:
    """Writes what is to be told of changes, for each channel that wants it.

    Within a silence, and in a transaction that holds messages back, a message about an opened alert
    is held back; if the alert is over by then, it is not sent at all. An end is told only where the
    beginning was.
    """

    channels: Sequence[Channel]
    templates: Templates

    def __call__(self, transaction: AlertTransaction, changes: Sequence[StoredChange]) -> None:
        """Write the messages about ``changes``, once each."""
        changes = [stored for stored in changes if stored.change.kind in TOLD]
        numbers = [stored.change.alert.alert_id for stored in changes]
        if not changes or not self.channels:
            return
        cancel_held_back(transaction, numbers)
        were_told = told(transaction, numbers)
        silences = current_silences(transaction)
        deliveries = []
        for stored in changes:
            change, alert = stored.change, stored.change.alert
            is_end = change.kind in ENDS
            until = None if is_end else _held_until(transaction, silenced_until(silences, alert))
            wanting = [
                channel
                for channel in self.channels
                if ((alert.alert_id, channel.name) in were_told if is_end else channel.wants(alert))
            ]
            if not wanting:
                continue
            message = self.templates.message_about(change.kind, alert, change.reason)
            deliveries += [
                NewDelivery(
                    f"alert:{alert.alert_id}:{stored.position}:{channel.name}",
                    channel.name,
                    alert.alert_id,
                    change.kind.value,
                    alert.finding.severity.value,
                    message.title,
                    message.body,
                    until or transaction.at,
                )
                for channel in wanting
            ]
        write_deliveries(transaction, deliveries)


def _held_until(transaction: AlertTransaction, silenced: datetime | None) -> datetime | None:
    """The later end of the two, None without any."""
    return max(filter(None, (transaction.hold_until, silenced)), default=None)

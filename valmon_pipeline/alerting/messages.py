"""The sentence that says what an alert is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from valmon_pipeline.alerting.kinds import AlertType

NAMED: Final = 10
"""Validators that a sentence names one by one."""

# From epochs in a row, slot (None: none) and value to what happened.
_HAPPENED: Final[Mapping[AlertType, Callable[[int, int | None, float], str]]] = {
    AlertType.MISSED_ATTESTATIONS: lambda epochs, slot, value: (
        f"{epochs} attestations missed in a row"
    ),
    AlertType.MISSED_ATTESTATION_SHARE: lambda epochs, slot, value: (
        f"{value:.1%} of attestations missed"
    ),
    AlertType.LOW_EFFECTIVENESS: lambda epochs, slot, value: f"time-weighted score {value:.3f}",
    AlertType.BELOW_NETWORK: lambda epochs, slot, value: (
        f"share of the ideal reward {-value:.1%} below the network's median"
    ),
    AlertType.MISSED_PROPOSAL: lambda epochs, slot, value: f"block of slot {slot} missed",
    AlertType.SYNC_PARTICIPATION: lambda epochs, slot, value: (
        f"{value:.0%} of sync committee signatures missed"
    ),
    AlertType.SLASHING: lambda epochs, slot, value: "slashed",
    AlertType.EXIT: lambda epochs, slot, value: "has begun to leave",
    AlertType.BALANCE_DROP: lambda epochs, slot, value: (
        f"{value:,.0f} millionths of the balance lost in an epoch"
    ),
    AlertType.LEDGER_RESIDUAL: lambda epochs, slot, value: f"{value:,.0f} gwei unexplained",
}


def about_validator(
    kind: AlertType, validator: int, epochs: int, slot: int | None, value: float
) -> str:
    """E.g. ``validator 7: 3 attestations missed in a row``."""
    return f"validator {validator}: {_HAPPENED[kind](epochs, slot, value)}"


def about_label(kind: AlertType, label: str, epochs: int, value: float) -> str:
    """E.g. ``operator:a: 40.0% of attestations missed, for 2 epochs``."""
    return f"{label}: {_HAPPENED[kind](epochs, None, value)}, for {epochs} epochs"


def about_group(
    kind: AlertType, label: str, validators: tuple[int, ...], count: int, worst: str
) -> str:
    """E.g. ``operator:a: 40 validators (0, 1, 2, … and 37 more), among them validator 0: …``."""
    named = ", ".join(map(str, validators[:NAMED]))
    more = f", … and {count - NAMED} more" if count > NAMED else ""
    return f"{label}: {count} validators ({named}{more}), among them {worst}"

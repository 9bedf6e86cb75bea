"""Whether an installation does its work, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from valmon_pipeline.beacon.node_health import NodeHealth
from valmon_pipeline.observability.stored_figures import StoredFigures


@dataclass(frozen=True, slots=True)
class ReadinessLimits:
    """From where on valmon is not ready: slots that the head, epochs that the tables lag."""

    head_lag_slots: int
    stored_lag_epochs: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that has to hold; ``reason`` says why it does not and what to do."""

    name: str
    ok: bool
    reason: str = ""


def node_finding(nodes: Sequence[NodeHealth]) -> Finding:
    """At least one node can be read from."""
    if any(node.is_ready for node in nodes):
        return Finding("node", ok=True)
    reasons = "; ".join(f"{node.name}: {node.reason}" for node in nodes)
    return Finding("node", ok=False, reason=reasons or "no beacon node is configured")


def stored_findings(figures: StoredFigures, limits: ReadinessLimits) -> list[Finding]:
    """The chain is followed (``sensors``), and what is stored is recent (``head``, ``epochs``)."""
    if figures.network is None or figures.head is None:
        reason = "the chain was not followed yet: does the Dagster daemon run, the slot sensor too?"
        return [Finding("sensors", ok=False, reason=reason)]
    slot_seconds = figures.network.slot_duration_ms / 1000
    return [
        _sensors(figures.head.seconds_since_seen, slot_seconds, limits),
        _head(figures.head.slots_behind, limits),
        _epochs(figures, limits),
    ]


def _sensors(age: float, slot_seconds: float, limits: ReadinessLimits) -> Finding:
    if age <= limits.head_lag_slots * slot_seconds:
        return Finding("sensors", ok=True)
    reason = (
        f"the slot sensor last looked at the head {age:.0f} s ago: does the Dagster daemon run, "
        "and is the sensor on?"
    )
    return Finding("sensors", ok=False, reason=reason)


def _head(slots: int, limits: ReadinessLimits) -> Finding:
    if slots <= limits.head_lag_slots:
        return Finding("head", ok=True)
    reason = f"the head last seen is {slots} slots behind the clock: see `valmon nodes`"
    return Finding("head", ok=False, reason=reason)


def _epochs(figures: StoredFigures, limits: ReadinessLimits) -> Finding:
    clock = figures.clock_epoch
    if figures.newest is None or clock is None:
        return Finding("epochs", ok=False, reason="no epoch is stored yet")
    lag = clock - figures.newest.epoch
    if lag <= limits.stored_lag_epochs:
        return Finding("epochs", ok=True)
    reason = (
        f"the newest stored epoch, {figures.newest.epoch}, is {lag} epochs behind the clock: "
        "look for failed runs in the Dagster UI"
    )
    return Finding("epochs", ok=False, reason=reason)

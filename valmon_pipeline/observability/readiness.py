"""Whether an installation does its work, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from valmon_pipeline.beacon.node_health import NodeHealth, waiting_sentence
from valmon_pipeline.storage.queries.figures import StoredFigures

OF_A_RUNNING_CHAIN: Final = ("head", "epochs")
"""Conditions that a chain which has ended, such as the recorded one, never meets."""


@dataclass(frozen=True, slots=True)
class ReadinessLimits:
    """From where on valmon is not ready: slots that the head, epochs that the tables lag."""

    head_lag_slots: int
    stored_lag_epochs: int


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that has to hold; ``reason`` says why it does not and what to do."""

    name: str
    ok: bool
    reason: str = ""


def node_condition(nodes: Sequence[NodeHealth]) -> Condition:
    """At least one node can be read from."""
    if any(node.is_ready for node in nodes):
        return Condition("node", ok=True)
    if not nodes:
        return Condition("node", ok=False, reason="no beacon node is configured")
    reasons = "; ".join(f"{node.name}: {node.reason}" for node in nodes)
    return Condition("node", ok=False, reason=f"{waiting_sentence(nodes)}. {reasons}")


def code_condition(problem: str) -> Condition:
    """Valmon's code is loaded: without it no sensor ticks and no run starts. ``problem`` says why
    it is not, "" if it is."""
    if not problem:
        return Condition("code", ok=True)
    return Condition("code", ok=False, reason=f"{problem}: see the log of the code server")


def stored_conditions(figures: StoredFigures, limits: ReadinessLimits) -> list[Condition]:
    """The chain is followed (``sensors``), and what is stored is recent (``head``, ``epochs``)."""
    if figures.network is None or figures.head is None:
        reason = "the chain was not followed yet: does the Dagster daemon run, the slot sensor too?"
        return [Condition("sensors", ok=False, reason=reason)]
    slot_seconds = figures.network.slot_duration_ms / 1000
    return [
        _sensors(figures.head.seconds_since_seen, slot_seconds, limits),
        _head(figures.head.slots_behind, limits),
        _epochs(figures, limits),
    ]


def _sensors(age: float, slot_seconds: float, limits: ReadinessLimits) -> Condition:
    if age <= limits.head_lag_slots * slot_seconds:
        return Condition("sensors", ok=True)
    reason = (
        f"the slot sensor last read the head {age:.0f} s ago: what do its ticks in the Dagster UI "
        "say? If there are none, the daemon does not run, or the sensor is off"
    )
    return Condition("sensors", ok=False, reason=reason)


def _head(slots: int, limits: ReadinessLimits) -> Condition:
    if slots <= limits.head_lag_slots:
        return Condition("head", ok=True)
    reason = f"the head last seen is {slots} slots behind the clock: see `valmon nodes`"
    return Condition("head", ok=False, reason=reason)


def _epochs(figures: StoredFigures, limits: ReadinessLimits) -> Condition:
    clock = figures.clock_epoch
    if figures.newest is None or clock is None:
        return Condition("epochs", ok=False, reason="no epoch is stored yet")
    lag = clock - figures.newest.epoch
    if lag <= limits.stored_lag_epochs:
        return Condition("epochs", ok=True)
    reason = (
        f"the newest stored epoch, {figures.newest.epoch}, is {lag} epochs behind the clock: "
        "look for failed runs in the Dagster UI"
    )
    return Condition("epochs", ok=False, reason=reason)

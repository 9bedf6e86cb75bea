"""Every rule: what it is about, its threshold, and how long something must last to count.

A rule judges each validator (or group) in each epoch: bad, good, or unknown. An alert opens after
``open_after`` bad epochs in a row and is over after ``resolve_after`` good ones in a row; unknown
epochs neither count nor interrupt. See ``judgements`` for what bad and good mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from valmon_pipeline.alerting.kinds import AlertType, Severity


class Scope(StrEnum):
    """Whom a rule judges."""

    VALIDATOR = "validator"
    GROUP = "group"
    """Each label, and everybody."""
    SYSTEM = "system"
    """The node, the data, valmon itself: by the clock, not by epochs."""


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """From where on a rule counts.

    ``threshold`` is in the rule's own unit; ``clear`` is where good begins: between the two an
    epoch is neither, so that a value that wavers around the threshold opens one alert, not many.
    ``resolve_after`` 0: it ends only when somebody resolves it.
    """

    threshold: float
    clear: float
    open_after: int
    resolve_after: int
    severity: Severity
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is described and set by default. ``minimum`` and ``maximum`` bound its
    threshold; ``higher_is_worse`` says on which side of it the bad values are."""

    kind: AlertType
    scope: Scope
    title: str
    threshold_is: str
    minimum: float
    maximum: float
    higher_is_worse: bool
    defaults: RuleSettings


def _rule(
    kind: AlertType,
    scope: Scope,
    title: str,
    threshold_is: str,
    bounds: tuple[float, float],
    settings: tuple[float, float, int, int, Severity],
    *,
    higher_is_worse: bool = True,
) -> Rule:
    return Rule(kind, scope, title, threshold_is, *bounds, higher_is_worse, RuleSettings(*settings))


_RULES: Final = (
    _rule(
        AlertType.MISSED_ATTESTATIONS,
        Scope.VALIDATOR,
        "Attestations missed in a row",
        "1 (a miss is a miss; set open_after)",
        (1, 1),
        (1, 1, 3, 2, Severity.WARNING),
    ),
    _rule(
        AlertType.MISSED_ATTESTATION_SHARE,
        Scope.GROUP,
        "Share of a group's attestations missed",
        "share missed of those a block could carry",
        (0.001, 1),
        (0.1, 0.05, 2, 2, Severity.CRITICAL),
    ),
    _rule(
        AlertType.LOW_EFFECTIVENESS,
        Scope.VALIDATOR,
        "Time-weighted score too low",
        "time-weighted score",
        (-10, 1),
        (0.8, 0.85, 2, 2, Severity.WARNING),
        higher_is_worse=False,
    ),
    _rule(
        AlertType.BELOW_NETWORK,
        Scope.GROUP,
        "Group earns less of the ideal than the network",
        "reward effectiveness less the network's median",
        (-10, 0),
        (-0.05, -0.03, 3, 2, Severity.WARNING),
        higher_is_worse=False,
    ),
    _rule(
        AlertType.MISSED_PROPOSAL,
        Scope.VALIDATOR,
        "Block proposal missed",
        "blocks missed in an epoch",
        (1, 1000),
        (1, 1, 1, 4, Severity.CRITICAL),
    ),
    _rule(
        AlertType.SYNC_PARTICIPATION,
        Scope.VALIDATOR,
        "Sync committee signatures missed",
        "share missed of those due",
        (0.001, 1),
        (0.5, 0.2, 2, 2, Severity.WARNING),
    ),
    _rule(
        AlertType.SLASHING,
        Scope.VALIDATOR,
        "Validator slashed",
        "1 (set severity or enabled)",
        (1, 1),
        (1, 1, 1, 0, Severity.CRITICAL),
    ),
    _rule(
        AlertType.EXIT,
        Scope.VALIDATOR,
        "Validator is leaving",
        "1 (set severity or enabled)",
        (1, 1),
        (1, 1, 1, 0, Severity.WARNING),
    ),
    _rule(
        AlertType.BALANCE_DROP,
        Scope.VALIDATOR,
        "Balance dropped",
        "parts per million of the balance lost in an epoch, without withdrawals and the like",
        (1, 1_000_000),
        (1000, 500, 1, 2, Severity.CRITICAL),
    ),
    _rule(
        AlertType.LEDGER_RESIDUAL,
        Scope.VALIDATOR,
        "Ledger does not add up",
        "gwei of the change of balance that nothing explains",
        (1, 2**53),
        (1, 1, 1, 1, Severity.WARNING),
    ),
    _rule(
        AlertType.NODE_UNHEALTHY,
        Scope.SYSTEM,
        "Beacon node unhealthy",
        "slots that the head is behind the clock",
        (1, 10_000),
        (8, 4, 1, 1, Severity.CRITICAL),
    ),
    _rule(
        AlertType.DATA_LATE,
        Scope.SYSTEM,
        "Epochs are stored late",
        "epochs that are over and not stored",
        (1, 10_000),
        (3, 2, 1, 1, Severity.WARNING),
    ),
    _rule(
        AlertType.PIPELINE_STALLED,
        Scope.SYSTEM,
        "Pipeline stands still",
        "seconds since the head was last looked at",
        (10, 86_400),
        (180, 60, 1, 1, Severity.CRITICAL),
    ),
)
RULES: Final[Mapping[AlertType, Rule]] = MappingProxyType({rule.kind: rule for rule in _RULES})
EPOCH_RULES: Final = tuple(rule.kind for rule in _RULES if rule.scope is not Scope.SYSTEM)


@dataclass(frozen=True, slots=True)
class Override:
    """Other settings for a rule, for those with a label (``category:value``) or for everybody."""

    rule: AlertType
    label: str | None
    settings: RuleSettings


@dataclass(frozen=True, slots=True)
class AlertRules:
    """All that evaluation needs to know.

    ``group_by`` is the category of label whose values are the groups that fail as one; at least
    ``group_at_least`` of a group that begin to fail in the same epoch, or all of it, are one alert
    about the group. Epochs that ended more than ``horizon_epochs`` ago page nobody.
    """

    overrides: Sequence[Override] = ()
    group_by: str = "operator"
    group_at_least: int = 5
    horizon_epochs: int = 16
    base: Mapping[AlertType, RuleSettings] = field(
        default_factory=lambda: {kind: rule.defaults for kind, rule in RULES.items()}
    )

    def settings(self, rule: AlertType, labels: frozenset[str] = frozenset()) -> RuleSettings:
        """The settings for those with ``labels``: the first override of one of them, else those
        for everybody."""
        for override in self.overrides:
            if override.rule is rule and override.label in labels:
                return override.settings
        for override in self.overrides:
            if override.rule is rule and override.label is None:
                return override.settings
        return self.base[rule]

    def labels_of_overrides(self, rule: AlertType) -> list[str]:
        """The labels that ``rule`` has settings of their own for, in the order that counts."""
        return [
            override.label
            for override in self.overrides
            if override.rule is rule and override.label is not None
        ]

    @property
    def window_epochs(self) -> int:
        """Epochs that a decision may depend on, the newest one included: twice the longest row
        asked for, so that unknown epochs in between do not hide it."""
        every = [*self.base.values(), *(override.settings for override in self.overrides)]
        return 2 * max(max(one.open_after, one.resolve_after) for one in every)

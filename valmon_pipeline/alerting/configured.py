"""Alert rules as they are configured: settings by label, groups and the horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from valmon_pipeline.alerting.rule import RuleSettings
from valmon_pipeline.alerting.rules import RULES


@dataclass(frozen=True, slots=True)
class Override:
    """Other settings for a rule, for those with a label (``category:value``) or for everybody."""

    rule: str
    label: str | None
    settings: RuleSettings


@dataclass(frozen=True, slots=True)
class AlertRules:
    """All that evaluation needs to know.

    ``group_by`` is the category of label whose values are the groups that fail as one; at least
    ``group_at_least`` of a group that begin to fail in the same epoch, or all of it, are one alert
    about the group. Evaluation begins with the epochs that ended at most ``horizon_epochs`` ago.
    """

    overrides: Sequence[Override] = ()
    group_by: str = "operator"
    group_at_least: int = 5
    horizon_epochs: int = 16
    base: Mapping[str, RuleSettings] = field(
        default_factory=lambda: {name: rule.defaults for name, rule in RULES.items()}
    )

    def settings(self, rule: str, labels: frozenset[str] = frozenset()) -> RuleSettings:
        """The settings for those with ``labels``: the first override of one of them, else those
        for everybody."""
        for override in self.overrides:
            if override.rule == rule and override.label in labels:
                return override.settings
        for override in self.overrides:
            if override.rule == rule and override.label is None:
                return override.settings
        return self.base[rule]

    def labels_of_overrides(self, rule: str) -> list[str]:
        """The labels that ``rule`` has settings of their own for, in the order that counts."""
        return [
            override.label
            for override in self.overrides
            if override.rule == rule and override.label is not None
        ]

    @property
    def window_epochs(self) -> int:
        """Epochs that a decision may depend on, the newest one included: twice the longest row
        asked for, so that unknown epochs in between do not hide it."""
        every = [*self.base.values(), *(override.settings for override in self.overrides)]
        return 2 * max(max(one.open_after, one.resolve_after) for one in every)

"""Settings of alerts: rules, groups and who is told."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from valmon_pipeline.alerting.configured import AlertRules, Override
from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.rule import RuleSettings
from valmon_pipeline.alerting.rules import RULES
from valmon_pipeline.config.channels import ChannelEntry, HeartbeatSettings, TemplateSettings
from valmon_pipeline.config.field_types import Number, OneOf, WholeNumber, refuse
from valmon_pipeline.config.labels import Category, Label, Switch, WebAddress
from valmon_pipeline.config.section import Section

_MOST_EPOCHS: Final = 64
_SEVERITIES: Final = tuple(severity.value for severity in Severity)


class _Entry(BaseModel):
    """An entry of a list; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RuleEntry(_Entry):
    """Other settings for a rule: for those with a label, or for everybody."""

    rule: Annotated[str, OneOf(tuple(RULES))]
    label: Annotated[str | None, Label()] = None
    enabled: Annotated[bool, Switch()] = True
    severity: Annotated[str | None, OneOf(_SEVERITIES)] = None
    threshold: Annotated[float | None, Number(-1e15, 1e15)] = None
    clear: Annotated[float | None, Number(-1e15, 1e15)] = None
    open_after: Annotated[int | None, WholeNumber(1, _MOST_EPOCHS)] = None
    resolve_after: Annotated[int | None, WholeNumber(0, _MOST_EPOCHS)] = None

    @model_validator(mode="after")
    def _fits_the_rule(self) -> Self:
        rule = RULES[self.rule]
        lowest, highest = rule.bounds
        if self.threshold is not None and not lowest <= self.threshold <= highest:
            refuse(
                f"threshold of {self.rule} ({rule.threshold_is}) must be from {lowest:g} to "
                f"{highest:g}"
            )
        settings = self.settings
        if rule.higher_is_worse and settings.clear > settings.threshold:
            refuse(f"clear of {self.rule} must not be above its threshold")
        if not rule.higher_is_worse and settings.clear < settings.threshold:
            refuse(f"clear of {self.rule} must not be below its threshold")
        return self

    @property
    def settings(self) -> RuleSettings:
        """What is written here, and the rule's defaults for the rest.

        A threshold without ``clear`` keeps the default ratio between the two.
        """
        defaults = RULES[self.rule].defaults
        threshold = defaults.threshold if self.threshold is None else self.threshold
        if self.clear is not None:
            clear = self.clear
        elif self.threshold is None or defaults.threshold == 0:
            clear = defaults.clear
        else:
            clear = threshold * defaults.clear / defaults.threshold
        return RuleSettings(
            threshold,
            clear,
            defaults.open_after if self.open_after is None else self.open_after,
            defaults.resolve_after if self.resolve_after is None else self.resolve_after,
            defaults.severity if self.severity is None else Severity(self.severity),
            self.enabled,
        )


class AlertSettings(Section):
    """What is an alert, and who is told of it."""

    rules: tuple[RuleEntry, ...] = Field(
        (),
        description="Other settings than the defaults of the rules, for everybody or for those "
        "with a label, see [alerts](alerts.md#rules). The first entry that fits counts; those "
        "with a label come before those without.",
    )
    group_by: Annotated[str, Category()] = Field(
        AlertRules().group_by,
        description="Category of the label whose values are the groups that fail as one.",
    )
    group_at_least: Annotated[int, WholeNumber(2, 10_000)] = Field(
        AlertRules().group_at_least,
        description="So many validators of a group that begin to fail in the same epoch, or all of "
        "it, are one alert about the group.",
    )
    horizon_epochs: Annotated[int, WholeNumber(3, 10_000_000)] = Field(
        AlertRules().horizon_epochs,
        description="Epochs that ended longer ago page nobody: evaluation begins with the first "
        "that did not, and goes on where it stopped after a downtime.",
    )
    channels: tuple[ChannelEntry, ...] = Field(
        (),
        description="Who is told of what, see [channels](alerts.md#channels). The address of each "
        "is `VALMON_CHANNEL_<NAME>_URL` in the environment.",
    )
    link: Annotated[str | None, WebAddress()] = Field(
        None, description="Where to look, e.g. the address of the Dagster UI; told in messages."
    )
    digest_hour: Annotated[int, WholeNumber(0, 23)] = Field(
        8, description="Hour in UTC from which on channels with `digest` get the daily digest."
    )
    heartbeat: HeartbeatSettings = Field(default_factory=HeartbeatSettings)
    templates: TemplateSettings = Field(default_factory=TemplateSettings)

    @model_validator(mode="after")
    def _each_is_set_once(self) -> Self:
        written = [(entry.rule, entry.label) for entry in self.rules]
        doubled = sorted({str(rule) for rule, label in written if written.count((rule, label)) > 1})
        if doubled:
            refuse(f"rules are set twice for the same label: {', '.join(doubled)}")
        return self

    @model_validator(mode="after")
    def _channels_have_names_of_their_own(self) -> Self:
        names = [channel.name for channel in self.channels]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            refuse(f"channels have the same name: {', '.join(doubled)}")
        return self

    @property
    def alert_rules(self) -> AlertRules:
        """The rules in the words of the alerting package."""
        return AlertRules(
            overrides=tuple(
                Override(entry.rule, entry.label, entry.settings) for entry in self.rules
            ),
            group_by=self.group_by,
            group_at_least=self.group_at_least,
            horizon_epochs=self.horizon_epochs,
        )

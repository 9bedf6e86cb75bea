"""Alert rules in the configuration: what they become, and which mistakes are told."""

from __future__ import annotations

import pytest

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.rule import RuleSettings
from valmon_pipeline.alerting.rules import RULES
from valmon_pipeline.config.mistakes import InvalidConfigurationError
from valmon_pipeline_tests.config.conftest import Load

MISSES = "missed_attestations"


def test_without_any_the_defaults_hold(load: Load) -> None:
    rules = load("").alerts.alert_rules
    assert all(rules.settings(kind) == rule.defaults for kind, rule in RULES.items())


def test_a_label_comes_before_everybody_whatever_the_order(load: Load) -> None:
    rules = load(
        "alerts:\n  rules:\n"
        "    - {rule: missed_attestations, open_after: 2}\n"
        "    - {rule: missed_attestations, label: 'operator:a', open_after: 1, severity: critical}"
    ).alerts.alert_rules
    assert rules.settings(MISSES).open_after == 2
    own = rules.settings(MISSES, frozenset({"operator:a", "region:x"}))
    assert own == RuleSettings(1, 1, 1, 2, Severity.CRITICAL)


def test_a_threshold_without_clear_keeps_the_ratio(load: Load) -> None:
    text = "alerts: {rules: [{rule: missed_attestation_share, threshold: 0.3}]}"
    settings = load(text).alerts.alert_rules.settings("missed_attestation_share")
    assert settings.clear == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{rule: missed_votes}", "expected missed_attestations or "),
        ("{rule: exit, label: a}", "expected a label such as operator:a"),
        ("{rule: exit, severity: bad}", "expected info or warning or critical"),
        ("{rule: exit, open_after: 0}", "expected a whole number from 1 to 64"),
        ("{rule: sync_participation, threshold: 1.5}", "must be from 0.001 to 1"),
        ("{rule: sync_participation, threshold: 0.1, clear: 0.2}", "must not be above"),
        ("{rule: low_effectiveness, clear: 0.2}", "must not be below its threshold"),
        ("{rule: exit, limit: 3}", "unknown key"),
        ("{rule: exit}, {rule: exit}", "set twice for the same label: exit"),
    ],
)
def test_mistakes_are_told(load: Load, written: str, told: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=told):
        load(f"alerts: {{rules: [{written}]}}")

"""The verdict has reasons, and nobody is blamed for what nobody could help."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.scoring.health import Health, HealthRules, LifeCycle, judge_health

RULES = HealthRules()
ACTIVE: dict[str, Any] = {
    "pending": False,
    "exited": False,
    "slashed": False,
    "score": 1.0,
    "judged_epochs": 100,
    "missed_streak": 0,
    "had_duty": True,
}


def verdict(
    rules: HealthRules = RULES, *, leak: bool = False, duties_known: bool = True, **differs: Any
) -> tuple[str, str | None]:
    """The verdict on one validator, healthy but for what is given, and the reasons."""
    one = ACTIVE | differs
    health, reasons = judge_health(
        rules,
        LifeCycle(*(np.array([one[name]]) for name in ("pending", "exited", "slashed"))),
        score=np.array([one["score"]]),
        judged_epochs=np.array([one["judged_epochs"]]),
        missed_streak=np.array([one["missed_streak"]]),
        had_duty=np.array([one["had_duty"]]),
        leak=leak,
        duties_known=duties_known,
    )
    return health[0], reasons[0]


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        ({}, ("healthy", None)),
        ({"missed_streak": 1}, ("healthy", None)),
        ({"missed_streak": 2}, ("degraded", "missed_streak:2")),
        ({"missed_streak": 5}, ("critical", "missed_streak:5")),
        ({"score": 0.9}, ("healthy", None)),
        ({"score": 0.89}, ("degraded", "score_below:0.9")),
        ({"score": -0.7}, ("critical", "score_below:0.5")),
        ({"score": 0.1, "missed_streak": 3}, ("critical", "missed_streak:3,score_below:0.5")),
        ({"score": 0.1, "judged_epochs": 23}, ("healthy", None)),
        ({"score": np.nan}, ("healthy", None)),
        ({"slashed": True}, ("critical", "slashed")),
        ({"slashed": True, "exited": True}, ("inactive", "exited,slashed")),
        ({"pending": True, "had_duty": False}, ("inactive", "pending")),
        ({"exited": True, "had_duty": False}, ("inactive", "exited")),
        ({"exited": True, "missed_streak": 9, "score": -1.0}, ("inactive", "exited")),
        ({"had_duty": False, "score": np.nan}, ("inactive", "no_duty")),
    ],
)
def test_the_verdict_and_its_reasons(
    differs: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    assert verdict(**differs) == expected


def test_a_leak_alone_is_no_reason_and_worsens_nothing() -> None:
    assert verdict(leak=True) == ("healthy", None)
    assert verdict(leak=True, missed_streak=2) == ("degraded", "missed_streak:2,leak")
    assert verdict(leak=True, exited=True) == ("inactive", "exited")


def test_thresholds_are_those_of_the_rules() -> None:
    strict = replace(RULES, degraded_below=0.99, critical_missed_streak=1)
    assert verdict(strict, score=0.98) == ("degraded", "score_below:0.99")
    assert verdict(strict, missed_streak=1) == ("critical", "missed_streak:1")


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.booleans(),
            st.booleans(),
            st.floats(-2, 1) | st.just(float("nan")),
            st.integers(0, 40),
            st.integers(0, 9),
            st.booleans(),
        ),
        min_size=1,
    ),
    st.booleans(),
)
def test_many_at_once_are_judged_as_each_alone(
    validators: list[tuple[bool, bool, bool, float, int, int, bool]], leak: bool
) -> None:
    columns = [np.array(column) for column in zip(*validators, strict=True)]
    health, reasons = judge_health(
        RULES,
        LifeCycle(*columns[:3]),
        score=columns[3],
        judged_epochs=columns[4],
        missed_streak=columns[5],
        had_duty=columns[6],
        leak=leak,
    )
    names = ("pending", "exited", "slashed", "score", "judged_epochs", "missed_streak", "had_duty")
    each: list[dict[str, Any]] = [dict(zip(names, one, strict=True)) for one in validators]
    alone = [verdict(leak=leak, **one) for one in each]
    assert list(zip(health, reasons, strict=True)) == alone
    assert all((name == Health.HEALTHY.value) == (why is None) for name, why in alone)


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        ({"had_duty": False}, ("unknown", "duties_unknown")),
        ({"had_duty": False, "pending": True}, ("inactive", "pending")),
        ({"had_duty": False, "exited": True}, ("inactive", "exited")),
        ({}, ("healthy", None)),
        ({"missed_streak": 5}, ("critical", "missed_streak:5")),
    ],
)
def test_without_known_duties_nobody_is_said_to_have_none(
    differs: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    assert verdict(duties_known=False, **differs) == expected

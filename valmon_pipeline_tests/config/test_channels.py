"""Channels: addresses come from the environment alone, and mistakes are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from valmon_pipeline.config.mistakes import InvalidConfigurationError
from valmon_pipeline_tests.config.conftest import Load, Mistakes

ONCALL = "alerts: {channels: [{name: oncall, labels: ['operator:a']}]}"
ADDRESS = {"VALMON_CHANNEL_ONCALL_URL": "slack://sEcr3t/sEcr3t/sEcr3t"}


def test_a_channel_has_its_address_from_the_environment_and_shows_it_nowhere(load: Load) -> None:
    settings = load(ONCALL, **ADDRESS)
    (channel,) = settings.alerts.channels
    assert channel.url is not None
    assert channel.url.get_secret_value() == ADDRESS["VALMON_CHANNEL_ONCALL_URL"]
    assert (channel.minimum_severity, channel.labels) == ("info", ("operator:a",))
    assert "sEcr3t" not in repr(settings) + str(settings.model_dump(mode="json"))


def test_the_example_of_the_page_is_valid(load: Load) -> None:
    page = Path(__file__).parents[2] / "docs" / "alerts.md"
    (example,) = [
        text
        for text in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        if "channels:" in text
    ]
    addresses = {"VALMON_CHANNEL_TEAM_A_URL": "json://h", **ADDRESS}
    _, team = load(example, **addresses).alerts.channels
    assert (team.labels, team.digest) == (("operator:a", "node"), True)


def test_a_channel_without_an_address_is_told_the_variable(mistakes: Mistakes) -> None:
    (problem,) = mistakes(ONCALL).values()
    assert problem == (
        "channel oncall has no address: set VALMON_CHANNEL_ONCALL_URL in the environment"
    )


def test_an_address_in_the_file_is_refused_and_not_repeated(load: Load) -> None:
    with pytest.raises(InvalidConfigurationError, match="belong in the environment") as caught:
        load("alerts: {channels: [{name: oncall, url: 'slack://sEcr3t'}]}", **ADDRESS)
    assert "sEcr3t" not in str(caught.value)


def test_an_address_of_no_channel_is_a_mistake(mistakes: Mistakes) -> None:
    found = mistakes(ONCALL, **ADDRESS, VALMON_CHANNEL_ONCAL_URL="slack://sEcr3t")
    assert found == {"VALMON_CHANNEL_ONCAL_URL": "there is no channel oncal in alerts.channels"}


def test_a_heartbeat_is_read_from_the_environment_alone(load: Load) -> None:
    address = "https://hc.example.org/sEcr3t"
    settings = load("", VALMON_ALERTS__HEARTBEAT__URL=address)
    assert settings.alerts.heartbeat.url is not None
    assert settings.alerts.heartbeat.url.reveal() == address
    assert "sEcr3t" not in repr(settings)
    with pytest.raises(InvalidConfigurationError, match="belongs in the environment") as caught:
        load(f"alerts: {{heartbeat: {{url: '{address}'}}}}")
    assert "sEcr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{name: On-call}", "expected a name of lower-case letters"),
        ("{name: heartbeat}", "not heartbeat"),
        ("{name: oncall, minimum_severity: bad}", "expected info or warning or critical"),
        ("{name: oncall, labels: [a b]}", "expected a label such as operator:a"),
        ("{name: oncall, to: me}", "unknown key"),
        ("{name: oncall}, {name: oncall}", "channels have the same name: oncall"),
    ],
)
def test_mistakes_in_channels_are_told(load: Load, written: str, told: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=told):
        load(f"alerts: {{channels: [{written}]}}", **ADDRESS)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("$sbject", r"the template has a mistake: it names \$sbject; there are \$network, "),
        ("cost: 3$", "the template has a mistake: invalid placeholder in string: .* write "),
        ("", "expected a text with"),
    ],
)
def test_mistakes_in_templates_are_told_with_their_line(
    mistakes: Mistakes, written: str, told: str
) -> None:
    found = mistakes(f"alerts:\n  templates:\n    opened: '{written}'")
    assert list(found) == ["line 3 alerts.templates.opened"]
    (problem,) = found.values()
    assert re.match(told, problem)

"""The documentation of the configuration is complete and true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from valmon_pipeline.alerting.templates import DEFAULTS
from valmon_pipeline.config import Settings, load_settings
from valmon_pipeline.config.beacon_nodes import BeaconNodeSettings
from valmon_pipeline.config.environment import settings_keys, variable_of
from valmon_pipeline.config.mistakes import InvalidConfigurationError, format_key
from valmon_pipeline.config.reference import key_descriptions, updated_page
from valmon_pipeline.config.yaml_file import parse_yaml
from valmon_pipeline_tests.config.conftest import Load

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "configuration.md"
EXAMPLE = DOCS / "valmon.example.yaml"


def test_the_table_of_keys_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == updated_page(page), (
        "run python -m valmon_pipeline.config.reference docs/configuration.md"
    )


def test_every_key_is_described() -> None:
    described = {key.key: key for key in key_descriptions()}
    assert set(described) == {format_key(path) for path in settings_keys()}
    for key in described.values():
        assert key.meaning.endswith("."), key.key
        assert key.expected, key.key


def test_every_key_can_be_set_by_its_variable(load: Load) -> None:
    values = {"watch": "network", "network": "hoodi", "home": "/tmp/valmon"}
    values |= {"beacon_nodes": '[{"url": "http://h", "archive": true}]'}
    values |= {"beacon_node_url": "http://h", "database.url": "postgresql://h/d"}
    values |= {"database.dagster_url": "postgresql://h/e", "history.first_day": "2026-11-01"}
    values |= {"archive.url": "s3://bucket/valmon"}
    values |= {"start_epoch": "300000", "block_events": "everyone"}
    values |= {"whole_network": "distribution"}
    values |= {"scoring.critical_below": "0.6", "metrics.per_validator": "true"}
    values |= {"logs.format": "json", "runs.max_concurrent": "9"}
    values |= {
        "alerts.group_by": "region",
        "alerts.rules": '[{"rule": "exit", "severity": "info"}]',
        "alerts.channels": '[{"name": "oncall"}]',
        "alerts.link": "https://valmon.example.org",
        "alerts.heartbeat.url": "https://hc.example.org/abc",
    }
    values |= {f"alerts.templates.{name}": "$subject" for name in DEFAULTS}
    values |= {"validators": "3", "watched_keys": f'[{{"public_key": "{"a" * 96}"}}]'}
    for path, field in settings_keys().items():
        value = values.get(format_key(path)) or str(int(field.default) + 1)
        address = {"VALMON_CHANNEL_ONCALL_URL": "json://h"} if path[-1] == "channels" else {}
        changed = load("", **{variable_of(path): value}, **address)
        assert _at(changed, path) != _at(load(""), path), format_key(path)


def test_the_example_is_valid(load: Load) -> None:
    settings = load(EXAMPLE.read_text(encoding="utf-8"))
    assert settings.watch_list.labels[4711] == {"operator": "a", "region": "sbg"}
    assert len(settings.watch_list.indices) == 52


def test_the_example_has_every_key_and_its_default(load: Load) -> None:
    everything = re.sub(r"(?m)^# (?=[a-z_ #]+:|   ? ?- )", "", EXAMPLE.read_text(encoding="utf-8"))
    written = parse_yaml(everything, "example").places
    assert {path for path in settings_keys() if path in written} == set(settings_keys())
    settings, defaults = load(everything, VALMON_HOME=""), Settings()
    chosen_for_show = {"beacon_node_url", "validators", "watched_keys", "home"}
    chosen_for_show |= {"database.url", "database.dagster_url", "archive.url"}
    for path in settings_keys():
        if format_key(path) not in chosen_for_show:
            assert _at(settings, path) == _at(defaults, path), format_key(path)


def test_every_key_of_a_node_is_on_the_page_and_in_the_example() -> None:
    page, example = PAGE.read_text(encoding="utf-8"), EXAMPLE.read_text(encoding="utf-8")
    for path in settings_keys(BeaconNodeSettings):
        assert f"| `{format_key(path)}` |" in page
        assert str(path[-1]) in example


def test_the_examples_of_the_page_are_valid(load: Load) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        assert not load(example).watch_list.is_empty


def test_the_message_on_the_page_is_what_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "valmon.yaml"
    path.write_text(
        "network: hoodi\n"
        "worker_pool_size: ten\n"
        "rate_limt: {burst: 5}\n"
        "validators:\n"
        "  - 0..39\n"
        "  - 30..49\n"
        "database:\n"
        "  url: mysql://root:pw@db/valmon\n"
    )
    with pytest.raises(InvalidConfigurationError) as caught:
        load_settings(path, {"VALMON_RATE_LIMIT__BURST": "lots"})
    printed = str(caught.value).replace(str(path), "valmon.yaml")
    assert printed in PAGE.read_text(encoding="utf-8")


def _at(settings: Settings, path: tuple[str | int, ...]) -> Any:
    value: Any = settings
    for part in path:
        value = getattr(value, str(part))
    return value


def test_off_is_a_word_and_no_boolean(load: Load) -> None:
    assert load("whole_network: off").whole_network == "off"
    assert load("whole_network: distribution").whole_network == "distribution"

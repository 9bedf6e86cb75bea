"""A configuration is read from one file and the environment, and all its mistakes at once."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from valmon_pipeline.config import (
    InvalidConfigurationError,
    SecretUrl,
    Settings,
    find_config_file,
    load_settings,
)
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline.scoring.standings import StandingRules
from valmon_pipeline_tests.config.conftest import Load, Mistakes


def test_without_a_file_and_environment_everything_has_its_default(tmp_path: Path) -> None:
    settings = load_settings(environ={"VALMON_HOME": str(tmp_path)})
    assert settings == Settings(home=tmp_path)
    assert settings.network == "mainnet"
    assert settings.worker_pool_size == 10
    assert (settings.rate_limit.requests_per_second, settings.rate_limit.burst) == (50.0, 100)
    assert (settings.http.timeout_seconds, settings.http.max_idle_conns) == (10.0, 20)
    assert settings.backfill.max_epochs_per_run == 64
    assert settings.database.url is None
    assert settings.beacon_node_urls == ()
    assert settings.watch_list.is_empty


def test_a_full_file_is_read(load: Load) -> None:
    settings = load(
        """
        network: hoodi
        beacon_node_url: [http://a:5052, "https://b/"]
        polling_interval_slots: 2
        worker_pool_size: 4
        rate_limit: {requests_per_second: 2.5, burst: 5}
        http: {timeout_seconds: 3, max_idle_conns: 7}
        retention_days: forever
        database: {url: postgresql://u:p@db/valmon, pool_size: 2}
        watch: network
        """
    )
    assert settings.network == "hoodi"
    assert [url.reveal() for url in settings.beacon_node_urls] == ["http://a:5052", "https://b/"]
    assert settings.rate_limit.requests_per_second == 2.5
    assert settings.http.timeout_seconds == 3.0
    assert settings.retention_days is None
    assert settings.database.url == SecretUrl("postgresql://u:p@db/valmon")
    assert settings.watch_list.everyone


def test_keys_without_a_value_have_their_default(load: Load, tmp_path: Path) -> None:
    text = "validators:\nrate_limit:\nhttp:\n  timeout_seconds:\nretention_days:\nnetwork: ~\n"
    assert load(text) == Settings(home=tmp_path)


@pytest.mark.parametrize("text", ["", "\n# only a comment\n", "---\n", "~\n", "\ufeff# BOM\n"])
def test_an_empty_file_is_no_mistake(load: Load, tmp_path: Path, text: str) -> None:
    assert load(text) == Settings(home=tmp_path)


def test_all_mistakes_are_reported_at_once_with_their_lines(mistakes: Mistakes) -> None:
    found = mistakes(
        """\
        network: Main Net
        worker_pool_size: ten
        rate_limt: {burst: 5}
        rate_limit:
          brust: 5
          burst: 0
        http: 10
        timeout_seconds: 10
        worker_pool_size: 12
        retention_days: 0.5
        watch: everyone
        beacon_node_url: [http://a, localhost:5052, http://a/]
        database: {url: mysql://h/valmon}
        validators: {index: 3}
        """,
        VALMON_HTTP__TIMEOUT_SECONDS="soon",
        VALMON_WORKER_POOL="3",
    )
    assert found == {
        "line 1 network": "expected a name of lower-case letters, digits and _, starting with a "
        "letter, at most 40 long, not public and not beginning with pg_",
        "line 2 worker_pool_size": "expected a whole number from 1 to 1000",
        "line 3 rate_limt": "unknown key; did you mean rate_limit?",
        "line 5 rate_limit.brust": "unknown key; did you mean rate_limit.burst?",
        "line 6 rate_limit.burst": "expected a whole number from 1 to 100000",
        "line 7 http": "expected a section with the keys timeout_seconds, max_idle_conns, "
        "one per line, indented",
        "line 8 timeout_seconds": "unknown key; did you mean http.timeout_seconds?",
        "line 9 worker_pool_size": "written twice, first on line 2",
        "line 10 retention_days": "expected a whole number from 1 to 36500, or forever",
        "line 11 watch": "expected listed or network",
        "line 12 beacon_node_url[1]": "expected an address such as http://localhost:5052, "
        "with http:// or https://",
        "line 12 beacon_node_url[2]": "the same node is already listed (line 12)",
        "line 13 database.url": "expected an address such as "
        "postgresql://user:password@host:5432/database",
        "line 14 validators": "expected a list",
        "VALMON_WORKER_POOL": "unknown variable; did you mean VALMON_WORKER_POOL_SIZE?",
    }


def test_the_message_names_file_line_key_value_and_expectation(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load("worker_pool_size: ten\n", VALMON_RATE_LIMIT__BURST="lots")
    assert str(caught.value) == (
        f"{tmp_path / 'valmon.yaml'}: 2 mistakes in the configuration.\n"
        "\n"
        'line 1: worker_pool_size = "ten"\n'
        "    expected a whole number from 1 to 1000\n"
        'VALMON_RATE_LIMIT__BURST = "lots"\n'
        "    expected a whole number from 1 to 100000\n"
        "\n"
        "Correct the above and try `valmon config check`. Every key: docs/configuration.md"
    )


def test_ten_thousand_mistakes_do_not_fill_ten_thousand_lines(load: Load) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        load("validators:\n" + "- x\n" * 10_000)
    assert len(caught.value.mistakes) == 10_000
    assert str(caught.value).count("\n") < 210
    assert "... and 9900 more" in str(caught.value)


@pytest.mark.parametrize("written", ["true", "3.0", "1e3", "''", "[1]", "{a: 1}", "0x10", "-1"])
def test_only_whole_numbers_are_whole_numbers(mistakes: Mistakes, written: str) -> None:
    assert mistakes(f"worker_pool_size: {written}") == {
        "line 1 worker_pool_size": "expected a whole number from 1 to 1000"
    }


@pytest.mark.parametrize("written", [".nan", "nan", ".inf", "inf", "1e999", "true", "fast", "0"])
def test_a_rate_is_a_finite_positive_number(mistakes: Mistakes, written: str) -> None:
    assert mistakes(f"rate_limit: {{requests_per_second: {written}}}") == {
        "line 1 rate_limit.requests_per_second": "expected a number from 0.1 to 10000"
    }


@pytest.mark.parametrize("name", ["public", "pg_mainnet", "information_schema", "1net", "a-b", "é"])
def test_a_network_is_a_plain_schema_name(mistakes: Mistakes, name: str) -> None:
    assert list(mistakes(f"network: {name}")) == ["line 1 network"]


@pytest.mark.parametrize(
    "written",
    ["20261101", "2026-W45-1", "2026-1-1", "2026-02-30", "2019-12-31", "01.11.2026", "yes", "5"],
)
def test_a_day_is_a_date_of_the_calendar(mistakes: Mistakes, written: str) -> None:
    assert mistakes(f"history: {{first_day: {written}}}") == {
        "line 1 history.first_day": "expected a date such as 2020-12-01, not before 2020-01-01"
    }


def test_a_wrong_day_is_quoted(load: Load) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        load("history:\n  first_day: 2026-02-30\n", VALMON_HISTORY__FIRST_DAY="1.1.2026")
    assert 'VALMON_HISTORY__FIRST_DAY = "1.1.2026"\n    expected a date' in str(caught.value)
    with pytest.raises(InvalidConfigurationError) as caught:
        load("history:\n  first_day: 2026-02-30\n")
    assert 'line 2: history.first_day = "2026-02-30"\n    expected a date' in str(caught.value)


def test_a_day_is_read_with_or_without_quotes_and_written_back(load: Load) -> None:
    for written in ("2026-11-01", "'2026-11-01'", '" 2026-11-01 "'):
        settings = load(f"history: {{first_day: {written}}}")
        assert settings.history.first_day == date(2026, 11, 1)
        assert settings.model_dump(mode="json")["history"] == {"first_day": "2026-11-01"}
    assert load("history:\n").history.first_day == date(2020, 12, 1)


def test_the_home_directory_may_begin_with_a_tilde(load: Load, mistakes: Mistakes) -> None:
    assert load("home: ~/valmon", VALMON_HOME="").home == Path("~/valmon").expanduser()
    assert mistakes("home: data", VALMON_HOME="") == {
        "line 1 home": "expected an absolute path, or one beginning with ~"
    }


class TestEnvironment:
    """Every key can be set by a variable, which wins over the file."""

    def test_variables_win_over_the_file(self, load: Load) -> None:
        settings = load(
            "worker_pool_size: 3\nrate_limit: {burst: 7, requests_per_second: 5}\n",
            VALMON_WORKER_POOL_SIZE="4",
            VALMON_RATE_LIMIT__BURST=" 8 ",
            VALMON_DATABASE__POOL_SIZE="9",
            VALMON_DATABASE__DAGSTER_URL="postgresql://u:p@db/dagster",
            VALMON_HISTORY__FIRST_DAY=" 2026-11-01 ",
            VALMON_RETENTION_DAYS="forever",
        )
        assert settings.worker_pool_size == 4
        assert (settings.rate_limit.burst, settings.rate_limit.requests_per_second) == (8, 5.0)
        assert settings.database.pool_size == 9
        assert settings.database.dagster_url == SecretUrl("postgresql://u:p@db/dagster")
        assert settings.history.first_day == date(2026, 11, 1)
        assert settings.retention_days is None

    def test_short_names(self, load: Load) -> None:
        settings = load(
            "beacon_node_url: [http://a, ftp://mistake]\n",
            VALMON_BEACON_URL="http://b, http://c,http://d/x,y",
            VALMON_DATABASE_URL="postgresql://h/valmon",
        )
        urls = [url.reveal() for url in settings.beacon_node_urls]
        assert urls == ["http://b", "http://c", "http://d/x,y"]
        assert settings.database.url == SecretUrl("postgresql://h/valmon")

    def test_a_short_and_a_full_name_must_agree(self, load: Load, mistakes: Mistakes) -> None:
        full = {"VALMON_BEACON_NODE_URL": "http://a"}
        assert load("", **full, VALMON_BEACON_URL="http://a").beacon_node_urls
        assert mistakes("", **full, VALMON_BEACON_URL="http://b") == {
            "VALMON_BEACON_URL": "VALMON_BEACON_NODE_URL sets the same with another value; "
            "keep one of the two"
        }

    def test_lists_are_comma_lists_or_json(self, load: Load, mistakes: Mistakes) -> None:
        assert load("", VALMON_VALIDATORS="3..5, 0").watch_list.indices == (0, 3, 4, 5)
        labelled = load("", VALMON_VALIDATORS='[{"index": 1, "labels": ["operator:a"]}, 2]')
        assert labelled.watch_list.indices == (1, 2)
        assert labelled.watch_list.labels == {1: {"operator": "a"}}
        assert list(mistakes("", VALMON_VALIDATORS="[1, 2")) == ["VALMON_VALIDATORS"]
        assert mistakes("", VALMON_VALIDATORS="1,x") == {
            "VALMON_VALIDATORS": "expected a validator index from 0 to 2147483647, "
            "or a range such as 0..39"
        }

    def test_empty_variables_count_as_unset(self, load: Load) -> None:
        settings = load("worker_pool_size: 3", VALMON_WORKER_POOL_SIZE="", VALMON_BEACON_URL=" ")
        assert settings.worker_pool_size == 3
        assert settings.beacon_node_urls == ()

    def test_variables_that_are_not_settings_are_left_alone(self, load: Load) -> None:
        load(
            "",
            VALMON_CODE_SERVER_HOST="code",
            VALMON_CODE_SERVER_PORT="4000",
            VALMON_TEST_DATABASE_URL="postgresql://h/test",
            VALMON_SERVICE_HOST="10.0.0.1",  # what Kubernetes adds for a service "valmon"
            VALMON_SERVICE_PORT_HTTP="80",
            VALMON_PORT="tcp://10.0.0.1:80",
            VALMON_WEBSERVER_PORT_3000_TCP_ADDR="10.0.0.1",
            OTHER_WORKER_POOL="1",
        )

    def test_a_variable_below_something_else_in_the_file(self, mistakes: Mistakes) -> None:
        assert list(mistakes("rate_limit: fast", VALMON_RATE_LIMIT__BURST="5")) == [
            "line 1 rate_limit"
        ]

    def test_the_process_environment_is_the_default(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in [name for name in os.environ if name.startswith("VALMON_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("VALMON_HOME", str(tmp_path))
        monkeypatch.setenv("VALMON_NETWORK", "hoodi")
        assert load_settings().network == "hoodi"

    def test_a_relative_home_is_meant_from_here(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert load_settings(environ={"VALMON_HOME": "home"}).home == tmp_path / "home"


class TestFindingTheFile:
    """The file is named, or lies in the home directory, or there is none."""

    def test_an_argument_wins_over_the_variable(self, tmp_path: Path) -> None:
        environ = {"VALMON_CONFIG": "b.yaml", "VALMON_HOME": str(tmp_path)}
        assert find_config_file(Path("a.yaml"), environ) == Path("a.yaml")
        assert find_config_file(None, environ) == Path("b.yaml")

    def test_the_usual_place_is_used_only_when_it_is_there(self, tmp_path: Path) -> None:
        environ = {"VALMON_HOME": str(tmp_path)}
        assert find_config_file(None, environ) is None
        usual = tmp_path / "valmon.yaml"
        usual.write_text("network: hoodi")
        assert find_config_file(None, environ) == usual
        assert load_settings(environ=environ).network == "hoodi"

    def test_a_named_file_must_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"gone\.yaml: cannot read .*: No such file"):
            load_settings(tmp_path / "gone.yaml", {})
        with pytest.raises(ConfigurationError, match="Is a directory"):
            load_settings(tmp_path, {})

    def test_it_must_be_text(self, tmp_path: Path) -> None:
        path = tmp_path / "valmon.yaml"
        path.write_bytes("network: é".encode("latin-1"))
        with pytest.raises(ConfigurationError, match="not a text file in UTF-8"):
            load_settings(path, {})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("critical_below: 0.95", "critical_below must not be above degraded_below"),
        (
            "critical_missed_streak: 1",
            "critical_missed_streak must not be less than degraded_missed_streak",
        ),
        ("window_epochs: 4", "critical_missed_streak must not be more than window_epochs"),
        ("window_epochs: 20", "minimum_judged_epochs must not be more than window_epochs"),
    ],
)
def test_thresholds_that_contradict_each_other_are_a_mistake(
    load: Load, written: str, told: str
) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        load(f"scoring:\n  {written}\n")
    assert told in str(caught.value)


def test_scoring_rules_are_those_of_the_settings(load: Load) -> None:
    assert load("").scoring.rules == StandingRules()
    rules = load("scoring: {half_life_epochs: 7.5, window_epochs: 30, degraded_below: 0.8}").scoring
    assert rules.rules.half_life_epochs == 7.5
    assert rules.rules.window_epochs == 30
    assert rules.rules.health.degraded_below == 0.8

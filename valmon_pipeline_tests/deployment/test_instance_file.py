"""``dagster.yaml`` follows valmon's version and keeps what the user set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from valmon_pipeline.deployment import instance_file
from valmon_pipeline.deployment.instance_file import BEFORE, NAME, bring_up_to_date
from valmon_pipeline.errors import ConfigurationError

SHIPPED = Path(instance_file.__file__).with_name(NAME).read_text()
OURS = yaml.safe_load(SHIPPED)
LAUNCHER = {"module": "dagster_docker", "class": "DockerRunLauncher", "config": {"image": "valmon"}}


class Home:
    """A DAGSTER_HOME, and what starting valmon in it does to the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told = list[str]()

    def start(self, shipped: str = SHIPPED) -> dict[str, Any]:
        """Start the version that ships this text; the settings that are in force then."""
        bring_up_to_date(self.path, shipped, self.told.append)
        return self.settings

    @property
    def text(self) -> str:
        return (self.path / NAME).read_text()

    @property
    def settings(self) -> dict[str, Any]:
        settings = yaml.safe_load(self.text)
        assert isinstance(settings, dict)
        return settings

    def edit(self, **settings: Any) -> None:
        """Set keys of the file as a user does; None removes one."""
        edited = {**self.settings, **settings}
        kept = {name: value for name, value in edited.items() if value is not None}
        (self.path / NAME).write_text("# mine\n" + yaml.safe_dump(kept))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def next_version(**settings: Any) -> str:
    """The text of a later version of valmon."""
    return yaml.safe_dump({**OURS, **settings})


def test_a_new_home_gets_the_shipped_file(home: Home) -> None:
    home.start()
    assert home.text == SHIPPED
    home.start()
    assert home.text == SHIPPED
    assert not (home.path / BEFORE).exists()


def test_a_file_that_nobody_changed_follows_the_version(home: Home) -> None:
    home.start()
    later = "# later\n" + next_version(sensors={"use_threads": False})
    home.start(later)
    assert home.text == later
    without_nux = {name: value for name, value in OURS.items() if name != "nux"}
    assert home.start(yaml.safe_dump(without_nux)) == without_nux


def test_what_the_user_adds_and_changes_stays_over_restarts_and_upgrades(home: Home) -> None:
    home.start()
    run_monitoring = {**OURS["run_monitoring"], "start_timeout_seconds": 1800}
    pools = {"pools": {"granularity": "run", "default_limit": 3}}
    home.edit(
        run_launcher=LAUNCHER,
        run_monitoring=run_monitoring,
        concurrency=pools,
        sensors={"use_threads": True, "num_workers": 16},
        telemetry=None,
    )
    edited = home.text
    home.start()
    assert home.text == edited
    monitored = {**OURS["run_monitoring"], "poll_interval_seconds": 77}
    settings = home.start(next_version(run_monitoring=monitored, backfills={"use_threads": False}))
    assert settings["run_launcher"] == LAUNCHER
    assert settings["concurrency"] == pools
    assert settings["sensors"] == {"use_threads": True, "num_workers": 16}
    assert "telemetry" not in settings
    assert settings["run_monitoring"] == {**run_monitoring, "poll_interval_seconds": 77}
    assert settings["backfills"] == {"use_threads": False}
    assert (home.path / BEFORE).read_text() == edited
    assert home.told == []


def test_a_file_that_was_there_first_is_completed(home: Home) -> None:
    (home.path / NAME).write_text(yaml.safe_dump({"run_launcher": LAUNCHER}))
    assert home.start() == {**OURS, "run_launcher": LAUNCHER}


def test_an_empty_file_is_as_good_as_none(home: Home) -> None:
    (home.path / NAME).write_text("")
    home.start()
    assert home.text == SHIPPED


def test_a_class_is_taken_with_its_own_settings_only(home: Home) -> None:
    home.start()
    default = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    home.edit(run_coordinator=default)
    assert home.start(next_version(sensors={"use_threads": False}))["run_coordinator"] == default


def test_a_queue_of_the_users_takes_the_place_of_ours_until_it_goes(home: Home) -> None:
    home.start()
    home.edit(run_queue={"max_concurrent_runs": 9})
    settings = home.start()
    assert settings["run_queue"] == {"max_concurrent_runs": 9}
    assert "run_coordinator" not in settings
    home.edit(run_queue=None)
    assert home.start()["run_coordinator"] == OURS["run_coordinator"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"storage": {"sqlite": {"base_dir": "/tmp/dagster"}}}, "storage"),
        ({"storage": {"postgres": {"postgres_url": "postgresql://elsewhere/d"}}}, "storage"),
        (
            {
                "storage": None,
                "run_storage": {
                    "module": "dagster_postgres.run_storage",
                    "class": "PostgresRunStorage",
                    "config": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}},
                },
            },
            "run_storage",
        ),
    ],
)
def test_storage_elsewhere_cannot_work_and_is_said_once(
    home: Home, settings: dict[str, Any], named: str
) -> None:
    home.start()
    home.edit(**settings, run_launcher=LAUNCHER)
    assert home.start() == {**OURS, "run_launcher": LAUNCHER}
    (said,) = home.told
    assert said.startswith(f"dagster.yaml: {named} is not used")
    assert "database.dagster_url" in said
    home.start()
    assert home.told == [said]


def test_the_storage_without_a_pool_is_the_users_choice(home: Home) -> None:
    home.start()
    postgres = {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    home.edit(storage=postgres)
    assert home.start()["storage"] == postgres
    assert home.told == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("storage: [", "is not YAML"),
        ("- a list\n", "must hold keys and values"),
        ("run_lancher: {}\n", "Dagster does not take these settings"),
        ("sensors: {use_threads: 7}\n", "Dagster does not take these settings"),
        ("concurrency: {pools: {granularity: epoch}}\n", "Dagster does not take these settings"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_left_as_it_is(
    home: Home, text: str, reason: str
) -> None:
    (home.path / NAME).write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        home.start()
    assert home.text == text
    assert [file.name for file in home.path.iterdir()] == [NAME]

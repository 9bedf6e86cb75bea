"""Which configuration holds: the demo only where nothing is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from valmon_pipeline.deployment.installation import DEMO_CONFIGURATION, Installation
from valmon_pipeline.errors import ConfigurationError
from valmon_pipeline_tests.deployment.installations import installation

NODE = "http://user:s3cret@node.example:5052/t0ken"


def test_nothing_configured_is_the_demo(tmp_path: Path) -> None:
    demo = installation(tmp_path)
    assert demo.demo
    assert demo.config_file == DEMO_CONFIGURATION
    assert demo.settings.network == "devnet"
    assert demo.settings.watch_list.everyone
    assert demo.home == tmp_path


@pytest.mark.parametrize(
    "variables",
    [{"VALMON_BEACON_URL": NODE}, {"VALMON_VALIDATORS": "0"}, {"VALMON_WATCH": "network"}],
    ids=lambda variables: next(iter(variables)),
)
def test_anything_configured_is_not(tmp_path: Path, variables: dict[str, str]) -> None:
    """Validator 0 counts: index 0 is somebody."""
    configured = installation(tmp_path, **variables)
    assert not configured.demo
    assert configured.settings.network == "mainnet"


def test_a_database_of_ones_own_is_still_the_demo(tmp_path: Path) -> None:
    demo = installation(tmp_path, VALMON_DATABASE_URL="postgresql://db.example/valmon")
    assert demo.demo
    assert demo.settings.database.url is not None


def test_the_configuration_in_the_home_is_found(tmp_path: Path) -> None:
    (tmp_path / "valmon.yaml").write_text("network: hoodi\nwatch: network\n")
    found = installation(tmp_path)
    assert (found.demo, found.settings.network) == (False, "hoodi")
    assert found.config_file == tmp_path / "valmon.yaml"


def test_a_relative_file_is_known_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("watch: network\n")
    monkeypatch.chdir(tmp_path)
    loaded = Installation.load(Path("mine.yaml"), {"VALMON_HOME": str(tmp_path)})
    assert loaded.config_file == tmp_path / "mine.yaml"


def test_without_a_node_it_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="VALMON_BEACON_URL, e"):
        installation(tmp_path, VALMON_VALIDATORS="1").require_node()


def test_without_anybody_to_watch_it_says_how_to_name_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="watch: network") as failure:
        installation(tmp_path, VALMON_BEACON_URL=NODE).require_node()
    assert "s3cret" not in str(failure.value)


def test_with_both_it_is_content(tmp_path: Path) -> None:
    installation(tmp_path, VALMON_BEACON_URL=NODE, VALMON_VALIDATORS="0").require_node()
    installation(tmp_path).with_node("http://127.0.0.1:5052").require_node()

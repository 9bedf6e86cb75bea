"""What Dagster's processes are told."""

from __future__ import annotations

from pathlib import Path

import yaml

from valmon_pipeline.config import load_settings
from valmon_pipeline.deployment.databases import DatabaseUrls
from valmon_pipeline.deployment.environment import dagster_environment, prepare_dagster_home
from valmon_pipeline_tests.deployment.installations import installation

URLS = DatabaseUrls("postgresql://postgres@/valmon?host=/socket", "postgresql+psycopg2://u:pw@h/d")
NODES = ("http://user:s3cret@one.example:5052", "https://two.example/t0ken?key=a,b")


def test_dagster_gets_a_home_with_the_files_of_this_version(tmp_path: Path) -> None:
    installed = installation(tmp_path)
    told = list[str]()
    home = prepare_dagster_home(installed, told.append)
    (home / "workspace.yaml").write_text("of another version")
    assert prepare_dagster_home(installed, told.append) == tmp_path / "dagster"
    instance = yaml.safe_load((home / "dagster.yaml").read_text())
    pooled = instance["storage"]["custom"]
    assert pooled["config"]["postgres_url"] == {"env": "DAGSTER_POSTGRES_URL"}
    assert told == []
    (server,) = yaml.safe_load((home / "workspace.yaml").read_text())["load_from"]
    assert server["grpc_server"]["location_name"] == "valmon"


def test_children_load_the_same_settings(tmp_path: Path) -> None:
    file = tmp_path / "valmon.yaml"
    file.write_text("network: hoodi\nvalidators: [0, 17]\nworker_pool_size: 3\n")
    ours = installation(
        tmp_path,
        VALMON_CONFIG=str(file),
        VALMON_BEACON_URL="[" + ",".join(f'"{url}"' for url in NODES) + "]",
    )
    variables = dagster_environment(ours, URLS)
    theirs = load_settings(environ=variables)
    assert [url.reveal() for url in theirs.beacon_node_urls] == list(NODES)
    assert theirs.database.url is not None
    assert theirs.database.url.reveal() == URLS.tables
    unset = {"database": ours.settings.database}
    assert theirs.model_copy(update=unset) == ours.settings
    assert variables["DAGSTER_POSTGRES_URL"] == URLS.dagster


def test_children_load_the_same_nodes_with_settings_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "valmon.yaml"
    file.write_text(
        f"beacon_nodes: [{{url: '{NODES[0]}', name: one, rate_limit: {{burst: 3}}}}]\n"
        "validators: [0]\n"
    )
    ours = installation(tmp_path, VALMON_CONFIG=str(file))
    theirs = load_settings(environ=dagster_environment(ours, URLS))
    assert theirs.nodes == ours.settings.nodes
    assert theirs.nodes[0].url.reveal() == NODES[0]


def test_children_of_the_demo_know_its_node(tmp_path: Path) -> None:
    demo = installation(tmp_path).with_node("http://127.0.0.1:5052")
    theirs = load_settings(environ=dagster_environment(demo, URLS))
    assert theirs.network == "devnet"
    assert [url.reveal() for url in theirs.beacon_node_urls] == ["http://127.0.0.1:5052"]


def test_addresses_with_passwords_are_not_shown() -> None:
    assert "pw" not in repr(URLS)

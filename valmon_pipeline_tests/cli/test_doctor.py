"""``valmon doctor`` on set-ups that are right, and on ones with something wrong."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from valmon_pipeline.devnet import RECORDING_PATH
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode
from valmon_pipeline.storage import migrate
from valmon_pipeline_tests.cli.conftest import InProcess
from valmon_pipeline_tests.migrated_schema import make_migrated_schema
from valmon_pipeline_tests.moody_node import SYNCING, Mood, moody_node

GOOD, WARNING, PROBLEM = "good", "warning", "problem"


@pytest.fixture(scope="module")
def moody() -> Iterator[tuple[str, Mood]]:
    recording = Recording.load(RECORDING_PATH)
    with (
        BackgroundReplayNode(ReplayNode(recording)) as well,
        moody_node(recording, well.url) as node,
    ):
        yield node


@pytest.fixture
def node(moody: tuple[str, Mood]) -> tuple[str, Mood]:
    """A node that is in a good mood at first."""
    _, mood = moody
    mood.changed.clear()
    mood.refused.clear()
    return moody


@pytest.fixture
def right(node: tuple[str, Mood], database_url: str, schema: str) -> dict[str, str]:
    """The variables of a set-up with nothing wrong, but for a chain that stands still."""
    make_migrated_schema(database_url, schema)
    return {
        "VALMON_NETWORK": schema,
        "VALMON_BEACON_URL": node[0],
        "VALMON_VALIDATORS": "0..128",
        "VALMON_DATABASE_URL": database_url,
        "VALMON_DATABASE__DAGSTER_URL": database_url,
        "VALMON_METRICS__PORT": str(free_port()),
        "VALMON_ALERTS__CHANNELS": '[{"name": "ops"}]',
        "VALMON_CHANNEL_OPS_URL": "json://localhost:9/hook",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Examined:
    """What the doctor said, by subject and name; a node goes by ``node``."""

    def __init__(self, code: int, answer: Any, shown: str) -> None:
        self.code = code
        self.shown = shown
        self._findings = {
            (one["subject"].split()[0], one["name"]): one for one in answer["findings"]
        }

    def verdicts(self, verdict: str) -> set[tuple[str, str]]:
        return {key for key, one in self._findings.items() if one["verdict"] == verdict}

    def found(self, subject: str, name: str) -> str:
        return str(self._findings[subject, name]["found"])

    def advice(self, subject: str, name: str) -> str:
        return str(self._findings[subject, name]["advice"])


@pytest.fixture
def examine(valmon: InProcess) -> Any:
    def run(variables: dict[str, str]) -> Examined:
        done = valmon("doctor", "--json", **variables)
        assert not done.err, done.err
        return Examined(done.code, json.loads(done.out), done.out)

    return run


STANDS_STILL = ("node", "clock")
MACHINE = {("machine", name) for name in ("disk", "port of the Dagster UI", "port of the metrics")}
"""What depends on the machine that the tests run on."""


def test_a_right_set_up_is_good(examine: Any, right: dict[str, str]) -> None:
    examined = examine(right)
    assert examined.code == 0
    assert examined.verdicts(PROBLEM) == set()
    not_recorded = {("node", "pending queues")}
    assert examined.verdicts(WARNING) - MACHINE == {STANDS_STILL, *not_recorded}
    good = examined.verdicts(GOOD)
    rewards = {"attestation rewards", "block rewards", "sync rewards"}
    assert {("node", name) for name in rewards | {"blocks", "committees"}} <= good
    assert {("database", name) for name in ("server", "schema", "rights", "Dagster")} <= good
    assert {("configuration", "channel ops"), ("watch", "validators")} <= good


def test_people_get_lines_with_advice(valmon: InProcess, right: dict[str, str]) -> None:
    shown = valmon("doctor", **{**right, "VALMON_VALIDATORS": "0..200"})
    assert "✓ schema: schema test_" in shown.out
    assert "! validators: 72 of 201 are not in the registry" in shown.out
    assert "      → correct them" in shown.out
    assert "0 problems" in shown.out


def test_a_wrong_configuration_is_told_with_its_lines(examine: Any, tmp_path: Path) -> None:
    file = tmp_path / "valmon.yaml"
    file.write_text("networkk: hoodi\n")
    examined = examine({"VALMON_CONFIG": str(file)})
    assert examined.code == 1
    assert "did you mean network?" in examined.found("configuration", "file")


def test_a_database_that_is_away_and_its_password(examine: Any, right: dict[str, str]) -> None:
    away = "postgresql://valmon:hunter2@127.0.0.1:9/valmon"
    examined = examine({**right, "VALMON_DATABASE_URL": away})
    assert examined.code == 1
    assert examined.verdicts(PROBLEM) == {("database", "server")}
    assert "hunter2" not in examined.shown


def test_a_database_that_was_not_migrated(
    examine: Any, right: dict[str, str], database_url: str, schema: str
) -> None:
    migrate.downgrade(database_url, schema, "0003")
    examined = examine(right)
    assert examined.code == 1
    assert "is at revision 0003" in examined.found("database", "schema")
    assert examined.advice("database", "schema") == "run `valmon migrate`"


def test_a_user_without_the_rights(
    examine: Any, right: dict[str, str], database_url: str, schema: str
) -> None:
    role = f"{schema}_reader"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
        try:
            url = make_url(database_url).set(username=role).render_as_string(hide_password=False)
            examined = examine({**right, "VALMON_DATABASE_URL": url})
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert examined.verdicts(PROBLEM) == {("database", "rights")}
    assert f"{role} may not make tables" in examined.found("database", "rights")


def test_a_syncing_node(examine: Any, right: dict[str, str], node: tuple[str, Mood]) -> None:
    node[1].changed[SYNCING] = {"is_syncing": True, "sync_distance": "12"}
    examined = examine(right)
    assert examined.code == 1
    assert "it is syncing, 12 slots behind" in examined.found("node", "health")
    well = examine({**right, "VALMON_BEACON_URL": "http://127.0.0.1:9,http://127.0.0.1:10"})
    assert ("nodes", "health") in well.verdicts(PROBLEM)


def test_a_node_without_rewards_or_states(
    examine: Any, right: dict[str, str], node: tuple[str, Mood]
) -> None:
    mood = node[1]
    few = {**right, "VALMON_REGISTRY_FETCH_LIMIT": "0"}
    good = examine(few)
    rewards = [path for path in mood.requests if "rewards/attestations" in path]
    assert good.code == 0
    assert "from rewards/attestations/{epoch}" in good.found("node", "attestation rewards")
    mood.refused |= dict.fromkeys(rewards, 404)
    examined = examine(few)
    assert examined.code == 0, "nothing of it costs an epoch"
    assert ("node", "attestation rewards") in examined.verdicts(WARNING)
    found = examined.found("node", "attestation rewards")
    assert found.startswith("NULL will be vote rewards, ledger: rewards/attestations/{epoch}: HTTP")
    assert "Lodestar" in examined.advice("node", "attestation rewards")
    # With the registry of the whole network they are computed.
    whole = {**right, "VALMON_REGISTRY_FETCH_LIMIT": "20000"}
    assert "from specification" in examine(whole).found("node", "attestation rewards")
    blocks = [path for path in mood.requests if "/beacon/blocks/" in path]
    mood.refused |= dict.fromkeys(blocks, 404)
    examined = examine(whole)
    assert examined.code == 1
    assert ("node", "blocks") in examined.verdicts(PROBLEM)


def test_an_archive_that_cannot_be_written_and_one_that_can(
    examine: Any, right: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no directory")
    examined = examine({**right, "VALMON_ARCHIVE__URL": str(tmp_path / "file")})
    assert examined.verdicts(PROBLEM) == {("machine", "archive")}
    examined = examine({**right, "VALMON_ARCHIVE__URL": str(tmp_path / "answers")})
    assert ("machine", "archive") in examined.verdicts(GOOD)
    left = [name for _, _, names in os.walk(tmp_path / "answers") for name in names]
    assert left == []


def test_a_port_that_is_taken(examine: Any, right: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        examined = examine({**right, "VALMON_METRICS__PORT": str(port)})
    assert examined.code == 0
    assert f"port {port} is taken" in examined.found("machine", "port of the metrics")


def test_an_address_that_is_nobodys(examine: Any, right: dict[str, str]) -> None:
    examined = examine({**right, "VALMON_CHANNEL_OPS_URL": "nosuch://hunter2"})
    assert examined.code == 1
    assert "hunter2" not in examined.shown
    assert ("configuration", "channel ops") in examined.verdicts(PROBLEM)


def test_the_demo_is_told_from_a_set_up(examine: Any) -> None:
    examined = examine({})
    assert examined.code == 0
    assert ("configuration", "what is watched") in examined.verdicts(WARNING)
    assert ("configuration", "channels") in examined.verdicts(WARNING)


def test_migrate_makes_the_reader_that_the_doctor_then_finds(
    valmon: InProcess, examine: Any, right: dict[str, str], database_url: str
) -> None:
    try:
        done = valmon("migrate", "--reader", **right, VALMON_READER_PASSWORD="r3ader")
        assert done.code == 0, done.err
        assert "r3ader" not in done.out + done.err
        assert examine(right).found("database", "reader") == "valmon_reader may read every table"
    finally:
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("DROP OWNED BY valmon_reader; DROP ROLE valmon_reader")

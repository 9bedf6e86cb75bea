"""/metrics, /healthz and /readyz over HTTP, of a filled database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from valmon_pipeline.beacon.breaker_file import BreakerFile
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.deployment.code_location import CodeLocation
from valmon_pipeline.devnet.node_server import BackgroundNode
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.observability.readiness import ReadinessLimits
from valmon_pipeline.observability.server import MetricsServer
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.queries.figures import FiguresReader
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.moody_node import SYNCING, moody_node, options
from valmon_pipeline_tests.observability.conftest import see_head
from valmon_pipeline_tests.observability.times import EPOCHS, HEAD_SLOT, SLOT_MS, time_of

NOW = time_of(HEAD_SLOT)
LIMITS = ReadinessLimits(head_lag_slots=8, stored_lag_epochs=5)
NOWHERE = "http://127.0.0.1:9"
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@contextmanager
def served(
    warehouse: Warehouse, *node_urls: str, now: datetime = NOW, **chosen: Any
) -> Iterator[httpx.Client]:
    pool = chosen.pop("pool", None) or NodePool([options(url) for url in node_urls])
    server = MetricsServer(warehouse, pool, LIMITS, now=lambda: now, **chosen)
    with (
        BackgroundNode(_Application(server.application)) as background,
        httpx.Client(base_url=background.url, trust_env=False, timeout=30) as client,
    ):
        yield client


@dataclass(frozen=True)
class _Application:
    """What a background server serves."""

    app: Starlette

    def stop(self) -> None:
        """No answer of it stays open."""


def scraped(client: httpx.Client) -> Samples:
    """Every sample by name and labels, as Prometheus' own parser reads them."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def samples(filled: Warehouse) -> Samples:
    with served(filled, NOWHERE) as client:
        return scraped(client)


@pytest.fixture(scope="module")
def sample(samples: Samples, filled: Warehouse) -> Callable[..., float]:
    """The value of a metric with these labels."""

    def value(name: str, **labels: str) -> float:
        return samples[name, frozenset({"network": filled.schema, **labels}.items())]

    return value


@pytest.fixture(scope="module")
def ask(filled: Warehouse) -> Callable[[str], Any]:
    """The one value that a query of the filled schema gives."""

    def answer(query: str) -> Any:
        with filled.database.transaction("compare") as connection:
            connection.exec_driver_sql(f"SET LOCAL search_path TO {filled.schema}")
            return connection.exec_driver_sql(query).scalar_one()

    return answer


def test_lags_are_those_of_the_clock(sample: Callable[..., float]) -> None:
    assert sample("eth_slot") == HEAD_SLOT
    assert sample("eth_epoch") == EPOCHS[-1] + 2
    assert sample("valmon_head_lag_slots") == 0
    assert sample("valmon_stored_epoch") == EPOCHS[-1]
    assert sample("valmon_stored_lag_epochs") == 2
    assert sample("valmon_head_age_seconds") == 0


@pytest.mark.parametrize(
    ("metric", "query"),
    [
        ("eth_missed_attestations", "count(*) FILTER (WHERE miss_cause = 'not_included')"),
        ("eth_suboptimal_sources_rate", "100.0 * avg((NOT source_timely)::integer)"),
        ("eth_suboptimal_targets_rate", "100.0 * avg((NOT target_timely)::integer)"),
        ("eth_suboptimal_heads_rate", "100.0 * avg((NOT head_timely)::integer)"),
    ],
)
@pytest.mark.parametrize("scope", ["scope:watched", "operator:a"])
def test_groups_are_what_their_validators_rows_add_up_to(
    sample: Callable[..., float], ask: Callable[[str], Any], metric: str, query: str, scope: str
) -> None:
    members = (
        "true"
        if scope == "scope:watched"
        else "validator_index IN (SELECT validator_index FROM validator_labels WHERE value = 'a')"
    )
    expected = ask(
        f"SELECT {query} FROM attestation_outcomes WHERE epoch = {EPOCHS[-1]} AND {members}"
    )
    assert sample(metric, scope=scope) == pytest.approx(float(expected), rel=1e-12)


def test_rewards_are_exact(sample: Callable[..., float], ask: Callable[[str], Any]) -> None:
    rewards = f"FROM attestation_rewards WHERE epoch = {EPOCHS[-1]}"
    earned = ask(f"SELECT sum(total_reward)::bigint {rewards}")
    ideal = ask(f"SELECT sum(ideal_total)::bigint {rewards}")
    assert sample("eth_actual_consensus_rewards_gwei", scope="scope:watched") == earned
    assert sample("eth_ideal_consensus_rewards_gwei", scope="scope:watched") == ideal


def test_validators_are_counted_by_status(
    samples: Samples, sample: Callable[..., float], ask: Callable[[str], Any]
) -> None:
    counted = {
        dict(labels)["status"]: value
        for (name, labels), value in samples.items()
        if name == "eth_validator_status_count" and dict(labels)["scope"] == "scope:watched"
    }
    first_slot = 8 * EPOCHS[-1]
    where = f"WHERE epoch = {EPOCHS[-1]} AND slot = {first_slot}"
    assert sum(counted.values()) == ask(f"SELECT count(*) FROM validator_snapshots {where}")
    for status, count in counted.items():
        assert count == ask(
            f"SELECT count(*) FROM validator_snapshots {where} AND status = '{status}'"
        )
    assert sample("eth_slashed_validators", scope="scope:watched") == ask(
        "SELECT count(*) FROM validators WHERE slashed"
    )


def test_streaks_and_alerts_are_counted(
    sample: Callable[..., float], ask: Callable[[str], Any]
) -> None:
    streaks = f"FROM validator_standings WHERE epoch = {EPOCHS[-1]} AND missed_streak >= 2"
    assert sample("eth_missed_consecutive_attestations", scope="scope:watched") == ask(
        f"SELECT count(*) {streaks}"
    )
    open_alerts = 0
    for severity in ("info", "warning", "critical"):
        expected = ask(
            f"SELECT count(*) FROM alerts WHERE severity = '{severity}' AND status = 'open'"
        )
        assert sample("valmon_alerts", severity=severity, status="open") == expected
        open_alerts += expected
    assert open_alerts > 0


def test_messages_that_nobody_got_are_counted(
    sample: Callable[..., float], ask: Callable[[str], Any]
) -> None:
    pending = ask("SELECT count(*) FROM alert_deliveries WHERE status = 'pending'")
    assert sample("valmon_alert_messages", status="pending") == pending > 0
    assert sample("valmon_alert_messages", status="dead") == 0


def test_tables_have_a_size(sample: Callable[..., float]) -> None:
    assert sample("valmon_table_bytes", table="attestation_outcomes") > 8192
    assert sample("valmon_database_connections", state="active") >= 1


def test_validators_have_no_series_of_their_own_unless_asked_for(
    samples: Samples, filled: Warehouse
) -> None:
    assert not any("validator_index" in dict(labels) for _, labels in samples)
    with served(filled, NOWHERE, per_validator=True) as client:
        own = [
            dict(labels)
            for name, labels in scraped(client)
            if name == "valmon_validator_missed_streak"
        ]
    assert {int(labels["validator_index"]) for labels in own} == set(range(len(own)))
    assert len(own) >= 128
    assert all(labels["pubkey"].startswith("0x") for labels in own)


def test_a_node_left_alone_shows(filled: Warehouse, tmp_path: Path) -> None:
    pool = NodePool([options(NOWHERE)], breakers=BreakerFile(tmp_path / "nodes.json"))
    with served(filled, pool=pool) as client:
        (name,) = pool.names
        state = {"network": filled.schema, "node": name, "state": "open"}
        key = ("valmon_node_breaker_state", frozenset(state.items()))
        assert scraped(client)[key] == 0
        for _ in range(3):
            pool._remember_failure(name, "it is away", in_use=True)
        assert scraped(client)[key] == 1


def test_a_newer_epoch_is_seen_and_a_known_one_is_not_counted_again(filled: Warehouse) -> None:
    reader = FiguresReader(filled)
    first, second = reader.read(NOW).newest, reader.read(NOW).newest
    assert first is not None
    assert first is second
    with filled.database.transaction("store it again") as connection:
        connection.exec_driver_sql(
            f"UPDATE {filled.schema}.network_epochs SET materialized_at = now() "
            f"WHERE epoch = {EPOCHS[-1]}"
        )
    again = reader.read(NOW).newest
    assert again is not None
    assert again is not first
    assert again.sums == first.sums


def test_an_empty_database_has_metrics_too(warehouse: Warehouse) -> None:
    with served(warehouse, NOWHERE) as client:
        names = {name for name, _ in scraped(client)}
    assert "eth_slot" in names
    assert "valmon_head_slot" not in names


def conditions(client: httpx.Client) -> tuple[int, dict[str, str]]:
    """The status, and the reason of everything that does not hold."""
    answer = client.get("/readyz")
    found = answer.json()["conditions"]
    assert answer.json()["ready"] == (answer.status_code == 200)
    return answer.status_code, {one["name"]: one["reason"] for one in found if not one["ok"]}


def test_all_is_well(filled: Warehouse, recorded_node_url: str) -> None:
    with served(filled, recorded_node_url) as client:
        assert conditions(client) == (200, {})
        assert client.get("/healthz").status_code == 200


def test_a_code_server_that_does_not_answer_is_told(
    filled: Warehouse, recorded_node_url: str
) -> None:
    location = CodeLocation("127.0.0.1", 9)
    with served(filled, recorded_node_url, code_problem=location.problem) as client:
        status, reasons = conditions(client)
        assert (status, list(reasons)) == (503, ["code"])
        assert "the code server at 127.0.0.1:9 does not answer" in reasons["code"]
        alive = client.get("/healthz")
        assert alive.status_code == 503
        assert alive.json()["conditions"][0]["name"] == "code"
    with served(filled, recorded_node_url, code_problem=lambda: "") as client:
        assert conditions(client) == (200, {})
        assert client.get("/healthz").json() == {"alive": True, "conditions": []}


def test_a_node_that_is_syncing_or_away_is_told(
    filled: Warehouse, recording: Recording, recorded_node_url: str
) -> None:
    with moody_node(recording, recorded_node_url) as (url, mood):
        mood.changed[SYNCING] = {"is_syncing": True, "sync_distance": "12"}
        with served(filled, NOWHERE, url) as client:
            status, reasons = conditions(client)
            assert (status, list(reasons)) == (503, ["node"])
            assert "it is syncing, 12 slots behind" in reasons["node"]
            assert "127.0.0.1:9" in reasons["node"]
            assert client.get("/healthz").status_code == 200
            mood.changed.clear()
            assert conditions(client) == (200, {})


@pytest.mark.parametrize(
    ("later", "failing"),
    [
        (timedelta(milliseconds=8 * SLOT_MS), {}),
        (timedelta(milliseconds=9 * SLOT_MS), {"sensors", "head"}),
        (timedelta(milliseconds=8 * 4 * SLOT_MS), {"sensors", "head", "epochs"}),
    ],
)
def test_what_stands_still_is_told(
    filled: Warehouse, recorded_node_url: str, later: timedelta, failing: set[str]
) -> None:
    with served(filled, recorded_node_url, now=NOW + later) as client:
        status, reasons = conditions(client)
    assert set(reasons) == set(failing)
    assert status == (503 if failing else 200)


def test_a_head_that_is_seen_but_old_is_the_nodes_fault(
    filled: Warehouse, recorded_node_url: str
) -> None:
    later = NOW + timedelta(milliseconds=12 * SLOT_MS)
    see_head(filled, later)
    try:
        with served(filled, recorded_node_url, now=later) as client:
            _, reasons = conditions(client)
    finally:
        see_head(filled, NOW)
    assert set(reasons) == {"head"}
    assert "12 slots behind the clock" in reasons["head"]


def test_before_anything_was_followed_the_sensors_are_told(
    warehouse: Warehouse, recorded_node_url: str
) -> None:
    with served(warehouse, recorded_node_url) as client:
        _, reasons = conditions(client)
    assert set(reasons) == {"sensors"}


def test_a_stopped_database_is_told_and_its_return_seen(
    postgres_home: Path, recorded_node_url: str
) -> None:
    server = EmbeddedPostgres(postgres_home)
    server.start()
    try:
        server.ensure_database("valmon")
        migrate.upgrade(server.url(), "test")
        database = Database(server.url(), "test", connect_timeout_seconds=5)
        with served(Warehouse(database), recorded_node_url) as client:
            assert client.get("/metrics").status_code == 200
            server.stop()
            status, reasons = conditions(client)
            assert (status, list(reasons)) == (503, ["database"])
            assert "could not" in reasons["database"]
            assert client.get("/metrics").status_code == 503
            assert client.get("/healthz").status_code == 200
            server.start()
            assert client.get("/metrics").status_code == 200
        database.close()
    finally:
        server.stop()

"""The sensors against a live node, a database and a Dagster instance; only the clock is ours."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import dagster as dg
import httpx
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.tags import (
    GRPC_INFO_TAG,
    MAX_RUNTIME_SECONDS_TAG,
    PRIORITY_TAG,
)
from starlette.responses import Response

from valmon_pipeline.alerting.rules import DATA_LATE
from valmon_pipeline.assets.alert_checks import MESSAGES_CHECK
from valmon_pipeline.assets.asset_graph import asset_key
from valmon_pipeline.assets.run_tags import NETWORK_TAG, REASON_TAG, WORK_TAG
from valmon_pipeline.automation import epoch_sensor, finality_sensor
from valmon_pipeline.automation.abandoned_runs import fail_abandoned_runs
from valmon_pipeline.automation.alert_sensor import look_for_alerts, system_facts
from valmon_pipeline.automation.finality_sensor import (
    EPOCHS_PER_TICK,
    HEADERS_PER_TICK,
    RUNS_PER_TICK,
)
from valmon_pipeline.definitions import MATERIALIZE_EPOCHS
from valmon_pipeline.partitions import register_epochs, registered_epochs
from valmon_pipeline.storage.alert_store import alert_transaction
from valmon_pipeline.storage.chain_head import read_chain_head
from valmon_pipeline.storage.outbox import (
    NewDelivery,
    claim,
    note_failed,
    retry_dead,
    write_deliveries,
)
from valmon_pipeline_tests.assets.stored import fresh_warehouse, stored_epochs, table_hashes
from valmon_pipeline_tests.automation.service import Service, epochs_of, skip_reason
from valmon_pipeline_tests.cli.home import wait_until
from valmon_pipeline_tests.live_chain import (
    CHECKPOINTS,
    HEADERS,
    NOT_FOUND,
    LiveChain,
    setting,
)
from valmon_pipeline_tests.recording import devnet


@pytest.fixture
def service(chain: LiveChain, database_url: str) -> Iterator[Service]:
    with dg.DagsterInstance.ephemeral() as instance, fresh_warehouse(database_url) as warehouse:
        service = Service(instance, warehouse, database_url, chain.url)
        yield service
        service.pipeline.warehouse.database.close()


def test_a_requested_run_is_one_that_dagster_can_do(chain: LiveChain, service: Service) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(13)
    for request in service.tick("epoch_sensor").run_requests or []:
        service.run(request)
    assert stored_epochs(service.warehouse) == [10, 11, 12, 13]
    assert service.finality()[13] is False


def test_following_the_chain_stores_every_epoch_once_and_then_turns_it_final(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    assert service.follow() == [[10]]
    assert skip_reason(service.tick("epoch_sensor")) == (
        "epoch 10 is stored, and nothing before it is missing"
    )
    for epoch in (11, 12):
        chain.close_window(epoch)
        assert service.follow() == [[epoch]]
    assert registered_epochs(service.instance, service.warehouse.schema) == [10, 11, 12]

    assert service.finality() == {10: False, 11: False, 12: False}
    chain.finalize(11)
    service.tick("finality_sensor")
    assert service.finality() == {10: True, 11: True, 12: False}
    assert "oldest provisional epoch is 12" in skip_reason(service.tick("finality_sensor"))


def test_after_a_pause_the_gap_is_closed_oldest_first_and_the_newest_does_not_wait(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(21)
    first = service.tick("epoch_sensor").run_requests or []
    assert [epochs_of(request) for request in first] == [[21], [11, 12, 13, 14]]
    newest, older = first
    assert (newest.tags[WORK_TAG], older.tags[WORK_TAG]) == ("live", "catch_up")
    assert int(newest.tags[PRIORITY_TAG]) > 0 > int(older.tags[PRIORITY_TAG])
    assert int(older.tags[MAX_RUNTIME_SECONDS_TAG]) > int(newest.tags[MAX_RUNTIME_SECONDS_TAG]) > 0
    for request in first:
        service.execute(request)
    assert service.follow() == [[15, 16, 17, 18], [19, 20]]
    assert stored_epochs(service.warehouse) == list(range(10, 22))
    keys = registered_epochs(service.instance, service.warehouse.schema)
    assert keys == list(range(10, 22))


def test_a_tick_delivered_twice_asks_for_the_same_runs(chain: LiveChain, service: Service) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(13)
    before = service.cursors["epoch_sensor"]
    keys = [request.run_key for request in service.tick("epoch_sensor").run_requests or []]
    service.cursors["epoch_sensor"] = before
    again = [request.run_key for request in service.tick("epoch_sensor").run_requests or []]
    assert keys == again
    assert len(keys) == 2


def test_runs_that_are_queued_or_running_are_not_requested_again(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(16)
    requests = service.tick("epoch_sensor").run_requests or []
    job = service.definitions.resolve_job_def(MATERIALIZE_EPOCHS)
    for request in requests:
        tags = dict(request.tags)
        service.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert service.under_way() == {11, 12, 13, 14, 16}
    more = service.tick("epoch_sensor").run_requests or []
    assert [epochs_of(request) for request in more] == [[15]]
    assert "under way" in skip_reason(service.tick("epoch_sensor"))


def test_runs_that_an_earlier_code_server_left_behind_are_failed_and_requested_again(
    chain: LiveChain, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
        fresh_warehouse(database_url) as warehouse,
    ):
        service = Service(instance, warehouse, database_url, chain.url)
        check_that_abandoned_runs_are_requested_again(chain, service)
        service.pipeline.warehouse.database.close()


def check_that_abandoned_runs_are_requested_again(chain: LiveChain, service: Service) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(12)
    job = service.definitions.resolve_job_def(MATERIALIZE_EPOCHS)
    network = service.warehouse.schema

    def run_of(epoch: int, *, launched: bool) -> str:
        register_epochs(service.instance, network, [epoch])
        tags = {"dagster/partition": f"{epoch:07d}", NETWORK_TAG: network}
        run = service.instance.create_run_for_job(
            job, tags=tags | ({GRPC_INFO_TAG: "{}"} if launched else {})
        )
        service.instance.report_dagster_event(
            DagsterEvent(DagsterEventType.RUN_START.value, job.name), run.run_id
        )
        return run.run_id

    left, in_a_terminal = run_of(11, launched=True), run_of(12, launched=False)
    assert fail_abandoned_runs(service.instance, network, since=0.0) == []
    assert fail_abandoned_runs(service.instance, "another", since=time.time() + 1) == []
    assert service.under_way() == {11, 12}
    assert fail_abandoned_runs(service.instance, network, since=time.time() + 1) == [left]
    run = service.instance.get_run_by_id(left)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    other = service.instance.get_run_by_id(in_a_terminal)
    assert other is not None
    assert other.status is dg.DagsterRunStatus.STARTED
    assert [epochs_of(request) for request in service.tick("epoch_sensor").run_requests or []] == [
        [11]
    ]


@pytest.mark.parametrize("slots", [(103,), (95, 96)], ids=["one slot", "epoch boundary"])
def test_a_reorg_is_repaired_and_spelled_out(
    chain: LiveChain, service: Service, database_url: str, slots: Sequence[int]
) -> None:
    chain.go_to(103)
    service.cursors.clear()
    with chain.without(*slots):
        chain.go_to(104)
        assert service.follow() == [[11]]
    at = chain.finalize(11)
    if slots == (95, 96):
        # The last block of the window has the same root here, since its content is the real one.
        with service.warehouse.database.transaction("let the root differ") as connection:
            connection.exec_driver_sql(
                f"UPDATE {service.warehouse.schema}.network_epochs "
                "SET window_root = decode(repeat('ab', 32), 'hex')"
            )
    (request,) = service.tick("finality_sensor").run_requests or []
    assert (epochs_of(request), request.tags[REASON_TAG]) == ([11], "reorg")
    assert service.finality() == {11: False}
    service.run(request)
    assert service.finality() == {11: True}
    assert skip_reason(service.tick("finality_sensor")) == "every stored epoch is final"

    corrections = service.warehouse.read("corrections")
    assert set(corrections["reason"]) == {"reorg"}
    assert set(corrections["epoch"]) == {11}
    roots = corrections[corrections["column_name"] == "window_root"]
    last = devnet().header(103)
    assert last is not None
    assert roots["new_value"].tolist() == ["0x" + last.root.hex()]
    statuses = corrections[
        (corrections["table_name"] == "blocks") & (corrections["column_name"] == "status")
    ]
    # Blocks of the epoch itself are rows of its own; those of the next are only part of its window.
    assert statuses["slot"].tolist() == [slot for slot in slots if slot < 96]
    assert set(statuses["old_value"]) <= {"missed"}

    chain.go_to(at)
    repaired = table_hashes(service.warehouse)
    with dg.DagsterInstance.ephemeral() as instance, fresh_warehouse(database_url) as warehouse:
        undisturbed = Service(instance, warehouse, database_url, chain.url)
        undisturbed.execute(request)
        hashes = table_hashes(warehouse)
        undisturbed.pipeline.warehouse.database.close()
    assert repaired == hashes


def test_without_finality_results_go_on(chain: LiveChain, service: Service) -> None:
    never = setting("data", "finalized", "epoch", to="0")
    with chain.faults.spoiling(CHECKPOINTS, never):
        for epoch in range(30, 34):
            chain.close_window(epoch)
            assert service.follow() == [[epoch]]
            assert "oldest provisional epoch is 30" in skip_reason(service.tick("finality_sensor"))
    assert set(service.finality().values()) == {False}
    chain.go_to(351)
    service.tick("finality_sensor")
    assert set(service.finality().values()) == {True}


def store_copies(service: Service, epochs: range) -> None:
    """Store an epoch several times more, as other ones."""
    table = f"{service.warehouse.schema}.network_epochs"
    with service.warehouse.database.transaction("store many epochs") as connection:
        connection.exec_driver_sql(
            f"INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object('epoch', e)))"
            f".* FROM {table} t, generate_series({epochs.start}, {epochs.stop - 1}) e"
        )


def test_epochs_that_the_node_does_not_have_keep_no_others_waiting(
    chain: LiveChain, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finality_sensor, "EPOCHS_PER_TICK", 3)
    monkeypatch.setattr(finality_sensor, "HEADERS_PER_TICK", 20)  # 16 after each window
    chain.go_to(96)
    service.follow()
    lost = range(1, 8)
    store_copies(service, lost)
    chain.finalize(10)
    with chain.faults.replacing(
        f"{HEADERS}/([89]|[1-7][0-9]|8[0-8])",  # their windows, and the slots after them
        lambda _: Response(NOT_FOUND, 404, media_type="application/json"),
    ):
        messages = [skip_reason(service.tick("finality_sensor")) for _ in range(9)]
    assert service.finality() == {**dict.fromkeys(lost, False), 10: True}
    for epoch in lost:
        assert any(f"does not tell the chain of [{epoch}" in message for message in messages)


def test_two_hundred_provisional_epochs_do_not_make_a_tick_longer(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(120)
    service.follow()
    store_copies(service, range(1000, 1200))
    asked: list[Any] = []
    final = setting("data", "finalized", "epoch", to="5000")
    with (
        chain.faults.spoiling(CHECKPOINTS, final),
        chain.faults.spoiling(f"{HEADERS}/[0-9]+", asked.append),
    ):
        result = service.tick("finality_sensor")
    # Far ahead of the head every slot is unknown.
    assert len(asked) <= EPOCHS_PER_TICK + HEADERS_PER_TICK
    assert len(result.run_requests or []) <= RUNS_PER_TICK


def test_a_node_that_cannot_be_used_is_a_reason_and_nothing_more(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(11)
    other = setting("data", "genesis_validators_root", to="0x" + "ab" * 32)
    with chain.faults.spoiling("/eth/v1/beacon/genesis", other):
        for sensor in ("epoch_sensor", "finality_sensor"):
            assert "another network" in skip_reason(service.tick(sensor))
    for field in ("is_syncing", "is_optimistic"):
        with chain.faults.spoiling("/eth/v1/node/syncing", setting("data", field, to=True)):
            for sensor in ("epoch_sensor", "finality_sensor"):
                assert skip_reason(service.tick(sensor))
    with chain.faults.spoiling(f"{HEADERS}/head", setting("execution_optimistic", to=True)):
        assert "optimistic" in skip_reason(service.tick("epoch_sensor"))
    assert stored_epochs(service.warehouse) == [10]
    assert service.follow() == [[11]]


def test_before_the_first_window_has_closed_there_is_nothing_to_do(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(9)
    assert skip_reason(service.tick("epoch_sensor")) == "no attestation window has closed yet"


def test_without_a_node_every_sensor_shows_the_same_sentence_and_logs_it_once(
    database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with dg.DagsterInstance.ephemeral() as instance, fresh_warehouse(database_url) as warehouse:
        service = Service(instance, warehouse, database_url, "http://127.0.0.1:9")
        for _ in range(3):
            for sensor in ("slot_sensor", "epoch_sensor"):
                sentence = "waiting for a beacon node: http://127.0.0.1:9 does not answer"
                assert skip_reason(service.tick(sensor)).partition(" [")[0] == sentence
        assert capfd.readouterr().err.count("no beacon node can be used") == 2
        service.pipeline.warehouse.database.close()


def test_a_node_that_never_came_is_an_alert(database_url: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance, fresh_warehouse(database_url) as warehouse:
        service = Service(instance, warehouse, database_url, "http://127.0.0.1:9")
        started = datetime.now(UTC)

        def look(seconds: float) -> list[str]:
            now = started + timedelta(seconds=seconds)
            changes = look_for_alerts(service.pipeline, now, started).changes
            return [one.change.alert.finding.message for one in changes]

        assert look(10) == []
        assert look(200) == ["waiting for a beacon node: http://127.0.0.1:9 does not answer"]
        assert look(300) == []
        service.pipeline.warehouse.database.close()


def evaluated_epochs(result: SensorExecutionData) -> list[int]:
    """The epochs that a tick of ``alert_sensor`` reports checks of, in their order."""
    assert all(isinstance(event, dg.AssetCheckEvaluation) for event in result.asset_events)
    return list(dict.fromkeys(int(event.partition or "") for event in result.asset_events))


def test_alerts_are_evaluated_in_order_and_reported_epoch_by_epoch(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    for request in service.tick("epoch_sensor").run_requests or []:
        service.run(request)
    assert service.warehouse.read("alert_evaluations").empty
    first = service.tick("alert_sensor")
    assert evaluated_epochs(first) == [10], first.skip_message

    # The newest epoch is stored first, while a run is at work on the older ones.
    chain.close_window(13)
    requests = {len(epochs_of(one)): one for one in service.tick("epoch_sensor").run_requests or []}
    job = service.definitions.resolve_job_def(MATERIALIZE_EPOCHS)
    older = requests[2]
    started = service.instance.create_run_for_job(
        job, tags=dict(older.tags), status=dg.DagsterRunStatus.STARTED
    )
    service.run(requests[1])
    waiting = service.tick("alert_sensor")
    assert evaluated_epochs(waiting) == []
    assert "epoch 13 waits for epochs 11 to 12" in str(waiting.skip_message)

    service.run(older)
    service.instance.delete_run(started.run_id)
    result = service.tick("alert_sensor")
    assert evaluated_epochs(result) == [11, 12, 13]
    assert service.warehouse.read("alert_evaluations")["epoch"].tolist() == [10, 11, 12, 13]
    assert evaluated_epochs(service.tick("alert_sensor")) == []

    # What the daemon does with the events: each check has a result per epoch, and runs have none.
    for event in result.asset_events:
        service.instance.report_runless_asset_event(event)
    key = dg.AssetCheckKey(
        asset_key(service.warehouse.schema, "validator_standings"), "missed_attestations"
    )
    records = service.instance.event_log_storage.get_asset_check_execution_history(key, 100)
    assert {record.partition for record in records} == {"0000011", "0000012", "0000013"}
    assert {record.run_id for record in records} == {""}


def test_undelivered_messages_are_reported_when_their_number_changes(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    service.follow()

    def reports() -> list[tuple[str, bool]]:
        events = service.tick("alert_sensor").asset_events
        return [
            (event.check_name, event.passed)
            for event in events
            if isinstance(event, dg.AssetCheckEvaluation) and event.check_name == MESSAGES_CHECK
        ]

    assert reports() == []
    now = datetime.now(UTC)
    message = NewDelivery("test:1", "hook", 0, "test", "info", "title", "body", now)
    database = service.warehouse.database
    with alert_transaction(database, "test", now) as transaction:
        write_deliveries(transaction, [message])
    note_failed(database, claim(database, "hook", now, timedelta(seconds=40)), "status 500", None)
    assert reports() == [(MESSAGES_CHECK, False)]
    assert reports() == []
    with alert_transaction(database, "test", now) as transaction:
        retry_dead(transaction)
    assert reports() == [(MESSAGES_CHECK, True)]


def seen_slot(service: Service) -> int:
    """Let the slot sensor look; the slot of the head that is stored then, −1 without one."""
    service.tick("slot_sensor")
    head = read_chain_head(service.warehouse, datetime.now(UTC))
    return -1 if head is None else head.slot


def test_an_installation_that_never_stores_an_epoch_is_an_alert(
    chain: LiveChain, service: Service
) -> None:
    def late(head_epoch: int) -> list[str]:
        # A look on a busy machine can take longer than it may.
        wait_until(lambda: seen_slot(service) // 8 == head_epoch)
        changes = look_for_alerts(service.pipeline, datetime.now(UTC)).changes
        findings = [one.change.alert.finding for one in changes]
        return [finding.message for finding in findings if finding.kind == DATA_LATE.name]

    assert system_facts(service.pipeline, datetime.now(UTC)).epochs_late is None
    chain.go_to(96)
    assert late(12) == []
    chain.close_window(11)
    assert late(13) == []
    chain.close_window(12)
    sentence = "3 epochs are over and not stored; none ever was: the failed runs in the Dagster UI"
    assert late(14) == [f"{sentence} say why"]
    chain.close_window(13)
    assert late(15) == []
    assert service.follow() == [[13]]
    assert late(15) == [f"{sentence} say why"]
    with alert_transaction(service.warehouse.database, "test", datetime.now(UTC)) as transaction:
        assert transaction.alerts([DATA_LATE.name]) == []


@contextmanager
def asking_nobody(chain: LiveChain) -> Iterator[None]:
    """The node refuses everything, and has not been asked for anything."""
    asked: list[str] = []

    def refuse(body: bytes) -> Response:
        asked.append("")
        return Response("{}", 503)

    with chain.faults.replacing(".*", refuse):
        yield
        assert asked == []
        httpx.get(chain.url + CHECKPOINTS, trust_env=False)


def test_the_node_is_asked_when_by_the_clock_another_epoch_can_have_closed(
    chain: LiveChain, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ChainTime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(chain.seconds, tz)

    monkeypatch.setattr(epoch_sensor, "datetime", ChainTime)
    chain.go_to(96)
    assert service.follow() == [[10]]
    with asking_nobody(chain):
        for slot in (97, 103):
            chain.go_to(slot)
            said = skip_reason(service.tick("epoch_sensor"))
            assert said == "epoch 10 is stored, and nothing before it is missing"
    chain.close_window(11)
    assert service.follow() == [[11]]


def test_the_node_is_not_asked_for_finality_that_the_head_does_not_have(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    service.follow()
    wait_until(lambda: seen_slot(service) == 96)
    with asking_nobody(chain):
        said = skip_reason(service.tick("finality_sensor"))
    assert said.endswith("can be final; the oldest provisional epoch is 10")
    slot = chain.finalize(10)
    wait_until(lambda: seen_slot(service) == slot)
    service.tick("finality_sensor")
    assert service.finality() == {10: True}


@pytest.mark.parametrize(
    ("sensor", "seconds"),
    [
        ("slot_sensor", 5),
        ("epoch_sensor", 5),
        ("alert_sensor", 5),
        ("finality_sensor", 60),
        ("completion_sensor", 60),
        ("split_sensor", 15),
        ("day_sensor", 300),
    ],
)
def test_sensors_without_work_at_every_tick_of_the_daemon_come_round_less_often(
    service: Service, sensor: str, seconds: int
) -> None:
    found = service.definitions.resolve_sensor_def(sensor)
    assert -(-(found.minimum_interval_seconds or 0) // 5) * 5 == seconds
    names = {one.name for one in service.definitions.get_repository_def().sensor_defs}
    assert len(names) == 7

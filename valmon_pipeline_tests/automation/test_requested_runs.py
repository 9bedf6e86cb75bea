"""A request counts against its epochs once a run of it has run, in an instance as a service has
it."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.execution.plan.objects import StepFailureData, UserFailureData
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

from valmon_pipeline.assets.run_tags import COMPLETION, WORK_TAG
from valmon_pipeline.automation import under_way
from valmon_pipeline.automation.requested_runs import LAUNCH_SECONDS
from valmon_pipeline_tests.automation.service import Service, epochs_of, skip_reason
from valmon_pipeline_tests.live_chain import LiveChain


def test_an_epoch_that_fails_is_tried_again_and_keeps_nothing_waiting(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(11)
    (request,) = service.tick("epoch_sensor").run_requests or []
    assert epochs_of(request) == [11]
    assert "under way" in skip_reason(service.tick("epoch_sensor"))
    service.end(request)
    assert "tried again later" in skip_reason(service.tick("epoch_sensor"))
    assert json.loads(service.cursors["epoch_sensor"] or "")["attempts"] == [[11, 11, 1, 11]]
    chain.close_window(12)
    assert service.follow() == [[12], [11]]
    cursor = json.loads(service.cursors["epoch_sensor"] or "")
    assert (cursor["attempts"], cursor["requests"]) == ([], [])


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_run_that_could_not_be_launched_is_requested_again_and_counts_for_nothing(
    chain: LiveChain, service: Service, monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(14)
    clock = time.time()
    monkeypatch.setattr(time, "time", lambda: clock)
    keys = set[str | None]()
    for _ in range(attempts):
        requests = service.tick("epoch_sensor").run_requests or []
        assert [epochs_of(request) for request in requests] == [[14], [11, 12, 13]]
        keys.update(request.run_key for request in requests)
        for request in requests:
            service.end(request, ran=False)
        assert "under way" in skip_reason(service.tick("epoch_sensor"))
        clock += LAUNCH_SECONDS
    assert len(keys) == 2 * attempts
    assert json.loads(service.cursors["epoch_sensor"] or "")["attempts"] == []
    assert service.follow() == [[14], [11, 12, 13]]


def test_of_a_batch_only_the_epochs_that_its_failure_names_wait_for_long(
    chain: LiveChain, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(15)
    newest, older = service.tick("epoch_sensor").run_requests or []
    service.execute(newest)
    run = service.run_of(older, dg.DagsterRunStatus.QUEUED)
    why = {"epoch 12": dg.MetadataValue.text("gone")}
    bad = UserFailureData("failed", "1 of 4 epochs failed", why)  # type: ignore[no-untyped-call]
    failure = StepFailureData(None, bad)  # type: ignore[no-untyped-call]
    for kind, data in (
        (DagsterEventType.RUN_START, None),
        (DagsterEventType.STEP_FAILURE, failure),
        (DagsterEventType.RUN_FAILURE, None),
    ):
        event = DagsterEvent(kind.value, run.job_name, event_specific_data=data)
        service.instance.report_dagster_event(event, run.run_id)
    assert service.under_way() == {11, 12, 13, 14}
    assert "under way" in skip_reason(service.tick("epoch_sensor"))
    monkeypatch.setattr(under_way, "SPLIT_WAIT", timedelta(0))
    again = service.tick("epoch_sensor").run_requests or []
    assert [epochs_of(request) for request in again] == [[11], [13, 14]]
    assert json.loads(service.cursors["epoch_sensor"] or "")["attempts"] == [[12, 12, 1, 15]]


def test_a_run_that_dagster_is_about_to_retry_is_under_way(
    chain: LiveChain, service: Service
) -> None:
    chain.go_to(96)
    service.follow()
    chain.close_window(11)
    (request,) = service.tick("epoch_sensor").run_requests or []
    service.end(request, tags={WILL_RETRY_TAG: "true"})
    assert service.under_way() == {11}
    assert "under way" in skip_reason(service.tick("epoch_sensor"))
    assert json.loads(service.cursors["epoch_sensor"] or "")["attempts"] == []
    (failed,) = service.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    retry = service.run_of(request, dg.DagsterRunStatus.QUEUED)
    service.instance.add_run_tags(failed.run_id, {AUTO_RETRY_RUN_ID_TAG: retry.run_id})
    assert service.under_way() == {11}
    service.execute(request)
    assert "nothing before it is missing" in skip_reason(service.tick("epoch_sensor"))


def test_an_incomplete_epoch_is_read_again_after_runs_that_ran(
    chain: LiveChain, service: Service
) -> None:
    def attempts() -> list[list[int]]:
        cursor = json.loads(service.cursors["completion_sensor"] or "")
        found: list[list[int]] = cursor["attempts"]
        return found

    chain.go_to(96)
    service.follow()
    assert skip_reason(service.tick("completion_sensor")) == "all complete"
    with service.warehouse.database.transaction("let a fact be missing") as connection:
        table = f"{service.warehouse.schema}.network_epochs"
        connection.exec_driver_sql(f"UPDATE {table} SET missing_facts = 1")
    (request,) = service.tick("completion_sensor").run_requests or []
    assert (epochs_of(request), request.tags[WORK_TAG]) == ([10], COMPLETION)
    assert skip_reason(service.tick("completion_sensor")) == "1 epochs are incomplete; none is due"
    assert attempts() == []
    service.end(request, DagsterEventType.RUN_SUCCESS)
    assert "none is due" in skip_reason(service.tick("completion_sensor"))
    assert attempts() == [[10, 10, 1, 10]]
    chain.close_window(11)
    service.follow()
    (again,) = service.tick("completion_sensor").run_requests or []
    assert epochs_of(again) == [10]
    assert again.run_key != request.run_key

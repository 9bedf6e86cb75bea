"""Validators are added to the configuration's file while the slot sensor follows the chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from valmon_pipeline.config import CurrentWatchList, load_settings
from valmon_pipeline.definitions import MATERIALIZE_EPOCHS, REFRESH_VALIDATORS, build_definitions
from valmon_pipeline.partitions import range_tags, register_epochs
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.live.conftest import Chain, OpenChain
from valmon_pipeline_tests.recording import devnet

KEY = "0x" + devnet().registry(1).pubkey[7].tobytes().hex()
START = 240
"""The first slot of epoch 30; its blocks, and those of the two that follow, are all there."""


IN_THE_PAST = 1_700_000_000.0
"""By the clock that bounds a node's head, when the chain is at ``START``."""


class Service:
    """The sensor and the jobs of an installation, with its file."""

    def __init__(
        self, home: Path, chain: Chain, tables: Warehouse, url: str, instance: dg.DagsterInstance
    ) -> None:
        self.file = home / "valmon.yaml"
        self.tables = tables
        self.chain = chain
        self.instance = instance
        self._database_url = url
        self._environ = {
            "VALMON_HOME": str(home),
            "VALMON_NETWORK": tables.schema,
            "VALMON_BEACON_URL": chain.url,
            "VALMON_POLLING_INTERVAL_SLOTS": "16",
        }
        self.write("validators: [1, 2]")
        self.start()

    def start(self) -> None:
        """The code server starts."""
        settings = load_settings(None, self._environ)
        current = CurrentWatchList(settings.watch_list, None, self._environ)
        self._pipeline = pipeline_of(settings, lambda: self._database_url, read_watch_list=current)
        self._definitions = build_definitions(settings, self._pipeline)

    def write(self, text: str) -> None:
        self.file.write_text(text + "\n")

    def tick(self, slot: int) -> SensorExecutionData:
        """The sensor's tick in a slot."""
        self.chain.go_to(slot)
        with dg.build_sensor_context(
            self.instance,
            resources={"pipeline": self._pipeline},
            definitions=self._definitions,
        ) as context:
            return self._definitions.resolve_sensor_def("slot_sensor").evaluate_tick(context)

    def refreshes(self, slot: int) -> list[dg.RunRequest]:
        """The runs that a tick requests, after they were done by a process of their own."""
        requests = list(self.tick(slot).run_requests or [])
        for request in requests:
            self.refresh(request)
        return requests

    def refresh(self, request: dg.RunRequest) -> None:
        """Do a requested run."""
        assert request.job_name in (None, REFRESH_VALIDATORS)
        self._run(REFRESH_VALIDATORS, request.tags)

    def backfill(self, *epochs: int) -> None:
        """The runs of ``valmon backfill``."""
        self._run(REFRESH_VALIDATORS, {})
        register_epochs(self.instance, self.tables.schema, epochs)
        self._run(MATERIALIZE_EPOCHS, range_tags(epochs))

    def _run(self, job: str, tags: Mapping[str, str]) -> None:
        """Do a run as its process does, which reads the configuration itself."""
        settings = load_settings(None, self._environ)
        pipeline = pipeline_of(settings, lambda: self._database_url)
        definitions = build_definitions(settings, pipeline)
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=dict(tags)
        )
        pipeline.warehouse.database.close()
        assert result.success

    def snapshots(self, slot: int) -> list[int]:
        """Whose live snapshots there are of a slot."""
        rows = self.tables.read("validator_snapshots")
        return rows.loc[rows["slot"] == slot, "validator_index"].tolist()

    def labels(self) -> list[tuple[int, str]]:
        rows = self.tables.read("validator_labels")
        return list(zip(rows["validator_index"].tolist(), rows["value"].tolist(), strict=True))

    def close(self) -> None:
        self._pipeline.warehouse.database.close()


@pytest.fixture
def service(
    open_chain: OpenChain, tables: Warehouse, database_url: str, tmp_path: Path
) -> Iterator[Service]:
    with dg.DagsterInstance.ephemeral() as instance:
        service = Service(
            tmp_path, open_chain(START, started=IN_THE_PAST), tables, database_url, instance
        )
        yield service
        service.close()


def test_validators_that_are_added_are_followed_from_the_next_epoch_on(service: Service) -> None:
    assert len(service.refreshes(START)) == 1
    service.write(
        f"validators: [1, {{index: 2, labels: [operator:a]}}, "
        f"{{pubkey: '{KEY}', labels: [operator:b]}}]"
    )
    assert service.refreshes(START + 1) == []
    assert (service.snapshots(START), service.snapshots(START + 1)) == ([1, 2], [])
    [request] = service.refreshes(START + 8)
    assert "31" in (request.run_key or "")
    assert service.labels() == [(2, "a"), (7, "b")]
    assert service.tables.read("validators")["validator_index"].tolist() == [1, 2, 7]

    assert service.refreshes(START + 9) == []
    assert service.snapshots(START + 9) == [1, 2, 7]
    duties = service.tables.read("attestation_duties", epochs=[32])
    assert duties["validator_index"].tolist() == [1, 2, 7]
    assert service.tables.read("live_events").query("event_type == 'status_changed'").empty
    assert service.refreshes(START + 16) == []


def test_validators_that_are_taken_out_are_followed_no_more(service: Service) -> None:
    service.refreshes(START)
    service.write("validators: [2]")
    service.refreshes(START + 8)
    service.tick(START + 9)
    assert service.snapshots(START + 9) == [2]
    assert service.tables.read("validators")["validator_index"].tolist() == [2]


def test_a_file_with_mistakes_changes_nothing_until_it_is_corrected(service: Service) -> None:
    service.refreshes(START)
    service.write("validators: [1, 2, three]")
    told = service.tick(START + 8)
    assert not told.run_requests
    assert "still watching as before" in (told.skip_message or "")
    assert "validators[2]" in (told.skip_message or "")
    service.write("validators: [1, 2, 3]")
    assert len(service.refreshes(START + 16)) == 1
    assert service.snapshots(START + 16) == [1, 2]
    service.tick(START + 17)
    assert service.snapshots(START + 17) == [1, 2, 3]


def test_a_refresh_that_failed_is_requested_again_in_the_next_epoch(service: Service) -> None:
    [request] = service.tick(START).run_requests or []
    service.write("validators: [x]")
    with pytest.raises(Exception, match=r"validators\[0\]"):
        service.refresh(request)
    service.write("validators: [1, 2]")
    assert not service.tick(START + 1).run_requests
    [again] = service.refreshes(START + 8)
    assert again.run_key != request.run_key
    assert service.refreshes(START + 16) == []


def test_an_edit_while_nothing_ran_is_noticed_at_the_start(service: Service) -> None:
    service.refreshes(START)
    service.write("validators: [1, 2, 3]")
    service.close()
    service.start()
    assert len(service.refreshes(START + 8)) == 1
    service.tick(START + 16)
    assert service.snapshots(START + 16) == [1, 2, 3]
    assert service.tables.read("validators")["validator_index"].tolist() == [1, 2, 3]


def test_the_past_of_added_validators_is_a_backfill_that_corrects_nothing_but_ranks(
    service: Service,
) -> None:
    service.refreshes(START)
    service.backfill(20, 21)
    service.write("validators: [1, 2, 3]")
    service.refreshes(START + 8)
    service.backfill(20, 21)
    outcomes = service.tables.read("attestation_outcomes", columns=["epoch", "validator_index"])
    assert outcomes.values.tolist() == [[epoch, index] for epoch in (20, 21) for index in (1, 2, 3)]
    corrections = service.tables.read("corrections")
    assert set(corrections["validator_index"]) <= {1, 2}
    assert set(corrections["column_name"]) <= {"percentile_rank"}

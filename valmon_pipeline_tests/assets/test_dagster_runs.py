"""The graph as Dagster runs it, with a real instance, node and database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.loader import LoadingContextForTest

from valmon_pipeline.alerting.rules import EPOCH_RULES
from valmon_pipeline.assets.alert_checks import MESSAGES_CHECK
from valmon_pipeline.assets.asset_graph import (
    CONTRACT_CHECK,
    EPOCH_TABLES,
    FACT_TABLES,
    SCORE_TABLES,
    asset_key,
)
from valmon_pipeline.assets.failed_epochs import epochs_blamed
from valmon_pipeline.assets.history import LOAD_HISTORY
from valmon_pipeline.assets.registry import KNOWN_CHECK
from valmon_pipeline.assets.score_batch import rescore_reason
from valmon_pipeline.config import Settings, load_settings
from valmon_pipeline.definitions import (
    MATERIALIZE_EPOCHS,
    REFRESH_VALIDATORS,
    RESCORE_EPOCHS,
    build_definitions,
)
from valmon_pipeline.epoch.checks import EPOCH_CHECKS
from valmon_pipeline.partitions import (
    contiguous_chunks,
    epoch_key,
    range_tags,
    register_epochs,
    registered_epochs,
    stretches_around,
)
from valmon_pipeline.pipeline import pipeline_of
from valmon_pipeline.storage.process_counters import stored_counts
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.faulty_node import Faults
from valmon_pipeline_tests.assets.stored import fresh_warehouse, stored_epochs, table_hashes
from valmon_pipeline_tests.recording import LAST_EPOCH, devnet


class Deployment:
    """A network's definitions on an instance in memory, as a run finds them."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        warehouse: Warehouse,
        settings: Settings,
        database_url: str,
    ) -> None:
        self.instance = instance
        self.warehouse = warehouse
        self.network = settings.network
        self.pipeline = pipeline_of(settings, lambda: database_url)
        self.definitions = build_definitions(settings, self.pipeline)

    def run(
        self, job: str, *, raise_on_error: bool = True, **how: Any
    ) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=raise_on_error, **how
        )

    def materialize(self, epochs: Sequence[int], **how: Any) -> dg.ExecuteInProcessResult:
        """A run over neighbours in the registry, launched by the two range tags."""
        return self.run(MATERIALIZE_EPOCHS, tags=dict(range_tags(epochs)), **how)

    def split(self, result: dg.ExecuteInProcessResult) -> list[dg.RunRequest]:
        """What ``split_sensor`` requests after a run that failed."""
        run = self.instance.get_run_by_id(result.run_id)
        assert run is not None
        (failure,) = [event for event in result.all_events if event.is_run_failure]
        context = dg.build_run_status_sensor_context(
            sensor_name="split_sensor",
            dagster_instance=self.instance,
            dagster_run=run,
            dagster_event=failure,
        ).for_run_failure()
        sensor = self.definitions.resolve_sensor_def("split_sensor")
        requests = sensor(context)
        assert isinstance(requests, list)
        return requests

    def statuses(self, table: str) -> dict[int, str]:
        """What Dagster's UI shows per epoch of an asset."""
        key = asset_key(self.network, table)
        partitions = self.definitions.resolve_assets_def(key).partitions_def
        assert partitions is not None
        found = self.instance.get_status_by_partition(
            key,
            [epoch_key(epoch) for epoch in registered_epochs(self.instance, self.network)],
            partitions,
        )
        return {int(key): status.value for key, status in (found or {}).items() if status}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory; networks keep tests apart in it."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def environment(warehouse: Warehouse, node_url: str) -> dict[str, str]:
    return {
        "VALMON_HOME": "/nonexistent",
        "VALMON_NETWORK": warehouse.schema,
        "VALMON_BEACON_URL": node_url,
        "VALMON_WATCH": "network",
        "VALMON_RATE_LIMIT__REQUESTS_PER_SECOND": "10000",
        "VALMON_RATE_LIMIT__BURST": "100000",
        "VALMON_HISTORY__FIRST_DAY": "2026-11-01",
    }


@pytest.fixture
def deploy(instance: dg.DagsterInstance, database_url: str, node_url: str) -> Iterator[Deployment]:
    """A deployment that watches the whole network and has stored nothing."""
    with fresh_warehouse(database_url) as warehouse:
        settings = load_settings(environ=environment(warehouse, node_url))
        deployment = Deployment(instance, warehouse, settings, database_url)
        yield deployment
        deployment.pipeline.warehouse.database.close()


def events_of(deployment: Deployment, result: dg.ExecuteInProcessResult) -> list[dg.DagsterEvent]:
    """What the instance, and with it the UI, knows of a run."""
    logged = deployment.instance.all_logs(result.run_id)
    return [entry.dagster_event for entry in logged if entry.dagster_event is not None]


def metadata_of(
    deployment: Deployment, result: dg.ExecuteInProcessResult, table: str
) -> dict[int, dict[str, Any]]:
    """Metadata values of an asset's materializations by epoch."""
    found: dict[int, dict[str, Any]] = {}
    for event in events_of(deployment, result):
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            if materialization.asset_key.path[-1] == table:
                assert materialization.partition is not None
                epoch = int(materialization.partition)
                assert epoch not in found
                found[epoch] = {name: e.value for name, e in materialization.metadata.items()}
    return found


def metadata_of_day(deployment: Deployment, result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Metadata values of the one materialization of ``epoch_history``."""
    (materialization,) = (
        event.step_materialization_data.materialization
        for event in events_of(deployment, result)
        if event.is_step_materialization
    )
    return {name: entry.value for name, entry in materialization.metadata.items()}


ALERT_CHECKS = {*EPOCH_RULES, MESSAGES_CHECK}


def checks_of(
    deployment: Deployment, result: dg.ExecuteInProcessResult
) -> dict[str, dg.AssetCheckEvaluation]:
    """Check evaluations by ``table.check``, but for those of alerts."""
    found: dict[str, dg.AssetCheckEvaluation] = {}
    for event in events_of(deployment, result):
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if evaluation.check_name in ALERT_CHECKS:
                continue
            name = f"{evaluation.asset_key.path[-1]}.{evaluation.check_name}"
            assert name not in found
            found[name] = evaluation
    return found


ALL_CHECKS = {f"{table}.{CONTRACT_CHECK}" for table in EPOCH_TABLES} | {
    f"{check.asset}.{check.name}" for check in EPOCH_CHECKS
}


class TestEpochs:
    def test_a_range_of_epochs_in_one_run(self, deploy: Deployment) -> None:
        epochs = range(5, 9)
        register_epochs(deploy.instance, deploy.network, epochs)
        result = deploy.materialize(epochs)
        assert result.success
        assert stored_epochs(deploy.warehouse) == list(epochs)
        for table in (*FACT_TABLES, *SCORE_TABLES):
            metadata = metadata_of(deploy, result, table)
            assert sorted(metadata) == list(epochs), table
            rows = deploy.warehouse.read(table, columns=["epoch"])["epoch"].value_counts()
            for epoch, values in metadata.items():
                assert values["dagster/partition_row_count"] == rows.get(epoch, 0)
                if table in SCORE_TABLES:
                    continue
                assert values["epoch_requests"] > 10
                assert values["epoch_bytes_received"] > 10_000
                assert values["epoch_seconds"] > 0
                assert values["node"].startswith("http://127.0.0.1:")
            assert set(deploy.statuses(table).values()) == {"MATERIALIZED"}
        checks = checks_of(deploy, result)
        assert set(checks) == ALL_CHECKS
        assert all(check.passed for check in checks.values())
        assert all(check.metadata["epochs"].value == 4 for check in checks.values())

    def test_what_a_run_asked_and_wrote_is_counted(self, deploy: Deployment) -> None:
        register_epochs(deploy.instance, deploy.network, [5, 6])
        asked = sum(
            values["epoch_requests"]
            for values in metadata_of(deploy, deploy.materialize([5, 6]), "blocks").values()
        )
        with deploy.warehouse.database.transaction("compare") as connection:
            counts = stored_counts(connection, deploy.network)
        requests = {
            labels: count
            for (metric, labels), count in counts.items()
            if metric == "valmon_beacon_requests_total"
        }
        # The node is asked a few things before its first epoch, too.
        assert asked < sum(requests.values()) < asked + 10
        # 404: a slot without a block; 500: old committees, of which this client's head knows none.
        assert {json.loads(labels)["outcome"] for labels in requests} == {"200", "404", "500"}
        written = counts["valmon_table_written_rows_total", '{"table":"attestation_outcomes"}']
        assert written == len(deploy.warehouse.read("attestation_outcomes"))
        assert counts["valmon_database_pool_wait_seconds_count", "{}"] > 2

    def test_metadata_says_what_a_person_wants_to_know(self, deploy: Deployment) -> None:
        register_epochs(deploy.instance, deploy.network, [18])
        result = deploy.materialize([18])
        read = deploy.warehouse.read
        outcomes, told = (
            read("attestation_outcomes"),
            metadata_of(deploy, result, "attestation_outcomes"),
        )
        assert told[18]["duties"] == len(outcomes)
        assert told[18]["missed"] == (~outcomes["included"]).sum() > 40
        assert "data:image/svg+xml;base64," in told[18]["by_slot"]
        blocks = read("blocks")
        missed = blocks.loc[blocks["status"] == "missed", "slot"].tolist()
        assert metadata_of(deploy, result, "blocks")[18]["missed_slots"] == str(missed)
        rewards = read("attestation_rewards")
        earned = rewards["total_reward"].sum()
        assert metadata_of(deploy, result, "attestation_rewards")[18]["earned_gwei"] == earned
        scores = metadata_of(deploy, result, "effectiveness_scores")[18]
        effectiveness = read("effectiveness_scores")["attestation_effectiveness"].mean()
        assert scores["mean_attestation_effectiveness"] == pytest.approx(effectiveness, abs=1e-6)
        assert scores["reward_effectiveness"] == pytest.approx(
            earned / rewards["ideal_total"].sum(), abs=1e-6
        )
        assert metadata_of(deploy, result, "network_epochs")[18]["leak"] is False

    def test_standings_come_with_the_epochs_they_rest_on(self, deploy: Deployment) -> None:
        register_epochs(deploy.instance, deploy.network, range(5, 10))
        deploy.materialize([5, 6])
        result = deploy.materialize([8, 9])
        told = metadata_of(deploy, result, "validator_standings")
        assert {epoch: values["window_epochs"] for epoch, values in told.items()} == {8: 3, 9: 4}
        assert told[9]["window_complete"] is False
        health = deploy.warehouse.read("validator_standings", epochs=[9])["health"].value_counts()
        for verdict in ("healthy", "degraded", "critical", "inactive"):
            assert told[9][verdict] == health.get(verdict, 0)
        assert "data:image/svg+xml;base64," in told[9]["by_score"]

        # filling the gap tells of the later partitions, too
        result = deploy.materialize([7])
        told = metadata_of(deploy, result, "validator_standings")
        assert {epoch: values["window_epochs"] for epoch, values in told.items()} == {
            7: 3,
            8: 4,
            9: 5,
        }
        assert sorted(metadata_of(deploy, result, "effectiveness_scores")) == [7]
        assert deploy.statuses("validator_standings") == dict.fromkeys(range(5, 10), "MATERIALIZED")

    def test_a_run_makes_the_standings_that_a_killed_one_has_left(
        self, deploy: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        register_epochs(deploy.instance, deploy.network, range(5, 9))

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("valmon_pipeline.assets.steps.make_due_standings", killed)
            with pytest.raises(KeyboardInterrupt):
                deploy.materialize([5, 6, 7])
        assert stored_epochs(deploy.warehouse) == [5, 6, 7]
        assert deploy.warehouse.read("validator_standings").empty
        assert deploy.materialize([8]).success
        assert set(deploy.warehouse.read("validator_standings")["epoch"]) == {5, 6, 7, 8}
        assert deploy.statuses("validator_standings") == dict.fromkeys(range(5, 9), "MATERIALIZED")

    def test_8_to_12_after_10_to_13_were_registered_first(self, deploy: Deployment) -> None:
        register_epochs(deploy.instance, deploy.network, range(10, 14))
        register_epochs(deploy.instance, deploy.network, range(7, 10))
        registered = registered_epochs(deploy.instance, deploy.network)
        for chunk in contiguous_chunks(registered, range(8, 13), 225):
            result = deploy.materialize(chunk)
            assert sorted(metadata_of(deploy, result, "blocks")) == sorted(chunk)
        assert stored_epochs(deploy.warehouse) == [8, 9, 10, 11, 12]
        assert deploy.statuses("blocks") == dict.fromkeys(range(8, 13), "MATERIALIZED")

    def test_a_range_that_is_empty_fails_loudly(self, deploy: Deployment) -> None:
        register_epochs(deploy.instance, deploy.network, range(10, 14))
        register_epochs(deploy.instance, deploy.network, range(7, 10))
        with pytest.raises(dg.Failure, match="this run holds no epochs"):
            deploy.materialize(range(8, 13))
        assert stored_epochs(deploy.warehouse) == []

    def test_single_epochs_by_their_key(self, deploy: Deployment) -> None:
        register_epochs(deploy.instance, deploy.network, [30])
        result = deploy.run(MATERIALIZE_EPOCHS, partition_key=epoch_key(30))
        assert result.success
        assert stored_epochs(deploy.warehouse) == [30]


def a_stranger_in_the_first_committee(body: Any) -> None:
    body["data"][0]["validators"][0] = "4711"


class TestFailures:
    def test_one_epoch_fails_nothing_of_the_run_is_stored_and_it_says_which(
        self, deploy: Deployment, faults: Faults
    ) -> None:
        epochs = range(9, 14)
        register_epochs(deploy.instance, deploy.network, epochs)
        committees = "/eth/v1/beacon/states/88/committees"
        with faults.spoiling(committees, a_stranger_in_the_first_committee):
            result = deploy.materialize(epochs, raise_on_error=False)
            assert not result.success
            assert stored_epochs(deploy.warehouse) == []
            failure = result.failure_data_for_node("facts")
            assert failure is not None
            assert failure.user_failure_data is not None
            assert failure.user_failure_data.description == (
                "1 of 5 epochs cannot be materialized; nothing of this run is stored"
            )
            reasons = failure.user_failure_data.metadata
            assert set(reasons) == {"epoch 11"}
            assert "committees" in str(reasons["epoch 11"].value)
            assert "4711" in str(reasons["epoch 11"].value)
            for table in EPOCH_TABLES:
                assert metadata_of(deploy, result, table) == {}
            blamed = epochs_blamed(events_of(deploy, result))
            assert set(blamed) == {11}

            # the stretches around it, from what was read already
            requests = deploy.split(result)
            stretches = [range_tags(stretch) for stretch in stretches_around(epochs, blamed)]
            assert [
                request.tags.items() >= tags.items()
                for request, tags in zip(requests, stretches, strict=True)
            ] == [True, True]
            for request in requests:
                assert request.job_name == MATERIALIZE_EPOCHS
                assert deploy.run(MATERIALIZE_EPOCHS, tags=dict(request.tags)).success
        assert stored_epochs(deploy.warehouse) == [9, 10, 12, 13]
        for table in EPOCH_TABLES:
            statuses = deploy.statuses(table)
            assert statuses.pop(11, "FAILED") == "FAILED"
            assert statuses == dict.fromkeys((9, 10, 12, 13), "MATERIALIZED"), table

        # the repair: the same epoch again, when the node is well
        assert deploy.materialize([11]).success
        assert deploy.statuses("blocks") == dict.fromkeys(epochs, "MATERIALIZED")

    def test_a_backfill_from_the_ui_is_split_as_well(
        self, deploy: Deployment, faults: Faults
    ) -> None:
        epochs = range(9, 14)
        register_epochs(deploy.instance, deploy.network, epochs)
        job = deploy.definitions.resolve_implicit_global_asset_job_def()
        facts = [asset_key(deploy.network, table) for table in FACT_TABLES]
        committees = "/eth/v1/beacon/states/88/committees"
        with faults.spoiling(committees, a_stranger_in_the_first_committee):
            result = job.execute_in_process(
                instance=deploy.instance,
                asset_selection=facts,
                tags=dict(range_tags(epochs)),
                raise_on_error=False,
            )
        first, second = deploy.split(result)
        for request, stretch in ((first, [9, 10]), (second, [12, 13])):
            assert request.job_name == MATERIALIZE_EPOCHS
            assert set(request.asset_selection or ()) == set(facts)
            assert request.tags.items() >= range_tags(stretch).items()

    def test_a_broken_contract_stores_nothing_fails_its_check_and_names_the_epoch(
        self, deploy: Deployment, faults: Faults
    ) -> None:
        # In a leak, what a validator that is away loses takes its score, which only the node knows.
        leak = range(23, 25)
        register_epochs(deploy.instance, deploy.network, leak)
        deploy.materialize(leak)
        before = table_hashes(deploy.warehouse)

        def spoil(body: Any) -> None:
            body["data"]["total_rewards"][85]["inactivity"] = "5"

        with faults.spoiling("/eth/v1/beacon/rewards/attestations/24", spoil):
            result = deploy.materialize(leak, raise_on_error=False)
        assert not result.success
        assert table_hashes(deploy.warehouse) == before
        (failure,) = [
            event.step_failure_data.user_failure_data
            for event in events_of(deploy, result)
            if event.is_step_failure
        ]
        assert failure is not None
        assert str(failure.description).startswith("attestation_rewards breaks its contract")
        assert "inactivity_penalty" in str(failure.description)
        assert set(failure.metadata) == {"epoch 24"}
        failed = {name: one for name, one in checks_of(deploy, result).items() if not one.passed}
        assert set(failed) == {f"attestation_rewards.{CONTRACT_CHECK}"}
        check = failed[f"attestation_rewards.{CONTRACT_CHECK}"]
        assert "inactivity_penalty" in str(check.description)
        assert check.metadata["failing_epochs"].value == "[24]"

    def test_scores_are_made_alone_from_stored_facts(self, deploy: Deployment) -> None:
        epochs = range(9, 12)
        register_epochs(deploy.instance, deploy.network, epochs)
        deploy.materialize(epochs)
        before = table_hashes(deploy.warehouse)
        standings = deploy.warehouse.read("validator_standings")
        schema = deploy.network
        with deploy.warehouse.database.transaction("spoil scores") as connection:
            connection.exec_driver_sql(
                f"UPDATE {schema}.effectiveness_scores SET attestation_effectiveness = 0.5"
            )
            connection.exec_driver_sql(f"DELETE FROM {schema}.epoch_summaries WHERE epoch = 10")
        result = deploy.run(RESCORE_EPOCHS, tags=dict(range_tags(epochs)))
        assert {event.step_key for event in result.get_step_success_events()} == {
            "scores",
            "standings",
        }
        assert table_hashes(deploy.warehouse) == before
        assert deploy.warehouse.read("validator_standings").equals(standings)
        entered = deploy.warehouse.read("corrections")
        assert set(entered["reason"]) == {rescore_reason()}
        assert set(entered["table_name"]) == {"effectiveness_scores"}

    def test_one_table_of_scores_is_made_alone(self, deploy: Deployment) -> None:
        register_epochs(deploy.instance, deploy.network, [9])
        deploy.materialize([9])
        bands = asset_key(deploy.network, "network_bands")
        result = deploy.run(RESCORE_EPOCHS, partition_key=epoch_key(9), asset_selection=[bands])
        assert result.success
        told = [table for table in EPOCH_TABLES if metadata_of(deploy, result, table)]
        assert told == ["network_bands"]

    def test_scores_without_facts_say_what_to_do(self, deploy: Deployment) -> None:
        register_epochs(deploy.instance, deploy.network, [9])
        with pytest.raises(dg.Failure, match="the facts of 1 of 1 epochs are not stored"):
            deploy.run(RESCORE_EPOCHS, tags=dict(range_tags([9])))

    def test_a_failing_check_fails_no_run_and_is_kept(
        self, deploy: Deployment, faults: Faults
    ) -> None:
        register_epochs(deploy.instance, deploy.network, range(10, 12))

        def spoil(body: Any) -> None:
            body["data"]["total_rewards"][0]["head"] = "0"

        with faults.spoiling("/eth/v1/beacon/rewards/attestations/11", spoil):
            result = deploy.materialize(range(10, 12))
        assert result.success
        failed = {
            name: check for name, check in checks_of(deploy, result).items() if not check.passed
        }
        assert set(failed) == {"attestation_outcomes.flags_match_rewards"}
        check = failed["attestation_outcomes.flags_match_rewards"]
        assert check.metadata["failing_epochs"].value == "[11]"
        assert check.metadata["failing_rows"].value == 1
        assert check.metadata["rows_compared"].value == 2 * 124
        examples = check.metadata["examples"].value
        assert [record.data["epoch"] for record in examples.records] == [11]  # type: ignore[union-attr]
        kept = deploy.warehouse.read("check_results")
        assert kept.loc[~kept["passed"], ["epoch", "check_name"]].values.tolist() == [
            [11, "attestation_outcomes.flags_match_rewards"]
        ]


class TestRegistry:
    def test_everybody_is_in_the_dimension(self, deploy: Deployment) -> None:
        result = deploy.run(REFRESH_VALIDATORS)
        validators = deploy.warehouse.read("validators")
        last = devnet().registry(43)
        assert validators["validator_index"].tolist() == last.validator_index.tolist()
        assert [bytes(key) for key in validators["pubkey"]] == [
            row.tobytes() for row in last.pubkey
        ]
        assert validators["slashed"].tolist() == last.slashed.tolist()
        kinds = {0: "bls", 1: "execution", 2: "compounding"}
        assert validators["credential_type"].tolist() == [
            kinds[row[0]] for row in last.withdrawal_credentials.tolist()
        ]
        assert validators["exit_epoch"].isna().sum() > 100
        assert checks_of(deploy, result)[f"validators.{KNOWN_CHECK}"].passed

    def test_labels_and_validators_that_do_not_exist(
        self, instance: dg.DagsterInstance, database_url: str, node_url: str
    ) -> None:
        key = "0x" + devnet().registry(1).pubkey[7].tobytes().hex()
        nobody = "0x" + "ab" * 48
        listed = (
            '[{"index": 0, "labels": ["operator:a", "region:x"]},'
            f' {{"pubkey": "{key}", "labels": ["operator:b"]}},'
            f' {{"pubkey": "{nobody}", "labels": ["operator:b"]}},'
            ' {"index": 4711, "labels": ["operator:a"]}, 128]'
        )
        with fresh_warehouse(database_url) as warehouse:
            environ = environment(warehouse, node_url)
            environ |= {"VALMON_WATCH": "listed", "VALMON_VALIDATORS": listed}
            settings = load_settings(environ=environ)
            deployment = Deployment(instance, warehouse, settings, database_url)
            result = deployment.run(REFRESH_VALIDATORS)
            assert warehouse.read("validators")["validator_index"].tolist() == [0, 7, 128]
            labels = warehouse.read(
                "validator_labels", columns=["validator_index", "category", "value"]
            )
            assert labels.values.tolist() == [
                [0, "operator", "a"],
                [0, "region", "x"],
                [7, "operator", "b"],
            ]
            deployment.pipeline.warehouse.database.close()
        check = checks_of(deployment, result)[f"validators.{KNOWN_CHECK}"]
        assert not check.passed
        assert check.severity is dg.AssetCheckSeverity.WARN
        assert check.metadata["unknown_count"].value == 2
        assert check.description == f"not in the registry: 4711, {nobody}"
        assert result.success

    def test_a_changed_label_ends_where_the_chain_is_and_the_old_one_stays(
        self, instance: dg.DagsterInstance, database_url: str, node_url: str
    ) -> None:
        with fresh_warehouse(database_url) as warehouse:
            for operator in ("a", "b", "b"):
                listed = f'[{{"index": 0, "labels": ["operator:{operator}"]}}]'
                environ = environment(warehouse, node_url)
                environ |= {"VALMON_WATCH": "listed", "VALMON_VALIDATORS": listed}
                settings = load_settings(environ=environ)
                deployment = Deployment(instance, warehouse, settings, database_url)
                result = deployment.run(REFRESH_VALIDATORS)
                assert result.success
                deployment.pipeline.warehouse.database.close()
            history = warehouse.read("validator_labels")
        assert history["value"].tolist() == ["a", "b"]
        first, head = history["from_epoch"].tolist()
        assert first == 0
        assert history["until_epoch"].fillna(-1).tolist() == [head, -1]
        assert head > LAST_EPOCH


class TestHistory:
    DAY = date(2026, 11, 20)

    @pytest.fixture
    def five_epochs_a_day(self, faults: Faults) -> Iterator[None]:
        """The recorded chain with a clock so slow that a day is whole: 10 to 14 are one day."""
        midnight = datetime(self.DAY.year, self.DAY.month, self.DAY.day, tzinfo=UTC)
        genesis_time = int(midnight.timestamp()) - 2 * 86_400

        def slow(body: Any) -> None:
            body["data"].pop("SLOT_DURATION_MS", None)
            body["data"]["SECONDS_PER_SLOT"] = str(86_400 // 5 // 8)

        def genesis(body: Any) -> None:
            body["data"]["genesis_time"] = str(genesis_time)

        with (
            faults.spoiling("/eth/v1/config/spec", slow),
            faults.spoiling("/eth/v1/beacon/genesis", genesis),
        ):
            yield

    @pytest.mark.usefixtures("five_epochs_a_day")
    def test_a_day_stores_the_epochs_that_start_in_it(self, deploy: Deployment) -> None:
        result = deploy.run(LOAD_HISTORY, partition_key=self.DAY.isoformat())
        assert stored_epochs(deploy.warehouse) == [10, 11, 12, 13, 14]
        by_day = table_hashes(deploy.warehouse)
        assert metadata_of_day(deploy, result) == {
            "epochs": 5,
            "first_epoch": 10,
            "last_epoch": 14,
            "complete": True,
        }
        # the same rows as by epoch
        register_epochs(deploy.instance, deploy.network, range(10, 15))
        deploy.materialize(range(10, 15))
        assert table_hashes(deploy.warehouse) == by_day

    @pytest.mark.usefixtures("five_epochs_a_day")
    def test_a_day_that_is_not_over_is_marked(self, deploy: Deployment, faults: Faults) -> None:
        def finalized(body: Any) -> None:
            body["data"]["finalized"]["epoch"] = "14"

        with faults.spoiling("/eth/v1/beacon/states/head/finality_checkpoints", finalized):
            result = deploy.run(LOAD_HISTORY, partition_key=self.DAY.isoformat())
        assert stored_epochs(deploy.warehouse) == [10, 11, 12]
        assert metadata_of_day(deploy, result)["complete"] is False

    @pytest.mark.usefixtures("five_epochs_a_day")
    def test_a_failing_epoch_fails_the_day_and_the_others_are_stored(
        self, deploy: Deployment, faults: Faults
    ) -> None:
        committees = "/eth/v1/beacon/states/96/committees"
        with faults.spoiling(committees, a_stranger_in_the_first_committee):
            result = deploy.run(
                LOAD_HISTORY, partition_key=self.DAY.isoformat(), raise_on_error=False
            )
        assert not result.success
        assert stored_epochs(deploy.warehouse) == [10, 11, 13, 14]
        failure = result.failure_data_for_node("epoch_history") or result.failure_data_for_node(
            f"{deploy.network}__epoch_history"
        )
        assert failure is not None
        assert failure.user_failure_data is not None
        assert set(failure.user_failure_data.metadata) == {"epoch 12"}

    def test_a_day_before_genesis_has_nothing_and_says_so(self, deploy: Deployment) -> None:
        with pytest.raises(dg.Failure, match="no epoch of 2026-11-02 can be loaded: none starts"):
            deploy.run(LOAD_HISTORY, partition_key="2026-11-02")


def test_definitions_load_without_node_and_database() -> None:
    settings = load_settings(
        environ={
            "VALMON_HOME": "/nonexistent",
            "VALMON_BEACON_URL": "http://127.0.0.1:1",
            "VALMON_DATABASE_URL": "postgresql://127.0.0.1:1/valmon",
        }
    )

    def refuse() -> str:
        raise AssertionError("nobody needs the database yet")

    definitions = build_definitions(settings, pipeline_of(settings, refuse))
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    tables = {key.path[-1] for key in graph.get_all_asset_keys()}
    assert tables == {
        *EPOCH_TABLES,
        *("validators", "validator_labels", "epoch_history", "validator_day_summaries"),
        *("chain_head", "live_slots", "live_events"),
    }


class TestAlertChecks:
    """Alert rules as checks of ``validator_standings``, executed from the UI."""

    DARK = range(17, 23)

    def execute(
        self, deploy: Deployment, epochs: Sequence[int], names: Sequence[str]
    ) -> dg.ExecuteInProcessResult:
        """Execute checks over a range of partitions, as the UI launches them."""
        standings = asset_key(deploy.network, "validator_standings")
        job = deploy.definitions.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection=set(),
            asset_check_selection={dg.AssetCheckKey(standings, name) for name in names},
        )
        return job.execute_in_process(instance=deploy.instance, tags=dict(range_tags(epochs)))

    def history(self, deploy: Deployment, name: str) -> dict[str | None, str]:
        """Status by partition, as the UI resolves it."""
        key = dg.AssetCheckKey(asset_key(deploy.network, "validator_standings"), name)
        records = deploy.instance.event_log_storage.get_asset_check_execution_history(key, 100)
        context = LoadingContextForTest(deploy.instance)
        return {
            record.partition: asyncio.run(record.resolve_status(context)).value
            for record in reversed(records)
        }

    @pytest.fixture
    def stored(self, deploy: Deployment) -> Deployment:
        register_epochs(deploy.instance, deploy.network, range(17, 25))
        assert deploy.materialize(self.DARK).success
        return deploy

    def test_a_run_that_materializes_epochs_executes_none_of_them(self, stored: Deployment) -> None:
        for name in ALERT_CHECKS:
            assert self.history(stored, name) == {}

    def test_each_epoch_gets_its_own_result(self, stored: Deployment) -> None:
        name = "missed_attestations"
        assert self.execute(stored, self.DARK, [name]).success
        assert self.history(stored, name) == {
            # Three misses in a row by validators that were never on.
            **{epoch_key(epoch): "SUCCEEDED" for epoch in (17, 18)},
            **{epoch_key(epoch): "FAILED" for epoch in (19, 20, 21, 22)},
        }
        # Only what was asked for.
        assert self.history(stored, "slashing") == {}

    def test_a_backfill_of_the_assets_evaluates_nothing(self, stored: Deployment) -> None:
        """Dagster's own backfills execute all checks of the assets they materialize."""
        job = stored.definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=stored.instance,
            asset_selection=[asset_key(stored.network, table) for table in EPOCH_TABLES],
            tags=dict(range_tags([21, 22])),
        )
        assert result.success
        for name in EPOCH_RULES:
            skipped = {epoch_key(21): "SKIPPED", epoch_key(22): "SKIPPED"}
            assert self.history(stored, name) == skipped

    def test_no_alert_is_opened_by_it(self, stored: Deployment) -> None:
        assert self.execute(stored, self.DARK, sorted(EPOCH_RULES)).success
        assert stored.warehouse.read("alerts").empty
        assert stored.warehouse.read("alert_evaluations").empty

    def test_what_was_not_evaluated_is_skipped_and_none_is_left_open(
        self, stored: Deployment
    ) -> None:
        # Epochs 23 and 24 are registered and not stored.
        assert self.execute(stored, range(22, 25), sorted(EPOCH_RULES)).success
        for name in EPOCH_RULES:
            found = self.history(stored, name)
            assert found[epoch_key(23)] == found[epoch_key(24)] == "SKIPPED"
            assert set(found.values()) <= {"SUCCEEDED", "FAILED", "SKIPPED"}
        seats = stored.warehouse.read("sync_duties", epochs=[22])
        judged = "SUCCEEDED" if len(seats) else "SKIPPED"
        assert self.history(stored, "sync_participation")[epoch_key(22)] in (judged, "FAILED")

    def test_the_check_on_messages_is_executable(self, stored: Deployment) -> None:
        assert self.execute(stored, [22], [MESSAGES_CHECK]).success
        assert set(self.history(stored, MESSAGES_CHECK).values()) == {"SUCCEEDED"}

"""Whatever node or database do: one clear error, for that epoch only, and nothing is lost."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.assets.loading import LoadOutcome
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.facts import Fact
from valmon_pipeline.errors import (
    BeaconUnreachableError,
    EpochsFailedError,
    NodeNotReadyError,
    StorageError,
)
from valmon_pipeline.storage import migrate
from valmon_pipeline.storage.database import Database
from valmon_pipeline.storage.embedded import EmbeddedPostgres
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import NETWORK, client_opener
from valmon_pipeline_tests.assets.faulty_node import Faults, Spoil
from valmon_pipeline_tests.assets.stored import fresh_warehouse, stored_epochs, table_hashes
from valmon_pipeline_tests.recording import devnet

BEFORE, EPOCH, AFTER = EPOCHS = (9, 11, 13)
"""Epoch 11 needs slots 88 to 103 and the states of 88, 96 and 104, the others need none of them."""

STATES = "/eth/v1/beacon/states"
REWARDS = f"/eth/v1/beacon/rewards/attestations/{EPOCH}"


@pytest.fixture(scope="module")
def warehouse(database_url: str, node_url: str) -> Iterator[Warehouse]:
    """A warehouse that holds the three epochs."""
    with fresh_warehouse(database_url) as warehouse:
        assert run(node_url, warehouse).stored == list(EPOCHS)
        yield warehouse


@pytest.fixture(scope="module")
def hashes(warehouse: Warehouse) -> dict[str, str]:
    """What the tables hold before anything goes wrong, and must hold afterwards."""
    return table_hashes(warehouse)


def run(
    url: str, warehouse: Warehouse, watch: Watch = NETWORK, epochs: Sequence[int] = EPOCHS
) -> LoadOutcome:
    return EpochLoader(client_opener(url), warehouse, watch, deadline_seconds=20).run(epochs)


def truncated(body: bytes) -> Response:
    return Response(body[: len(body) // 2], media_type="application/json")


def not_json(body: bytes) -> Response:
    return Response("<html>502 Bad Gateway</html>", media_type="text/html")


def refusal(status: int, message: str) -> Callable[[bytes], Response]:
    def replace(body: bytes) -> Response:
        content = f'{{"code":{status},"message":"{message}"}}'
        return Response(content, status, media_type="application/json")

    return replace


def at(*place: str | int) -> Callable[[Any], Any]:
    def container(body: Any) -> Any:
        for part in place:
            body = body[part]
        return body

    return container


def setting(*place: str | int, to: object) -> Spoil:
    """Replace the value at ``place``."""

    def spoil(body: Any) -> None:
        at(*place[:-1])(body)[place[-1]] = to

    return spoil


def leaving_out(*place: str | int) -> Spoil:
    """Delete the value at ``place``."""

    def spoil(body: Any) -> None:
        del at(*place[:-1])(body)[place[-1]]

    return spoil


def without_one_member_of_the_longest_committee(body: Any) -> None:
    """Lengths stay as even as the rules want them; only the votes tell that somebody is missing."""
    max(body["data"], key=lambda row: len(row["validators"]))["validators"].pop()


@dataclass(frozen=True, slots=True)
class Bad:
    """What the node answers, and what the error or the reason has to name.

    ``costs`` is the fact that is not known without it; None: the epoch is refused. ``SETTLED``:
    another source, or the specification, gives the same. A ``Response`` maker or a spoiler.
    ``fails`` is the check that holds the node's own answer against what is stored.
    """

    path: str
    names: tuple[str, ...]
    costs: Fact | str | None
    spoil: Spoil | None = None
    replace: Callable[[bytes], Response] | None = None
    fails: str | None = None

    def happening(self, faults: Faults) -> AbstractContextManager[None]:
        if self.replace is not None:
            return faults.replacing(self.path, self.replace)
        assert self.spoil is not None
        return faults.spoiling(self.path, self.spoil)


SETTLED = "settled"

BAD = {
    "truncated body": Bad(
        REWARDS, ("JSON", "inactivity penalties"), Fact.ATTESTATION_REWARDS, replace=truncated
    ),
    "non-JSON body": Bad(
        f"{STATES}/88/committees",
        (f"GET {STATES}/88/committees?epoch=11 of", "page"),
        Fact.COMMITTEES,
        replace=not_json,
    ),
    "missing field": Bad(
        f"{STATES}/96/validators",
        (f"{STATES}/96/validators of", "data[3].validator", "effective_balance"),
        Fact.REGISTRY_AT_END,
        spoil=leaving_out("data", 3, "validator", "effective_balance"),
    ),
    "negative balance": Bad(
        f"{STATES}/96/validators",
        (f"{STATES}/96/validators of", "data[7].balance", "-5"),
        Fact.REGISTRY_AT_END,
        spoil=setting("data", 7, "balance", to="-5"),
    ),
    "non-numeric balance": Bad(
        f"{STATES}/96/validators",
        (f"{STATES}/96/validators of", "data[7].balance", "many"),
        Fact.REGISTRY_AT_END,
        spoil=setting("data", 7, "balance", to="many"),
    ),
    "fractional reward": Bad(
        REWARDS,
        ("total_rewards[2].head", "207519.375", "inactivity penalties"),
        Fact.ATTESTATION_REWARDS,
        spoil=setting("data", "total_rewards", 2, "head", to="207519.375"),
    ),
    "committee member beyond the registry": Bad(
        f"{STATES}/88/committees",
        ("committees", "4711", "129 validators", "http://"),
        None,
        spoil=setting("data", 3, "validators", 1, to="4711"),
    ),
    "proposer beyond the registry": Bad(
        f"/eth/v1/validator/duties/proposer/{EPOCH}",
        ("duties/proposer", "4711", "129 validators"),
        Fact.PROPOSERS,
        spoil=setting("data", 3, "validator_index", to="4711"),
    ),
    "a proposer that is not the block's": Bad(
        f"/eth/v1/validator/duties/proposer/{EPOCH}",
        ("validator 0 is given as the proposer of slot 90", "validator 79"),
        Fact.PROPOSERS,
        spoil=setting("data", 2, "validator_index", to="0"),
    ),
    "sync committee member beyond the registry": Bad(
        f"{STATES}/88/sync_committees",
        ("sync committee", "4711", "129 validators", "http://"),
        None,
        spoil=setting("data", "validators", 3, to="4711"),
    ),
    "reward beyond the registry": Bad(
        REWARDS,
        (),
        SETTLED,
        spoil=setting("data", "total_rewards", 3, "validator_index", to="4711"),
        fails="attestation_rewards.every_eligible_validator_has_a_reward",
    ),
    "committee too short": Bad(
        f"{STATES}/88/committees",
        (f"GET {STATES}/88/committees?epoch=11 of", "committee 0 of slot 88 has 2"),
        Fact.COMMITTEES,
        spoil=setting("data", 0, "validators", to=["1", "2"]),
    ),
    "committee one member short": Bad(
        f"{STATES}/88/committees",
        ("attestation of slot", "bits", "not those of this chain"),
        Fact.COMMITTEES,
        spoil=without_one_member_of_the_longest_committee,
    ),
    "committees of another epoch": Bad(
        f"{STATES}/88/committees",
        ("committees cover slots 89",),
        Fact.COMMITTEES,
        spoil=lambda body: (
            [row.update(slot=str(int(row["slot"]) + 1)) for row in body["data"]] and body
        ),
    ),
    "another block than was asked for": Bad(
        "/eth/v2/beacon/blocks/88",
        ("/eth/v2/beacon/blocks/88", "slot 89", "http://"),
        None,
        spoil=setting("data", "message", "slot", to="89"),
    ),
    "a block with another parent": Bad(
        "/eth/v2/beacon/blocks/90",
        ("slot 89", "0x" + "ab" * 32, "not one chain", "http://"),
        None,
        spoil=setting("data", "message", "parent_root", to="0x" + "ab" * 32),
    ),
    "404 for a pruned state": Bad(
        f"{STATES}/88/validators",
        ("states/{slot}/validators", "HTTP 404", "State is pruned"),
        Fact.REGISTRY_AT_START,
        replace=refusal(404, "State is pruned"),
    ),
    "400 for a pruned state": Bad(
        REWARDS,
        ("HTTP 400", "invalid epoch", "inactivity penalties"),
        Fact.ATTESTATION_REWARDS,
        replace=refusal(400, "invalid epoch"),
    ),
    "500 for ever": Bad(
        f"/eth/v1/validator/duties/proposer/{EPOCH}",
        ("duties/proposer", "HTTP 500", "cannot load", "after 2 attempts"),
        Fact.PROPOSERS,
        replace=refusal(500, "cannot load that state"),
    ),
    "an optimistic answer": Bad(
        f"{STATES}/96/validators",
        (f"{STATES}/96/validators", "execution_optimistic"),
        None,
        spoil=setting("execution_optimistic", to=True),
    ),
    "block rewards that do not add up": Bad(
        r"/eth/v1/beacon/rewards/blocks/0x[0-9a-f]{64}",
        ("data.total is 1",),
        SETTLED,
        spoil=setting("data", "total", to="1"),
    ),
    "block rewards of another": Bad(
        r"/eth/v1/beacon/rewards/blocks/0x[0-9a-f]{64}",
        ("validator 127's",),
        SETTLED,
        spoil=setting("data", "proposer_index", to="127"),
    ),
    "a reward where only penalties can be": Bad(
        REWARDS, (), SETTLED, spoil=setting("data", "total_rewards", 2, "inactivity", to="5")
    ),
    "a registry with a gap": Bad(
        f"{STATES}/96/validators",
        (f"{STATES}/96/validators", "128 rows", "validator index 17", "http://"),
        Fact.REGISTRY_AT_END,
        spoil=leaving_out("data", 17),
    ),
    "a registry cut off": Bad(
        f"{STATES}/88/validators",
        ("committees", "100 validators", "contradict"),
        None,
        spoil=lambda body: body["data"].__delitem__(slice(100, None)),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_answer_costs_its_fact_and_changes_no_row(
    faults: Faults, node_url: str, warehouse: Warehouse, hashes: dict[str, str], case: str
) -> None:
    """What is stored and known stays; an answer that nothing settles refuses the epoch alone."""
    bad = BAD[case]
    shared = "{64}" in bad.path  # a path that says nothing about the epoch: only 11 is run
    reports: dict[int, EpochReport] = {}
    with bad.happening(faults):
        materializer = EpochLoader(client_opener(node_url), warehouse, NETWORK, deadline_seconds=20)
        epochs = [EPOCH] if shared else [EPOCH, AFTER]
        outcome = materializer.run(epochs, lambda report: reports.update({report.epoch: report}))
    if bad.costs is None:
        assert set(outcome.failures) == {EPOCH}
        assert outcome.stored == ([] if shared else [AFTER])
        said = outcome.failures[EPOCH]
        assert len(said) < 1000
    else:
        assert outcome.failures == {}
        report = reports[EPOCH]
        missing = {fact.fact for fact in report.missing}
        assert (EPOCH in materializer.kept) == (bad.costs != SETTLED)
        assert (bad.costs in missing) == (bad.costs != SETTLED), missing
        said = " ".join(fact.reason or "" for fact in report.sources)
    for name in bad.names:
        assert name in said
    assert "a bug in valmon" not in said
    checks = warehouse.read("check_results")
    failing = checks.loc[~checks["passed"], ["epoch", "check_name"]].values.tolist()
    assert failing == ([] if bad.fails is None else [[EPOCH, bad.fails]])
    if bad.fails is not None:
        found = table_hashes(warehouse)
        assert found.pop("check_results") != hashes["check_results"]
        assert found == {name: rows for name, rows in hashes.items() if name != "check_results"}
        repaired = EpochLoader(client_opener(node_url), warehouse, NETWORK).run([EPOCH])
        assert repaired.failures == {}
    assert table_hashes(warehouse) == hashes


@pytest.mark.parametrize(
    ("name", "since", "failing", "says"),
    [
        ("GLOAS", 12, [11, 13], "fork GLOAS (since epoch 12)"),
        ("GLOAS", 13, [13], "epoch 13 is at fork GLOAS"),
        ("ALTAIR", 12, [9, 11], "fork PHASE0, whose rewards valmon does not implement"),
        ("HEZE", 13, [13], "fork HEZE"),
        ("UNHEARD_OF", 13, [13], "fork UNHEARD_OF (since epoch 13), which this version"),
    ],
)
def test_an_unsupported_fork_fails_the_epochs_that_it_touches(
    faults: Faults,
    node_url: str,
    warehouse: Warehouse,
    hashes: dict[str, str],
    name: str,
    since: int,
    failing: list[int],
    says: str,
) -> None:
    def spoil(body: Any) -> None:
        body["data"][f"{name}_FORK_EPOCH"] = str(since)
        if name == "ALTAIR":  # the later forks at 0 would hide it
            for fork in ("BELLATRIX", "CAPELLA", "DENEB", "ELECTRA"):
                body["data"][f"{fork}_FORK_EPOCH"] = str(since)

    with faults.spoiling("/eth/v1/config/spec", spoil):
        outcome = run(node_url, warehouse)
    assert sorted(outcome.failures) == failing
    for epoch in failing:
        assert says in outcome.failures[epoch]
        assert f"epoch {epoch}" in outcome.failures[epoch]
    assert table_hashes(warehouse) == hashes


def test_an_epoch_that_is_not_final_is_not_stored(
    faults: Faults, node_url: str, warehouse: Warehouse, hashes: dict[str, str]
) -> None:
    finalized = setting("data", "finalized", "epoch", to="14")
    with faults.spoiling("/eth/v1/beacon/states/head/finality_checkpoints", finalized):
        outcome = run(node_url, warehouse)
    assert outcome.failures == {
        AFTER: "epoch 13 is not final yet: its rewards are settled when epoch 15 is finalized, and "
        f"{node_url} has finalized epoch 14"
    }
    assert table_hashes(warehouse) == hashes


def test_a_syncing_node_is_not_asked(
    faults: Faults, node_url: str, warehouse: Warehouse, hashes: dict[str, str]
) -> None:
    syncing = setting("data", "is_syncing", to=True)
    with (
        faults.spoiling("/eth/v1/node/syncing", syncing),
        pytest.raises(NodeNotReadyError, match="is syncing"),
    ):
        run(node_url, warehouse)
    assert table_hashes(warehouse) == hashes


def test_a_node_of_another_network_is_refused(
    faults: Faults, node_url: str, warehouse: Warehouse, hashes: dict[str, str]
) -> None:
    genesis = setting("data", "genesis_validators_root", to="0x" + "ab" * 32)
    with (
        faults.spoiling("/eth/v1/beacon/genesis", genesis),
        pytest.raises(StorageError, match="network"),
    ):
        run(node_url, warehouse)
    assert table_hashes(warehouse) == hashes


def test_a_node_that_goes_away_fails_what_is_left_of_the_run(
    faults: Faults, node_url: str, database_url: str
) -> None:
    """Nothing is tried in vain for hours: one probe, then the rest fails with the same reason."""
    epochs = range(20, 30)
    with ExitStack() as after_the_first, fresh_warehouse(database_url) as warehouse:

        def lose_the_node(epoch: int) -> None:
            if epoch == epochs[0]:
                lost = faults.replacing(".*", refusal(503, "no upstream"))
                after_the_first.enter_context(lost)

        reader = EpochLoader(client_opener(node_url), warehouse, NETWORK).reader
        with pytest.raises(EpochsFailedError) as failed:
            replace(reader, on_read=lose_the_node).read(epochs)
        assert stored_epochs(warehouse) == []
    failures = failed.value.reasons
    assert len(failures) >= len(epochs) - 2  # the next one may have been read already
    reasons = [failures[epoch] for epoch in sorted(failures)]
    assert all("HTTP 503 (no upstream), after 2 attempts" in reason for reason in reasons)
    assert [reason.startswith("not tried: ") for reason in reasons] == [
        False,
        *[True] * (len(reasons) - 1),
    ]


def test_without_a_node_the_run_says_so(warehouse: Warehouse) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BeaconUnreachableError, match="Is the node running, and is beacon_node_url"):
        run(f"http://127.0.0.1:{port}", warehouse)


def refuse_epoch(warehouse: Warehouse, epoch: int) -> None:
    """Let PostgreSQL report a full disk, with its own error, when rows of an epoch arrive."""
    with warehouse.database.transaction("arm the trigger") as connection:
        connection.exec_driver_sql(
            f"CREATE FUNCTION {warehouse.schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full', "
            "MESSAGE = 'could not extend file: No space left on device'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {warehouse.schema}.sync_rewards "
            f"FOR EACH ROW WHEN (NEW.epoch = {epoch}) "
            f"EXECUTE FUNCTION {warehouse.schema}.refuse()"
        )


def test_a_full_disk_fails_the_batch_and_leaves_all_of_its_tables(
    database_url: str, node_url: str
) -> None:
    with fresh_warehouse(database_url) as warehouse:
        run(node_url, warehouse)
        before = table_hashes(warehouse)
        refuse_epoch(warehouse, EPOCH)
        with pytest.raises(StorageError) as refused:
            run(node_url, warehouse)
        reason = str(refused.value)
        for name in ("store 3 epochs", "sync_rewards", "No space left", "disk", warehouse.schema):
            assert name in reason
        assert table_hashes(warehouse) == before


class TestDatabaseAway:
    """The database's own server, which can be stopped."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[EmbeddedPostgres]:
        server = EmbeddedPostgres(tmp_path, settings={"fsync": "off"})
        server.start()
        server.ensure_database("valmon")
        yield server
        server.stop()

    def test_what_was_stored_is_there_when_it_is_back(
        self, server: EmbeddedPostgres, node_url: str
    ) -> None:
        migrate.upgrade(server.url(), "devnet")
        database = Database(server.url(), "devnet")
        warehouse = Warehouse(database)
        run(node_url, warehouse, epochs=[BEFORE, EPOCH])
        before = table_hashes(warehouse)

        def stop(report: EpochReport) -> None:
            server.stop()

        loader = EpochLoader(client_opener(node_url), warehouse, NETWORK, batch_epochs=1)
        with pytest.raises(StorageError, match=r"VALMON_DATABASE_URL|shutting down"):
            loader.run([BEFORE, EPOCH, AFTER], on_stored=stop)
        with pytest.raises(StorageError, match="VALMON_DATABASE_URL"):
            run(node_url, warehouse)

        server.start()
        assert table_hashes(warehouse) == before
        assert run(node_url, warehouse).stored == list(EPOCHS)
        database.close()


class TestUnknownValidators:
    """Validators of the configuration that do not exist (yet)."""

    UNKNOWN = Watch(
        indices=frozenset({0, 4711}), pubkeys=frozenset({"0x" + "ab" * 48}), registry_limit=0
    )

    @pytest.mark.parametrize("registry_limit", [0, 20_000])
    def test_they_are_reported_and_the_others_stored(
        self, database_url: str, node_url: str, registry_limit: int
    ) -> None:
        watch = replace(self.UNKNOWN, registry_limit=registry_limit)
        reports: list[EpochReport] = []
        with fresh_warehouse(database_url) as warehouse:
            EpochLoader(client_opener(node_url), warehouse, watch).run([EPOCH], reports.append)
            stored = warehouse.read("attestation_rewards")
        assert stored["validator_index"].tolist() == [0]
        assert reports[0].unknown_ids == (4711, "0x" + "ab" * 48)

    @pytest.mark.parametrize("registry_limit", [0, 20_000])
    def test_if_nobody_exists_nobody_is_asked_for(
        self, database_url: str, node_url: str, registry_limit: int
    ) -> None:
        """An empty list would mean everybody to a node."""
        watch = Watch(indices=frozenset({4711}), registry_limit=registry_limit)
        with fresh_warehouse(database_url) as warehouse:
            outcome = run(node_url, warehouse, watch, [EPOCH])
            assert outcome.failures == {}
            for table in ("attestation_rewards", "effectiveness_scores", "sync_rewards"):
                assert len(warehouse.read(table)) == 0
            assert len(warehouse.read("blocks")) == 8

    def test_one_validator_named_both_ways_is_one(self, database_url: str, node_url: str) -> None:
        key = "0x" + devnet().registry(EPOCH).pubkey[5].tobytes().hex()
        watch = Watch(frozenset({5}), frozenset({key}), registry_limit=0)
        with fresh_warehouse(database_url) as warehouse:
            run(node_url, warehouse, watch, [EPOCH])
            assert warehouse.read("attestation_rewards")["validator_index"].tolist() == [5]

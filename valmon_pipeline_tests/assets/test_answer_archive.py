"""Rows made of archived answers are the rows made of the node's."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import zstandard

from valmon_pipeline.assets.fact_batch import EpochReport
from valmon_pipeline.assets.loading import LoadOutcome
from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.archive import ArchiveError, Exchange, read_exchanges
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.node_pool import NodePool
from valmon_pipeline.beacon.open_client import OpenClient
from valmon_pipeline.beacon.subject import epoch_subject
from valmon_pipeline.errors import ObjectUnavailableError
from valmon_pipeline.reading.raw_answers import confirm, keep
from valmon_pipeline.storage.warehouse import Warehouse
from valmon_pipeline_tests.assets.epoch_loader import EpochLoader
from valmon_pipeline_tests.assets.epochs import FEW, NETWORK
from valmon_pipeline_tests.assets.stored import fresh_warehouse, table_hashes
from valmon_pipeline_tests.moody_node import options

EPOCHS = range(14, 18)


def answered_by(answers: AnswerArchive) -> OpenClient:
    """Opens clients that answer from an archive."""

    @asynccontextmanager
    async def open_client(
        avoid: Collection[str] = (), *, archive: bool = False
    ) -> AsyncIterator[BeaconClient]:
        if avoid:
            raise ObjectUnavailableError("there is no other archive to read from")
        async with BeaconClient.archived(answers, answers.subjects()[-1]) as client:
            yield client

    return open_client


def archiving(
    url: str, warehouse: Warehouse, archive: AnswerArchive, runs: Sequence[Sequence[int]]
) -> None:
    """Materialize from a node whose answers are kept."""
    for epochs in runs:
        materializer = EpochLoader(
            NodePool([options(url)], keep_answers=True), warehouse, NETWORK, archive=archive
        )
        assert materializer.run(epochs).failures == {}


def rebuild(
    warehouse: Warehouse, archive: AnswerArchive, epochs: Sequence[int] = EPOCHS
) -> LoadOutcome:
    """Materialize from the archive alone."""
    return EpochLoader(answered_by(archive), warehouse, NETWORK).run(epochs)


@pytest.fixture(scope="module")
def archived(
    database_url: str, true_node_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[AnswerArchive, dict[str, str]]]:
    """An archive of one run, and the tables it left."""
    directory = tmp_path_factory.mktemp("archive")
    archive = AnswerArchive(directory.as_uri(), "devnet")
    with fresh_warehouse(database_url) as warehouse:
        archiving(true_node_url, warehouse, archive, [EPOCHS])
        yield archive, table_hashes(warehouse)


@pytest.fixture
def own_warehouse(database_url: str) -> Iterator[Warehouse]:
    with fresh_warehouse(database_url) as warehouse:
        yield warehouse


def test_the_archive_gives_the_same_rows_without_a_node(
    archived: tuple[AnswerArchive, dict[str, str]], own_warehouse: Warehouse
) -> None:
    archive, tables = archived
    assert archive.subjects() == [epoch_subject(epoch) for epoch in EPOCHS]
    assert rebuild(own_warehouse, archive).failures == {}
    assert table_hashes(own_warehouse) == tables  # the column `node`, too: it is the one asked


@pytest.mark.parametrize(
    "runs",
    [[EPOCHS[::-1]], [[15], [17, 14, 16]], [EPOCHS, EPOCHS[2:]]],
    ids=["backwards", "in pieces", "twice"],
)
def test_every_epoch_can_be_rebuilt_alone_however_it_was_read(
    true_node_url: str,
    database_url: str,
    own_warehouse: Warehouse,
    tmp_path: Path,
    archived: tuple[AnswerArchive, dict[str, str]],
    runs: Sequence[Sequence[int]],
) -> None:
    archive = AnswerArchive(tmp_path.as_uri(), "devnet")
    with fresh_warehouse(database_url) as warehouse:
        archiving(true_node_url, warehouse, archive, runs)
    for epoch in EPOCHS:
        assert rebuild(own_warehouse, archive, [epoch]).failures == {}
    assert table_hashes(own_warehouse) == archived[1]


def test_an_archived_epoch_is_a_recording_like_any_other(
    archived: tuple[AnswerArchive, dict[str, str]],
) -> None:
    archive, _ = archived
    path = Path(archive.name) / f"{epoch_subject(15)}.jsonl.zst"
    exchanges = list(read_exchanges(path))
    assert {one.status for one in exchanges} <= {200, 404}
    assert {one.phase for one in exchanges} == {"final"}
    assert len({one.node for one in exchanges}) == 1


def test_only_the_epochs_that_are_archived_can_be_rebuilt(
    archived: tuple[AnswerArchive, dict[str, str]], own_warehouse: Warehouse
) -> None:
    outcome = rebuild(own_warehouse, archived[0], [17, 18])
    assert outcome.stored == [17]
    assert "the archive has nothing about epoch-0000018" in outcome.failures[18]


def test_answers_about_other_validators_are_not_made_up(
    archived: tuple[AnswerArchive, dict[str, str]], own_warehouse: Warehouse
) -> None:
    materializer = EpochLoader(answered_by(archived[0]), own_warehouse, FEW)
    reports: list[EpochReport] = []
    assert materializer.run([15], reports.append).stored == [15]
    missing = {fact.fact.value: fact.reason for fact in reports[0].missing}
    assert {"registry_at_start", "registry_at_end"} <= missing.keys()
    assert "the archive has no answer to" in str(missing["registry_at_start"])


def test_a_damaged_file_is_named(
    true_node_url: str, own_warehouse: Warehouse, tmp_path: Path
) -> None:
    archive = AnswerArchive(tmp_path.as_uri(), "devnet")
    archiving(true_node_url, own_warehouse, archive, [[15, 16]])
    path = tmp_path / "devnet" / f"{epoch_subject(15)}.jsonl.zst"
    path.write_bytes(b"\x00" * 1000)
    outcome = rebuild(own_warehouse, archive, [15, 16])
    assert outcome.stored == [16]
    assert f"{path}: not a zstd archive, or damaged" in outcome.failures[15]


def test_answers_wait_until_their_epoch_is_final(tmp_path: Path) -> None:
    archive = AnswerArchive(tmp_path.as_uri(), "devnet")
    proof = Exchange(
        method="GET", path="/eth/v1/beacon/states/head/finality_checkpoints", status=200
    )
    answers = [Exchange(method="GET", path=f"/{number}", status=200) for number in range(2)]
    raw = b"".join(_frame(one) for one in answers)
    for subject in ("a", "b"):
        archive.write(subject, raw, final=False)
    assert archive.subjects() == []
    assert archive.read("a") is None
    assert archive.confirm("a", _frame(proof))
    archive.discard("b")
    assert [one.path for one in archive.read("a") or []] == ["/0", "/1", proof.path]
    assert archive.subjects() == ["a"]
    assert not archive.confirm("b", _frame(proof))
    assert not list((tmp_path / "devnet" / "pending").iterdir())


def test_what_was_archived_before_finality_is_rebuilt_as_final(
    true_node_url: str,
    own_warehouse: Warehouse,
    tmp_path: Path,
    archived: tuple[AnswerArchive, dict[str, str]],
) -> None:
    path = "/eth/v1/beacon/states/head/finality_checkpoints"
    kept = archived[0].read(epoch_subject(15)) or []
    now = next(one for one in kept if one.path == path)
    checkpoint = b'{"epoch":"15","root":"0x%s"}' % (b"00" * 32)
    names = (b"previous_justified", b"current_justified", b"finalized")
    data = b",".join(b'"%s":%s' % (name, checkpoint) for name in names)
    body = b'{"execution_optimistic":false,"finalized":false,"data":{%s}}' % data
    early = msgspec.structs.replace(now, body=msgspec.Raw(body))
    raw = b"".join(_frame(one) for one in [*kept, early])
    archive = AnswerArchive(tmp_path.as_uri(), "devnet")
    archive.write(epoch_subject(15), raw)
    assert "epoch 15 is not final yet" in rebuild(own_warehouse, archive, [15]).failures[15]

    archive = AnswerArchive((tmp_path / "later").as_uri(), "devnet")
    archive.write(epoch_subject(15), raw, final=False)
    confirm(archive, [14, 15], _frame(now))
    assert archive.subjects() == [epoch_subject(15)]
    assert rebuild(own_warehouse, archive, [15]).failures == {}
    assert own_warehouse.read("network_epochs")["finalized"].tolist() == [True]


def test_an_archive_may_be_anywhere_that_fsspec_reaches() -> None:
    archive = AnswerArchive("memory://bucket/valmon", "devnet")
    assert archive.subjects() == []
    archive.write("epoch-0000001", _frame(Exchange(method="GET", path="/", status=200)))
    assert archive.subjects() == ["epoch-0000001"]
    assert len(archive.read("epoch-0000001") or []) == 1


def test_a_full_or_missing_archive_costs_no_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    archive = AnswerArchive((tmp_path / "file").as_uri(), "devnet")
    with caplog.at_level(logging.ERROR):
        keep(archive, "epoch-0000001", b"", final=True)
    assert "epoch-0000001 are not archived: archive" in caplog.text
    secret = AnswerArchive("ftp://user:hunter2@127.0.0.1:9/x", "devnet")
    with pytest.raises(ArchiveError, match="archive ftp://127") as raised:
        secret.read("epoch-0000001")
    assert "hunter2" not in str(raised.value)


def _frame(exchange: Exchange) -> bytes:
    return zstandard.compress(msgspec.json.encode(exchange) + b"\n")

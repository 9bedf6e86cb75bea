"""The client on the recorded devnet: every answer of the recording is understood."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest

import valmon_pipeline.devnet
from valmon_pipeline.beacon.archive import ArchiveWriter, Exchange, read_exchanges
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.errors import MalformedAnswerError

RECORDING = Path(valmon_pipeline.devnet.__file__).parent / "recordings" / "devnet.jsonl.zst"


@pytest.fixture(scope="module")
def exchanges() -> list[Exchange]:
    return list(read_exchanges(RECORDING))


def test_every_answer_of_an_epochs_data_is_understood() -> None:
    async def run() -> None:
        async with BeaconClient.replay(RECORDING) as client:
            spec = await client.spec()
            proposed = missed = 0
            for epoch in range(1, 42):
                state = spec.first_slot(epoch)
                registry = await client.validators(state, EVERYONE)
                committees = await client.committees(state, epoch)
                assert np.isin(committees.validator_index, registry.validator_index).all()
                assert len(await client.sync_committee(state, epoch)) == 32
                proposers = await client.proposer_duties(epoch)
                rewards = await client.attestation_rewards(epoch, EVERYONE)
                assert np.isin(rewards.validator_index, registry.validator_index).all()
                for slot, proposer in zip(
                    proposers.slot.tolist(), proposers.validator_index.tolist(), strict=True
                ):
                    header = await client.header(slot)
                    if header is None:
                        missed += 1
                        continue
                    proposed += 1
                    block = await client.block(slot)
                    paid = await client.block_rewards(slot)
                    assert proposer == header.proposer_index == block.proposer_index
                    assert paid.proposer_index == proposer
                    assert block.parent_root == header.parent_root
                    assert (block.fork >= Fork.ELECTRA) == (slot >= 32)
                    seats = await client.sync_committee_rewards(slot, EVERYONE)
                    assert (np.diff(seats.validator_index) > 0).all()
            assert proposed + missed == 41 * 8
            assert missed > 40

    asyncio.run(run())


def test_balances_in_place_of_sync_rewards_are_refused() -> None:
    """As Lodestar 1.22.0 answers without the archive patch: 32001655613 is a balance."""
    seats = [
        {"validator_index": str(index), "reward": str(reward)}
        for index, reward in enumerate((32_001_655_613, 32_001_777_584, 15_811, -15_811))
    ]
    path = "/eth/v1/beacon/rewards/sync_committee/8"

    async def run(exchanges: list[Exchange], archive: Path) -> None:
        with ArchiveWriter(archive) as writer:
            for exchange in exchanges:
                writer.append(exchange)
        async with BeaconClient.replay(archive) as client:
            await client.sync_committee_rewards(8, EVERYONE)

    spec = next(e for e in read_exchanges(RECORDING) if e.path == "/eth/v1/config/spec")
    wrong = Exchange(
        method="POST",
        path=path,
        status=200,
        request_body=msgspec.Raw(b"[]"),
        body=msgspec.Raw(msgspec.json.encode({"data": seats})),
    )
    with (
        TemporaryDirectory() as directory,
        pytest.raises(MalformedAnswerError, match=r"sync_committee/8 .*reward 32001655613 of val"),
    ):
        asyncio.run(run([spec, wrong], Path(directory) / "wrong.jsonl.zst"))


def test_slashings_in_blocks_are_the_scripted_ones() -> None:
    async def run() -> dict[int, tuple[int, ...]]:
        async with BeaconClient.replay(RECORDING) as client:
            return {slot: (await client.block(slot)).slashed_indices for slot in (58, 59, 67)}

    assert asyncio.run(run()) == {58: (), 59: (100,), 67: (121, 122)}


def test_the_archive_gives_back_every_recorded_byte(exchanges: list[Exchange]) -> None:
    assert len(exchanges) == 7092
    assert {exchange.method for exchange in exchanges} >= {"GET", "POST"}
    for exchange in exchanges:
        length = exchange.headers.get("content-length")
        if length is not None and exchange.content and exchange.content.isascii():
            assert len(exchange.content) == int(length)

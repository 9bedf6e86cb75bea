"""Duties of an epoch before it begins: who attests, proposes and signs for the sync committee.

They are stored in the tables of the duties and replaced when their epoch is materialized. An epoch
is stored when ``network_epochs`` has it, not because it has duties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from valmon_pipeline.beacon.answers import AttesterDuties, ProposerDuties
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.reading.side_by_side import side_by_side


@dataclass(frozen=True, slots=True)
class DutiesAhead:
    """What is known of ``epoch``, the one after the head's, and of the head's.

    ``frames`` are rows by epoch and table: of the head's epoch ``proposer_duties``, of the next one
    ``attestation_duties`` and ``sync_duties`` of the watched validators, and ``proposer_duties``
    where the rules fix them that early.
    """

    epoch: int
    frames: Mapping[int, Mapping[str, pd.DataFrame]]


async def read_duties_ahead(
    client: BeaconClient, spec: ChainSpec, head_epoch: int, watched: Int64Array
) -> DutiesAhead:
    """Read the duties that are certain once ``head_epoch`` has begun.

    The attesters of the next epoch are (consensus-specs, ``get_seed`` with MIN_SEED_LOOKAHEAD), its
    proposers since Fulu (EIP-7917); before, they also depend on balances at its start, so that only
    the proposers of ``head_epoch`` are.

    Raises:
        BeaconApiError: the node cannot give an answer, or gives a malformed one.
    """
    following = head_epoch + 1
    looks_ahead = spec.fork_at_epoch(head_epoch) >= Fork.FULU
    async with side_by_side() as tasks:
        attesters = tasks.create_task(client.attester_duties(following, watched))
        seats = tasks.create_task(client.sync_committee("head", following))
        proposers = {
            epoch: tasks.create_task(client.proposer_duties(epoch))
            for epoch in ([head_epoch, following] if looks_ahead else [head_epoch])
        }
    frames: dict[int, dict[str, pd.DataFrame]] = {
        following: {
            "attestation_duties": _attestation_duties(following, attesters.result()),
            "sync_duties": _sync_duties(following, seats.result(), watched),
        }
    }
    for epoch, task in proposers.items():
        frames.setdefault(epoch, {})["proposer_duties"] = _proposer_duties(epoch, task.result())
    return DutiesAhead(following, frames)


def _attestation_duties(epoch: int, duties: AttesterDuties) -> pd.DataFrame:
    return conform(
        "attestation_duties",
        {
            "epoch": np.full(len(duties), epoch),
            "validator_index": duties.validator_index,
            "slot": duties.slot,
            "committee_index": duties.committee_index,
            "committee_position": duties.committee_position,
            "committee_length": duties.committee_length,
        },
    )


def _proposer_duties(epoch: int, duties: ProposerDuties) -> pd.DataFrame:
    return conform(
        "proposer_duties",
        {
            "epoch": np.full(len(duties), epoch),
            "slot": duties.slot,
            "validator_index": duties.validator_index,
            "outcome": np.full(len(duties), "scheduled", dtype=object),
            "block_root": None,
        },
    )


def _sync_duties(epoch: int, seats: Int64Array, watched: Int64Array) -> pd.DataFrame:
    """Nothing is due yet: each block of the epoch asks every seat for one signature."""
    members, held = np.unique(seats[np.isin(seats, watched)], return_counts=True)
    nothing = np.zeros(len(members), dtype=np.int64)
    return conform(
        "sync_duties",
        {
            "epoch": np.full(len(members), epoch),
            "validator_index": members,
            "seats": held,
            "due": nothing,
            "participated": nothing,
            "missed": nothing,
        },
    )

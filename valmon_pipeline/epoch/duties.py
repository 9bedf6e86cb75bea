"""Group ``duties``: who had to attest, propose and sign for the sync committee."""

from __future__ import annotations

import numpy as np
import pandas as pd

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.sync_committee import SyncParticipation
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.frames.conform import conform, empty_frame


def attestation_duties_frame(answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``attestation_duties``: the duty of each watched validator that was active; no row
    where the committees are not known."""
    committees = answers.committees
    if committees is None:
        return empty_frame("attestation_duties")
    rows = watched_duty_rows(committees.validator_index, answers.watched)
    return conform(
        "attestation_duties",
        {
            "epoch": np.full(len(rows), answers.epoch),
            "validator_index": committees.validator_index[rows],
            "slot": committees.duty_slot[rows],
            "committee_index": committees.duty_committee_index[rows],
            "committee_position": committees.duty_position[rows],
            "committee_length": committees.duty_committee_length[rows],
        },
    )


def slot_proposers(
    spec: ChainSpec, answers: EpochAnswers
) -> tuple[Int64Array, np.ma.MaskedArray[tuple[int, ...], np.dtype[np.int64]]]:
    """The slots of the epoch that have a proposer, ascending, and who it is: by the duties, or
    where they are not known, by the blocks; masked for a slot without a block then."""
    duties = answers.proposer_duties
    if duties is not None:
        order = np.argsort(duties.slot, kind="stable")
        return duties.slot[order], np.ma.MaskedArray(duties.validator_index[order])
    # Nobody proposed the genesis block.
    first = max(spec.first_slot(answers.epoch), 1)
    slots = np.arange(first, spec.last_slot(answers.epoch) + 1, dtype=np.int64)
    blocks = [answers.blocks.get(slot) for slot in slots.tolist()]
    proposers = [-1 if block is None else block.proposer_index for block in blocks]
    return slots, np.ma.masked_equal(np.array(proposers, dtype=np.int64), -1)


def proposer_duties_frame(spec: ChainSpec, answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``proposer_duties``: every slot of the epoch with its proposer and what came of it."""
    slots, proposers = slot_proposers(spec, answers)
    blocks = [answers.blocks.get(slot) for slot in slots.tolist()]
    return conform(
        "proposer_duties",
        {
            "epoch": np.full(len(slots), answers.epoch),
            "slot": slots,
            "validator_index": proposers,
            "outcome": np.array(["missed" if block is None else "proposed" for block in blocks]),
            "block_root": [
                None if block is None else answers.canonical.root_at(block.slot) for block in blocks
            ],
        },
    )


def sync_duties_frame(
    answers: EpochAnswers, participation: SyncParticipation | None
) -> pd.DataFrame:
    """Frame ``sync_duties``: seats of watched members, and signatures due, given and missed; no row
    where the committee is not known.

    Each canonical block of the epoch asks every seat for one signature; a validator with two seats
    owes two. Exited and slashed members keep their seats.
    """
    if participation is None:
        return empty_frame("sync_duties")
    ours = np.isin(participation.validator_index, answers.watched)
    return conform(
        "sync_duties",
        {
            "epoch": np.full(int(ours.sum()), answers.epoch),
            "validator_index": participation.validator_index[ours],
            "seats": participation.seats[ours],
            "due": participation.due[ours],
            "participated": participation.participated[ours],
            "missed": participation.missed[ours],
        },
    )


def watched_duty_rows(members: Int64Array, watched: Int64Array) -> Int64Array:
    """The duty rows (of ``members``, one per duty) of the watched validators, ascending by
    validator index."""
    rows = np.flatnonzero(np.isin(members, watched))
    return rows[np.argsort(members[rows], kind="stable")].astype(np.int64)

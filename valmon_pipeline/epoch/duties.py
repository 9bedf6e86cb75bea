"""Group ``duties``: who had to attest, propose and sign for the sync committee."""

from __future__ import annotations

import numpy as np
import pandas as pd

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.sync_committee import SyncParticipation
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.frames.conform import conform


def attestation_duties_frame(answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``attestation_duties``: the duty of each watched validator that was active."""
    committees = answers.committees
    rows = watched_duty_rows(answers)
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


def proposer_duties_frame(answers: EpochAnswers) -> pd.DataFrame:
    """Frame ``proposer_duties``: every slot of the epoch with its proposer and what came of it."""
    duties = answers.proposer_duties
    order = np.argsort(duties.slot, kind="stable")
    slots = duties.slot[order]
    blocks = [answers.blocks.get(slot) for slot in slots.tolist()]
    return conform(
        "proposer_duties",
        {
            "epoch": np.full(len(slots), answers.epoch),
            "slot": slots,
            "validator_index": duties.validator_index[order],
            "outcome": np.array(["missed" if block is None else "proposed" for block in blocks]),
            "block_root": [
                None if block is None else answers.canonical.root_at(block.slot) for block in blocks
            ],
        },
    )


def sync_duties_frame(answers: EpochAnswers, participation: SyncParticipation) -> pd.DataFrame:
    """Frame ``sync_duties``: seats of watched members, and signatures due, given and missed.

    Each canonical block of the epoch asks every seat for one signature; a validator with two seats
    owes two. Exited and slashed members keep their seats.
    """
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


def watched_duty_rows(answers: EpochAnswers) -> Int64Array:
    """The duty rows of the watched validators, ascending by validator index."""
    members = answers.committees.validator_index
    rows = np.flatnonzero(np.isin(members, answers.watched))
    return rows[np.argsort(members[rows], kind="stable")].astype(np.int64)

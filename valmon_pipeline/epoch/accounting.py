"""Group ``rewards``: what moved each balance, what it was fined, and what happened in blocks."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from valmon_pipeline.chain.registry import Int64Array
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.chain.sync_committee import sync_participation
from valmon_pipeline.epoch.epoch_answers import EpochAnswers
from valmon_pipeline.epoch.movements import Movements
from valmon_pipeline.frames.conform import conform
from valmon_pipeline.ledger.balance_ledger import BalanceLedger, balance_ledger
from valmon_pipeline.ledger.postings import Component
from valmon_pipeline.ledger.residuals import ResidualClass

_STORED_AS_THEY_ARE: Final = tuple(
    component
    for component in Component
    if component not in (Component.PARTIAL_WITHDRAWALS, Component.FULL_WITHDRAWALS)
)


def ledger_of(movements: Movements) -> BalanceLedger:
    """The ledger of the watched validators (n)."""
    return balance_ledger(
        movements.opening,
        movements.closing,
        movements.postings,
        movements.evidence,
        movements.unknown,
    )


def balance_ledger_frame(
    answers: EpochAnswers, movements: Movements, ledger: BalanceLedger
) -> pd.DataFrame:
    """Frame ``balance_ledger``: a row per watched validator that has or had a balance, or through
    which any passed."""
    moved = np.isin(np.arange(len(ledger.opening_balance)), movements.postings.row)
    rows = np.flatnonzero((ledger.opening_balance != 0) | (ledger.closing_balance != 0) | moved)
    components = {component: ledger.component(component)[rows] for component in Component}
    full = components[Component.FULL_WITHDRAWALS]
    return conform(
        "balance_ledger",
        {
            "epoch": np.full(len(rows), answers.epoch),
            "validator_index": movements.validator_index[rows],
            "opening_balance": ledger.opening_balance[rows],
            **{component.value: components[component] for component in _STORED_AS_THEY_ARE},
            "withdrawals": components[Component.PARTIAL_WITHDRAWALS] + full,
            "full_withdrawals": full,
            "closing_balance": ledger.closing_balance[rows],
            "residual": np.ma.array(ledger.residual, mask=ledger.unknown.any)[rows],
            "residual_class": np.ma.masked_equal(ledger.residual_class[rows], -1),
        },
    )


def block_events_frame(
    answers: EpochAnswers, movements: Movements, *, everybody: bool
) -> pd.DataFrame:
    """Frame ``block_events``: events of watched validators, or of ``everybody``.

    A deposit for a key without a validator is nobody's yet; it counts as watched if the key is.
    """
    watched = set(answers.watched.tolist())
    waited_for = {
        bytes.fromhex(known.removeprefix("0x"))
        for known in answers.unknown_ids
        if isinstance(known, str)
    }
    events = [
        event
        for event in movements.events
        if everybody
        or event.validator_index in watched
        or event.target_index in watched
        or event.pubkey in waited_for
    ]

    def integers(values: list[int | None]) -> np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]:
        return np.ma.array(
            [0 if value is None else value for value in values],
            mask=[value is None for value in values],
            dtype=np.int64,
        )

    return conform(
        "block_events",
        {
            "epoch": np.full(len(events), answers.epoch),
            "slot": integers([event.slot for event in events]),
            "position": integers([event.position for event in events]),
            "event_type": np.array([event.event_type.value for event in events], dtype=object),
            "validator_index": integers([event.validator_index for event in events]),
            "target_index": integers([event.target_index for event in events]),
            "amount_gwei": integers([event.amount for event in events]),
            "effective": np.ma.array(
                [bool(event.effective) for event in events],
                mask=[event.effective is None for event in events],
                dtype=np.bool_,
            ),
            "pubkey": [event.pubkey for event in events],
        },
    )


def validator_penalties_frame(
    spec: ChainSpec,
    answers: EpochAnswers,
    attestation_rewards: pd.DataFrame,
    attestation_duties: pd.DataFrame,
    movements: Movements,
    ledger: BalanceLedger,
    per_seat: int | None,
) -> pd.DataFrame:
    """Frame ``validator_penalties``; the frames given are those of the same epoch.

    ``per_seat`` is what a seat of the sync committee earns in a block, gwei; None if unknown, and
    then its misses are not priced.
    """
    first, end = spec.first_slot(answers.epoch), spec.first_slot(answers.epoch + 1)
    # No penalty is told whose amount or slot is not known.
    if answers.committees is None:
        attestation_rewards = attestation_rewards.iloc[:0]
    attestation_rewards = attestation_rewards[attestation_rewards["total_reward"].notna()]
    duty_slot = _duty_slots(attestation_rewards, attestation_duties, first)
    rewarded = attestation_rewards["validator_index"].to_numpy(np.int64)
    lost = {
        name: -np.minimum(attestation_rewards[f"{name}_reward"].to_numpy(np.int64), 0)
        for name in ("source", "target")
    }
    inactivity = attestation_rewards["inactivity_penalty"].to_numpy(np.int64)
    # A correlation penalty that could not be computed shows as what its validator lacks.
    inferred = np.where(
        ledger.residual_class == ResidualClass.SLASHING_CORRELATION.code, ledger.residual, 0
    )
    booked = ledger.component(Component.SLASHING_CORRELATION).filled(0)
    correlation = -(booked + inferred)
    parts = [
        _penalties("attestation_miss", duty_slot, rewarded, lost["source"] + lost["target"]),
        _penalties("inactivity_leak", duty_slot, rewarded, inactivity),
        _penalties(
            "slashing_correlation",
            np.full(len(correlation), end),
            movements.validator_index,
            correlation,
        ),
        *_sync_penalties(spec, answers, per_seat),
        *_slashing_penalties(movements, ledger),
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame.sort_values(["slot", "validator_index", "penalty_type"], ignore_index=True)
    return conform(
        "validator_penalties",
        {
            "epoch": np.full(len(frame), answers.epoch),
            **{name: frame[name].to_numpy() for name in ("slot", "validator_index")},
            "penalty_type": frame["penalty_type"].to_numpy(dtype=object),
            "penalty_gwei": frame["penalty_gwei"].to_numpy(np.int64),
        },
    )


def _duty_slots(
    attestation_rewards: pd.DataFrame, attestation_duties: pd.DataFrame, first: int
) -> Int64Array:
    """The duty slot of each rewarded validator; the first slot for slashed ones without a duty."""
    members = attestation_duties["validator_index"].to_numpy(np.int64)
    rewarded = attestation_rewards["validator_index"].to_numpy(np.int64)
    at = np.searchsorted(members, rewarded)
    slots = np.append(attestation_duties["slot"].to_numpy(np.int64), first)
    return np.where(np.append(members, -1)[at] == rewarded, slots[at], first)


def _penalties(
    kind: str, slot: Int64Array, validators: Int64Array, gwei: Int64Array
) -> pd.DataFrame:
    fined = gwei > 0
    return pd.DataFrame(
        {
            "slot": slot[fined],
            "validator_index": validators[fined],
            "penalty_type": kind,
            "penalty_gwei": gwei[fined],
        }
    )


def _sync_penalties(
    spec: ChainSpec, answers: EpochAnswers, per_seat: int | None
) -> list[pd.DataFrame]:
    """Of every block of the epoch: missed seats times the reward per seat."""
    if per_seat is None or answers.sync_committee is None:
        return []
    end = spec.first_slot(answers.epoch + 1)
    parts = []
    for slot in answers.canonical.slot.tolist():
        if not 0 < slot < end:
            continue
        members = sync_participation(spec, answers.sync_committee, [answers.blocks[slot]])
        ours = np.isin(members.validator_index, answers.watched)
        parts.append(
            _penalties(
                "sync_miss",
                np.full(int(ours.sum()), slot),
                members.validator_index[ours],
                members.missed[ours] * per_seat,
            )
        )
    return parts


def _slashing_penalties(movements: Movements, ledger: BalanceLedger) -> list[pd.DataFrame]:
    postings = movements.postings
    known = ~np.ma.getmaskarray(ledger.component(Component.SLASHING))
    booked = (postings.component == Component.SLASHING.code) & known[postings.row]
    return [
        _penalties(
            "slashing",
            postings.slot[booked],
            movements.validator_index[postings.row[booked]],
            -postings.amount[booked],
        )
    ]

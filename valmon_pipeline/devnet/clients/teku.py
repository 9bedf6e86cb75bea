"""Teku (master of 2026-08-23): finalized states never, except in mode ``archive``."""

from __future__ import annotations

from typing import Final

from valmon_pipeline.devnet.answer import recorded_answer
from valmon_pipeline.devnet.clients import conditions as when
from valmon_pipeline.devnet.clients import rewrites as become
from valmon_pipeline.devnet.clients.asked import BLOCK_KINDS, STATE_KINDS, Asked, Kind
from valmon_pipeline.devnet.clients.profile import ClientProfile, Refusal, Rule, rules_by_kind
from valmon_pipeline.devnet.rows import Rows

_NOT_FOUND = Refusal(404, "Not found")
_NO_REWARDS = Refusal(
    400,
    "Invalid epoch range. Latest available epoch for reward calculation is {latest_rewarded_epoch}",
)
_UNAVAILABLE = Refusal(503, "Service unavailable")
_AHEAD = Refusal(400, "Epoch {epoch} is too far ahead of the current epoch {current_epoch}")
_NO_DUTIES = Refusal(200, data={"execution_optimistic": False, "data": []})
# The state is merely gone, but so the node says.
_SYNCING = Refusal(503, "Beacon node is currently syncing and not serving requests.")


def _key_outside_committee(asked: Asked) -> bool:
    """A public key has no seat in the sync committee that signed the block."""
    if asked.block is None:
        return False
    path = f"/eth/v1/beacon/rewards/sync_committee/{asked.block.slot}"
    whole = asked.recording.best("POST", path, "", b"[]")
    if whole is None or whole.status != 200:
        return False
    members = Rows(recorded_answer(whole)).positions
    known = asked.recording.validator_indices
    keys = (an_id for an_id in asked.ids if an_id.startswith("0x"))
    return any(known.get(key, "") not in members for key in keys)


TEKU: Final = ClientProfile(
    name="teku",
    version="teku/UNKNOWN+g90ed09bb",
    state_missing=_NOT_FOUND,
    block_missing=_NOT_FOUND,
    rules=rules_by_kind(
        (
            STATE_KINDS,
            (
                Rule(when.state_unknown, _NOT_FOUND),
                Rule(when.state_before_finality, _NOT_FOUND, only="default"),
            ),
        ),
        (
            (Kind.COMMITTEES,),
            (
                Rule(
                    when.committees_out_of_reach,
                    Refusal(400, "Epoch {epoch} is too far ahead of the state's {state_epoch}"),
                ),
            ),
        ),
        (
            (Kind.SYNC_COMMITTEE,),
            (
                Rule(
                    when.other_sync_period,
                    Refusal(
                        400,
                        "Epoch {epoch} is not in the current or next sync committee period of the "
                        "state at epoch {state_epoch}",
                    ),
                ),
            ),
        ),
        (
            (Kind.QUEUES,),
            (
                Rule(
                    when.before_electra,
                    Refusal(400, "The state was successfully retrieved, but was prior to electra"),
                ),
            ),
        ),
        (
            (Kind.LOOKAHEAD,),
            (
                Rule(
                    when.before_fulu,
                    Refusal(400, "The state was successfully retrieved, but was prior to fulu"),
                ),
            ),
        ),
        (BLOCK_KINDS, (Rule(when.block_unknown, _NOT_FOUND),)),
        (
            (Kind.BLOCK_REWARDS,),
            (Rule(when.slot_before_is_before_finality, _NOT_FOUND, only="default"),),
        ),
        (
            (Kind.SYNC_REWARDS,),
            (
                Rule(when.block_state_before_finality, _NOT_FOUND, only="default"),
                Rule(
                    when.has_unknown_index,
                    Refusal(400, "Validator index {unknown_index} is not in the registry"),
                ),
                Rule(
                    _key_outside_committee,
                    Refusal(400, "A public key is not in the sync committee"),
                ),
            ),
        ),
        (
            (Kind.ATTESTATION_REWARDS,),
            (
                Rule(when.current_epoch_not_beyond_next, _NO_REWARDS),
                Rule(when.rewards_state_before_finality, _NO_REWARDS, only="default"),
            ),
        ),
        (
            (Kind.PROPOSER_DUTIES, Kind.PROPOSER_DUTIES_V2),
            (
                Rule(when.beyond_two_epochs, _AHEAD),
                Rule(when.epoch_before_finality, _UNAVAILABLE, only="default"),
            ),
        ),
        (
            (Kind.ATTESTER_DUTIES,),
            (
                Rule(when.beyond_next_epoch, _AHEAD),
                Rule(when.epoch_before_state_of_previous, _SYNCING, only="default"),
            ),
        ),
        (
            (Kind.SYNC_DUTIES,),
            (
                Rule(when.sync_period_far_ahead, _AHEAD),
                Rule(when.sync_period_past, _NO_DUTIES, only="default"),
            ),
        ),
        (
            (Kind.LIVENESS,),
            (
                Rule(
                    when.always,
                    Refusal(400, "Validator liveness tracking is not enabled on this beacon node"),
                ),
            ),
        ),
    ),
    unrecorded={
        Kind.ATTESTATION_REWARDS: _NO_REWARDS,
        Kind.PROPOSER_DUTIES: _UNAVAILABLE,
        Kind.ATTESTER_DUTIES: _SYNCING,
        Kind.SYNC_DUTIES: _NO_DUTIES,
    },
    rewrites={
        Kind.STATE_SSZ: (become.without_finality_headers,),
        Kind.ATTESTATION_REWARDS: (
            become.ideal_rewards_up_to_32_eth,
            become.without_inclusion_delay,
        ),
    },
)

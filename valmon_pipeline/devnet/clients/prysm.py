"""Prysm 7.1.6: everything since the node's start, by replay; one unknown index refuses all."""

from __future__ import annotations

from typing import Final

from valmon_pipeline.devnet.clients import conditions as when
from valmon_pipeline.devnet.clients import rewrites as become
from valmon_pipeline.devnet.clients.asked import (
    BLOCK_KINDS,
    REGISTRY_KINDS,
    STATE_KINDS,
    Asked,
    Kind,
)
from valmon_pipeline.devnet.clients.profile import ClientProfile, Refusal, Rule, rules_by_kind

_NO_STATE = Refusal(404, "State not found")
_NO_BLOCK = Refusal(404, "Block not found: no blocks found at slot {block_id}")
_IN_THE_FUTURE = Refusal(500, "Could not get state: requested slot is in the future")
_INDEX_TOO_LARGE = Refusal(400, "Validator index {unknown_index} is too large")
_UNKNOWN_INDEX = Refusal(400, "Invalid validator index {unknown_index}")
_NOT_DUE = Refusal(
    404,
    "Attestation rewards are available after two epoch transitions to ensure all attestations have "
    "a chance of inclusion",
)
_BEYOND_NEXT = Refusal(400, "Request epoch {epoch} can not be greater than next epoch {next_epoch}")
_NO_DATA = Refusal(400, "No data submitted")


def _state_ignored(asked: Asked) -> bool:
    """With ``epoch`` the sync committee's state is that epoch's first, whatever is asked for."""
    return asked.question.query_value("epoch") is not None


def _state_in_the_future(asked: Asked) -> bool:
    state_id = asked.parameters["state_id"]
    return state_id.isdigit() and int(state_id) > asked.head_slot


def _sync_state_in_the_future(asked: Asked) -> bool:
    return not _state_ignored(asked) and _state_in_the_future(asked)


def _sync_state_unknown(asked: Asked) -> bool:
    return not _state_ignored(asked) and when.state_unknown(asked)


_STATE_KINDS = tuple(kind for kind in STATE_KINDS if kind is not Kind.SYNC_COMMITTEE)

PRYSM: Final = ClientProfile(
    name="prysm",
    version="Prysm/v7.1.6",
    state_missing=_NO_STATE,
    block_missing=_NO_BLOCK,
    rules=rules_by_kind(
        (
            _STATE_KINDS,
            (Rule(_state_in_the_future, _IN_THE_FUTURE), Rule(when.state_unknown, _NO_STATE)),
        ),
        (
            (Kind.SYNC_COMMITTEE,),
            (
                Rule(_sync_state_in_the_future, _IN_THE_FUTURE),
                Rule(_sync_state_unknown, _NO_STATE),
                Rule(
                    when.sync_period_far_ahead,
                    Refusal(400, "Could not fetch sync committee too far in the future"),
                ),
            ),
        ),
        (
            REGISTRY_KINDS,
            (
                Rule(
                    when.has_comma_joined_ids,
                    Refusal(400, "Invalid validator id: ids are repeated, not joined by commas"),
                ),
            ),
        ),
        ((Kind.VALIDATORS,), (Rule(when.posted_without_body, _NO_DATA),)),
        (
            (Kind.COMMITTEES,),
            (Rule(when.beyond_next_epoch, Refusal(400, "Epoch {epoch} is in the future")),),
        ),
        (
            (Kind.QUEUES,),
            (Rule(when.before_electra, Refusal(400, "state_id is prior to electra")),),
        ),
        ((Kind.LOOKAHEAD,), (Rule(when.before_fulu, Refusal(400, "state_id is prior to fulu")),)),
        (BLOCK_KINDS, (Rule(when.block_unknown, _NO_BLOCK),)),
        (
            (Kind.BLOCK,),
            (
                Rule(
                    when.payload_cannot_be_rebuilt,
                    Refusal(
                        400,
                        "could not reconstruct full execution payload to create signed beacon "
                        "block",
                    ),
                ),
            ),
        ),
        (
            (Kind.ATTESTATION_REWARDS,),
            (
                Rule(when.current_epoch_not_beyond_next, _NOT_DUE),
                Rule(when.has_unknown_index, _INDEX_TOO_LARGE),
                Rule(
                    when.has_unknown_key,
                    Refusal(400, "No validator index found for a public key"),
                ),
            ),
        ),
        ((Kind.SYNC_REWARDS,), (Rule(when.has_unknown_index, _UNKNOWN_INDEX),)),
        (
            (Kind.PROPOSER_DUTIES, Kind.PROPOSER_DUTIES_V2),
            (Rule(when.beyond_next_epoch, _BEYOND_NEXT),),
        ),
        (
            (Kind.ATTESTER_DUTIES,),
            (
                Rule(when.nobody_listed, _NO_DATA),
                Rule(when.beyond_next_epoch, _BEYOND_NEXT),
                Rule(when.has_unknown_index, _UNKNOWN_INDEX),
            ),
        ),
        (
            (Kind.SYNC_DUTIES,),
            (
                Rule(when.nobody_listed, _NO_DATA),
                Rule(
                    when.sync_period_far_ahead,
                    Refusal(400, "Epoch {epoch} is too far in the future"),
                ),
            ),
        ),
        (
            (Kind.LIVENESS,),
            (
                Rule(when.future_epoch, Refusal(400, "Requested epoch {epoch} is in the future")),
                Rule(when.has_unknown_index, _UNKNOWN_INDEX),
            ),
        ),
    ),
    rewrites={
        Kind.STATE_SSZ: (become.without_finality_headers,),
        Kind.ATTESTATION_REWARDS: (
            become.zeros_for_whole_registry,
            become.ideal_rewards_of_17_to_32_eth,
        ),
        Kind.SYNC_REWARDS: (become.in_request_order,),
    },
)

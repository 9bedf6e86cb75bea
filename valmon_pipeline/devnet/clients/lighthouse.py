"""Lighthouse 8.0.1: finalized states are dropped, every refusal of a state is a 404.

With ``--archive`` (``--reconstruct-historic-states``) every state is there. Not modelled: a state
ahead of the newest block is the head's, not advanced.
"""

from __future__ import annotations

from typing import Final

from valmon_pipeline.devnet.clients import conditions as when
from valmon_pipeline.devnet.clients import rewrites as become
from valmon_pipeline.devnet.clients.asked import BLOCK_KINDS, STATE_KINDS, Kind
from valmon_pipeline.devnet.clients.profile import ClientProfile, Refusal, Rule, rules_by_kind

_NO_ROUTE = Refusal(404, "NOT_FOUND")
_NO_STATE = Refusal(404, "NOT_FOUND: beacon state at slot {state_slot}")
_NO_BLOCK = Refusal(404, "NOT_FOUND: beacon block at slot {block_id}")
_NO_EPOCH_STATE = Refusal(404, "NOT_FOUND: beacon state at slot {epoch_slot}")
_NO_PARENT_STATE = Refusal(404, "Parent state is not available! MissingBeaconState({parent_root})")
_NO_REWARDS_STATE = Refusal(404, "NOT_FOUND: missing state at slot {rewards_slot}")
_AHEAD = Refusal(400, "BAD_REQUEST: request epoch {epoch} is ahead of the next epoch {next_epoch}")
_NO_QUEUES = Refusal(400, "BAD_REQUEST: Pending deposits not found")

LIGHTHOUSE: Final = ClientProfile(
    name="lighthouse",
    version="Lighthouse/v8.0.1",
    state_missing=_NO_STATE,
    block_missing=_NO_BLOCK,
    rules=rules_by_kind(
        ((Kind.LOOKAHEAD, Kind.PROPOSER_DUTIES_V2), (Rule(when.always, _NO_ROUTE),)),
        (
            STATE_KINDS,
            (
                Rule(when.state_unknown, _NO_STATE),
                Rule(when.state_before_finality, _NO_STATE, only="default"),
            ),
        ),
        (
            (Kind.COMMITTEES,),
            (
                Rule(
                    when.committees_out_of_reach,
                    Refusal(
                        400, "BAD_REQUEST: epoch out of bounds, try state at slot {epoch_slot}"
                    ),
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
                        "BAD_REQUEST: state at epoch {state_epoch} has no sync committee for epoch "
                        "{epoch}",
                    ),
                ),
            ),
        ),
        ((Kind.QUEUES,), (Rule(when.before_electra, _NO_QUEUES),)),
        (BLOCK_KINDS, (Rule(when.block_unknown, _NO_BLOCK),)),
        (
            (Kind.BLOCK,),
            (
                Rule(
                    when.finalized_payload_cannot_be_rebuilt,
                    Refusal(
                        500,
                        "UNHANDLED_ERROR: ExecutionLayerErrorPayloadReconstruction at {block_id}",
                    ),
                ),
            ),
        ),
        (
            (Kind.BLOCK_REWARDS, Kind.SYNC_REWARDS),
            (Rule(when.parent_state_before_finality, _NO_PARENT_STATE, only="default"),),
        ),
        (
            (Kind.ATTESTATION_REWARDS,),
            (
                Rule(
                    when.has_unknown_key, Refusal(400, "BAD_REQUEST: unknown validator public key")
                ),
                Rule(when.rewards_not_due, _NO_REWARDS_STATE),
                Rule(when.rewards_state_before_finality, _NO_REWARDS_STATE, only="default"),
            ),
        ),
        (
            (Kind.PROPOSER_DUTIES,),
            (
                Rule(when.beyond_next_epoch, _AHEAD),
                Rule(when.past_epoch_before_finality, _NO_EPOCH_STATE, only="default"),
            ),
        ),
        (
            (Kind.ATTESTER_DUTIES,),
            (
                Rule(
                    when.beyond_next_epoch,
                    Refusal(
                        400,
                        "BAD_REQUEST: request epoch {epoch} is more than one epoch past the "
                        "current epoch {current_epoch}",
                    ),
                ),
                Rule(when.past_epoch_before_finality, _NO_EPOCH_STATE, only="default"),
            ),
        ),
        (
            (Kind.SYNC_DUTIES,),
            (
                Rule(
                    when.sync_period_past,
                    Refusal(500, "UNHANDLED_ERROR: no state for the sync committee of {epoch}"),
                    only="default",
                ),
                Rule(when.sync_period_far_ahead, _AHEAD),
                Rule(
                    when.has_unknown_index,
                    Refusal(400, "BAD_REQUEST: unknown validator {unknown_index}"),
                ),
            ),
        ),
        (
            (Kind.LIVENESS,),
            (
                Rule(
                    when.not_adjacent_epoch,
                    Refusal(
                        400,
                        "BAD_REQUEST: request epoch {epoch} is more than one epoch from the "
                        "current epoch {current_epoch}",
                    ),
                ),
            ),
        ),
    ),
    unrecorded={
        Kind.ATTESTATION_REWARDS: _NO_REWARDS_STATE,
        Kind.BLOCK_REWARDS: _NO_PARENT_STATE,
        Kind.SYNC_REWARDS: _NO_PARENT_STATE,
        Kind.PROPOSER_DUTIES: _NO_EPOCH_STATE,
        Kind.ATTESTER_DUTIES: _NO_EPOCH_STATE,
        Kind.SYNC_DUTIES: _NO_EPOCH_STATE,
        Kind.LIVENESS: _NO_EPOCH_STATE,
    },
    rewrites={
        Kind.STATE_SSZ: (become.without_finality_headers,),
        Kind.ATTESTATION_REWARDS: (become.zeros_for_ineligible, become.without_finalized),
        Kind.SYNC_REWARDS: (become.null_if_empty,),
        Kind.SPEC: (become.without_slot_duration_ms,),
    },
    error_fields={"stacktraces": []},
)

"""Grandine 2.0.0: 147 days of history by replay, but no route for attestation rewards at all.

Not modelled: slots up to the end of the next epoch, which the node answers by advancing the head.
"""

from __future__ import annotations

from typing import Final

from valmon_pipeline.devnet.clients import conditions as when
from valmon_pipeline.devnet.clients import rewrites as become
from valmon_pipeline.devnet.clients.asked import BLOCK_KINDS, STATE_KINDS, Kind
from valmon_pipeline.devnet.clients.profile import ClientProfile, Refusal, Rule, rules_by_kind

_NO_ROUTE = Refusal(404)
_NO_STATE = Refusal(404, "state not found")
_NO_BLOCK = Refusal(404, "block not found")
_NO_FORK_CHOICE_STATE = Refusal(500, "internal error: state not found in fork choice store")
_OTHER_PERIOD = Refusal(400, "requested epoch is neither in current nor next sync committee period")
_TOO_FAR = Refusal(500, "internal error: epoch is too far in the future")

GRANDINE: Final = ClientProfile(
    name="grandine",
    version="Grandine/2.0.0",
    state_missing=_NO_STATE,
    block_missing=_NO_BLOCK,
    rules=rules_by_kind(
        (
            (Kind.ATTESTATION_REWARDS, Kind.PROPOSER_DUTIES_V2),
            (Rule(when.always, _NO_ROUTE),),
        ),
        (STATE_KINDS, (Rule(when.state_unknown, _NO_STATE),)),
        (
            (Kind.COMMITTEES,),
            (
                Rule(
                    lambda asked: asked.epoch < asked.state_epoch - 1,
                    Refusal(500, "internal error: epoch is before previous epoch"),
                ),
                Rule(lambda asked: asked.epoch > asked.state_epoch + 1, _TOO_FAR),
            ),
        ),
        ((Kind.SYNC_COMMITTEE,), (Rule(when.other_sync_period, _OTHER_PERIOD),)),
        ((Kind.QUEUES,), (Rule(when.before_electra, Refusal(400, "state is pre-Electra")),)),
        ((Kind.LOOKAHEAD,), (Rule(when.before_fulu, Refusal(400, "state is pre-Fulu")),)),
        (
            BLOCK_KINDS,
            (
                Rule(when.is_justified_id, Refusal(400, "invalid block ID")),
                Rule(when.block_unknown, _NO_BLOCK),
            ),
        ),
        (
            (Kind.SYNC_REWARDS,),
            (Rule(when.posted_without_body, Refusal(400, "a body is required")),),
        ),
        ((Kind.PROPOSER_DUTIES, Kind.ATTESTER_DUTIES), (Rule(when.beyond_next_epoch, _TOO_FAR),)),
        (
            (Kind.SYNC_DUTIES,),
            (
                Rule(when.sync_period_far_ahead, _OTHER_PERIOD),
                Rule(
                    when.has_unknown_index,
                    Refusal(500, "internal error: validator {unknown_index} not found"),
                ),
            ),
        ),
        (
            (Kind.LIVENESS,),
            (Rule(when.always, Refusal(500, "internal error: liveness tracking not enabled")),),
        ),
    ),
    unrecorded={
        Kind.BLOCK_REWARDS: _NO_FORK_CHOICE_STATE,
        Kind.SYNC_REWARDS: _NO_FORK_CHOICE_STATE,
    },
    rewrites={Kind.STATE_SSZ: (become.without_finality_headers,)},
    error_fields={"failures": []},
)

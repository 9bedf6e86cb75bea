"""Nimbus 25.1.0: five months of history by replay, but no attestation rewards before v26.8.0.

Not modelled: slots ahead of the head, which the node answers as empty ones.
"""

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

_MOST_IDS: Final = 16_384

_NO_ROUTE = Refusal(404)
_NO_STATE = Refusal(404, "Could not get requested state")
_NO_BLOCK = Refusal(404, "Block header/data has not been found")
_NO_PARENT_STATE = Refusal(404, "Unable to load state for parent block, database corrupt?")
_PRUNED = Refusal(400, "Trying to access a pruned historical state")
_BEYOND_NEXT = Refusal(400, "Requested epoch is more than one epoch past current epoch")
_NO_INDICES = Refusal(400, "Empty request body")


def _asks_by_state_root(asked: Asked) -> bool:
    return asked.parameters["state_id"].startswith("0x")


def _too_many_ids(asked: Asked) -> bool:
    return asked.question.method == "GET" and len(asked.ids) > _MOST_IDS


NIMBUS: Final = ClientProfile(
    name="nimbus",
    version="Nimbus/v25.1.0",
    state_missing=_NO_STATE,
    block_missing=_NO_BLOCK,
    rules=rules_by_kind(
        (
            (
                Kind.ATTESTATION_REWARDS,
                Kind.PROPOSER_DUTIES_V2,
                Kind.QUEUES,
                Kind.LOOKAHEAD,
            ),
            (Rule(when.always, _NO_ROUTE),),
        ),
        (
            STATE_KINDS,
            (
                Rule(_asks_by_state_root, Refusal(500, "Not implemented yet")),
                Rule(when.state_unknown, _NO_STATE),
            ),
        ),
        (
            REGISTRY_KINDS,
            (Rule(when.has_duplicate_ids, Refusal(400, "Only unique validator ids allowed")),),
        ),
        (
            (Kind.VALIDATORS,),
            (
                Rule(_too_many_ids, Refusal(414, "The number of ids exceeds the limit")),
                Rule(when.posted_without_body, _NO_INDICES),
            ),
        ),
        (
            (Kind.BALANCES,),
            (Rule(_too_many_ids, Refusal(400, "The number of ids exceeds the limit")),),
        ),
        (
            (Kind.COMMITTEES,),
            (
                Rule(
                    when.committees_out_of_reach,
                    Refusal(400, "Requested epoch is not in the range of the state"),
                ),
            ),
        ),
        (
            (Kind.SYNC_COMMITTEE,),
            (
                Rule(
                    when.other_sync_period,
                    Refusal(400, "Epoch is outside the sync committee period of the state"),
                ),
            ),
        ),
        (BLOCK_KINDS, (Rule(when.block_unknown, _NO_BLOCK),)),
        (
            (Kind.SYNC_REWARDS,),
            (
                Rule(when.posted_without_body, _NO_INDICES),
                Rule(
                    when.has_unknown_index,
                    Refusal(400, "Validator index {unknown_index} is not in the registry"),
                ),
            ),
        ),
        ((Kind.PROPOSER_DUTIES,), (Rule(when.beyond_next_epoch, _BEYOND_NEXT),)),
        (
            (Kind.ATTESTER_DUTIES,),
            (
                Rule(when.nobody_listed, _NO_INDICES),
                Rule(when.beyond_next_epoch, _BEYOND_NEXT),
            ),
        ),
        (
            (Kind.SYNC_DUTIES,),
            (
                Rule(when.nobody_listed, _NO_INDICES),
                Rule(when.sync_period_far_ahead, Refusal(404, "Sync committee is not known yet")),
            ),
        ),
        (
            (Kind.LIVENESS,),
            (
                Rule(
                    when.not_adjacent_epoch,
                    Refusal(400, "Requested epoch is more than one epoch from current epoch"),
                ),
                Rule(when.has_duplicate_ids, Refusal(400, "Only unique indices allowed")),
            ),
        ),
    ),
    unrecorded={
        Kind.BLOCK_REWARDS: _NO_PARENT_STATE,
        Kind.SYNC_REWARDS: _NO_PARENT_STATE,
        Kind.PROPOSER_DUTIES: _PRUNED,
        Kind.ATTESTER_DUTIES: _PRUNED,
        Kind.LIVENESS: Refusal(503, "Gossip of the epoch was not seen"),
    },
    rewrites={
        Kind.STATE_SSZ: (become.without_finality_headers,),
        Kind.VALIDATORS: (become.in_hash_order,),
        Kind.BALANCES: (become.in_hash_order,),
        Kind.SYNC_REWARDS: (become.row_per_seat,),
        Kind.SYNCING: (become.distance_to_the_wall_clock,),
        Kind.SPEC: (become.without_slot_duration_ms,),
    },
)

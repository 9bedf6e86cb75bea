"""Lodestar 1.39.1: states of finalized slots refused, everything internal as status 500.

With ``--serveHistoricalState`` and an archive frequency of 1: registries, balances and whole states
of slots that have a block or begin an epoch; committees and rewards of finalized epochs never.
"""

from __future__ import annotations

from typing import Final

from valmon_pipeline.devnet.clients import conditions as when
from valmon_pipeline.devnet.clients.asked import BLOCK_KINDS, REGISTRY_KINDS, Asked, Kind
from valmon_pipeline.devnet.clients.profile import ClientProfile, Refusal, Rule, rules_by_kind

_BLOCK_STATES: Final = 64
_SHUFFLINGS: Final = 4
_EPOCHS_OF_CHECKPOINT_STATES: Final = 3

_NO_STATE = Refusal(404, "State not found for id '{state_id}'")
_NO_BLOCK = Refusal(404, "Block not found for id '{block_id}'")
_NOT_ENABLED = Refusal(
    500, "Historical state regen is not enabled, set --serveHistoricalState to fetch this data"
)
_NOT_GENERATED = Refusal(500, "Failed to generate historical state for slot {state_slot}")
_NOT_CACHED = Refusal(400, "No cached state available for stateId: {state_id}")
_NO_SYNC_COMMITTEE = Refusal(500, "EPOCH_CONTEXT_ERROR_NO_SYNC_COMMITTEE")
_OUT_OF_RANGE = Refusal(500, "EPOCH_CONTEXT_ERROR_DECISION_ROOT_EPOCH_OUT_OF_RANGE")
_NOT_IN_FORK_CHOICE = Refusal(500, "REGEN_ERROR_BLOCK_NOT_IN_FORKCHOICE")
_NO_PRE_STATE = Refusal(500, "Pre-state is unavailable given block's parent root {parent_root}")
_NO_REWARDS_STATE = Refusal(500, "State is unavailable for slot {rewards_slot}")
_NOBODY = Refusal(400, "No validator to get attester duties")
_INDEX_TOO_HIGH = Refusal(500, "validatorIndex {unknown_index} too high")


def _not_generated(asked: Asked) -> bool:
    """A finalized slot without a block whose state is not archived."""
    slot = asked.state_slot
    return (
        when.state_before_finality(asked)
        and slot not in asked.recording.blocks
        and slot is not None
        and slot % asked.slots_per_epoch != 0
    )


def _shuffling_evicted(asked: Asked) -> bool:
    """The newest shufflings kept are those of N+1 and the epochs before it."""
    return asked.epoch <= asked.current_epoch + 1 - _SHUFFLINGS


def _sync_committee_spoilt(asked: Asked) -> bool:
    """Past proposer duties were asked for: the state has lost its sync committees."""
    return asked.state_slot in asked.node.spoilt_states


def _spoil(asked: Asked) -> None:
    """The duties of N−1 to N+1 come from the head's state, older ones spoil their own."""
    if when.before_previous_epoch(asked):
        asked.node.spoilt_states.add(asked.first_slot(asked.epoch))


def _not_archived_yet(asked: Asked) -> bool:
    """Finalized blocks are found by slot once they were moved to the archive, soon after."""
    if asked.block is None or not asked.parameters["block_id"].isdigit():
        return False
    before = asked.recording.block_at_or_before(asked.head_slot - asked.node.archive_lag_slots)
    archived_slot = asked.view.finalized_slot_at(before.slot if before else 0)
    archived = asked.recording.block_at_or_before(archived_slot)
    archived_block_slot = archived.slot if archived else 0
    return archived_block_slot < asked.block.slot <= asked.finalized_block_slot


def _rewards_state_unavailable(asked: Asked) -> bool:
    """The last slot of E+1 has no block among the newest, or is older than the finalized one."""
    slot = asked.rewards_slot
    return (
        slot > asked.head_slot
        or not asked.is_newest_block_state(slot, _BLOCK_STATES)
        or slot < asked.finalized_block_slot
    )


def _parent_not_in_fork_choice(asked: Asked) -> bool:
    """Fork choice begins with the finalized block."""
    return asked.parent is None or asked.parent.slot < asked.finalized_block_slot


def _no_pre_state(asked: Asked) -> bool:
    """The parent's state is not among the newest ones.

    The first block of an epoch needs a checkpoint state, which stays in memory for three epochs; it
    goes in the middle of the next one (seen on 1.39.1: there at first(E+3), gone half an epoch on).
    """
    if asked.block is None or asked.parent is None:
        return False
    epoch = asked.block.slot // asked.slots_per_epoch
    if asked.parent.slot // asked.slots_per_epoch == epoch:
        return not asked.is_newest_block_state(asked.parent.slot, _BLOCK_STATES)
    kept_until = asked.first_slot(epoch + _EPOCHS_OF_CHECKPOINT_STATES) + asked.slots_per_epoch // 2
    return asked.head_slot >= kept_until


_STATE_RULES = (
    Rule(when.state_unknown, _NO_STATE),
    Rule(when.state_before_finality, _NOT_ENABLED, only="default"),
)
_HISTORICAL_KINDS = (
    *REGISTRY_KINDS,
    Kind.FINALITY,
    Kind.STATE_FACT,
    Kind.QUEUES,
    Kind.LOOKAHEAD,
    Kind.STATE_SSZ,
)
_CACHED_KINDS = (Kind.COMMITTEES, Kind.SYNC_COMMITTEE)
_BLOCK_REWARD_RULES = (
    Rule(_parent_not_in_fork_choice, _NOT_IN_FORK_CHOICE),
    Rule(_no_pre_state, _NO_PRE_STATE),
)
_PROPOSER_RULES = (
    Rule(
        when.beyond_next_epoch,
        Refusal(400, "Requested epoch {epoch} must not be more than one epoch in the future"),
    ),
    Rule(
        lambda asked: when.before_previous_epoch(asked) and when.epoch_before_finality(asked),
        _NOT_ENABLED,
        only="default",
    ),
)

LODESTAR: Final = ClientProfile(
    name="lodestar",
    version="Lodestar/v1.39.1",
    state_missing=_NOT_ENABLED,
    block_missing=_NO_BLOCK,
    rules=rules_by_kind(
        ((*_HISTORICAL_KINDS, *_CACHED_KINDS), _STATE_RULES),
        (_HISTORICAL_KINDS, (Rule(_not_generated, _NOT_GENERATED, only="archive"),)),
        (_CACHED_KINDS, (Rule(when.state_before_finality, _NOT_CACHED, only="archive"),)),
        (
            REGISTRY_KINDS,
            (Rule(when.has_duplicate_ids, Refusal(400, "must NOT have duplicate items")),),
        ),
        (
            (Kind.COMMITTEES,),
            (
                # 400 by the source, 500 as recorded.
                Rule(when.committees_not_adjacent, _OUT_OF_RANGE),
                Rule(
                    _shuffling_evicted,
                    Refusal(
                        500,
                        "No shuffling found to calculate committees for epoch: {epoch} and "
                        "decisionRoot: {decision_root}",
                    ),
                ),
            ),
        ),
        (
            (Kind.SYNC_COMMITTEE,),
            (
                Rule(when.other_sync_period, _NO_SYNC_COMMITTEE),
                Rule(_sync_committee_spoilt, Refusal(500, "Empty SyncCommitteeCache")),
            ),
        ),
        ((Kind.QUEUES,), (Rule(when.before_electra, Refusal(400, "State is not post-electra")),)),
        ((Kind.LOOKAHEAD,), (Rule(when.before_fulu, Refusal(400, "State is not post-fulu")),)),
        (
            BLOCK_KINDS,
            (Rule(when.block_unknown, _NO_BLOCK), Rule(_not_archived_yet, _NO_BLOCK)),
        ),
        ((Kind.BLOCK_REWARDS, Kind.SYNC_REWARDS), _BLOCK_REWARD_RULES),
        ((Kind.ATTESTATION_REWARDS,), (Rule(_rewards_state_unavailable, _NO_REWARDS_STATE),)),
        ((Kind.PROPOSER_DUTIES, Kind.PROPOSER_DUTIES_V2), _PROPOSER_RULES),
        (
            (Kind.ATTESTER_DUTIES,),
            (
                Rule(when.nobody_listed, _NOBODY),
                Rule(
                    when.beyond_next_epoch,
                    Refusal(400, "Cannot get duties for epoch more than one ahead"),
                ),
                Rule(when.before_previous_epoch, _OUT_OF_RANGE),
                Rule(when.has_unknown_index, _INDEX_TOO_HIGH),
            ),
        ),
        (
            (Kind.SYNC_DUTIES,),
            (
                Rule(when.nobody_listed, _NOBODY),
                Rule(when.sync_period_past, _NO_SYNC_COMMITTEE),
                Rule(when.sync_period_far_ahead, _NO_SYNC_COMMITTEE),
                Rule(when.has_unknown_index, _INDEX_TOO_HIGH),
            ),
        ),
        (
            (Kind.LIVENESS,),
            (
                Rule(
                    when.not_adjacent_epoch,
                    Refusal(
                        400,
                        "Request epoch {epoch} is more than one epoch before or after the current "
                        "epoch {current_epoch}",
                    ),
                ),
            ),
        ),
    ),
    unrecorded={
        Kind.ATTESTATION_REWARDS: _NO_REWARDS_STATE,
        Kind.BLOCK_REWARDS: _NO_PRE_STATE,
        Kind.SYNC_REWARDS: _NO_PRE_STATE,
    },
    remembers={Kind.PROPOSER_DUTIES: _spoil, Kind.PROPOSER_DUTIES_V2: _spoil},
)

"""Conditions under which clients refuse a request.

E is the epoch asked about, N the node's current epoch, F the finalized one.
"""

from __future__ import annotations

from typing import Final

from valmon_pipeline.devnet.clients.asked import Asked

# An epoch's committees come from randao mixes, of which a state holds this many epochs.
_MIXES: Final = 65_535


def always(asked: Asked) -> bool:
    """Whatever the request."""
    return True


def state_unknown(asked: Asked) -> bool:
    """The state is ahead of the head, or its root is unknown."""
    return asked.state_slot is None


def state_before_finality(asked: Asked) -> bool:
    """The state is older than the first slot of F."""
    return asked.state_slot is not None and asked.state_slot < asked.finalized_slot


def committees_out_of_reach(asked: Asked) -> bool:
    """E is not among the 65,535 epochs before the state's and the one after it."""
    return not -_MIXES <= asked.epoch - asked.state_epoch <= 1


def committees_not_adjacent(asked: Asked) -> bool:
    """E is neither the state's epoch, nor the one before or after it."""
    return abs(asked.epoch - asked.state_epoch) > 1


def other_sync_period(asked: Asked) -> bool:
    """E is neither in the state's sync committee period nor in the next one."""
    return asked.period_of(asked.epoch) - asked.period_of(asked.state_epoch) not in (0, 1)


def sync_period_far_ahead(asked: Asked) -> bool:
    """E is beyond the sync committee period after the current one."""
    return asked.period_of(asked.epoch) > asked.period_of(asked.current_epoch) + 1


def sync_period_past(asked: Asked) -> bool:
    """E is in a sync committee period before the current one."""
    return asked.period_of(asked.epoch) < asked.period_of(asked.current_epoch)


def before_electra(asked: Asked) -> bool:
    """The state has no pending queues yet."""
    return _before_fork(asked, "ELECTRA_FORK_EPOCH")


def before_fulu(asked: Asked) -> bool:
    """The state has no proposer lookahead yet."""
    return _before_fork(asked, "FULU_FORK_EPOCH")


def _before_fork(asked: Asked, name: str) -> bool:
    epoch = str(asked.recording.spec.get(name, ""))
    return not epoch.isdigit() or asked.state_epoch < int(epoch)


def block_unknown(asked: Asked) -> bool:
    """The slot has no block, or the node does not know the root."""
    return asked.block is None


def block_is_finalized(asked: Asked) -> bool:
    """The block is the finalized checkpoint's or older."""
    return asked.block is not None and asked.block.slot <= asked.finalized_block_slot


def payload_cannot_be_rebuilt(asked: Asked) -> bool:
    """The node has no execution layer to ask for payloads."""
    return not asked.node.execution_layer


def finalized_payload_cannot_be_rebuilt(asked: Asked) -> bool:
    """The node drops payloads at finality and has no execution layer to ask for them."""
    return payload_cannot_be_rebuilt(asked) and block_is_finalized(asked)


def parent_state_before_finality(asked: Asked) -> bool:
    """The parent's state is older than the first slot of F: true of the first block of F."""
    return asked.parent is not None and asked.parent.slot < asked.finalized_slot


def slot_before_is_before_finality(asked: Asked) -> bool:
    """The state of the slot before the block is older than the first slot of F."""
    return asked.block is not None and asked.block.slot - 1 < asked.finalized_slot


def block_state_before_finality(asked: Asked) -> bool:
    """The block's own state is older than the first slot of F."""
    return asked.block is not None and asked.block.slot < asked.finalized_slot


def rewards_not_due(asked: Asked) -> bool:
    """The last slot of E+1 is not over, or no block came after it."""
    return asked.view.head_state_slot <= asked.rewards_slot


def current_epoch_not_beyond_next(asked: Asked) -> bool:
    """N is at most E+1."""
    return asked.current_epoch <= asked.epoch + 1


def rewards_state_before_finality(asked: Asked) -> bool:
    """The last slot of E+1 is older than the first slot of F."""
    return asked.rewards_slot < asked.finalized_slot


def beyond_next_epoch(asked: Asked) -> bool:
    """E is more than one epoch ahead."""
    return asked.epoch > asked.current_epoch + 1


def beyond_two_epochs(asked: Asked) -> bool:
    """E is more than two epochs ahead."""
    return asked.epoch > asked.current_epoch + 2


def epoch_before_finality(asked: Asked) -> bool:
    """The first slot of E is older than the first slot of F."""
    return asked.first_slot(min(asked.epoch, asked.current_epoch)) < asked.finalized_slot


def past_epoch_before_finality(asked: Asked) -> bool:
    """E is over and its first slot older than the first slot of F."""
    return asked.epoch < asked.current_epoch and epoch_before_finality(asked)


def before_previous_epoch(asked: Asked) -> bool:
    """E is older than N−1."""
    return asked.epoch < asked.current_epoch - 1


def epoch_before_state_of_previous(asked: Asked) -> bool:
    """The first slot of E−1 is older than the first slot of F."""
    return asked.first_slot(max(0, asked.epoch - 1)) < asked.finalized_slot


def not_adjacent_epoch(asked: Asked) -> bool:
    """E is neither N nor the epoch before or after it."""
    return abs(asked.epoch - asked.current_epoch) > 1


def future_epoch(asked: Asked) -> bool:
    """E is ahead of N."""
    return asked.epoch > asked.current_epoch


def nobody_listed(asked: Asked) -> bool:
    """The body lists no validators."""
    return not asked.ids


def posted_without_body(asked: Asked) -> bool:
    """A POST without a body."""
    return asked.question.method == "POST" and not asked.question.body


def has_duplicate_ids(asked: Asked) -> bool:
    """A validator is asked for twice."""
    return len(set(asked.ids)) < len(asked.ids)


def has_unknown_index(asked: Asked) -> bool:
    """An index lies beyond the registry."""
    return bool(asked.unknown_indices)


def has_comma_joined_ids(asked: Asked) -> bool:
    """Ids are joined by a comma, which this client does not split at."""
    return any("," in text for text in asked.joined_ids)


def has_unknown_key(asked: Asked) -> bool:
    """A public key is not in the registry."""
    known = asked.recording.validator_indices
    return any(an_id.startswith("0x") and an_id not in known for an_id in asked.ids)


def is_justified_id(asked: Asked) -> bool:
    """The block id is ``justified``."""
    return asked.parameters.get("block_id") == "justified"

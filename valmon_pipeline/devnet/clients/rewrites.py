"""Changes of a recorded answer into another client's: rows left out, added, split or reordered."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from valmon_pipeline.devnet.answer import Answer, with_body
from valmon_pipeline.devnet.clients.asked import Asked
from valmon_pipeline.devnet.rows import Rows

_ETH: Final = 1_000_000_000
_COMPONENTS: Final = ("head", "target", "source", "inclusion_delay", "inactivity")


def without_finality_headers(asked: Asked, answer: Answer) -> Answer:
    """Only the version header: five of six clients send no more with an SSZ state."""
    dropped = ("eth-execution-optimistic", "eth-consensus-finalized")
    kept = {name: text for name, text in answer.headers.items() if name not in dropped}
    return Answer(answer.status, answer.body, kept)


def in_hash_order(asked: Asked, answer: Answer) -> Answer:
    """Rows in the order of a hash set, which is no order."""
    rows = Rows(answer)
    return rows.select(
        sorted(range(len(rows.raw)), key=lambda at: hashlib.sha256(rows.raw[at]).digest())
    )


def ideal_rewards_up_to_32_eth(asked: Asked, answer: Answer) -> Answer:
    """No ideal rewards for compounding validators above 32 ETH."""
    value = _decoded(answer)
    value["data"]["ideal_rewards"] = [
        row for row in value["data"]["ideal_rewards"] if int(row["effective_balance"]) <= 32 * _ETH
    ]
    return _encoded(answer, value)


def without_inclusion_delay(asked: Asked, answer: Answer) -> Answer:
    """Rows without the component that only Phase 0 had."""
    value = _decoded(answer)
    for rows in value["data"].values():
        for row in rows:
            row.pop("inclusion_delay", None)
    return _encoded(answer, value)


def without_finalized(asked: Asked, answer: Answer) -> Answer:
    """The envelope without ``finalized``."""
    value = _decoded(answer)
    value.pop("finalized", None)
    return _encoded(answer, value)


def zeros_for_ineligible(asked: Asked, answer: Answer) -> Answer:
    """Rows of zeros for validators that were asked for and earned nothing."""
    return _with_zeros(answer, asked.ids)


def zeros_for_whole_registry(asked: Asked, answer: Answer) -> Answer:
    """As above; a request for nobody in particular lists the whole registry."""
    everyone = asked.recording.validator_indices.values()
    return _with_zeros(answer, asked.ids or everyone)


def ideal_rewards_of_17_to_32_eth(asked: Asked, answer: Answer) -> Answer:
    """Ideal rewards for 17 to 32 ETH, and only for balances of the validators asked for.

    Effective balances are those of the registry at the first slot of E+1, or the newest recorded
    one before it; without any, no balance is left out.
    """
    balances = _effective_balances(asked)
    value = _decoded(answer)
    value["data"]["ideal_rewards"] = [
        row
        for row in value["data"]["ideal_rewards"]
        if 17 * _ETH <= int(row["effective_balance"]) <= 32 * _ETH
        and (balances is None or row["effective_balance"] in balances)
    ]
    return _encoded(answer, value)


def null_if_empty(asked: Asked, answer: Answer) -> Answer:
    """``data: null`` instead of an empty list."""
    value = _decoded(answer)
    value["data"] = value["data"] or None
    return _encoded(answer, value)


def in_request_order(asked: Asked, answer: Answer) -> Answer:
    """Rows in the order of the validators asked for; those without a row are left out."""
    if not asked.ids:
        return answer
    rows = Rows(answer)
    known = asked.recording.validator_indices
    return rows.select(rows.of_validators(known.get(an_id, an_id) for an_id in asked.ids))


def row_per_seat(asked: Asked, answer: Answer) -> Answer:
    """One row per seat of the sync committee instead of one per validator.

    A seat earns or loses one amount, depending on its bit in the block; the amount is that of a
    validator whose seats do not cancel out. Left as it is when block or committee are not recorded.
    """
    seats = _seats(asked)
    if seats is None:
        return answer
    value = _decoded(answer)
    signs: Counter[str] = Counter()
    for index, has_signed in seats:
        signs[index] += 1 if has_signed else -1
    rewards = {row["validator_index"]: int(row["reward"]) for row in value["data"]}
    amounts = [abs(reward // signs[index]) for index, reward in rewards.items() if signs[index]]
    amount = max(amounts, default=0)
    if any(signs[index] * amount != reward for index, reward in rewards.items()):
        return answer
    value["data"] = [
        {"validator_index": index, "reward": str(amount if has_signed else -amount)}
        for index, has_signed in seats
        if index in rewards
    ]
    return _encoded(answer, value)


def distance_to_the_wall_clock(asked: Asked, answer: Answer) -> Answer:
    """A sync distance of the slots since the newest block, synced or not."""
    value = _decoded(answer)
    distance = asked.head_slot - int(value["data"]["head_slot"])
    value["data"]["sync_distance"] = str(max(0, distance))
    return _encoded(answer, value)


def without_slot_duration_ms(asked: Asked, answer: Answer) -> Answer:
    """A specification that has SECONDS_PER_SLOT only, if it has that."""
    value = _decoded(answer)
    if "SECONDS_PER_SLOT" in value["data"]:
        value["data"].pop("SLOT_DURATION_MS", None)
    return _encoded(answer, value)


def _with_zeros(answer: Answer, ids: Iterable[str]) -> Answer:
    value = _decoded(answer)
    rows = value["data"]["total_rewards"]
    present = {row["validator_index"] for row in rows}
    zeros = dict.fromkeys(_COMPONENTS, "0")
    rows.extend(
        {"validator_index": an_id, **zeros}
        for an_id in dict.fromkeys(ids)
        if an_id.isdigit() and an_id not in present
    )
    return _encoded(answer, value)


def _effective_balances(asked: Asked) -> set[str] | None:
    first = asked.first_slot(asked.epoch + 1)
    for slot in range(first, max(-1, first - 2 * asked.slots_per_epoch), -1):
        found = asked.recording.best("GET", f"/eth/v1/beacon/states/{slot}/validators")
        if found is not None and found.status == 200:
            rows = msgspec.json.decode(found.content)["data"]
            wanted = {asked.recording.validator_indices.get(one, one) for one in asked.ids}
            return {
                row["validator"]["effective_balance"]
                for row in rows
                if not wanted or row["index"] in wanted
            }
    return None


def _seats(asked: Asked) -> list[tuple[str, bool]] | None:
    """Return the validator of each seat and whether the block has its signature."""
    if asked.block is None:
        return None
    slot = asked.block.slot
    block = asked.recording.best("GET", f"/eth/v2/beacon/blocks/{slot}")
    period = asked.period_of(slot // asked.slots_per_epoch)
    length = asked.recording.epochs_per_sync_committee_period
    for epoch in range(period * length, (period + 1) * length):
        path = f"/eth/v1/beacon/states/{asked.first_slot(epoch)}/sync_committees"
        committee = asked.recording.best("GET", path, f"epoch={epoch}")
        if committee is not None and committee.status == 200:
            break
    else:
        return None
    if block is None or block.status != 200:
        return None
    message = msgspec.json.decode(block.content)["data"]["message"]
    bits = int.from_bytes(
        bytes.fromhex(message["body"]["sync_aggregate"]["sync_committee_bits"][2:]), "little"
    )
    validators = msgspec.json.decode(committee.content)["data"]["validators"]
    return [(index, bool(bits >> seat & 1)) for seat, index in enumerate(validators)]


def _decoded(answer: Answer) -> dict[str, Any]:
    return msgspec.json.decode(answer.body, type=dict[str, Any])


def _encoded(answer: Answer, value: object) -> Answer:
    return with_body(answer, msgspec.json.encode(value))

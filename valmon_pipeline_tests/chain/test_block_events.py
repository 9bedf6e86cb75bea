"""What blocks did to validators, judged by the registries on both sides of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from valmon_pipeline.chain.block_events import BlockEvent, EventType, block_events
from valmon_pipeline.chain.blocks import (
    Block,
    ConsolidationRequest,
    Deposit,
    Operations,
    Withdrawal,
    WithdrawalRequest,
)
from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.chain.validator_lookup import indices_of_pubkeys
from valmon_pipeline_tests.chain.presets import MINIMAL
from valmon_pipeline_tests.chain.registries import ETH, registry

FIRST = 8 * 40  # a slot of epoch 40, since Electra
ADDRESS = b"\xaa" * 20


def key(index: int) -> bytes:
    # The first bytes agree with others, the last ones tell them apart.
    return bytes([index % 2]) * 8 + bytes(39) + bytes([index])


def credentials(prefix: int, address: bytes = ADDRESS) -> bytes:
    return bytes([prefix]) + bytes(11) + address


def validators(count: int, prefix: int = 1, **columns: object) -> ValidatorRegistry:
    made = registry(index=list(range(count)), **columns)  # type: ignore[arg-type]
    return replace(
        made,
        pubkey=np.array([list(key(index)) for index in range(count)], dtype=np.uint8),
        withdrawal_credentials=np.array([list(credentials(prefix))] * count, dtype=np.uint8),
    )


def block(slot: int, operations: Operations) -> Block:
    return Block(slot, 3, b"", Fork.ELECTRA, (), None, operations)


def events(
    operations: Operations,
    before: ValidatorRegistry,
    after: ValidatorRegistry,
    slot: int = FIRST + 3,
) -> list[BlockEvent]:
    return block_events(MINIMAL, [block(slot, operations)], before, after)


def test_keys_that_begin_alike_are_told_apart() -> None:
    known = validators(6)
    wanted = {key(index) for index in (1, 3, 4)} | {key(99)}
    assert indices_of_pubkeys(known, wanted) == {key(1): 1, key(3): 3, key(4): 4}
    assert indices_of_pubkeys(known, []) == {}
    assert indices_of_pubkeys(validators(0), wanted) == {}


def test_a_withdrawal_is_full_once_the_validator_is_withdrawable() -> None:
    known = validators(3, withdrawable=[NEVER, 40, 41])
    withdrawals = Operations(withdrawals=tuple(Withdrawal(index, 5) for index in range(3)))
    found = events(withdrawals, known, known)
    assert [event.event_type.value for event in found] == [
        "partial_withdrawal",
        "full_withdrawal",
        "partial_withdrawal",
    ]
    assert [event.position for event in found] == [0, 1, 2]
    assert {event.effective for event in found} == {True}


def test_only_the_first_slashing_of_a_slashable_validator_counts() -> None:
    before = validators(4, slashed=[False, False, True, False])
    after = validators(4, slashed=[True, True, True, False])
    twice = Operations(proposer_slashings=(0,), attester_slashings=((0, 1), (2, 3)))
    found = events(twice, before, after)
    assert [(event.validator_index, event.effective) for event in found] == [
        (0, True),
        (0, False),
        (1, True),
        (2, False),
        (3, False),
    ]
    assert [event.amount for event in found] == [
        32 * ETH // 4096,
        None,
        32 * ETH // 4096,
        None,
        None,
    ]
    assert {event.target_index for event in found} == {3}


def test_the_block_after_the_transition_is_fined_by_the_new_effective_balance() -> None:
    before = validators(1, slashed=[False], effective_balance=[32 * ETH])
    after = validators(1, slashed=[True], effective_balance=[31 * ETH])
    slashing = Operations(proposer_slashings=(0,))
    (within,) = events(slashing, before, after, FIRST + 7)
    (border,) = events(slashing, before, after, FIRST + 8)
    assert within.amount == 32 * ETH // 4096
    assert border.amount == 31 * ETH // 4096


def test_an_exit_is_owed_to_the_first_request_by_its_owner() -> None:
    before = validators(4)
    after = validators(4, exit_epoch=[45, 45, NEVER, 45])
    stranger = WithdrawalRequest(b"\xbb" * 20, key(0), 0)
    requests = Operations(
        voluntary_exits=(1,),
        withdrawal_requests=(
            stranger,
            *(WithdrawalRequest(ADDRESS, key(index), 0) for index in (0, 1, 2)),
        ),
        consolidation_requests=(ConsolidationRequest(ADDRESS, key(3), key(2)),),
    )
    found = [
        (e.event_type, e.validator_index, e.effective) for e in events(requests, before, after)
    ]
    assert found == [
        (EventType.VOLUNTARY_EXIT, 1, True),
        (EventType.EXIT_REQUEST, 0, False),  # not its owner
        (EventType.EXIT_REQUEST, 0, True),
        (EventType.EXIT_REQUEST, 1, False),  # leaving already
        (EventType.EXIT_REQUEST, 2, False),  # ignored by the chain
        (EventType.CONSOLIDATION_REQUEST, 3, True),
    ]


def test_credentials_without_an_address_own_nothing() -> None:
    before, after = validators(1, prefix=0), validators(1, prefix=0, exit_epoch=[45])
    request = Operations(withdrawal_requests=(WithdrawalRequest(ADDRESS, key(0), 0),))
    assert [event.effective for event in events(request, before, after)] == [False]


def test_an_address_that_came_in_the_same_epoch_counts() -> None:
    before, after = validators(1, prefix=0), validators(1, prefix=1, exit_epoch=[45])
    request = Operations(
        credential_changes=(0,),
        withdrawal_requests=(WithdrawalRequest(ADDRESS, key(0), 0),),
    )
    assert [event.effective for event in events(request, before, after)] == [True, True]


@pytest.mark.parametrize(
    ("prefixes", "effective"), [((1, 2), True), ((1, 1), False), ((2, 2), False), ((0, 0), False)]
)
def test_a_switch_shows_in_the_credentials(prefixes: tuple[int, int], effective: bool) -> None:
    before, after = (validators(1, prefix=prefix) for prefix in prefixes)
    switch = Operations(consolidation_requests=(ConsolidationRequest(ADDRESS, key(0), key(0)),))
    (event,) = events(switch, before, after)
    assert event.event_type is EventType.COMPOUNDING_REQUEST
    assert event.effective is effective


def test_only_the_first_of_two_switches_takes_effect() -> None:
    before, after = (validators(1, prefix=prefix) for prefix in (1, 2))
    switch = ConsolidationRequest(ADDRESS, key(0), key(0))
    found = events(Operations(consolidation_requests=(switch, switch)), before, after)
    assert [event.effective for event in found] == [True, False]


@pytest.mark.parametrize(
    ("prefix", "balance", "exit_epoch", "effective"),
    [
        (2, 33 * ETH, NEVER, True),
        (1, 33 * ETH, NEVER, False),
        (2, 32 * ETH, NEVER, False),
        (2, 33 * ETH, 60, False),
    ],
)
def test_a_partial_withdrawal_needs_excess(
    prefix: int, balance: int, exit_epoch: int, effective: bool
) -> None:
    known = validators(1, prefix=prefix, effective_balance=[balance], exit_epoch=[exit_epoch])
    request = Operations(withdrawal_requests=(WithdrawalRequest(ADDRESS, key(0), ETH),))
    (event,) = events(request, known, known)
    assert (event.amount, event.effective) == (ETH, effective)


@pytest.mark.parametrize(("age", "effective"), [(64, True), (63, False)])
def test_a_partial_withdrawal_needs_a_validator_that_served_its_first_period(
    age: int, effective: bool
) -> None:
    spec = replace(MINIMAL, shard_committee_period=64)
    known = validators(1, prefix=2, effective_balance=[33 * ETH], activation=[300 - age])
    request = Operations(withdrawal_requests=(WithdrawalRequest(ADDRESS, key(0), ETH),))
    (event,) = block_events(spec, [block(8 * 300 + 3, request)], known, known)
    assert event.effective is effective


def test_deposits_for_unknown_keys_keep_the_key() -> None:
    known = validators(2)
    deposits = tuple(Deposit(key(index), credentials(1), ETH, bytes(96)) for index in (1, 7))
    queued = events(Operations(deposit_requests=deposits), known, known)
    assert [(e.validator_index, e.pubkey, e.effective) for e in queued] == [
        (1, None, True),
        (None, key(7), True),
    ]
    credited = events(Operations(deposits=deposits), known, known)
    assert [(e.validator_index, e.effective) for e in credited] == [(1, True), (None, False)]


def test_what_the_registry_does_not_show_is_unknown() -> None:
    nobody = validators(0)
    operations = Operations(
        withdrawals=(Withdrawal(5, 1),),
        proposer_slashings=(5,),
        withdrawal_requests=(WithdrawalRequest(ADDRESS, key(5), 0),),
        consolidation_requests=(ConsolidationRequest(ADDRESS, key(5), key(5)),),
    )
    found = events(operations, nobody, nobody)
    assert [(event.effective, event.amount) for event in found] == [
        (None, None),
        (None, None),
        (None, None),
        (True, 1),
    ]


BUSY = Operations(
    withdrawals=(Withdrawal(0, 5), Withdrawal(1, 6)),
    proposer_slashings=(1,),
    deposits=(Deposit(key(0), credentials(1), ETH, bytes(96)),),
    voluntary_exits=(0,),
    deposit_requests=(Deposit(key(2), credentials(1), ETH, bytes(96)),),
    withdrawal_requests=(WithdrawalRequest(ADDRESS, key(0), ETH),),
    consolidation_requests=(ConsolidationRequest(ADDRESS, key(1), key(0)),),
)
COLUMNS = ("event_type", "validator_index", "target_index", "amount", "effective", "pubkey")


@pytest.mark.parametrize("lacking", ["before", "after", "both", "all"])
def test_events_without_a_registry_say_less_and_nothing_else(lacking: str) -> None:
    before = validators(3, prefix=2, withdrawable=[38, 300, NEVER], exit_epoch=[30, NEVER, NEVER])
    after = validators(3, prefix=2, withdrawable=[38, 300, NEVER], exit_epoch=[30, 45, NEVER])
    # One more has come since, and that the third was there already is not proven.
    later = validators(
        4, prefix=2, withdrawable=[38, 300, NEVER, NEVER], eligibility=[0, 0, 50, 60]
    )
    full = {
        (event.slot, event.position): event
        for event in block_events(MINIMAL, [block(FIRST + 3, BUSY)], before, after)
    }
    found = block_events(
        MINIMAL,
        [block(FIRST + 3, BUSY)],
        before if lacking == "after" else None,
        after if lacking == "before" else None,
        None if lacking == "all" else later,
    )
    assert len(found) == len(full) - (2 if lacking == "all" else 0)
    for event in found:
        complete = full[event.slot, event.position]
        for name in COLUMNS:
            assert getattr(event, name) in (None, getattr(complete, name)), (event, name)
    assert [event.effective for event in found].count(None) >= 2


def test_a_block_without_its_withdrawals_numbers_the_others_alike() -> None:
    known = validators(3, prefix=2)
    full = events(BUSY, known, known)
    blinded = events(replace(BUSY, withdrawals=()), known, known)
    assert blinded == full[: len(blinded)]
    assert len(blinded) == len(full) - 2

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.chain.blocks import BlockHeader
from valmon_pipeline.chain.canonical import CanonicalChain
from valmon_pipeline.errors import ChainRuleViolationError


def root(slot: int) -> bytes:
    return slot.to_bytes(32, "big")


def headers(slots: Sequence[int], parent: int = 7) -> list[BlockHeader]:
    parents = [parent, *slots]
    return [BlockHeader(slot, root(slot), root(parents[i]), 0) for i, slot in enumerate(slots)]


def test_a_skipped_slot_has_the_root_of_the_block_before() -> None:
    chain = CanonicalChain.from_headers(headers([9, 12]), first_slot=8, last_slot=15)
    assert chain.root_at(8) == root(7)
    assert chain.root_at(9) == chain.root_at(11) == root(9)
    assert chain.root_at(12) == chain.root_at(15) == root(12)
    slots = np.array([7, 8, 9, 11, 12, 15])
    assert chain.next_block_slot(slots).tolist() == [9, 9, 12, 12, -1, -1]


def test_a_window_without_blocks_knows_no_roots() -> None:
    chain = CanonicalChain.from_headers([], first_slot=8, last_slot=15)
    assert chain.next_block_slot(np.array([8, 15])).tolist() == [-1, -1]
    with pytest.raises(ChainRuleViolationError, match=r"no block in slots 8…15"):
        chain.root_at(8)


def test_headers_of_two_chains_are_refused_with_slots_and_roots() -> None:
    mixed = [*headers([9, 10]), *headers([11], parent=6)]
    with pytest.raises(ChainRuleViolationError, match=f"slot 11.*0x{root(6).hex()}.*slot 10"):
        CanonicalChain.from_headers(mixed, first_slot=8, last_slot=15)


def test_headers_out_of_order_or_outside_the_window_are_refused() -> None:
    with pytest.raises(ChainRuleViolationError, match="slot 9 follows slot 10"):
        CanonicalChain.from_headers(headers([10, 9]), first_slot=8, last_slot=15)
    with pytest.raises(ChainRuleViolationError, match="slot 16 lies outside"):
        CanonicalChain.from_headers(headers([10, 16]), first_slot=8, last_slot=15)


@pytest.mark.parametrize("slot", [7, 16])
def test_nothing_is_said_about_slots_outside_the_window(slot: int) -> None:
    chain = CanonicalChain.from_headers(headers([9]), first_slot=8, last_slot=15)
    with pytest.raises(ChainRuleViolationError, match="outside the window"):
        chain.root_at(slot)


def test_the_next_block_is_not_asked_for_before_the_window() -> None:
    chain = CanonicalChain.from_headers(headers([9]), first_slot=8, last_slot=15)
    with pytest.raises(ChainRuleViolationError, match="slot 6 lies outside"):
        chain.next_block_slot(np.array([6]))


@given(st.sets(st.integers(100, 130), min_size=1))
def test_roots_and_next_blocks_follow_from_the_slots_with_blocks(present: set[int]) -> None:
    slots = sorted(present)
    chain = CanonicalChain.from_headers(headers(slots), first_slot=100, last_slot=130)
    window = np.arange(100, 131)
    following = [next((b for b in slots if b > s), -1) for s in window]
    assert chain.next_block_slot(window).tolist() == following
    for slot in window.tolist():
        before = [block for block in slots if block <= slot]
        assert chain.root_at(slot) == root(before[-1] if before else 7)

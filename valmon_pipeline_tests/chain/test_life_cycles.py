"""A later registry proves what it proves about an earlier epoch, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.life_cycles import UNPROVEN, existed, proven_status
from valmon_pipeline.chain.registry import ValidatorRegistry
from valmon_pipeline.chain.status import ValidatorStatus, validator_status
from valmon_pipeline_tests.chain.registries import registry

SEEN = 40
"""The epoch of the later registry."""


def statuses(later: ValidatorRegistry, epoch: int) -> list[str | None]:
    names = list(ValidatorStatus)
    codes = proven_status(later, epoch).tolist()
    return [None if code == UNPROVEN else names[code].value for code in codes]


def test_a_validator_existed_since_it_was_eligible() -> None:
    later = registry(index=[0, 1, 2], eligibility=[7, 8, NEVER], activation=[12, 13, NEVER])
    assert existed(later, 7).tolist() == [True, False, False]
    assert statuses(later, 7) == ["pending_queued", None, None]


def test_without_an_exit_all_is_proven() -> None:
    later = registry(index=[0], eligibility=[2], activation=[10])
    assert [statuses(later, epoch) for epoch in (9, 10, 39)] == [
        ["pending_queued"],
        ["active_ongoing"],
        ["active_ongoing"],
    ]


def test_an_exit_that_shows_later_leaves_open_whether_it_was_under_way() -> None:
    later = registry(index=[0], exit_epoch=[20], withdrawable=[30])
    assert [statuses(later, epoch) for epoch in (19, 20, 29, 30)] == [
        [None],
        ["exited_unslashed"],
        ["exited_unslashed"],
        [None],
    ]


def test_a_slashing_that_shows_later_may_not_have_been_before() -> None:
    later = registry(index=[0], slashed=[True], exit_epoch=[20], withdrawable=[30])
    assert [statuses(later, epoch) for epoch in (19, 25)] == [[None], [None]]


LIVES = st.fixed_dictionaries(
    {
        "eligible": st.integers(0, SEEN),
        "queued": st.integers(1, 10),
        "asks": st.none() | st.integers(0, SEEN),
        "slashed": st.none() | st.integers(0, SEEN),
    }
)


@given(LIVES, st.integers(0, SEEN))
def test_what_is_proven_was_so(life: dict[str, int], epoch: int) -> None:
    """A life is played; its state at an epoch and the later one are compared."""
    at_epoch, later = (_registry_of(life, now) for now in (epoch, SEEN))
    if not existed(later, epoch).all():
        return
    (proven,), (actual,) = proven_status(later, epoch), validator_status(at_epoch, epoch)
    assert proven in (UNPROVEN, actual)


def _registry_of(life: dict[str, int], now: int) -> ValidatorRegistry:
    """The registry at the first slot of ``now``: what is set by then, is set."""
    activation = life["eligible"] + life["queued"]
    made = registry(
        index=[0],
        eligibility=[life["eligible"] if life["eligible"] <= now else NEVER],
        activation=[activation if activation - 5 <= now else NEVER],
    )
    leaves = [
        when
        for when in (life["asks"], life["slashed"])
        if when is not None and activation <= when <= now
    ]
    if not leaves:
        return made
    exit_epoch = min(leaves) + 5
    withdrawable = exit_epoch + 8
    slashed = life["slashed"]
    is_slashed = slashed is not None and activation <= slashed < withdrawable and slashed <= now
    if is_slashed:
        withdrawable = max(withdrawable, slashed + 64)
    return replace(
        made,
        exit_epoch=np.array([exit_epoch]),
        withdrawable_epoch=np.array([withdrawable]),
        slashed=np.array([is_slashed]),
    )

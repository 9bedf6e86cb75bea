"""Nodes of one network that follow different chains: one of them is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from valmon_pipeline.beacon.chain_view import EPOCHS_APART
from valmon_pipeline.beacon.node_health import NodeProbe


class DisagreementKind(StrEnum):
    """Which part of the chain two nodes see differently."""

    HEADS = "heads"
    FINALITY = "finality"
    FORKS = "forks"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two nodes that contradict each other, by name; ``text`` says in what."""

    kind: DisagreementKind
    nodes: tuple[str, str]
    text: str


def disagreements(probes: Sequence[NodeProbe]) -> list[Disagreement]:
    """Return what the nodes of one network contradict each other in, pair by pair.

    Compared are the finalized root of the same epoch, the block ``EPOCHS_APART`` epochs before the
    lowest head, and the forks that both heads have reached. Nodes of another genesis, and nodes
    that do not answer, are left out.
    """
    return [found for one, other in combinations(probes, 2) for found in _between(one, other)]


def _between(one: NodeProbe, other: NodeProbe) -> Iterator[Disagreement]:
    if one.identity is None or other.identity is None or one.sync is None or other.sync is None:
        return
    genesis = one.identity.genesis.genesis_validators_root
    if genesis != other.identity.genesis.genesis_validators_root:
        return
    nodes = one.name, other.name
    names = f"{one.name} and {other.name}"
    advice = "compare both with a block explorer, and take the wrong one out of the configuration"
    spec = one.identity.spec
    epoch = spec.epoch_of(min(one.sync.head_slot, other.sync.head_slot))
    forks = {
        fork
        for schedule in (one.identity.spec.fork_epochs, other.identity.spec.fork_epochs)
        for fork, since in schedule.items()
        if since <= epoch
    }
    for fork in sorted(forks):
        mine = one.identity.spec.fork_epochs.get(fork)
        theirs = other.identity.spec.fork_epochs.get(fork)
        if mine != theirs:
            yield Disagreement(
                DisagreementKind.FORKS,
                nodes,
                f"{names} disagree about the fork {fork.name}: it began at epoch {mine} for the "
                f"first and {theirs} for the second; upgrade the outdated one",
            )
    if one.chain is None or other.chain is None:
        return
    finalized, theirs_finalized = one.chain.finalized, other.chain.finalized
    if finalized.epoch == theirs_finalized.epoch and finalized.root != theirs_finalized.root:
        yield Disagreement(
            DisagreementKind.FINALITY,
            nodes,
            f"{names} have finalized different blocks for epoch {finalized.epoch}: "
            f"0x{finalized.root.hex()} and 0x{theirs_finalized.root.hex()}; {advice}",
        )
    mine_at, theirs_at = (one.chain.slot, one.chain.root), (other.chain.slot, other.chain.root)
    if one.chain.asked == other.chain.asked and mine_at != theirs_at:
        yield Disagreement(
            DisagreementKind.HEADS,
            nodes,
            f"{names} follow different chains: {EPOCHS_APART} epochs before their heads, at slot "
            f"{one.chain.asked}, the first has {_block(*mine_at)} and the second "
            f"{_block(*theirs_at)}; {advice}",
        )


def _block(slot: int | None, root: bytes | None) -> str:
    return "no block" if root is None else f"block 0x{root.hex()} of slot {slot}"

"""What can go wrong, or simply happen, on a simulated chain: the words of a script.

Validators are given by index, ``validators`` as any iterable of them. ``epochs`` are half open like
``range``; ``range`` objects are taken as they are. Without a word about a validator it does all its
duties in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Incident:
    """Base of everything that can be scripted."""


@dataclass(frozen=True, slots=True)
class Spell(Incident):
    """Something about some validators for some epochs."""

    validators: tuple[int, ...]
    epochs: range

    def __init__(self, validators: Iterable[int], epochs: range) -> None:
        object.__setattr__(self, "validators", tuple(validators))
        object.__setattr__(self, "epochs", epochs)


class Miss(Spell):
    """No attestation by these validators."""


class MissSync(Spell):
    """No sync committee message by these validators."""


class MissProposal(Spell):
    """No block by these validators."""


class Offline(Spell):
    """No duty is done by these validators: of more than a third the chain stops to finalize."""


@dataclass(frozen=True, slots=True)
class LateInclusion(Incident):
    """Attestations of these validators reach a block at least ``delay`` slots after theirs."""

    validators: tuple[int, ...]
    epochs: range
    delay: int = 2

    def __init__(self, validators: Iterable[int], epochs: range, delay: int = 2) -> None:
        object.__setattr__(self, "validators", tuple(validators))
        object.__setattr__(self, "epochs", epochs)
        object.__setattr__(self, "delay", delay)


@dataclass(frozen=True, slots=True)
class WrongHead(Incident):
    """These validators, if they attest in ``slot``, have not seen the newest block.

    In the first slot of an epoch their target is wrong as well, as the newest block is the target.
    """

    validators: tuple[int, ...]
    slot: int

    def __init__(self, validators: Iterable[int], slot: int) -> None:
        object.__setattr__(self, "validators", tuple(validators))
        object.__setattr__(self, "slot", slot)


@dataclass(frozen=True, slots=True)
class SkippedSlot(Incident):
    """No block in ``slot``."""

    slot: int


@dataclass(frozen=True, slots=True)
class LateBlock(Incident):
    """The block of ``slot`` comes after everybody has voted: the slot's votes are for the block
    before it, and nobody signs it for the sync committee. Nodes show it from the next slot on."""

    slot: int


@dataclass(frozen=True, slots=True)
class Reorg(Incident):
    """The block of ``slot`` does not build on the ``depth`` slots before it.

    Their blocks, seen live, are lost. If ``slot`` has no block, the next one does it."""

    slot: int
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Operation(Incident):
    """Something that a block holds: the first at or after ``slot`` that may."""

    slot: int


@dataclass(frozen=True, slots=True)
class ProposerSlashing(Operation):
    """A validator is slashed for two blocks."""

    validator: int


@dataclass(frozen=True, slots=True)
class AttesterSlashing(Operation):
    """Validators are slashed for two votes."""

    validators: tuple[int, ...]

    def __init__(self, slot: int, validators: Iterable[int]) -> None:
        object.__setattr__(self, "slot", slot)
        object.__setattr__(self, "validators", tuple(validators))


@dataclass(frozen=True, slots=True)
class VoluntaryExit(Operation):
    """A signed exit; it waits for the first block in which it is valid."""

    validator: int


@dataclass(frozen=True, slots=True)
class CredentialChange(Operation):
    """A validator with BLS credentials gets an execution address."""

    validator: int


@dataclass(frozen=True, slots=True)
class Deposit(Operation):
    """A deposit for a new key; its validator's index follows when the deposit is applied.

    ``credentials``: ``bls``, ``execution`` or ``compounding``. Keys are numbered in the order in
    which the script names them, see ``Simulation.deposit_key``.
    """

    amount: int = 32_000_000_000
    credentials: str = "execution"

    KINDS: ClassVar[dict[str, int]] = {"bls": 0, "execution": 1, "compounding": 2}


@dataclass(frozen=True, slots=True)
class TopUp(Operation):
    """A deposit for a validator that exists."""

    validator: int
    amount: int


@dataclass(frozen=True, slots=True)
class PartialWithdrawalRequest(Operation):
    """The execution layer asks for ``amount`` gwei of a compounding validator's excess."""

    validator: int
    amount: int


@dataclass(frozen=True, slots=True)
class ExitRequest(Operation):
    """The execution layer asks for a validator's exit."""

    validator: int


@dataclass(frozen=True, slots=True)
class Consolidation(Operation):
    """The execution layer asks to move the stake of ``source`` to ``target``."""

    source: int
    target: int


@dataclass(frozen=True, slots=True)
class SwitchToCompounding(Operation):
    """The execution layer asks for compounding credentials."""

    validator: int


@dataclass(frozen=True, slots=True)
class NodeFault(Incident):
    """Base of what goes wrong with the node, not the chain, while its clock is in ``slots``."""

    slots: range


@dataclass(frozen=True, slots=True)
class Syncing(NodeFault):
    """The node is syncing, ``distance`` slots behind: it shows the chain as of then and refuses
    duties with 503."""

    distance: int = 8


@dataclass(frozen=True, slots=True)
class Optimistic(NodeFault):
    """The node has not verified its answers: all of them are optimistic."""


@dataclass(frozen=True, slots=True)
class Errors(NodeFault):
    """Of all requests a share of ``rate`` (0 to 1) is answered with ``status``."""

    rate: float = 1.0
    status: int = 500


def indices_of(incident: Incident) -> Iterator[int]:
    """The validators that an incident names."""
    if isinstance(incident, Consolidation):
        yield from (incident.source, incident.target)
    elif isinstance(incident, Spell | LateInclusion | WrongHead | AttesterSlashing):
        yield from incident.validators
    elif isinstance(
        incident,
        ProposerSlashing
        | VoluntaryExit
        | CredentialChange
        | TopUp
        | PartialWithdrawalRequest
        | ExitRequest
        | SwitchToCompounding,
    ):
        yield incident.validator

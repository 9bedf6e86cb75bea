"""A script: incidents, checked, and looked up by what the simulation asks of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from itertools import pairwise

import numpy as np

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.simulator import incidents as words
from valmon_pipeline.devnet.simulator.incidents import Incident
from valmon_pipeline.devnet.simulator.parameters import Parameters
from valmon_pipeline.devnet.simulator.state import BoolArray, Int64Array
from valmon_pipeline.errors import ConfigurationError

_REQUESTS = (
    words.PartialWithdrawalRequest,
    words.ExitRequest,
    words.Consolidation,
    words.SwitchToCompounding,
)


class Script:
    """The incidents of a simulation, in the order given."""

    def __init__(self, parameters: Parameters, validator_count: int) -> None:
        self._parameters = parameters
        self._validator_count = validator_count
        self.incidents: list[Incident] = []

    def add(self, incidents: Iterable[Incident], *, after_slot: int = 0) -> None:
        """Add incidents after checking all of them; ``after_slot`` has happened already.

        Raises:
            ConfigurationError: names every incident that cannot be played, and why.
        """
        added = list(incidents)
        deposits = sum(isinstance(known, words.Deposit) for known in [*self.incidents, *added])
        known_validators = self._validator_count + deposits
        mistakes = [
            f"{incident}: {mistake}"
            for incident in added
            for mistake in self._mistakes(incident, after_slot, known_validators)
        ]
        mistakes += self._conflicts([*self.incidents, *added])
        if mistakes:
            raise ConfigurationError(
                "the script cannot be played:\n" + "\n".join(f"- {text}" for text in mistakes)
            )
        # Copies, so that the same incident given twice happens twice.
        self.incidents += [copy(incident) for incident in added]

    @property
    def operations(self) -> list[words.Operation]:
        """What blocks are to hold, in the order of the script."""
        return [known for known in self.incidents if isinstance(known, words.Operation)]

    def deposit_number(self, deposit: words.Operation) -> int:
        """How many deposits for new keys stand before ``deposit`` in the script."""
        deposits = [known for known in self.incidents if isinstance(known, words.Deposit)]
        return next(number for number, known in enumerate(deposits) if known is deposit)

    def is_skipped(self, slot: int) -> bool:
        """Whether the script wants no block in a slot."""
        return any(
            isinstance(known, words.SkippedSlot) and known.slot == slot for known in self.incidents
        )

    def is_late(self, slot: int) -> bool:
        """Whether the block of a slot comes late."""
        return any(
            isinstance(known, words.LateBlock) and known.slot == slot for known in self.incidents
        )

    def reorg_at(self, slot: int) -> words.Reorg | None:
        """The reorganization whose lost blocks begin in ``slot``."""
        return next(
            (
                known
                for known in self.incidents
                if isinstance(known, words.Reorg) and known.slot - known.depth == slot
            ),
            None,
        )

    def in_spell(
        self, kinds: tuple[type[words.Spell], ...], epoch: int, who: Int64Array
    ) -> BoolArray:
        """Whether each validator of ``who`` is in a spell of one of the ``kinds`` in an epoch."""
        named = [
            np.asarray(known.validators, np.int64)
            for known in self.incidents
            if isinstance(known, kinds) and epoch in known.epochs
        ]
        if not named:
            return np.zeros(len(who), np.bool_)
        return np.isin(who, np.concatenate(named))

    def inclusion_delay(self, epoch: int, who: Int64Array) -> Int64Array:
        """The least inclusion delay of each validator's attestation in an epoch."""
        delay = np.full(len(who), self._parameters.min_attestation_inclusion_delay, np.int64)
        for known in self.incidents:
            if isinstance(known, words.LateInclusion) and epoch in known.epochs:
                late = np.isin(who, known.validators)
                delay[late] = np.maximum(delay[late], known.delay)
        return delay

    def votes_for_old_head(self, slot: int, who: Int64Array) -> BoolArray:
        """Whether each validator has not seen the newest block when it attests in a slot."""
        old = np.full(len(who), self.is_late(slot))
        for known in self.incidents:
            if isinstance(known, words.WrongHead) and known.slot == slot:
                old |= np.isin(who, known.validators)
        return old

    def faults(self, slot: int) -> list[words.NodeFault]:
        """What is wrong with the node while its clock is in a slot."""
        return [
            known
            for known in self.incidents
            if isinstance(known, words.NodeFault) and slot in known.slots
        ]

    def _mistakes(self, incident: Incident, after_slot: int, known: int) -> Iterator[str]:
        """Yield what is wrong with an incident, of which ``known`` validators can be part."""
        unknown = sorted({index for index in words.indices_of(incident) if not 0 <= index < known})
        if unknown:
            shown = ", ".join(map(str, unknown[:5])) + (" …" if len(unknown) > 5 else "")
            yield f"there is no validator {shown}; indices are below {known}"
        slot = getattr(incident, "slot", None)
        if slot is not None and slot <= after_slot:
            yield f"slot {slot} has happened; it must be after {after_slot}"
        for name in ("epochs", "slots"):
            when = getattr(incident, name, None)
            if when is not None and (len(when) == 0 or when.start < 0 or when.step != 1):
                yield f"{name} {when} are none, or not one after the other"
        amount = getattr(incident, "amount", None)
        if amount is not None and amount < 1:
            yield f"an amount of {amount} gwei"
        yield from self._mistakes_of_its_kind(incident, after_slot)

    def _mistakes_of_its_kind(self, incident: Incident, after_slot: int) -> Iterator[str]:
        parameters = self._parameters
        longest = parameters.slots_per_epoch
        match incident:
            case words.Errors(rate=rate, status=status):
                if not 0 <= rate <= 1:
                    yield f"the rate {rate} is not between 0 and 1"
                if not 400 <= status <= 599:
                    yield f"status {status} is no error"
            case words.Syncing(distance=distance) if distance < 1:
                yield f"a distance of {distance} slots"
            case words.LateInclusion(delay=delay) if not 1 < delay <= longest:
                yield f"a delay of {delay} slots: 2 to {longest} are possible"
            case words.Reorg(depth=depth) if not 1 <= depth <= longest:
                yield f"a depth of {depth}: 1 to {longest} are possible"
            case words.Reorg(slot=slot, depth=depth) if slot - depth <= after_slot:
                yield (
                    f"its lost blocks begin in slot {slot - depth}, which must be after "
                    f"{after_slot}"
                )
            case words.Deposit(credentials=kind) if kind not in incident.KINDS:
                yield f"credentials {kind!r}; choose one of {list(incident.KINDS)}"
            case words.Consolidation(source=source, target=target) if source == target:
                yield "source and target are the same; that is SwitchToCompounding"
        if isinstance(incident, _REQUESTS) and (
            parameters.fork_at(parameters.epoch_of(incident.slot)) < Fork.ELECTRA
        ):
            yield "requests of the execution layer come with Electra"

    def _conflicts(self, incidents: list[Incident]) -> list[str]:
        mistakes = []
        reorgs = sorted(
            (known for known in incidents if isinstance(known, words.Reorg)),
            key=lambda reorg: reorg.slot,
        )
        for first, second in pairwise(reorgs):
            if second.slot - second.depth <= first.slot:
                mistakes.append(f"{second}: it overlaps with {first}")
        skipped = {known.slot for known in incidents if isinstance(known, words.SkippedSlot)}
        mistakes += [
            f"{known}: slot {known.slot} is skipped"
            for known in incidents
            if isinstance(known, words.LateBlock) and known.slot in skipped
        ]
        return mistakes

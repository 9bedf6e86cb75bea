"""The registry at both ends of an epoch, or the life cycles that a later state shows.

Neighbouring epochs share the registry of their border.
"""

from __future__ import annotations

import numpy as np

from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.validator_ids import EVERYONE
from valmon_pipeline.chain.registry import Int64Array, ValidatorRegistry
from valmon_pipeline.config.watch import Watch
from valmon_pipeline.epoch.facts import Fact, FactSource
from valmon_pipeline.epoch.source_names import SourceName
from valmon_pipeline.reading.ladder import Ladder, sources_of
from valmon_pipeline.reading.registry_bounds import require_whole


class RegistryReader:
    """Registries of one node by slot, kept as long as the next epoch needs them."""

    def __init__(self, client: BeaconClient, ladder: Ladder, watch: Watch) -> None:
        self._client = client
        self._ladder = ladder
        self._watch = watch
        self._kept: dict[tuple[int, bool], tuple[ValidatorRegistry, FactSource]] = {}
        self._head: dict[bool, ValidatorRegistry] = {}

    async def at(self, fact: Fact, slot: int, whole: bool) -> ValidatorRegistry | None:
        """Return the registry after ``slot`` as ``fact``: all of it, or the watched validators.

        None if no source gives it.
        """
        kept = self._kept.get((slot, whole))
        if kept is not None:
            registry, source = kept
            self._ladder.taken[fact] = FactSource(fact, source.source, source.node, source.reason)
            return registry
        found = await self._ladder.climb(
            fact,
            sources_of(fact, {SourceName.REGISTRY: lambda: self._asked(slot, whole)}),
        )
        if found is not None:
            self._kept[slot, whole] = found, self._ladder.taken[fact]
        return found

    async def life_cycles(self, whole: bool) -> ValidatorRegistry | None:
        """Return the registry of the head: who exists, and since when; None if it is refused."""
        if whole not in self._head:
            found = await self._ladder.climb(
                Fact.LIFE_CYCLES,
                sources_of(
                    Fact.LIFE_CYCLES,
                    {SourceName.HEAD_REGISTRY: lambda: self._asked("head", whole)},
                ),
            )
            if found is None:
                return None
            self._head[whole] = found
        else:
            self._ladder.know(Fact.LIFE_CYCLES, SourceName.HEAD_REGISTRY.value)
        return self._head[whole]

    def forget_before(self, slot: int) -> None:
        """Drop what only epochs before ``slot`` need."""
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] >= slot}

    def forget(self) -> None:
        """Drop everything: the chain has changed."""
        self._kept.clear()
        self._head.clear()

    async def _asked(self, state: int | str, whole: bool) -> ValidatorRegistry:
        registry = await self._client.validators(state, EVERYONE if whole else self._watch.ids)
        if whole:
            require_whole(registry, self._client.name, state)
        return registry


def resolve_watched(
    watch: Watch, registry: ValidatorRegistry, whole: bool
) -> tuple[Int64Array, tuple[int | str, ...]]:
    """Return the watched indices in a registry, ascending, and the watched ids it does not have."""
    if watch.network:
        return registry.validator_index, ()
    by_index = np.isin(registry.validator_index, np.fromiter(watch.indices, np.int64))
    wanted_keys = np.array(
        [bytes.fromhex(key.removeprefix("0x")) for key in sorted(watch.pubkeys)], dtype="S48"
    )
    # Fixed-width byte strings compare whole keys at once; a key never ends in a zero byte that
    # matters, since both sides are padded alike.
    keys = np.ascontiguousarray(registry.pubkey).view("S48").reshape(-1)
    by_key = np.isin(keys, wanted_keys)
    known_keys = {bytes(row).hex() for row in registry.pubkey[by_key]}
    known_indices = set(registry.validator_index[by_index].tolist())
    unknown: list[int | str] = sorted(watch.indices - known_indices)
    unknown += sorted(key for key in watch.pubkeys if key.removeprefix("0x") not in known_keys)
    mask = by_index | by_key if whole else np.ones(len(registry), dtype=np.bool_)
    return registry.validator_index[mask], tuple(unknown)

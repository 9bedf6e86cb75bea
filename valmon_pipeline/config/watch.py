"""Whom to monitor."""

from __future__ import annotations

from dataclasses import dataclass, replace

from valmon_pipeline.config.watch_list import WatchList


@dataclass(frozen=True, slots=True)
class Watch:
    """Whom to monitor: single validators by index or public key, or the whole network.

    ``registry_limit``: up to this many active validators the whole registry is read even for a few
    watched ones, so that ideal rewards are computed exactly instead of taken from the node.
    ``all_events``: keep what blocks did to everybody, not only to watched validators.
    ``network_state``: read the state that tells what the whole network did, whoever is watched;
    ``network_rows``: store what it tells of every validator.
    """

    indices: frozenset[int] = frozenset()
    pubkeys: frozenset[str] = frozenset()
    network: bool = False
    registry_limit: int = 20_000
    all_events: bool = False
    network_state: bool = False
    network_rows: bool = False

    @classmethod
    def of(
        cls,
        watch_list: WatchList,
        registry_limit: int,
        *,
        all_events: bool = False,
        whole_network: str = "off",
    ) -> Watch:
        """Those of a watch list; ``whole_network`` is the setting of that name."""
        return cls(
            registry_limit=registry_limit,
            all_events=all_events,
            network_state=whole_network != "off",
            network_rows=whole_network == "full",
        ).of_list(watch_list)

    def of_list(self, watch_list: WatchList) -> Watch:
        """Those of another watch list, read in the same way."""
        return replace(
            self,
            indices=frozenset(watch_list.indices),
            pubkeys=frozenset(watch_list.pubkeys),
            network=watch_list.everyone,
        )

    @property
    def ids(self) -> list[int | str]:
        """What to ask the node for: indices ascending, then public keys."""
        return [*sorted(self.indices), *sorted(self.pubkeys)]

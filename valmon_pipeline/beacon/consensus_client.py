"""The software of a node, learnt from what it says of its version."""

from __future__ import annotations

from enum import StrEnum


class ConsensusClient(StrEnum):
    """The clients whose answers are known; see ``docs/nodes.md``."""

    LIGHTHOUSE = "lighthouse"
    PRYSM = "prysm"
    TEKU = "teku"
    NIMBUS = "nimbus"
    LODESTAR = "lodestar"
    GRANDINE = "grandine"
    UNKNOWN = "unknown"

    @classmethod
    def of_version(cls, version: str) -> ConsensusClient:
        """Return the client of a ``node/version``, e.g. ``Lighthouse/v5.3.0-d6ba8c3/x86_64``."""
        name = version.strip().partition("/")[0].lower()
        return next((one for one in cls if one is not cls.UNKNOWN and one in name), cls.UNKNOWN)

    @property
    def title(self) -> str:  # type: ignore[override] # not str.title, which nobody needs here
        """The name as its makers write it."""
        return self.value.capitalize()

"""All client profiles by name."""

from __future__ import annotations

from typing import Final

from valmon_pipeline.devnet.clients.grandine import GRANDINE
from valmon_pipeline.devnet.clients.lighthouse import LIGHTHOUSE
from valmon_pipeline.devnet.clients.lodestar import LODESTAR
from valmon_pipeline.devnet.clients.nimbus import NIMBUS
from valmon_pipeline.devnet.clients.profile import ClientProfile
from valmon_pipeline.devnet.clients.prysm import PRYSM
from valmon_pipeline.devnet.clients.teku import TEKU
from valmon_pipeline.errors import ConfigurationError

CLIENTS: Final = {
    profile.name: profile for profile in (LODESTAR, LIGHTHOUSE, TEKU, PRYSM, NIMBUS, GRANDINE)
}


class UnknownClientError(ConfigurationError):
    """No profile has this name; the message lists those there are."""


def profile_of(client: str) -> ClientProfile:
    """Return the profile of a client by its name in lower case.

    Raises :class:`UnknownClientError` for a name that is not in :data:`CLIENTS`.
    """
    profile = CLIENTS.get(client)
    if profile is None:
        raise UnknownClientError(
            f"There is no client profile {client!r}; choose one of {', '.join(CLIENTS)}"
        )
    return profile

"""Who gave a command."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

ByOption = Annotated[
    str | None,
    typer.Option("--by", help="Who says so, kept with the reason. Default: the system's user."),
]


def signed(reason: str, by: str | None) -> str:
    """A reason with who gives it: as they say, else the user of the system."""
    return f"{reason} ({by or _system_user()})"


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unnamed user"

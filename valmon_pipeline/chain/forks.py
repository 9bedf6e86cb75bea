"""The forks of the consensus layer, in order."""

from __future__ import annotations

from enum import IntEnum


class Fork(IntEnum):
    """Consensus forks, comparable by age: ``Fork.DENEB < Fork.ELECTRA``."""

    PHASE0 = 0
    ALTAIR = 1
    BELLATRIX = 2
    CAPELLA = 3
    DENEB = 4
    ELECTRA = 5
    FULU = 6
    GLOAS = 7

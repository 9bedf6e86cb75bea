"""Withdrawal credentials: what their first byte means, and the address in them.

Sources: consensus-specs, phase0 and capella "Withdrawal prefixes"; EIP-7251 for compounding.
"""

from __future__ import annotations

from typing import Final

BLS_PREFIX: Final = 0x00
EXECUTION_PREFIX: Final = 0x01
COMPOUNDING_PREFIX: Final = 0x02
ADDRESS_START: Final = 12
"""Where the execution address starts in credentials with an execution or compounding prefix."""

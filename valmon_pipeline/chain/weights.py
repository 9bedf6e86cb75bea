"""The incentive weights since Altair: constants of the specification, equal on every network.

Source: consensus-specs, ``specs/altair/beacon-chain.md``, "Incentivization weights".
"""

from __future__ import annotations

from typing import Final

TIMELY_SOURCE_WEIGHT: Final = 14
TIMELY_TARGET_WEIGHT: Final = 26
TIMELY_HEAD_WEIGHT: Final = 14
SYNC_REWARD_WEIGHT: Final = 2
PROPOSER_WEIGHT: Final = 8
WEIGHT_DENOMINATOR: Final = 64

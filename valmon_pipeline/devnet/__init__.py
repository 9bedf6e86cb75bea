"""A beacon node for demos, tests and benchmarks, made of recorded answers.

Belongs here: the recording that ships with the package and the node that replays recordings.
Does not belong here: the archive format and its reader (``beacon.archive``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

RECORDING_PATH: Final = Path(__file__).parent / "recordings" / "devnet.jsonl.zst"
"""The recorded devnet that ships with the package."""

"""The one convention for epochs that were never set.

The consensus specification writes "not set" as ``FAR_FUTURE_EPOCH`` = 2**64 - 1, which does not fit
a signed 64-bit integer. In memory valmon keeps epochs as ``int64`` and writes "not set" as
``NEVER``, the largest ``int64``, so that ``activation_epoch <= epoch < exit_epoch`` stays a plain
comparison. In the database it is NULL.
"""

from __future__ import annotations

from typing import Final

import numpy as np

FAR_FUTURE_EPOCH: Final = 2**64 - 1
NEVER: Final = int(np.iinfo(np.int64).max)

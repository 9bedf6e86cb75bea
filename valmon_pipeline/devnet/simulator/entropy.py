"""Randomness that is the same everywhere: bytes derived from the seed and what they are for."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Label = int | str | bytes


class Entropy:
    """A source of bytes for every purpose; equal seeds and purposes give equal bytes.

    Not NumPy's generators: their streams may change between versions.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def bytes(self, length: int, *purpose: Label) -> bytes:
        """``length`` bytes."""
        text = repr((self._seed, *purpose)).encode()
        return hashlib.shake_256(text).digest(length)

    def hex(self, length: int, *purpose: Label) -> str:
        """``length`` bytes as hexadecimal text with ``0x``."""
        return "0x" + self.bytes(length, *purpose).hex()

    def words(self, count: int, *purpose: Label) -> npt.NDArray[np.uint64]:
        """``count`` unsigned 64-bit numbers."""
        return np.frombuffer(self.bytes(8 * count, *purpose), dtype="<u8").astype(np.uint64)

    def permutation(self, count: int, *purpose: Label) -> npt.NDArray[np.int64]:
        """The numbers below ``count`` in random order."""
        return np.argsort(self.words(count, *purpose), kind="stable")

    def weighted(
        self, count: int, weights: npt.NDArray[np.int64], *purpose: Label
    ) -> npt.NDArray[np.int64]:
        """``count`` positions of ``weights``, drawn by weight with replacement."""
        bounds = np.cumsum(weights)
        drawn = self.words(count, *purpose) % np.uint64(bounds[-1])
        return np.searchsorted(bounds, drawn.astype(np.int64), side="right")

    def happens(self, count: int, rate: float, *purpose: Label) -> npt.NDArray[np.bool_]:
        """Whether each of ``count`` events happens that happen at a rate between 0 and 1."""
        if rate >= 1:
            return np.ones(count, np.bool_)
        return self.words(count, *purpose) < np.uint64(rate * 2**64)

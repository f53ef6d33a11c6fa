"""Random draws that give the same bits on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


class Dice:
    """Draws that are a function of the key alone.

    The only primitive is `RandomState.random_sample`: NumPy has frozen its stream (NEP 19), and everything built on it
    here is one IEEE operation at a time, which every machine rounds alike. `RandomState.uniform` may fuse its multiply
    with its add and `randint` depends on the platform's integer, so neither is used.

    Args:
        key: what the draws depend on, by its `str`.
    """

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
        self._state = np.random.RandomState(np.frombuffer(digest, dtype="<u4").astype(np.uint32))

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return bool(self._state.random_sample() < probability)

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return low + (high - low) * float(self._state.random_sample())

    def sign(self) -> int:
        """Either -1 or 1."""
        return 1 - 2 * self.below(2)

    def below(self, stop: int) -> int:
        """One of 0 ... `stop` - 1."""
        return int(stop * float(self._state.random_sample()))

    def grid(self, height: int, width: int, stop: int) -> NDArray[np.int64]:
        """An array ``[height, width]`` of integers from 0 to `stop` - 1."""
        return np.floor(self._state.random_sample((height, width)) * stop).astype(np.int64)

"""Frames that wait until what is drawn on them is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor


class HeldFrames:
    """The frames of a video that were read and not yet taken; overlapping windows may bring a frame several times."""

    def __init__(self) -> None:
        self._frames: dict[int, Tensor] = {}
        self._next = 0

    def add(self, numbers: Iterable[int], frames: Iterable[Tensor]) -> None:
        """Holds the frames that are new."""
        for number, frame in zip(numbers, frames, strict=True):
            if number >= self._next:
                self._frames.setdefault(number, frame)

    def take(self, end: int) -> Iterator[tuple[int, Tensor | None]]:
        """All frames before `end` that were not taken yet, in order; None in place of those that were never read."""
        while self._next < end:
            self._next += 1
            yield self._next - 1, self._frames.pop(self._next - 1, None)

    def __len__(self) -> int:
        return len(self._frames)

"""Windows of videos as they are decoded: nothing is kept but the frames of one window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from datamodules.clips import Clip, pad
from datamodules.footage import Footage
from scene_model.batch import SequenceInfo, TargetFrame
from scene_model.placement import letterbox


class _Frame(NamedTuple):
    number: int
    original: Tensor
    letterboxed: Tensor


class WindowDataset(IterableDataset[Clip]):
    """Overlapping windows of videos, made of the frames that can be read: those of one video in order, by one worker.

    They begin where those of `window_starts` do, in a video whose length is not known until it ends: one frame is read
    ahead, so that the last window is known as such.

    Args:
        footage: the videos of this process.
        length: frames per window T.
        overlap: frames that neighbouring windows share, fewer than T.
        size: (height, width) of the model's frame.
        with_originals: deliver the frames before the letterbox too.
    """

    def __init__(
        self,
        footage: Sequence[Footage],
        length: int,
        overlap: int,
        size: tuple[int, int],
        with_originals: bool = True,
    ) -> None:
        self.footage = footage
        self.length, self.overlap, self.size = length, overlap, size
        self.with_originals = with_originals

    def __iter__(self) -> Iterator[Clip]:
        worker = get_worker_info()
        for footage in dealt(self.footage, worker.num_workers, worker.id) if worker else self.footage:
            yield from self._windows(footage)

    def _windows(self, footage: Footage) -> Iterator[Clip]:
        window: list[_Frame] = []
        for frame in self._frames(footage):
            if len(window) == self.length:
                yield self._clip(footage.info, window, is_last=False)
                window = window[self.length - self.overlap :]
            window.append(frame)
        if window:
            yield self._clip(footage.info, window, is_last=True)

    def _frames(self, footage: Footage) -> Iterator[_Frame]:
        placement = letterbox((footage.info.height, footage.info.width), self.size)
        for number, frame in enumerate(footage.frames()):
            if frame is not None:
                yield _Frame(number, frame, placement.frame(placement.cut(frame)).contiguous())

    def _clip(self, sequence: SequenceInfo, window: list[_Frame], is_last: bool) -> Clip:
        numbers, originals, letterboxed = zip(*window, strict=True)
        clip = Clip(
            frames=torch.stack(letterboxed),
            targets=[TargetFrame.empty() for _ in window],
            padding_mask=torch.zeros(len(window), dtype=torch.bool),
            sequence=sequence,
            frame_indices=torch.tensor(numbers),
            seed=0,
            is_last=is_last,
            originals=_stack(originals) if self.with_originals else None,
        )
        return pad(clip, self.length)


def dealt(footage: Sequence[Footage], num_hands: int, hand: int) -> Sequence[Footage]:
    """The videos that are one hand's, of a number of processes or workers."""
    return footage[hand::num_hands]


def _stack(frames: Sequence[Tensor]) -> Tensor:
    """``[T, 3, h, w]`` with the channels last in memory, as decoders deliver and pictures are drawn: nothing turns."""
    return torch.stack([frame.movedim(0, -1) for frame in frames]).movedim(-1, 1)

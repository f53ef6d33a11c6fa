"""Cutting clips out of sequences: which frames, in what order, padded, letterboxed and augmented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.augmentation import Augmentation
from datamodules.copy_paste import paste
from datamodules.source import Source
from scene_model.batch import SceneBatch, SequenceInfo, SequenceTruth, TargetFrame
from scene_model.placement import MIN_VISIBLE, Placement, clip_boxes, letterbox
from scene_model.tracking import window_starts


class ClipRequest(NamedTuple):
    """What a sampler asks a dataset for.

    Args:
        window: index of the window.
        draw: number of the draw; all randomness of the clip is a function of it.
        blank: deliver the clip as nothing but padding, so that all processes get equally many clips.
    """

    window: int
    draw: int
    blank: bool = False


@dataclass(frozen=True)
class ClipSampling:
    """How clips are cut.

    Args:
        length: frames per clip T.
        overlap: frames that neighbouring windows share.
        size: (height, width) of the model's frame.
        seed: of all random draws.
        stride: least and largest number of frames from one frame of a clip to the next.
        jitter: begin anywhere in the window's share of all beginnings at which the clip fits into the sequence.
        augmentation: None leaves the frames as they are.
        with_truth: deliver the annotations of each whole sequence with its last clip.
    """

    length: int
    size: tuple[int, int]
    overlap: int = 0
    seed: int = 0
    stride: tuple[int, int] = (1, 1)
    jitter: bool = False
    augmentation: Augmentation | None = None
    with_truth: bool = False

    def starts(self, num_frames: int) -> range:
        """First frames of the windows of a sequence."""
        return window_starts(num_frames, self.length, self.overlap)


@dataclass
class Clip:
    """One clip on its way into a batch; the fields are those of `SceneBatch`, without the batch."""

    frames: Tensor
    targets: list[TargetFrame]
    padding_mask: Tensor
    sequence: SequenceInfo
    frame_indices: Tensor
    seed: int
    is_last: bool
    truth: SequenceTruth | None = None
    originals: Tensor | None = None


class ClipDataset(Dataset[Clip]):
    """Windows of all sequences of a source.

    Args:
        source: where frames and annotations come from.
        sampling: how clips are cut.
    """

    def __init__(self, source: Source, sampling: ClipSampling) -> None:
        self.source, self.sampling = source, sampling
        self.sequences = source.sequences()
        short = [info.name for info in self.sequences if info.num_frames < sampling.length]
        if short:
            rank_zero_warn(
                f"{len(short)} of {len(self.sequences)} sequences, such as {short[0]}, have fewer frames than clips of "
                f"{sampling.length}: these are padded"
            )
        self.windows = np.array(
            [
                (number, start)
                for number, info in enumerate(self.sequences)
                for start in sampling.starts(info.num_frames)
            ]
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, request: ClipRequest | int) -> Clip:
        """Read a clip; a plain index asks for that window with the same draw each time."""
        window, draw, blank = request if isinstance(request, ClipRequest) else ClipRequest(request, request)
        seed = mixed_seed(self.sampling.seed, draw)
        random = np.random.RandomState(seed % 2**32)  # unlike those of newer generators, its numbers never change
        if blank:
            return _blank(self.sequences[self.windows[window][0]], seed, self.sampling)
        clip = self._cut(window, seed, random)
        if self.sampling.augmentation is not None and (guests := self.sampling.augmentation.num_guests(random)):
            clip = self._with_guests(clip, guests, random)
        return pad(clip, self.sampling.length)

    def _cut(self, window: int, seed: int, random: np.random.RandomState) -> Clip:
        """The clip of a window, without padding."""
        sequence, start = (int(value) for value in self.windows[window])
        info, augmentation = self.sequences[sequence], self.sampling.augmentation
        indices = _frame_indices(start, info.num_frames, self.sampling, random)
        original = (info.height, info.width)
        if augmentation is None:
            placement = letterbox(original, self.sampling.size)
        else:
            indices = indices[::-1] if random.uniform() < augmentation.reverse else indices
            placement = augmentation.place(original, self.sampling.size, random)
        frames = placement.cut(torch.stack([self.source.frame(sequence, index) for index in indices]))
        if augmentation is not None:
            frames = augmentation.recolour(frames, random)
        is_last = info.num_frames - 1 in indices
        return Clip(
            frames=placement.frame(frames),
            targets=_place([self.source.targets(sequence, index) for index in indices], placement),
            padding_mask=torch.zeros(len(indices), dtype=torch.bool),
            sequence=info,
            frame_indices=torch.tensor(indices),
            seed=seed,
            is_last=is_last,
            truth=self.source.truth(sequence) if is_last and self.sampling.with_truth else None,
        )

    def _with_guests(self, clip: Clip, count: int, random: np.random.RandomState) -> Clip:
        """The clip with objects of another one, which may be of any sequence."""
        donor = self._cut(int(random.randint(len(self.windows))), clip.seed, random)
        if len(donor.targets) != len(clip.targets):
            return clip
        shown = {number for target in clip.targets for number in target.track_ids.tolist()}
        present = shown if donor.sequence.name == clip.sequence.name else ()
        frames, targets = paste(clip.frames, clip.targets, donor.frames, donor.targets, count, random, present)
        return replace(clip, frames=frames, targets=targets)


def collate(clips: Sequence[Clip]) -> SceneBatch:
    """Batch clips of equal length and size."""
    originals = [clip.originals for clip in clips if clip.originals is not None]
    return SceneBatch(
        frames=torch.stack([clip.frames for clip in clips]),
        targets=[clip.targets for clip in clips],
        padding_mask=torch.stack([clip.padding_mask for clip in clips]),
        sequences=[clip.sequence for clip in clips],
        frame_indices=torch.stack([clip.frame_indices for clip in clips]),
        seeds=torch.tensor([clip.seed for clip in clips]),
        is_last=[clip.is_last for clip in clips],
        truths=[clip.truth for clip in clips],
        originals=originals if len(originals) == len(clips) else None,
    )


def _frame_indices(start: int, num_frames: int, sampling: ClipSampling, random: np.random.RandomState) -> list[int]:
    """The frames of a clip, fewer than T where the sequence ends."""
    least, largest = sampling.stride
    room = (num_frames - 1) // max(1, sampling.length - 1)
    stride = max(1, min(int(random.randint(least, largest + 1)), room))
    if sampling.jitter:
        starts = sampling.starts(num_frames)
        num_windows, window = len(starts), starts.index(start)
        num_starts = max(1, num_frames - stride * (sampling.length - 1))
        low, high = (edge * num_starts // num_windows for edge in (window, window + 1))
        start = int(random.randint(low, max(low + 1, high)))
    return list(range(start, num_frames, stride))[: sampling.length]


def _place(targets: list[TargetFrame], placement: Placement) -> list[TargetFrame]:
    """The objects of all frames of a clip in the model's frame, without what the original or the crop cuts off."""
    original, in_original = clip_boxes(torch.cat([target.boxes for target in targets]), MIN_VISIBLE)
    placed, in_frame = clip_boxes(placement.boxes(original), MIN_VISIBLE)
    counts = [len(target) for target in targets]
    columns = zip(targets, placed.split(counts), (in_original & in_frame).split(counts), strict=True)
    return [replace(target, boxes=boxes)[visible] for target, boxes, visible in columns]


def pad(clip: Clip, length: int) -> Clip:
    """Repeat the last frame up to the length, marked as padding and without objects."""
    missing = length - len(clip.targets)
    if not missing:
        return clip
    return replace(
        clip,
        frames=torch.cat([clip.frames, clip.frames[-1:].expand(missing, -1, -1, -1)]),
        frame_indices=torch.cat([clip.frame_indices, clip.frame_indices[-1:].expand(missing)]),
        targets=clip.targets + [TargetFrame.empty() for _ in range(missing)],
        padding_mask=torch.cat([clip.padding_mask, torch.ones(missing, dtype=torch.bool)]),
    )


def _blank(info: SequenceInfo, seed: int, sampling: ClipSampling) -> Clip:
    """A clip of nothing but padding, whose frame numbers are those of no frame: nothing is read."""
    return Clip(
        frames=torch.zeros(sampling.length, 3, *sampling.size, dtype=torch.uint8),
        targets=[TargetFrame.empty() for _ in range(sampling.length)],
        padding_mask=torch.ones(sampling.length, dtype=torch.bool),
        sequence=info,
        frame_indices=torch.full((sampling.length,), -1),
        seed=seed,
        is_last=False,
    )


def mixed_seed(*numbers: int) -> int:
    """A well mixed 62-bit number; those of neighbouring numbers have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(2))

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
from datamodules.geometry import Placement, clip_boxes, letterbox
from datamodules.source import Source
from scene_model.batch import SceneBatch, TargetFrame

MIN_VISIBLE = 0.1
"""Share of an object's box that must lie in the frame; of less, there is nothing to see."""


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
        step: frames between the beginnings of neighbouring windows.
        size: (height, width) of the model's frame.
        seed: of all random draws.
        stride: least and largest number of frames from one frame of a clip to the next.
        jitter: begin anywhere up to one step after the window's beginning.
        augmentation: None leaves the frames as they are.
    """

    length: int
    step: int
    size: tuple[int, int]
    seed: int = 0
    stride: tuple[int, int] = (1, 1)
    jitter: bool = False
    augmentation: Augmentation | None = None


@dataclass
class Clip:
    """One clip on its way into a batch; the fields are those of `SceneBatch`, without the batch."""

    frames: Tensor
    targets: list[TargetFrame]
    padding_mask: Tensor
    sequence_name: str
    frame_indices: Tensor
    original_size: tuple[int, int]
    seed: int


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
                f"{len(short)} sequences such as {short[0]} are shorter than data.clip_length = {sampling.length}: "
                "their clips are padded"
            )
        self.windows = np.array(
            [
                (number, start)
                for number, info in enumerate(self.sequences)
                for start in _window_starts(info.num_frames, sampling)
            ]
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, request: ClipRequest | int) -> Clip:
        """Read a clip; a plain index asks for that window with the same draw each time."""
        window, draw, blank = request if isinstance(request, ClipRequest) else ClipRequest(request, request)
        seed = _clip_seed(self.sampling.seed, draw)
        random = np.random.RandomState(seed % 2**32)
        sequence, start = (int(value) for value in self.windows[window])
        info = self.sequences[sequence]
        indices = _frame_indices(start, info.num_frames, self.sampling, random)
        original = (info.height, info.width)
        augmentation = self.sampling.augmentation
        if augmentation is None:
            placement = letterbox(original, self.sampling.size)
        else:
            indices = indices[::-1] if random.uniform() < augmentation.reverse else indices
            placement = augmentation.place(original, self.sampling.size, random)
        frames = placement.frames(torch.stack([self.source.frame(sequence, index) for index in indices]))
        if augmentation is not None:
            frames = augmentation.recolour(frames, random)
        targets = [_place(self.source.targets(sequence, index), placement) for index in indices]
        clip = Clip(
            frames,
            targets,
            torch.zeros(len(indices), dtype=torch.bool),
            info.name,
            torch.tensor(indices),
            original,
            seed,
        )
        return _pad(clip, self.sampling.length, blank)


def collate(clips: Sequence[Clip]) -> SceneBatch:
    """Batch clips of equal length and size."""
    return SceneBatch(
        frames=torch.stack([clip.frames for clip in clips]),
        targets=[clip.targets for clip in clips],
        padding_mask=torch.stack([clip.padding_mask for clip in clips]),
        sequence_names=[clip.sequence_name for clip in clips],
        frame_indices=torch.stack([clip.frame_indices for clip in clips]),
        original_sizes=torch.tensor([clip.original_size for clip in clips]),
        seeds=torch.tensor([clip.seed for clip in clips]),
    )


def _window_starts(num_frames: int, sampling: ClipSampling) -> range:
    """Windows that cover every frame; a window that adds no frame to the one before is left out."""
    overlap = sampling.length - sampling.step
    return range(0, max(1, num_frames - overlap), sampling.step)


def _frame_indices(start: int, num_frames: int, sampling: ClipSampling, random: np.random.RandomState) -> list[int]:
    """The frames of a clip, fewer than T where the sequence ends."""
    least, largest = sampling.stride
    room = (num_frames - 1) // max(1, sampling.length - 1)
    stride = max(1, min(int(random.randint(least, largest + 1)), room))
    if sampling.jitter:
        latest = max(0, num_frames - 1 - stride * (sampling.length - 1))
        start = min(start + int(random.randint(sampling.step)), latest)
    return list(range(start, num_frames, stride))[: sampling.length]


def _place(target: TargetFrame, placement: Placement) -> TargetFrame:
    boxes, visible = clip_boxes(placement.boxes(target.boxes), MIN_VISIBLE)
    return replace(target, boxes=boxes)[visible]


def _pad(clip: Clip, length: int, blank: bool) -> Clip:
    """Repeat the last frame up to the length, marked as padding and without objects."""
    missing = length - len(clip.targets)
    if missing:
        clip.frames = torch.cat([clip.frames, clip.frames[-1:].expand(missing, -1, -1, -1)])
        clip.frame_indices = torch.cat([clip.frame_indices, clip.frame_indices[-1:].expand(missing)])
        clip.targets = clip.targets + [TargetFrame.empty() for _ in range(missing)]
        clip.padding_mask = torch.cat([clip.padding_mask, torch.ones(missing, dtype=torch.bool)])
    if blank:
        clip.targets = [TargetFrame.empty() for _ in range(length)]
        clip.padding_mask = torch.ones(length, dtype=torch.bool)
    return clip


def _clip_seed(seed: int, draw: int) -> int:
    """A well mixed 62-bit number; neighbouring draws have nothing in common."""
    return int(np.random.SeedSequence([seed, draw]).generate_state(1, np.uint64)[0] >> np.uint64(2))

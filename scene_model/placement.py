"""How an original frame lies in the model's frame: one mapping for letterbox, augmentation and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

MIN_VISIBLE = 0.1
"""Share of an object's box that must lie in the frame; of less, there is nothing to see."""


@dataclass(frozen=True)
class Placement:
    """Scale the original frame, shift it, and mirror the result.

    Frames are made in two steps, so that colours can change in between without touching the black around the original.

    Args:
        original: (height, width) of the original frame in pixels.
        size: (height, width) of the model's frame in pixels.
        scale: pixels of the model's frame per original pixel; the scaled sides are rounded to whole pixels.
        left: where the original's left border lies in the model's frame, in its pixels; may be negative.
        top: likewise for the upper border.
        mirror: whether the model's frame is mirrored left to right afterwards.
    """

    original: tuple[int, int]
    size: tuple[int, int]
    scale: float
    left: int = 0
    top: int = 0
    mirror: bool = False

    @property
    def scaled(self) -> tuple[int, int]:
        """(height, width) of the whole original in the model's frame, in its pixels."""
        height, width = (max(1, round(side * self.scale)) for side in self.original)
        return height, width

    def cut(self, frames: Tensor) -> Tensor:
        """uint8 ``[T, 3, h, w]`` to the part that the model's frame shows, scaled."""
        if self.scaled != self.original:
            frames = F.resize(frames, list(self.scaled), antialias=True)
        return frames[..., max(0, -self.top) : self.size[0] - self.top, max(0, -self.left) : self.size[1] - self.left]

    def frame(self, cut: Tensor) -> Tensor:
        """What `cut` returns to the whole model's frame ``[T, 3, H, W]``, black outside the original."""
        left, top = max(0, self.left), max(0, self.top)
        right, bottom = self.size[1] - left - cut.shape[-1], self.size[0] - top - cut.shape[-2]
        frames = F.pad(cut, [left, top, right, bottom])
        return F.horizontal_flip(frames) if self.mirror else frames

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes ``[N, 4]`` normalised to the original, to boxes normalised to the model's frame; not clipped."""
        (height, width), (scaled_height, scaled_width) = self.size, self.scaled
        stretch = boxes.new_tensor([scaled_width / width, scaled_height / height] * 2)
        shift = boxes.new_tensor([self.left / width, self.top / height, 0, 0])
        placed = boxes * stretch + shift
        if self.mirror:
            placed[:, 0] = 1 - placed[:, 0]
        return placed

    def to_original_pixels(self, boxes: Tensor) -> Tensor:
        """The way back: boxes ``[..., 4]`` to clipped (left, top, width, height) in pixels of the original."""
        x, y, w, h = boxes.unbind(-1)
        if self.mirror:
            x = 1 - x
        edges = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1)
        pixels = edges * edges.new_tensor(self.size[::-1] * 2) - edges.new_tensor([self.left, self.top] * 2)
        share = (pixels / edges.new_tensor(self.scaled[::-1] * 2)).clamp(0, 1)
        low, high = (share * edges.new_tensor(self.original[::-1] * 2)).split(2, dim=-1)
        return torch.cat([low, high - low], dim=-1)


def letterbox(original: tuple[int, int], size: tuple[int, int]) -> Placement:
    """The largest placement that shows the whole original, in the upper left corner."""
    return Placement(original, size, min(size[0] / original[0], size[1] / original[1]))


def clip_boxes(boxes: Tensor, min_visible: float) -> tuple[Tensor, Tensor]:
    """Clip boxes ``[N, 4]`` to the frame.

    Returns:
        the clipped boxes, and which of them keep at least the share `min_visible` of their area.
    """
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    low, high = (center - half).clamp(0, 1), (center + half).clamp(0, 1)
    size = high - low
    area = size.prod(-1)
    return torch.cat([(low + high) / 2, size], dim=-1), (area > 0) & (area >= min_visible * boxes[:, 2:].prod(-1))

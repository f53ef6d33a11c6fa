"""How an original frame lies in the model's frame: one mapping for letterbox, augmentation and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F


@dataclass(frozen=True)
class Placement:
    """Scale the original frame, shift it, and mirror the result.

    Args:
        original: (height, width) of the original frame in pixels.
        size: (height, width) of the model's frame in pixels.
        scale: pixels of the model's frame per original pixel.
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

    def frames(self, frames: Tensor) -> Tensor:
        """uint8 ``[T, 3, h, w]`` to uint8 ``[T, 3, H, W]``, black outside the original."""
        scaled = [max(1, round(side * self.scale)) for side in self.original]
        if scaled != list(self.original):
            frames = F.resize(frames, scaled, antialias=True)
        frames = F.crop(frames, -self.top, -self.left, *self.size)
        return F.horizontal_flip(frames) if self.mirror else frames

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes ``[N, 4]`` normalised to the original, to boxes normalised to the model's frame; not clipped."""
        height, width = self.size
        stretch = torch.tensor([self.original[1] * self.scale / width, self.original[0] * self.scale / height])
        center = boxes[:, :2] * stretch + torch.tensor([self.left / width, self.top / height])
        if self.mirror:
            center = torch.stack([1 - center[:, 0], center[:, 1]], dim=-1)
        return torch.cat([center, boxes[:, 2:] * stretch], dim=-1)

    def to_original_pixels(self, boxes: Tensor) -> Tensor:
        """Boxes ``[..., 4]`` normalised to the model's frame, to clipped (left, top, width, height) in original pixels.

        Only for placements without mirror: the letterbox.
        """
        assert not self.mirror
        height, width = self.size
        center = boxes[..., :2] * boxes.new_tensor([width, height]) - boxes.new_tensor([self.left, self.top])
        size = boxes[..., 2:] * boxes.new_tensor([width, height])
        limit = boxes.new_tensor([self.original[1], self.original[0]])
        low = torch.minimum(((center - size / 2) / self.scale).clamp(min=0), limit)
        high = torch.minimum(((center + size / 2) / self.scale).clamp(min=0), limit)
        return torch.cat([low, high - low], dim=-1)


def letterbox(original: tuple[int, int], size: tuple[int, int]) -> Placement:
    """The largest placement that shows the whole original, in the upper left corner."""
    return Placement(original, size, min(size[0] / original[0], size[1] / original[1]))


def clip_boxes(boxes: Tensor, min_visible: float) -> tuple[Tensor, Tensor]:
    """Clip boxes ``[N, 4]`` to the frame.

    Returns:
        the clipped boxes, and which of them keep at least the share `min_visible` of their area.
    """
    low = (boxes[:, :2] - boxes[:, 2:] / 2).clamp(0, 1)
    high = (boxes[:, :2] + boxes[:, 2:] / 2).clamp(0, 1)
    clipped = torch.cat([(low + high) / 2, high - low], dim=-1)
    area, before = clipped[:, 2:].prod(-1), boxes[:, 2:].prod(-1)
    return clipped, (area > 0) & (area >= min_visible * before)

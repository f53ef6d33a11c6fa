"""Random changes that are the same for all frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scene_model.errors import UserError
from scene_model.placement import Placement, letterbox

LUMA = torch.tensor([77, 150, 29], dtype=torch.int32)[:, None, None]
"""Shares of red, green and blue in the grey of a pixel, in 1/256."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Clip-consistent augmentation of training clips.

    Args:
        flip: probability of mirroring a clip left to right.
        reverse: probability of playing a clip backwards.
        scale: least and largest size of the original relative to the letterbox; what is larger than the model's frame
            is cropped at a random place, what is smaller is placed at random.
        brightness: largest relative change.
        contrast: largest relative change.
        saturation: largest relative change.
        paste: largest number of objects that are copied from another clip, each to where it meets one of this clip.
    """

    flip: float = 0.5
    reverse: float = 0.5
    scale: tuple[float, float] = (0.8, 1.3)
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    paste: int = 0

    def __post_init__(self) -> None:
        for name in ("flip", "reverse"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"data.augmentation.{name}: expected a probability, got {getattr(self, name)}")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"data.augmentation.{name}: expected a share in [0, 1), got {getattr(self, name)}")
        if self.paste < 0:
            raise UserError(f"data.augmentation.paste: expected a number >= 0, got {self.paste}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"data.augmentation.scale: expected 0 < least <= largest, got {list(self.scale)}")

    def place(self, original: tuple[int, int], size: tuple[int, int], random: np.random.RandomState) -> Placement:
        """Draw where the original frame lies in the model's frame."""
        scale = float(letterbox(original, size).scale * np.exp(random.uniform(*np.log(self.scale))))
        placement = Placement(original, size, scale)
        # Free space is negative where the scaled original is larger than the frame and gets cropped.
        free = (outer - inner for outer, inner in zip(size, placement.scaled, strict=True))
        top, left = (round(space * random.uniform()) for space in free)
        return replace(placement, left=left, top=top, mirror=random.uniform() < self.flip)

    def num_guests(self, random: np.random.RandomState) -> int:
        """Draw how many objects of another clip are pasted."""
        return int(random.randint(self.paste + 1)) if self.paste else 0

    def recolour(self, frames: Tensor, random: np.random.RandomState) -> Tensor:
        """Change brightness, contrast and saturation of uint8 ``[T, 3, h, w]``, all frames alike.

        What torchvision's three functions do one after the other is one affine map of the colours. In whole numbers, of
        1/256 of a level, it takes a quarter of their time and is the same to the bit for any number of threads.
        """
        ranges = (self.brightness, self.contrast, self.saturation)
        brightness, contrast, saturation = (1 + random.uniform(-change, change) for change in ranges)
        levels = frames.int()
        grey = (levels * LUMA).sum(1, keepdim=True, dtype=torch.int32)
        mean = int(grey.sum()) / grey.numel()
        gain = brightness * contrast
        offset = grey.mul_(round(256 * gain * (1 - saturation))).bitwise_right_shift_(8)
        offset.add_(round(brightness * (1 - contrast) * mean + 128))
        levels.mul_(round(256 * gain * saturation)).add_(offset).bitwise_right_shift_(8)
        return levels.clamp_(0, 255).to(torch.uint8)


# Checkpoints of data modules that were built in Python hold the object; torch loads it without running foreign code.
torch.serialization.add_safe_globals([Augmentation])

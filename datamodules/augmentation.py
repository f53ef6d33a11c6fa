"""Random changes that are the same for all frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from datamodules.geometry import Placement, letterbox
from scene_model.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Clip-consistent augmentation of training clips.

    Args:
        flip: probability of mirroring a clip left to right.
        reverse: probability of playing a clip backwards.
        scale: least and largest size of the original relative to the letterbox; what is larger than the frame is
            cropped at a random place, what is smaller is placed at random.
        brightness: largest relative change.
        contrast: largest relative change.
        saturation: largest relative change.
    """

    flip: float = 0.5
    reverse: float = 0.5
    scale: tuple[float, float] = (0.8, 1.3)
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3

    def __post_init__(self) -> None:
        for name in ("flip", "reverse"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"data.augmentation.{name}: expected a probability, got {getattr(self, name)}")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"data.augmentation.{name}: expected a share in [0, 1), got {getattr(self, name)}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"data.augmentation.scale: expected 0 < least <= largest, got {list(self.scale)}")

    def place(self, original: tuple[int, int], size: tuple[int, int], random: np.random.RandomState) -> Placement:
        """Draw where the original frame lies in the model's frame."""
        scale = letterbox(original, size).scale * np.exp(random.uniform(*np.log(self.scale)))
        # Free space is negative where the scaled original is larger than the frame and gets cropped.
        free = [round(outer - inner * scale) for outer, inner in zip(size, original, strict=True)]
        top, left = (round(space * random.uniform()) for space in free)
        return Placement(original, size, float(scale), left, top, mirror=bool(random.uniform() < self.flip))

    def recolour(self, frames: Tensor, random: np.random.RandomState) -> Tensor:
        """Change brightness, contrast and saturation of uint8 ``[T, 3, H, W]``, all frames alike."""
        for adjust, change in (
            (F.adjust_brightness, self.brightness),
            (F.adjust_contrast, self.contrast),
            (F.adjust_saturation, self.saturation),
        ):
            if change:
                frames = adjust(frames, 1 + random.uniform(-change, change))
        return frames

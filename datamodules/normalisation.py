"""From bytes to the numbers that the model takes."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def normalise(frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 ``[..., 3, H, W]`` to float32 with the mean subtracted and divided by the standard deviation."""
    offset, scale = (_per_channel(tuple(values), frames.device) for values in (mean, std))
    return frames.float().sub_(offset).div_(scale)


@cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """``[3, 1, 1]``, of uint8; kept on the device, since each copy there waits for all work that it has been given."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device).mul_(255)[:, None, None]

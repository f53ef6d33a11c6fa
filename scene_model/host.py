"""Between the host and the device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Float32 copies on the host, for which the device is waited for once; what is there already is not copied.

    Args:
        tensors: on one device, or here and there; numbers that float32 can hold.

    Example:
        >>> scores, is_padding = to_host(torch.tensor([0.25, 0.5], dtype=torch.bfloat16), torch.tensor([[True]]))
        >>> scores, is_padding
        (tensor([0.2500, 0.5000]), tensor([[1.]]))
    """
    parts = [tensor.detach().float() for tensor in tensors]
    away = [part for part in parts if not part.is_cpu]
    if away:
        packed = torch.cat([part.flatten() for part in away]).cpu()
        arrived = iter(packed.split([part.numel() for part in away]))
        parts = [part if part.is_cpu else next(arrived).view(part.shape) for part in parts]
    return parts


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A copy on a device, for which a GPU is not waited for; elsewhere it could be read before it is complete."""
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda")

"""What the processes that work together send each other to be scored."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def gather(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks, on the first one; nothing on the others.

    Without distributed training, the value alone.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    if dist.get_rank() > 0:
        dist.gather_object(value)
        return []
    values = [value] * dist.get_world_size()
    dist.gather_object(value, values)
    return values

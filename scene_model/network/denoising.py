"""Queries that the network takes beside those it is matched by: in groups, none of which changes the others."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from scene_model.host import to_device

MATCHING_GROUP = 0
EMPTY = -1


@dataclass
class DenoisingState:
    """K noised queries per clip, and what they should predict.

    Args:
        boxes: ``[B, T, K, 4]``, noised boxes to start from.
        labels: int64 ``[B, K]``, noised classes to start from.
        objects: int64 ``[B, K]``, the identity to restore, a row of the packed targets; -1: a negative or empty slot.
        group: int64 ``[B, K]``, 1, 2, ... for the groups; -1 for empty slots, which see and are seen by nobody.
        num_groups: int64 ``[B]``, groups for which a clip has room; of one without objects all slots are empty.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor
    group: Tensor
    num_groups: Tensor

    def to(self, device: torch.device | str) -> DenoisingState:
        """A copy on a device."""
        return DenoisingState(**{f.name: to_device(getattr(self, f.name), device) for f in fields(self)})


def attention_mask(group: Tensor) -> Tensor:
    """Who may attend to whom: each query to its own group, a denoising query to the matching queries as well.

    Args:
        group: int64 ``[B, N]``, of each query: 0 for matching queries, 1, 2, ... for denoising queries, -1 for empty
            slots, which see and are seen by nobody, -2, -3, ... for further groups like the first.

    Returns:
        bool ``[B, N, N]``, True where row may attend to column.
    """
    same = (group[:, :, None] == group[:, None, :]) & (group != EMPTY)[:, None, :]
    sees_matching = (group > MATCHING_GROUP)[:, :, None] & (group == MATCHING_GROUP)[:, None, :]
    return same | sees_matching | torch.eye(group.shape[1], dtype=torch.bool, device=group.device)


def further_group(number: Tensor) -> Tensor:
    """The group of queries whose place among the groups of matching queries is 0, 1, 2, ...: 0, -2, -3, ..."""
    return torch.where(number > 0, EMPTY - number, MATCHING_GROUP)

"""Denoising queries, as the network takes them beside its matching queries."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

MATCHING_GROUP = 0


@dataclass
class DenoisingState:
    """K noised queries per clip, and what they should predict.

    Args:
        boxes: ``[B, T, K, 4]``, noised boxes to start from.
        labels: int64 ``[B, K]``, noised classes to start from.
        objects: int64 ``[B, K]``, the identity to restore, a row of the packed targets; -1: a negative or empty slot.
        group: int64 ``[B, K]``, 1, 2, ... for the groups; -1 for empty slots, which see and are seen by nobody.
        num_groups: int64 ``[B]``, groups of each clip.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor
    group: Tensor
    num_groups: Tensor

    def to(self, device: torch.device | str) -> DenoisingState:
        """A copy on a device."""
        return DenoisingState(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})

    def attention_mask(self, num_queries: int) -> Tensor:
        """Who may attend to whom, for matching queries followed by denoising queries.

        Matching queries see each other only; a denoising query sees its own group and the matching queries.

        Args:
            num_queries: number Q of matching queries.

        Returns:
            bool ``[B, Q + K, Q + K]``, True where row may attend to column.
        """
        group = torch.cat([self.group.new_full((len(self.group), num_queries), MATCHING_GROUP), self.group], dim=1)
        same = (group[:, :, None] == group[:, None, :]) & (group >= 0)[:, None, :]
        sees_matching = (group[:, :, None] > MATCHING_GROUP) & (group == MATCHING_GROUP)[:, None, :]
        return same | sees_matching | torch.eye(group.shape[1], dtype=torch.bool, device=group.device)

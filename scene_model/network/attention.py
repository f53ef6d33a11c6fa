"""Attention in pure PyTorch: scaled dot product, and multi-scale deformable sampling of feature maps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention; positions are added to queries and keys by the caller.

    Args:
        channels: width D, divisible by `num_heads`.
        num_heads: attention heads.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, positioned: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of tokens ``[..., L, D]`` among themselves.

        Args:
            positioned: queries and keys, with positions.
            values: what is gathered.
            mask: bool, broadcastable to ``[..., 1, L, L]``, True where a row may attend to a column.
        """
        leading = positioned.shape[:-2]
        query, key, value = (
            # The fused kernels take one leading dimension: [N, heads, L, D / heads].
            project(x).flatten(0, -3).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project, x in ((self.query, positioned), (self.key, positioned), (self.value, values))
        )
        if mask is not None:
            mask = mask.expand(*leading, *mask.shape[-3:]).flatten(0, -4)
        gathered = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(gathered.transpose(1, 2).flatten(-2)).unflatten(0, leading)


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (Zhu et al., arXiv 2010.04159) on `grid_sample`: no custom operator.

    Args:
        channels: width D, divisible by `num_heads`.
        num_heads: attention heads.
        num_levels: feature maps.
        num_points: sampling points per head and level.
    """

    def __init__(self, channels: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        samples = num_heads * num_levels * num_points
        self.offsets = nn.Linear(channels, samples * 2)
        self.weights = nn.Linear(channels, samples)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        self._initialise()

    def _initialise(self) -> None:
        """Heads look in different directions, points at growing distances, all with the same weight."""
        angle = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        distance = torch.arange(1, self.num_points + 1) / self.num_points
        offsets = direction[:, None, None] * distance[None, None, :, None]
        nn.init.zeros_(self.offsets.weight)
        with torch.no_grad():
            self.offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)

    def forward(
        self, queries: Tensor, references: Tensor, levels: list[Tensor], frame_of: Tensor | None = None
    ) -> Tensor:
        """Features sampled around the reference boxes.

        Args:
            queries: ``[F, Q, D]``, F frames.
            references: ``[F, Q, 4]``, boxes; an offset of 1 is half the size of the box.
            levels: feature maps ``[F, D, H, W]`` of the same frames, or ``[U, D, H, W]`` with `frame_of`.
            frame_of: int64 ``[F]``, which of the U maps each frame looks into.

        Returns:
            ``[F, Q, D]``.
        """
        heads, points = self.num_heads, self.num_points
        offsets = self.offsets(queries).float().unflatten(-1, (heads, self.num_levels, points, 2))
        center, size = references[:, :, None, None, None, :2], references[:, :, None, None, None, 2:]
        places = (
            ((center + offsets * size / 2) * 2 - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
        )  # [levels, FM, Q, P, 2]
        weights = self.weights(queries).float().unflatten(-1, (heads, -1)).softmax(-1)  # [F, Q, M, levels * P]
        sampled = []
        for level, place in zip(levels, places, strict=True):
            value = self.value(level.flatten(2).transpose(1, 2)).float()  # [F, HW, D]
            maps = value.transpose(1, 2).contiguous()  # [F, D, HW]
            maps = maps if frame_of is None else maps[frame_of]
            maps = maps.view(-1, value.shape[-1] // heads, *level.shape[2:])  # [FM, D / M, H, W]
            sampled.append(F.grid_sample(maps, place, mode="bilinear", padding_mode="zeros", align_corners=False))
        weights = weights.transpose(1, 2).flatten(0, 1)[:, None]  # [FM, 1, Q, levels * P]
        gathered = (torch.cat(sampled, dim=-1) * weights).sum(-1)  # [FM, D / M, Q]
        gathered = gathered.unflatten(0, (-1, heads)).flatten(1, 2).transpose(1, 2)
        return self.out(gathered.to(queries.dtype))


def sine_embedding(positions: Tensor, channels: int, temperature: float = 10_000.0) -> Tensor:
    """Sines and cosines of positions ``[...]`` at geometric frequencies: ``[..., channels]`` (Vaswani et al., 2017)."""
    frequency = temperature ** (-torch.arange(0, channels, 2, device=positions.device) / channels)
    angle = positions[..., None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)

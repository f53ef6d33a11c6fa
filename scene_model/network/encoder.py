"""The hybrid encoder of RT-DETR (arXiv 2304.08069): attention on the coarsest level, convolutional fusion downwards."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scene_model.config import EncoderConfig
from scene_model.network.attention import Attention, sine_embedding


class HybridEncoder(nn.Module):
    """Backbone features to equally wide features that have seen the whole frame.

    Args:
        config: widths.
        in_channels: channels of the backbone's levels, finest first.
    """

    def __init__(self, config: EncoderConfig, in_channels: list[int]) -> None:
        super().__init__()
        channels = config.channels
        self.project = nn.ModuleList(_conv(size, channels, 1, activation=nn.Identity()) for size in in_channels)
        self.attention = SpatialAttention(config)
        self.fuse = nn.ModuleList(_conv(channels, channels, 3) for _ in in_channels[:-1])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Levels ``[F, C_i, H_i, W_i]``, finest first, to levels ``[F, D, H_i, W_i]``."""
        levels = [project(level) for project, level in zip(self.project, features, strict=True)]
        coarse = self.attention(levels[-1])
        fused = [coarse]
        for fuse, level in zip(reversed(self.fuse), reversed(levels[:-1]), strict=True):
            coarse = fuse(level + F.interpolate(coarse, size=level.shape[-2:], mode="nearest"))
            fused.append(coarse)
        return fused[::-1]


class SpatialAttention(nn.Module):
    """One transformer encoder layer over the places of a feature map."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        channels = config.channels
        self.attention = Attention(channels, config.num_heads)
        self.norm_attention = nn.LayerNorm(channels)
        self.feedforward = nn.Sequential(
            nn.Linear(channels, config.feedforward), nn.GELU(), nn.Linear(config.feedforward, channels)
        )
        self.norm_feedforward = nn.LayerNorm(channels)

    def forward(self, level: Tensor) -> Tensor:
        """A map ``[F, D, H, W]`` of any size."""
        height, width = level.shape[-2:]
        tokens = level.flatten(2).transpose(1, 2)
        positioned = tokens + _position_2d(height, width, tokens.shape[-1], tokens.device)
        tokens = self.norm_attention(tokens + self.attention(positioned, tokens))
        tokens = self.norm_feedforward(tokens + self.feedforward(tokens))
        return tokens.transpose(1, 2).unflatten(2, (height, width))


def _position_2d(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    rows = sine_embedding(torch.arange(height, device=device), channels // 2)[:, None].expand(-1, width, -1)
    columns = sine_embedding(torch.arange(width, device=device), channels // 2)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def _conv(in_channels: int, channels: int, kernel: int, activation: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False),
        nn.GroupNorm(channels // 8, channels),
        activation or nn.SiLU(),
    )
